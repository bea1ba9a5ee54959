//! The one task that owns the token.
//!
//! ```text
//!            ┌──────────────── refresh is due, or forced ────────────────┐
//!            ▼                                                           │
//!        minting ──── token ───────────────────────────────────────▶ resting
//!          ▲  │
//!          │  └────── failure ──▶ backing off
//!          └───── pause is over ───────┘
//! ```
//!
//! A child's 401 can force a mint out of resting, once in 5 s. It joins the mint
//! in progress, and gets nothing while backing off. A changed file of a secret or of a
//! token ends every rest.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use futures::future::OptionFuture;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    backoff::Backoff,
    error::{MintError, Outcome},
    lifetime,
    mint::{Minted, Minter},
    series,
    status::Snapshot,
    token::ServiceToken,
};

/// Every exchange of a mint has a shorter limit of its own; this one holds
/// whatever a mint consists of.
pub(super) const MINT_DEADLINE: Duration = Duration::from_secs(30);

/// A child that refuses every token must not make us hammer the provider.
const BETWEEN_FORCED_MINTS: Duration = Duration::from_secs(5);

/// A file that changes all the time must not either.
const BETWEEN_CHANGES: Duration = Duration::from_secs(1);

/// Somebody whose token was refused.
pub(super) struct Renewal {
    /// The generation of the refused token.
    pub(super) used: u64,
    /// Gets the token to use instead.
    pub(super) answer: Answer,
}

type Answer = oneshot::Sender<Option<ServiceToken>>;

/// Keeps the token.
pub(super) struct Keeper<M> {
    /// The label of its metrics.
    name: Arc<str>,
    minter: M,
    renewals: mpsc::Receiver<Renewal>,
    /// Those who wait for the mint in progress.
    waiting: Vec<Answer>,
    /// Since when a mint is in progress. Told after what it brought is published.
    minting: watch::Sender<Option<Instant>>,
    snapshot: Snapshot,
    published: Arc<ArcSwap<Snapshot>>,
    backoff: Backoff,
    /// Mints that failed since the last that did not.
    failed_in_a_row: u32,
    forced_at: Option<Instant>,
    /// When the last mint was begun.
    minted_at: Instant,
}

impl<M: Minter> Keeper<M> {
    pub(super) fn new(
        name: Arc<str>,
        minter: M,
        renewals: mpsc::Receiver<Renewal>,
        minting: watch::Sender<Option<Instant>>,
    ) -> Self {
        let snapshot = Snapshot {
            token_url: minter.token_url().map(Arc::from),
            ..Snapshot::default()
        };
        Self {
            published: Arc::new(ArcSwap::from_pointee(snapshot.clone())),
            snapshot,
            name,
            minter,
            renewals,
            waiting: Vec::new(),
            minting,
            backoff: Backoff::new(),
            failed_in_a_row: 0,
            forced_at: None,
            minted_at: Instant::now(),
        }
    }

    /// What everybody else reads.
    pub(super) fn published(&self) -> Arc<ArcSwap<Snapshot>> {
        self.published.clone()
    }

