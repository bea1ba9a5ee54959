//! Who may come in over HTTP: the multiplexer as an OAuth 2.1 resource server.
//!
//! Owns: what is asked of a caller, how its token is checked, what it is told when it
//! has none that is good, and the metadata that says where to get one. Every request is
//! checked anew; nothing about a caller is kept but what issuers say of its token, for
//! seconds. Must never know what a request asks for.

mod authorization_server;
mod bearer;
mod claims;
mod introspection;
mod jwt;
mod key_set;
mod keys;
mod metadata;
mod place;
mod refusal;
mod shape;
mod told;
mod turns;

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use axum::{Router, response::Response};
use http::request::Parts;
use thiserror::Error;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub(super) use place::Peer;

use self::{
    authorization_server::Realm,
    introspection::Introspection,
    jwt::Jwt,
    place::{Place, Seen},
    refusal::{Reason, Refusal},
    told::Told,
};
use super::{Entrance, expiry::Expiry};
use crate::{
    config::{
        DoorSettings, IssuerSettings, LockMode, LockSettings, MetadataSettings, ProviderTls,
        TokenCheck,
    },
    identity::IdentityError,
    protocol::{Bearer, Subject},
    telemetry,
};

/// The door's guard; clones are the same one.
#[derive(Clone)]
pub struct Guard(Arc<Standing>);

struct Standing {
    /// Exchanged whole by a reload.
    orders: ArcSwap<Orders>,
    told: Told,
    shutdown: CancellationToken,
}

/// A request that was let in.
pub(super) struct Admission {
    /// Who sent it; `None` is nobody in particular.
    pub(super) subject: Option<Arc<Subject>>,
    /// Whether anybody is asked for a token.
    pub(super) is_asked_for: bool,
    /// Until when what it opens may go on.
    pub(super) expiry: Expiry,
}

struct Orders {
    lock: Option<Lock>,
    metadata: Option<MetadataSettings>,
    place: Place,
    /// Cancelled when another lock takes the place of this one.
    changed: CancellationToken,
}

struct Lock {
    settings: LockSettings,
    check: Check,
    realm: Option<Realm>,
}

enum Check {
    Jwt(Jwt),
    Introspection(Arc<Introspection>),
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
        Ok(Self(Arc::new(Standing {
            orders: ArcSwap::from_pointee(Orders::of(settings, None, shutdown)?),
            told: Told::new(settings.audit),
            shutdown: shutdown.clone(),
        })))
    }

    /// From now on as these settings say. The keys of issuers that stay are kept.
    ///
    /// # Errors
    ///
    /// As [`post`](Self::post); then all stays as it was.
    pub fn renew(&self, settings: &DoorSettings) -> Result<(), GuardError> {
        let before = self.0.orders.load_full();
        let mut orders = Orders::of(settings, before.lock.as_ref(), &self.0.shutdown)?;
        let locks_as = |orders: &Orders| orders.lock.as_ref().map(|lock| lock.settings.clone());
        let is_other = locks_as(&before) != locks_as(&orders);
        if !is_other {
            orders.changed = before.changed.clone();
        }
        self.0.orders.store(Arc::new(orders));
        if is_other {
            before.changed.cancel();
        }
        Ok(())
    }

    /// Whether anybody is asked for a token.
    pub(super) fn locks(&self) -> bool {
        self.0.orders.load().lock.is_some()
    }

    /// Whether nobody comes in without a good token.
    pub fn is_strict(&self) -> bool {
        self.mode() == Some(LockMode::Strict)
    }

    /// Who sent a request, and until when what it opens may go on, by the lock that let it
    /// in: that may be another one by now.
    ///
    /// # Errors
    ///
    /// The answer to a request that may not come in.
    pub(super) async fn admit(&self, head: &Parts) -> Result<Admission, Response> {
        let orders = self.0.orders.load_full();
        let Some(lock) = &orders.lock else {
            return Ok(orders.admission(None));
        };
        let seen = Seen::of(head);
        // By pointer: most doors have no lock, and a call should not be as large as one.
        let refusal = match Box::pin(lock.subject(&orders.place, &seen)).await {
            Ok(subject) => {
                telemetry::auth_request("ok");
                return Ok(orders.admission(Some(Arc::new(subject))));
            }
            Err(refusal) => refusal,
        };
        let lets_in = match lock.settings.mode {
            LockMode::Strict => false,
            LockMode::Optional => refusal.reason == Reason::NoToken,
            LockMode::Permissive => true,
        };
        if lets_in {
            telemetry::auth_request("anonymous");
            if refusal.reason != Reason::NoToken {
                self.0.told.let_in(&refusal, seen.peer);
            }
            return Ok(orders.admission(None));
        }
        telemetry::auth_request(refusal.reason.as_str());
        let id = self.0.told.refused(&refusal, seen.peer);
        Err(refusal.into_response(&refusal::Terms {
            correlation_id: &id,
            metadata_url: orders.place.metadata_url(&seen).as_deref(),
            scopes: &lock.settings.required_scopes,
        }))
    }

    /// Tells of a request that may not come from where it comes from, and why.
    pub(super) fn turned_away(&self, why: &str, peer: Option<&Peer>) {
        self.0.told.turned_away(why, peer.map(|peer| peer.0));
    }

    /// What becomes of those without a good token; `None`: nobody is asked for one.
    pub(super) fn mode(&self) -> Option<LockMode> {
        let orders = self.0.orders.load();
        orders.lock.as_ref().map(|lock| lock.settings.mode)
    }

    /// The token that a request shows, good or not.
    pub(super) fn shown(head: &Parts) -> Option<Bearer> {
        bearer::token(&Seen::of(head)).ok().map(Bearer::new)
    }

    /// Who asks how things stand: somebody, or nobody in particular where that is not
    /// asked. `None` for others, who are not told why children fail.
    pub(super) async fn knows(&self, head: &Parts) -> Option<Option<Arc<Subject>>> {
        let orders = self.0.orders.load_full();
        let Some(lock) = &orders.lock else {
            return Some(None);
        };
        let subject = lock.subject(&orders.place, &Seen::of(head)).await;
        subject.ok().map(|subject| Some(Arc::new(subject)))
    }

    /// The routes of the metadata, and of the authorization server where it is to be
    /// found here.
    pub(super) fn router(&self, entrance: Arc<Entrance>) -> Router {
        metadata::router(self.clone(), Arc::clone(&entrance))
            .merge(authorization_server::router(self.clone(), entrance))
    }
}

