//! What the rest of the house holds of the identity.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwap;
use secrecy::SecretString;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{
    keeper::{Keeper, Renewal},
    mint::Minter,
    series,
    status::{IdentityStatus, Snapshot},
    token::ServiceToken,
};

/// With no token, a request may still succeed without one; so it waits little.
const HEADER_PATIENCE: Duration = Duration::from_secs(2);

/// After a 401, a request without a new token has failed; so it waits longer.
const RENEW_PATIENCE: Duration = Duration::from_secs(5);

/// Renewals under way to the keeper; callers beyond wait for room, in their patience.
const RENEWALS: usize = 1024;

/// One identity. Cheap to clone; when the last clone is gone, its task ends.
#[derive(Clone)]
pub struct Identity {
    line: Option<Arc<Line>>,
}

/// The ends of what connects handles with the keeper.
pub(super) struct Line {
    about: IdentityStatus,
    snapshot: Arc<ArcSwap<Snapshot>>,
    minting: watch::Receiver<Option<Instant>>,
    renewals: mpsc::Sender<Renewal>,
}

impl Identity {
    /// No identity: no header, no task.
    pub fn off() -> Self {
        Self { line: None }
    }

    /// Starts the task that keeps the token. It mints at once; nobody waits for
    /// it here, and a provider that is down is no reason not to start.
    pub(super) fn keep(
        minter: impl Minter,
        about: IdentityStatus,
        shutdown: CancellationToken,
    ) -> Self {
        let (renewals, incoming) = mpsc::channel(RENEWALS);
        // From the start, so that nobody passes between it and the first mint.
        let (minting_tx, minting) = watch::channel(Some(Instant::now()));
        let keeper = Keeper::new(Arc::clone(&about.name), minter, incoming, minting_tx);
        let snapshot = keeper.published();
        tokio::spawn(keeper.run(shutdown));
        Self {
            line: Some(Arc::new(Line {
                about,
                snapshot,
                minting,
                renewals,
            })),
        }
    }

    /// The same identity, for as long as somebody else holds it.
    pub(super) fn downgrade(&self) -> Weak<Line> {
        self.line.as_ref().map(Arc::downgrade).unwrap_or_default()
    }

    /// The identity that was downgraded, if somebody still holds it.
    pub(super) fn upgrade(line: &Weak<Line>) -> Option<Self> {
        line.upgrade().map(|line| Self { line: Some(line) })
    }

    /// The token for a request: at once while one is valid. With none, waits for
    /// the mint in progress, if there is one, until 2 s after its begin. `None`: go
    /// without.
    pub async fn header(&self) -> Option<ServiceToken> {
        let line = self.line.as_ref()?;
        match line.valid_token() {
            Some(token) => Some(token),
            None => line.token_of_mint_in_progress().await,
        }
    }

    /// The token to repeat a request with, after a child answered 401 to `used`:
    /// the current one if it is newer, else that of one mint shared by all who
    /// ask. `None`: there is no better one now, since the last such mint was less
    /// than 5 s ago, or mints fail. A request that went without a token has waited for
    /// one already: it gets what is there now.
    pub async fn renew(&self, used: Option<&ServiceToken>) -> Option<ServiceToken> {
        let line = self.line.as_ref()?;
        let Some(used) = used.map(ServiceToken::generation) else {
            return line.valid_token();
        };
        match line.valid_token() {
            Some(token) if token.generation() > used => Some(token),
            _ => timeout(RENEW_PATIENCE, line.renewed(used)).await.ok()?,
        }
    }

    /// Whether there is a valid token now.
    pub fn has_token(&self) -> bool {
        let line = self.line.as_ref();
        line.is_some_and(|line| line.snapshot.load().valid_token().is_some())
    }

    /// Waits until there is a valid token; for ever where there is no identity.
    pub async fn available(&self) {
        let Some(line) = &self.line else {
            return std::future::pending().await;
        };
        let mut minting = line.minting.clone();
        while line.valid_token().is_none() {
            if minting.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// The identity as operators see it; `None` where there is none.
    pub fn status(&self) -> Option<IdentityStatus> {
        let line = self.line.as_ref()?;
        Some(line.snapshot.load().status(&line.about))
    }

    /// What must not be shown of it: the credentials of now and of the last time, each in
    /// every form in which one who was given it may repeat it.
    pub(crate) fn credentials(&self) -> Vec<SecretString> {
        let Some(line) = &self.line else {
            return Vec::new();
        };
        let snapshot = line.snapshot.load();
        let tokens = [&snapshot.token, &snapshot.previous];
        tokens
            .into_iter()
            .flatten()
            .flat_map(ServiceToken::secrets)
            .collect()
    }

    /// Writes its gauges.
    pub(super) fn write_gauges(&self) {
        if let Some(line) = &self.line
            && let Some(token) = &line.snapshot.load().token
        {
            series::write(&line.about.name, token);
        }
    }

    /// Whether there is an identity at all.
    pub fn is_on(&self) -> bool {
        self.line.is_some()
    }
}

impl Line {
    fn valid_token(&self) -> Option<ServiceToken> {
        self.snapshot.load().valid_token().cloned()
    }

    async fn token_of_mint_in_progress(&self) -> Option<ServiceToken> {
        let mut minting = self.minting.clone();
        let began = *minting.borrow();
        if let Some(began) = began {
            // However the wait ends, what counts is whether there is a token now.
            let over = minting.wait_for(Option::is_none);
            let _ = timeout_at(began + HEADER_PATIENCE, over).await;
        }
        self.valid_token()
    }

    async fn renewed(&self, used: u64) -> Option<ServiceToken> {
        let (answer, answered) = oneshot::channel();
        self.renewals.send(Renewal { used, answer }).await.ok()?;
        answered.await.ok()?
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.status()).finish()
    }
}
