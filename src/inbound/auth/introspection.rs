//! Tokens that only their issuer can read: it is asked (RFC 7662), and what it says is
//! kept for a short time.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use moka::{Expiry, future::Cache};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use super::{
    GuardError,
    claims::Claims,
    jwt::same_issuer,
    refusal::{Reason, Refusal},
};
use crate::{
    config::{IntrospectionSettings, ProviderTls},
    identity::Introspector,
    protocol::Subject,
    telemetry,
};

/// Answers that are kept: a few hundred bytes each, strangers' tokens among them.
const KEPT: u64 = 10_000;
/// Questions at a time. A flood of bad tokens must not become one at the issuer.
const AT_ONCE: usize = 32;
/// How long a request waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
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
    questions: Semaphore,
    /// By the hash of the token: no token is kept.
    answers: Cache<[u8; 32], Arc<Answer>>,
}

/// What the issuer said of a token.
enum Answer {
    Inactive,
    Active {
        audiences: Vec<String>,
        not_before: Option<f64>,
        subject: Result<Subject, (Reason, String)>,
    },
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
            questions: Semaphore::new(AT_ONCE),
            answers: Cache::builder()
                .max_capacity(KEPT)
                .expire_after(Life {
                    most: settings.cache,
                })
                .build(),
        })
    }

    /// Whose token it is. It must be meant for one of `resources`, where no audiences
    /// are configured.
    pub(super) async fn subject(
        &self,
        token: &str,
        resources: &[String],
    ) -> Result<Subject, Refusal> {
        let hash: [u8; 32] = Sha256::digest(token).into();
        // Many requests with one token ask once; what fails is not kept.
        let answer = self.answers.try_get_with(hash, self.ask(token)).await;
        let answer = answer.map_err(|why: Arc<String>| {
            Refusal::unavailable(format!("the issuer cannot be asked: {why}"), SOON)
        })?;
        self.judge(&answer, resources)
    }

    async fn ask(&self, token: &str) -> Result<Arc<Answer>, String> {
        let place = tokio::time::timeout(PATIENCE, self.questions.acquire()).await;
        let _place = place.map_err(|_| "too many questions are open".to_owned())?;
        let said = self.issuer.ask(token).await;
        telemetry::auth_introspection(said.is_ok());
        let said = said.map_err(|error| error.to_string())?;
        Ok(Arc::new(self.read(said)))
    }

    fn read(&self, value: Value) -> Answer {
        let odd = || Answer::Active {
            audiences: Vec::new(),
            not_before: None,
            subject: Err((Reason::Claims, "the issuer's answer is odd".to_owned())),
        };
        let Ok(said) = Said::deserialize(&value) else {
            return odd();
        };
        if !said.active {
            return Answer::Inactive;
        }
        let Ok(claims) = Claims::deserialize(&value) else {
            return odd();
        };
        let issuer = said.iss.unwrap_or_else(|| self.name.clone());
        let subject = match self.is_named && !same_issuer(&issuer, &self.name) {
            true => Err(Refusal::new(
                Reason::Issuer,
                "it is asked about a token of another issuer",
            )),
            false => claims.subject(issuer),
        };
        Answer::Active {
            audiences: said.aud.unwrap_or_default(),
            not_before: said.nbf,
            subject: subject.map_err(|refusal| (refusal.reason, refusal.detail.into_owned())),
        }
    }

    fn judge(&self, answer: &Answer, resources: &[String]) -> Result<Subject, Refusal> {
        let Answer::Active {
            audiences,
            not_before,
            subject,
        } = answer
        else {
            return Err(Refusal::new(
                Reason::Inactive,
                "the issuer says that the token is not active",
            ));
        };
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
        if subject.expires.is_some_and(|at| at + self.leeway < now) {
            return Err(Refusal::new(
                Reason::Expired,
                "the issuer says that it has expired",
            ));
        }
        Ok(subject.clone())
    }
}

/// How long an answer is kept: as long as the setting allows, and never beyond the
/// token's end.
struct Life {
    most: Duration,
}

impl Expiry<[u8; 32], Arc<Answer>> for Life {
    fn expire_after_create(
        &self,
        _key: &[u8; 32],
        answer: &Arc<Answer>,
        _created: Instant,
    ) -> Option<Duration> {
        let left = match &**answer {
            Answer::Active {
                subject: Ok(subject),
                ..
            } => subject
                .expires
                .map(|at| Duration::from_secs(at.saturating_sub(now()))),
            _ => None,
        };
        Some(left.map_or(self.most, |left| left.min(self.most)))
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
