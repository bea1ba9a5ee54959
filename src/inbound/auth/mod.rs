//! Who may come in over HTTP: the multiplexer as an OAuth 2.1 resource server.
//!
//! Owns: what is asked of a caller, how its token is checked, what it is told when it
//! has none that is good, and the metadata that says where to get one. Every request is
//! checked anew; nothing about a caller is kept but what issuers say of its token, for
//! seconds. Must never know what a request asks for.

mod bearer;
mod claims;
mod introspection;
mod jwt;
mod key_set;
mod keys;
mod metadata;
mod place;
mod refusal;
mod told;

use std::{fmt, path::PathBuf, sync::Arc};

use axum::{Router, response::Response};
use http::request::Parts;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(super) use place::Peer;

use self::{
    introspection::Introspection,
    jwt::Jwt,
    place::{Place, Seen},
    refusal::{Reason, Refusal},
    told::Told,
};
use super::Entrance;
use crate::{
    config::{DoorSettings, LockMode, LockSettings, MetadataSettings, ProviderTls, TokenCheck},
    identity::IdentityError,
    protocol::Subject,
    telemetry,
};

/// The door's guard; clones are the same one.
#[derive(Clone)]
pub struct Guard(Arc<Post>);

struct Post {
    lock: Option<Lock>,
    metadata: Option<MetadataSettings>,
    place: Place,
    told: Told,
}

struct Lock {
    mode: LockMode,
    check: Check,
    required_scopes: Vec<String>,
}

enum Check {
    Jwt(Jwt),
    Introspection(Introspection),
}

/// Why callers cannot be authenticated as the settings ask.
#[derive(Debug, Error)]
pub enum GuardError {
    /// The certificates of a private authority cannot be used.
    #[error("\"auth\": \"caFile\" cannot be used: {0}")]
    CaFile(String),
    /// The connection to an issuer cannot be set up.
    #[error("\"auth\": {0}")]
    Provider(String),
    /// The keys that stand in the configuration are none.
    #[error("\"auth\": the keys of {issuer:?} cannot be used: {why}")]
    Keys {
        /// Whose they are.
        issuer: String,
        /// What is wrong.
        why: String,
    },
}

impl From<IdentityError> for GuardError {
    fn from(error: IdentityError) -> Self {
        match error {
            IdentityError::CaFile(why) => Self::CaFile(why),
            other => Self::Provider(other.to_string()),
        }
    }
}

impl Guard {
    /// Stands as these settings say. Keys are fetched in the background until `shutdown`.
    ///
    /// # Errors
    ///
    /// It could let nobody in, or not as it should.
    pub fn post(settings: &DoorSettings, shutdown: &CancellationToken) -> Result<Self, GuardError> {
        let lock = settings.lock.as_ref();
        if lock.is_some_and(|lock| lock.mode == LockMode::Permissive) {
            warn!(
                "the mode of \"auth\" is permissive: EVERYBODY is let in, whatever token they show or do not show"
            );
        }
        let lock = lock.map(|lock| Lock::new(lock, shutdown)).transpose()?;
        Ok(Self(Arc::new(Post {
            lock,
            metadata: settings.metadata.clone(),
            place: Place::new(settings.resource.clone(), settings.trusted_proxies.clone()),
            told: Told::default(),
        })))
    }

    /// Whether anybody is asked for a token.
    pub(super) fn locks(&self) -> bool {
        self.0.lock.is_some()
    }

    /// Who sent a request; `None` is nobody in particular, who may come in.
    ///
    /// # Errors
    ///
    /// The answer to a request that may not come in.
    pub(super) async fn admit(&self, head: &Parts) -> Result<Option<Arc<Subject>>, Response> {
        let Some(lock) = &self.0.lock else {
            return Ok(None);
        };
        let seen = Seen::of(head);
        let refusal = match lock.subject(&self.0.place, &seen).await {
            Ok(subject) => {
                telemetry::auth_request("ok");
                return Ok(Some(Arc::new(subject)));
            }
            Err(refusal) => refusal,
        };
        let lets_in = match lock.mode {
            LockMode::Strict => false,
            LockMode::Optional => refusal.reason == Reason::NoToken,
            LockMode::Permissive => true,
        };
        if lets_in {
            telemetry::auth_request("anonymous");
            if refusal.reason != Reason::NoToken {
                self.0.told.let_in(&refusal, seen.peer);
            }
            return Ok(None);
        }
        telemetry::auth_request(refusal.reason.as_str());
        let id = self.0.told.refused(&refusal, seen.peer);
        Err(refusal.into_response(&refusal::Terms {
            correlation_id: &id,
            metadata_url: self.0.place.metadata_url(&seen).as_deref(),
            scopes: &lock.required_scopes,
        }))
    }

    /// Whether the sender of a request is somebody, where that is asked at all: others
    /// are not told why children fail.
    pub(super) async fn knows(&self, head: &Parts) -> bool {
        match &self.0.lock {
            None => true,
            Some(lock) => lock.subject(&self.0.place, &Seen::of(head)).await.is_ok(),
        }
    }

    /// The routes of the metadata.
    pub(super) fn router(&self, entrance: Arc<Entrance>) -> Router {
        metadata::router(self.clone(), entrance)
    }
}

impl Lock {
    fn new(settings: &LockSettings, shutdown: &CancellationToken) -> Result<Self, GuardError> {
        let tls = tls(settings.ca_file.clone());
        let check = match &settings.check {
            TokenCheck::Jwt(issuers) => Check::Jwt(Jwt::new(issuers, settings, &tls, shutdown)?),
            TokenCheck::Introspection(introspection) => {
                Check::Introspection(Introspection::new(introspection, settings.leeway, &tls)?)
            }
        };
        Ok(Self {
            mode: settings.mode,
            check,
            required_scopes: settings.required_scopes.clone(),
        })
    }

    async fn subject(&self, place: &Place, seen: &Seen<'_>) -> Result<Subject, Refusal> {
        let token = bearer::token(seen)?;
        let resources = place.resources(seen);
        let subject = match &self.check {
            Check::Jwt(jwt) => jwt.subject(token, &resources).await?,
            Check::Introspection(issuer) => issuer.subject(token, &resources).await?,
        };
        let missing = |scope: &&String| !subject.scopes.contains(*scope);
        match self.required_scopes.iter().find(missing) {
            Some(scope) => Err(Refusal::new(
                Reason::Scope,
                format!("the token has not the scope {scope:?}"),
            )),
            None => Ok(subject),
        }
    }
}

fn tls(ca_file: Option<PathBuf>) -> ProviderTls {
    ProviderTls {
        verify: true,
        ca_file,
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("locks", &self.locks())
            .finish_non_exhaustive()
    }
}
