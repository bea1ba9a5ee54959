//! What the rest of the house holds of the identity.

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::config::{IdentityMode, IdentitySettings};

use super::{
    error::IdentityError,
    keeper::{Keeper, Renewal},
    mint::{ClientCredentials, Minter},
    status::{IdentityStatus, Snapshot},
    token::ServiceToken,
};

/// With no token, a request may still succeed without one; so it waits little.
const HEADER_PATIENCE: Duration = Duration::from_secs(2);

/// After a 401, a request without a new token has failed; so it waits longer.
const RENEW_PATIENCE: Duration = Duration::from_secs(5);

/// Renewals under way to the keeper; callers beyond wait for room, in their patience.
const RENEWALS: usize = 1024;

/// The service identity. Cheap to clone; when the last clone is gone, its task ends.
#[derive(Clone)]
pub struct Identity {
    line: Option<Arc<Line>>,
}

/// The ends of what connects handles with the keeper.
struct Line {
    about: IdentityStatus,
    snapshot: Arc<ArcSwap<Snapshot>>,
    minting: watch::Receiver<bool>,
    renewals: mpsc::Sender<Renewal>,
}

impl Identity {
    /// No identity: no header, no task.
    pub fn off() -> Self {
        Self { line: None }
    }

    /// Starts the task that keeps the token. It mints at once; nobody waits for
    /// it here, and a provider that is down is no reason not to start.
    pub fn start(
        settings: &IdentitySettings,
        shutdown: CancellationToken,
    ) -> Result<Self, IdentityError> {
        match settings.mode {
            IdentityMode::None => Ok(Self::off()),
            IdentityMode::ClientCredentials => {
                let about = IdentityStatus {
                    mode: "oidc-client-credentials",
                    client_id: settings.client_id.clone(),
                    audience: settings.audience.clone(),
                    ..IdentityStatus::default()
                };
                Ok(Self::keep(
                    ClientCredentials::new(settings)?,
                    about,
                    shutdown,
                ))
            }
        }
    }

    pub(super) fn keep(
        minter: impl Minter,
        about: IdentityStatus,
        shutdown: CancellationToken,
    ) -> Self {
        let (renewals, incoming) = mpsc::channel(RENEWALS);
        // From the start, so that nobody passes between it and the first mint.
        let (minting_tx, minting) = watch::channel(true);
        let keeper = Keeper::new(minter, incoming, minting_tx);
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

    /// The token for a request: at once while one is valid. With none, waits for
    /// the mint in progress, if there is one, for 2 s at most. `None`: go without.
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
    /// than 5 s ago, or mints fail.
    pub async fn renew(&self, used: Option<&ServiceToken>) -> Option<ServiceToken> {
        let line = self.line.as_ref()?;
        let used = used.map(ServiceToken::generation);
        match line.valid_token() {
            Some(token) if token.is_newer_than(used) => Some(token),
            _ => timeout(RENEW_PATIENCE, line.renewed(used)).await.ok()?,
        }
    }

    /// The identity as operators see it.
    pub fn status(&self) -> IdentityStatus {
        match &self.line {
            Some(line) => line.snapshot.load().status(&line.about),
            None => IdentityStatus {
                mode: "none",
                ..IdentityStatus::default()
            },
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
        // However the wait ends, what counts is whether there is a token now.
        let _ = timeout(HEADER_PATIENCE, minting.wait_for(|minting| !minting)).await;
        self.valid_token()
    }

    async fn renewed(&self, used: Option<u64>) -> Option<ServiceToken> {
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
