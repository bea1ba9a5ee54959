//! Tokens for users, in exchange for theirs (RFC 8693): what a child gets that is to know
//! for whom it works, and is not to get what its user shows here.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant as StdInstant, SystemTime, UNIX_EPOCH},
};

use futures::FutureExt;
use moka::{Expiry, future::Cache};
use tokio::{sync::Mutex, time::Instant};

use super::{
    discovery::Endpoint,
    error::{IdentityError, MintError, Outcome},
    mint::Asker,
    provider, series,
    status::SERVICE,
    token::ServiceToken,
};
use crate::{
    config::TokenSettings,
    protocol::{Bearer, Fingerprint},
};

/// Tokens that are kept at a time. One that was forgotten is exchanged again.
const MOST: u64 = 10_000;
/// A child that refuses every token must not make us hammer the provider.
const BETWEEN_FORCED: Duration = Duration::from_secs(5);
/// Of a token's life: it must not end on its way to the child.
const MARGIN: Duration = Duration::from_secs(5);

/// Exchanges the tokens of users for one child; clones are the same one.
#[derive(Clone)]
pub struct Exchange(Arc<Inner>);

struct Inner {
    /// The label of its metrics.
    name: Arc<str>,
    asker: Asker,
    endpoint: Mutex<Endpoint>,
    /// By the token that was given for it: another one of the same user's may be good for
    /// more, or less.
    tokens: Cache<Fingerprint, Exchanged>,
    /// For whose tokens another one was asked for a moment ago, since a child did not take
    /// the first.
    forced: Cache<Fingerprint, ()>,
}

#[derive(Clone)]
struct Exchanged {
    token: ServiceToken,
    good_for: Duration,
}

/// Why there is no token. Holds no secret, and of the provider's words a few.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ExchangeError(Arc<str>);

/// A token is kept for as long as it is good.
struct Life;

impl Expiry<Fingerprint, Exchanged> for Life {
    fn expire_after_create(
        &self,
        _: &Fingerprint,
        exchanged: &Exchanged,
        _: StdInstant,
    ) -> Option<Duration> {
        Some(exchanged.good_for)
    }
}

impl Exchange {
    /// Exchanges as these settings have it. `child` is a label only.
    ///
    /// # Errors
    ///
    /// When it can never work as it is configured.
    pub(super) fn new(child: &str, settings: &TokenSettings) -> Result<Self, IdentityError> {
        let (asker, endpoint) = Asker::of(settings, provider::TIMEOUT)?;
        Ok(Self(Arc::new(Inner {
            // That one is taken.
            name: match child {
                SERVICE => format!("{child}-2").into(),
                child => child.into(),
            },
            asker,
            endpoint: Mutex::new(endpoint),
            tokens: Cache::builder()
                .max_capacity(MOST)
                .expire_after(Life)
                .build(),
            forced: Cache::builder()
                .max_capacity(MOST)
                .time_to_live(BETWEEN_FORCED)
                .build(),
        })))
    }

    /// The token for the bearer of this one, which ends at `expires` (in seconds since
    /// 1970), if it does: one exchange for all who ask.
    ///
    /// # Errors
    ///
    /// The provider did not give one.
    pub async fn token(
        &self,
        user: &Bearer,
        expires: Option<u64>,
    ) -> Result<ServiceToken, ExchangeError> {
        // Boxed: what is generic over the cache's future is not seen to be `Send` from afar.
        let exchange = self.0.exchange(user, expires).boxed();
        let exchanged = self.0.tokens.try_get_with(user.fingerprint(), exchange);
        match exchanged.await {
            Ok(exchanged) => Ok(exchanged.token),
            Err(error) => Err((*error).clone()),
        }
    }

    /// Another one than `used`, which the child did not take; `None`: there is none now,
    /// since one was asked for a moment ago.
    ///
    /// # Errors
    ///
    /// As [`token`](Self::token).
    pub async fn renewed(
        &self,
        user: &Bearer,
        expires: Option<u64>,
        used: &ServiceToken,
    ) -> Result<Option<ServiceToken>, ExchangeError> {
        // Of those whose token was refused one asks anew, and the others find that.
        let key = user.fingerprint();
        let same = |kept: &Exchanged| kept.token.header() == used.header();
        if self.0.tokens.get(&key).await.as_ref().is_some_and(same) {
            if self.0.forced.contains_key(&key) {
                return Ok(None);
            }
            self.0.forced.insert(key, ()).await;
            self.0.tokens.invalidate(&key).await;
        }
        self.token(user, expires).await.map(Some)
    }
}

impl Inner {
    async fn exchange(
        &self,
        user: &Bearer,
        expires: Option<u64>,
    ) -> Result<Exchanged, ExchangeError> {
        let asked_at = Instant::now();
        let minted = self.mint(user).await;
        let outcome = minted
            .as_ref()
            .map_or_else(MintError::outcome, |_| Outcome::Ok);
        series::minted(&self.name, outcome);
        let minted = minted.map_err(|error| {
            tracing::warn!(
                identity = %self.name, outcome = outcome.as_str(), reason = %error,
                "token not exchanged"
            );
            ExchangeError(error.to_string().into())
        })?;
        let life = minted.life.unwrap_or_default();
        // Whoever may not come in any more is not worked for any more.
        let good_for = match expires {
            Some(expires) => life.min(until(expires)),
            None => life,
        };
        let now = Instant::now();
        Ok(Exchanged {
            token: ServiceToken::new(minted.header, 1, now, Some(asked_at + life)),
            good_for: good_for.saturating_sub(MARGIN.min(good_for / 4)),
        })
    }

    async fn mint(&self, user: &Bearer) -> Result<super::mint::Minted, MintError> {
        let place = {
            let mut endpoint = self.endpoint.lock().await;
            endpoint.locate(&self.asker.provider).await?
        };
        match self.asker.mint_at(&place, Some(user.secret())).await {
            Ok(minted) => Ok(minted),
            Err(error) => Err(self.endpoint.lock().await.failed(error)),
        }
    }
}

fn until(expires: u64) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Duration::from_secs(expires).saturating_sub(now.unwrap_or_default())
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Exchange").field(&self.0.name).finish()
    }
}