impl Orders {
    fn of(
        settings: &DoorSettings,
        before: Option<&Lock>,
        shutdown: &CancellationToken,
    ) -> Result<Self, GuardError> {
        let lock = settings.lock.as_ref();
        if lock.is_some_and(|lock| lock.mode == LockMode::Permissive) {
            warn!(
                "the mode of \"auth\" is permissive: EVERYBODY is let in, whatever token they show or do not show"
            );
        }
        let lock = lock.map(|lock| Lock::new(lock, before, shutdown));
        Ok(Self {
            lock: lock.transpose()?,
            metadata: settings.metadata.clone(),
            place: Place::new(settings.resource.clone(), settings.trusted_proxies.clone()),
            changed: CancellationToken::new(),
        })
    }

    fn admission(&self, subject: Option<Arc<Subject>>) -> Admission {
        let expiry = self.expiry(subject.as_deref());
        Admission {
            subject,
            is_asked_for: self.lock.is_some(),
            expiry,
        }
    }

    /// Until when what this one has opened may go on.
    fn expiry(&self, subject: Option<&Subject>) -> Expiry {
        let changed = self.changed.clone();
        let at = subject.and_then(|subject| subject.expires);
        let (Some(lock), Some(at)) = (&self.lock, at) else {
            return Expiry::default().or(changed);
        };
        let at = Duration::from_secs(at).saturating_add(lock.settings.leeway);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Expiry::after(at.saturating_sub(now.unwrap_or_default())).or(changed)
    }

    /// The realm that is to be found here.
    fn realm(&self) -> Option<&Realm> {
        self.lock.as_ref()?.realm.as_ref()
    }
}

impl Lock {
    fn new(
        settings: &LockSettings,
        before: Option<&Self>,
        shutdown: &CancellationToken,
    ) -> Result<Self, GuardError> {
        let known = |issuer: &IssuerSettings| {
            let before = before.filter(|lock| lock.settings.ca_file == settings.ca_file)?;
            match &before.check {
                Check::Jwt(jwt) => jwt.keys_of(issuer),
                Check::Introspection(_) => None,
            }
        };
        let tls = tls(settings.ca_file.clone());
        let check = match &settings.check {
            TokenCheck::Jwt(issuers) => {
                Check::Jwt(Jwt::new(issuers, settings, known, &tls, shutdown)?)
            }
            TokenCheck::Introspection(introspection) => {
                // What is known of tokens is not forgotten for a scope more or less.
                let same = before.filter(|lock| {
                    let was = &lock.settings;
                    was.check == settings.check
                        && was.leeway == settings.leeway
                        && was.ca_file == settings.ca_file
                });
                Check::Introspection(match same.map(|lock| &lock.check) {
                    Some(Check::Introspection(issuer)) => Arc::clone(issuer),
                    _ => Arc::new(Introspection::new(introspection, settings.leeway, &tls)?),
                })
            }
        };
        Ok(Self {
            settings: settings.clone(),
            check,
            realm: Realm::of(settings, &tls)?,
        })
    }

    async fn subject(&self, place: &Place, seen: &Seen<'_>) -> Result<Subject, Refusal> {
        let token = bearer::token(seen)?;
        let resources = place.resources(seen);
        let subject = match &self.check {
            Check::Jwt(jwt) => jwt.subject(token, &resources).await?,
            Check::Introspection(issuer) => {
                let from = place.sender(seen);
                issuer.subject(token, &resources, from).await?
            }
        };
        let missing = |scope: &&String| !subject.scopes.contains(*scope);
        match self.settings.required_scopes.iter().find(missing) {
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