    /// Until the shutdown, or until nobody holds a handle any more.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.live()).await;
    }

    /// Every state ends with `None` when nobody holds a handle any more.
    async fn live(&mut self) -> Option<Infallible> {
        loop {
            match self.minting().await? {
                Ok(refresh_at) => self.resting(refresh_at).await?,
                Err(retry_at) => self.backing_off(retry_at).await?,
            }
        }
    }

    /// Mints one token; says when to mint the next (`None`: not by itself), or when to
    /// try again.
    async fn minting(&mut self) -> Option<Result<Option<Instant>, Instant>> {
        let asked_at = Instant::now();
        self.minted_at = asked_at;
        self.minting.send_replace(Some(asked_at));
        let minted = {
            let mut mint = pin!(timeout(MINT_DEADLINE, self.minter.mint()));
            loop {
                tokio::select! {
                    minted = &mut mint => break minted,
                    renewal = self.renewals.recv() => {
                        let Renewal { used, answer } = renewal?;
                        match newer(&self.snapshot, used) {
                            Some(token) => reply(answer, Some(token)),
                            None => self.waiting.push(answer),
                        }
                    }
                }
            }
        };
        let minted = minted.unwrap_or(Err(MintError::TookTooLong(MINT_DEADLINE)));
        self.snapshot.token_url = self.minter.token_url().map(Arc::from);
        let next = match minted {
            Ok(minted) => Ok(self.keep(minted, asked_at)),
            Err(error) => Err(self.do_without(&error)),
        };
        self.minting.send_replace(None);
        Some(next)
    }

    /// Holds a token that is not due yet.
    async fn resting(&mut self, refresh_at: Option<Instant>) -> Option<()> {
        loop {
            let Renewal { used, answer } = tokio::select! {
                Some(()) = OptionFuture::from(refresh_at.map(sleep_until)) => return Some(()),
                () = changed(&mut self.minter, self.minted_at) => return Some(()),
                renewal = self.renewals.recv() => renewal?,
            };
            match newer(&self.snapshot, used) {
                None if self.may_force() => {
                    self.forced_at = Some(Instant::now());
                    self.waiting.push(answer);
                    return Some(());
                }
                token => reply(answer, token),
            }
        }
    }

    /// Leaves the provider alone, whatever children say.
    async fn backing_off(&mut self, retry_at: Instant) -> Option<()> {
        loop {
            let Renewal { used, answer } = tokio::select! {
                () = sleep_until(retry_at) => return Some(()),
                () = changed(&mut self.minter, self.minted_at) => return Some(()),
                renewal = self.renewals.recv() => renewal?,
            };
            reply(answer, newer(&self.snapshot, used));
        }
    }

    fn may_force(&self) -> bool {
        self.forced_at
            .is_none_or(|at| at.elapsed() >= BETWEEN_FORCED_MINTS)
    }

    /// Takes a new token into use; says when to refresh it.
    fn keep(&mut self, minted: Minted, asked_at: Instant) -> Option<Instant> {
        let Minted { header, life } = minted;
        let now = Instant::now();
        let before = self.snapshot.token.as_ref();
        let generation = before.map_or(0, ServiceToken::generation);
        // One that was given again is as good to a child that refused it as before.
        let is_new = before.is_none_or(|before| *before.header() != header);
        let expires_at = life.map(|life| lifetime::expiry(asked_at, now, life));
        let since = before
            .filter(|_| !is_new)
            .map_or(now, ServiceToken::minted_at);
        let token = ServiceToken::new(header, generation + u64::from(is_new), since, expires_at);

        self.log_success(token.generation(), life);
        self.failed_in_a_row = 0;
        self.backoff.reset();
        self.snapshot.mints += 1;
        self.snapshot.last_error = None;
        if is_new {
            self.snapshot.previous = self.snapshot.token.take();
        }
        self.snapshot.token = Some(token.clone());
        self.publish(is_new.then_some(token));
        series::minted(&self.name, Outcome::Ok);
        life.map(|life| lifetime::refresh(asked_at, now, life))
    }

    /// Goes on with the token there is, if there is one; says when to try again.
    fn do_without(&mut self, error: &MintError) -> Instant {
        let pause = self.backoff.after_failure(error.retry_after());
        tracing::warn!(
            identity = %self.name,
            outcome = error.outcome().as_str(),
            reason = %error,
            retry_in = ?pause,
            token_url = self.snapshot.token_url.as_deref(),
            has_valid_token = self.snapshot.valid_token().is_some(),
            "service token not minted"
        );
        self.failed_in_a_row = self.failed_in_a_row.saturating_add(1);
        self.snapshot.failures += 1;
        self.snapshot.last_error = Some(error.to_string().into());
        self.publish(None);
        series::minted(&self.name, error.outcome());
        Instant::now() + pause
    }

    /// Shows everybody what there is now, and those who waited what came of it.
    fn publish(&mut self, token: Option<ServiceToken>) {
        self.published.store(Arc::new(self.snapshot.clone()));
        for answer in self.waiting.drain(..) {
            reply(answer, token.clone());
        }
    }

    /// The first token and a recovery are news; a refresh is not.
    fn log_success(&self, generation: u64, life: Option<Duration>) {
        let token_url = self.snapshot.token_url.as_deref();
        let (identity, failed) = (&*self.name, self.failed_in_a_row);
        match (self.snapshot.mints, failed) {
            (0, _) => tracing::info!(identity, token_url, ?life, failed, "service token minted"),
            (_, 0) => tracing::debug!(identity, generation, ?life, "service token refreshed"),
            _ => tracing::info!(
                identity,
                token_url,
                ?life,
                failed,
                "service token recovered"
            ),
        }
    }
}

/// Resolves when a mint may end otherwise than the last one did; a file that is written
/// again and again must not make us hammer the provider.
async fn changed(minter: &mut impl Minter, minted_at: Instant) {
    // In this order, for this future is dropped when something else happens first.
    sleep_until(minted_at + BETWEEN_CHANGES).await;
    minter.changed().await;
}

/// The token in use, if it came after the one that was refused.
fn newer(snapshot: &Snapshot, used: u64) -> Option<ServiceToken> {
    snapshot
        .valid_token()
        .filter(|token| token.generation() > used)
        .cloned()
}

fn reply(answer: Answer, token: Option<ServiceToken>) {
    // Whoever asked may have lost patience.
    let _ = answer.send(token);
}

#[cfg(test)]
mod tests;
