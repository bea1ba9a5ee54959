//! Tokens that only their issuer can read: it is asked (RFC 7662), and what it says is
//! kept for a short time.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use moka::{Expiry, future::Cache};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    GuardError,
    claims::Claims,
    jwt::same_issuer,
    refusal::{Reason, Refusal},
    shape,
    turns::{Asker, TooMany, Turns},
};
use crate::{
    config::{IntrospectionSettings, ProviderTls},
    identity::Introspector,
    protocol::Subject,
    telemetry,
};

/// Answers of each kind that are kept: a few hundred bytes each.
const KEPT: u64 = 10_000;
/// And for how long, whatever the setting says of those that are not active.
const KEPT_AT_MOST: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a token that was good has precedence over those that never were.
const KNOWN: Duration = Duration::from_secs(60 * 60);
/// When to try again where the issuer cannot be asked.
const SOON: Duration = Duration::from_secs(2);

/// The issuer that is asked about tokens.
pub(super) struct Introspection {
    issuer: Introspector,
    name: String,
    /// Whether that is who issues the tokens, or only where it is asked about them.
    is_named: bool,
    audiences: Option<Vec<String>>,
    leeway: u64,
    turns: Turns,
    active: Cache<Hash, Arc<Active>>,
    /// Apart from the active ones: a flood of bad tokens must not push these out.
    inactive: Cache<Hash, ()>,
    /// Those that were active when they were last asked about.
    known: Cache<Hash, ()>,
}

/// The hash of a token: no token is kept.
type Hash = [u8; 32];

/// What the issuer said of a token that is active.
struct Active {
    audiences: Vec<String>,
    not_before: Option<f64>,
    subject: Result<Subject, (Reason, String)>,
}

/// Why a token is not known to be active.
enum Not {
    Active,
    /// The issuer cannot be asked.
    Asked(String),
}

/// Members that every answer has, or that have to be compared.
#[derive(Deserialize)]
struct Said {
    active: bool,
    #[serde(default)]
    aud: Option<Vec<String>>,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    iss: Option<String>,
}

impl Introspection {
    pub(super) fn new(
        settings: &IntrospectionSettings,
        leeway: Duration,
        tls: &ProviderTls,
    ) -> Result<Self, GuardError> {
        let issuer = Introspector::new(
            settings.endpoint.clone(),
            settings.client_id.clone(),
            settings.client_secret.clone(),
            tls,
        )?;
        Ok(Self {
            issuer,
            name: settings
                .issuer
                .clone()
                .unwrap_or_else(|| settings.endpoint.origin().ascii_serialization()),
            is_named: settings.issuer.is_some(),
            audiences: settings.audiences.clone(),
            leeway: leeway.as_secs(),
            turns: Turns::default(),
            active: Cache::builder()
                .max_capacity(KEPT)
                .expire_after(Life {
                    most: settings.cache,
                })
                .build(),
            inactive: Cache::builder()
                .max_capacity(KEPT)
                .time_to_live(settings.cache.min(KEPT_AT_MOST))
                .build(),
            known: Cache::builder()
                .max_capacity(KEPT)
                .time_to_live(KNOWN)
                .build(),
        })
    }

    /// Whose token it is that was shown `from` there. It must be meant for one of
    /// `resources`, where no audiences are configured.
    pub(super) async fn subject(
        &self,
        token: &str,
        resources: &[String],
        from: Option<IpAddr>,
    ) -> Result<Subject, Refusal> {
        let hash: Hash = Sha256::digest(token).into();
        let inactive = || {
            Refusal::new(
                Reason::Inactive,
                "the issuer says that the token is not active",
            )
        };
        if let Some(active) = self.active.get(&hash).await {
            return self.judge(&active, resources);
        }
        if self.inactive.contains_key(&hash) {
            return Err(inactive());
        }
        shape::worth_a_question(token, now().saturating_sub(self.leeway))?;
        // Many requests with one token ask once; what fails is not kept.
        let asked = self.ask(token, hash, resources, from);
        match self.active.try_get_with(hash, asked).await {
            Ok(active) => self.judge(&active, resources),
            Err(not) => Err(match &*not {
                Not::Active => inactive(),
                Not::Asked(why) => {
                    Refusal::unavailable(format!("the issuer cannot be asked: {why}"), SOON)
                }
            }),
        }
    }

    async fn ask(
        &self,
        token: &str,
        hash: Hash,
        resources: &[String],
        from: Option<IpAddr>,
    ) -> Result<Arc<Active>, Not> {
        let asker = match self.known.contains_key(&hash) {
            true => Asker::Known,
            false => Asker::Strange(from),
        };
        let question = async {
            let said = self.issuer.ask(token).await;
            telemetry::auth_introspection(said.is_ok());
            said.map_err(|error| Not::Asked(error.to_string()))
        };
        let said = self.turns.take(asker, question).await;
        let said = said
            .unwrap_or_else(|TooMany| Err(Not::Asked("too many questions are open".to_owned())))?;
        match self.read(said, token) {
            Some(active) => {
                // Of the same issuer, and for another: that gives no precedence here.
                match self.judge(&active, resources) {
                    Ok(_) => self.known.insert(hash, ()).await,
                    Err(_) => self.known.invalidate(&hash).await,
                }
                Ok(Arc::new(active))
            }
            None => {
                self.known.invalidate(&hash).await;
                self.inactive.insert(hash, ()).await;
                Err(Not::Active)
            }
        }
    }

    /// What the issuer said; `None` if the token is not active.
    fn read(&self, value: Value, token: &str) -> Option<Active> {
        let odd = || Active {
            audiences: Vec::new(),
            not_before: None,
            subject: Err((Reason::Claims, "the issuer's answer is odd".to_owned())),
        };
        let Ok(said) = Said::deserialize(&value) else {
            return Some(odd());
        };
        if !said.active {
            return None;
        }
        let Ok(claims) = Claims::deserialize(&value) else {
            return Some(odd());
        };
        let issuer = said.iss.unwrap_or_else(|| self.name.clone());
        let subject = match self.is_named && !same_issuer(&issuer, &self.name) {
            true => Err(Refusal::new(
                Reason::Issuer,
                "it is asked about a token of another issuer",
            )),
            false => claims.subject(issuer, token),
        };
        Some(Active {
            audiences: said.aud.unwrap_or_default(),
            not_before: said.nbf,
            subject: subject.map_err(|refusal| (refusal.reason, refusal.detail.into_owned())),
        })
    }

    fn judge(&self, active: &Active, resources: &[String]) -> Result<Subject, Refusal> {
        let Active {
            audiences,
            not_before,
            subject,
        } = active;
        let wanted = self.audiences.as_deref().unwrap_or(resources);
        if !audiences.iter().any(|audience| wanted.contains(audience)) {
            return Err(Refusal::new(
                Reason::Audience,
                "the issuer names another audience, or none",
            ));
        }
        let now = now();
        if not_before.is_some_and(|from| from > (now + self.leeway) as f64) {
            return Err(Refusal::new(
                Reason::NotYetValid,
                "the issuer says that it is not valid yet",
            ));
        }
        let subject = subject
            .as_ref()
            .map_err(|(reason, why)| Refusal::new(*reason, why.clone()))?;
        if subject
            .expires
            .is_some_and(|at| at.saturating_add(self.leeway) < now)
        {
            return Err(Refusal::new(
                Reason::Expired,
                "the issuer says that it has expired",
            ));
        }
        Ok(Subject::clone(subject))
    }
}

/// How long an answer is kept: as long as the setting allows, and never beyond the
/// token's end.
struct Life {
    most: Duration,
}

impl Expiry<Hash, Arc<Active>> for Life {
    fn expire_after_create(
        &self,
        _key: &Hash,
        active: &Arc<Active>,
        _created: Instant,
    ) -> Option<Duration> {
        let subject = active.subject.as_ref().ok();
        let expires = subject.and_then(|subject| subject.expires);
        let left = expires.map(|at| Duration::from_secs(at.saturating_sub(now())));
        Some(left.map_or(self.most, |left| left.min(self.most)))
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
