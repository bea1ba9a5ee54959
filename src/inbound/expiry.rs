//! What is opened with a token ends with it: a stream must not tell for hours what its
//! listener may no longer ask.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// When what a request was let in by is good no longer: its token, or the lock.
#[derive(Clone, Debug, Default)]
pub(super) struct Expiry {
    at: Option<Instant>,
    /// The lock is another one.
    changed: CancellationToken,
}

impl Expiry {
    /// In this time; what never comes is as good as no end.
    pub(super) fn after(time: Duration) -> Self {
        Self {
            at: Instant::now().checked_add(time),
            ..Self::default()
        }
    }

    /// Or then, whatever comes first.
    pub(super) fn or(self, changed: CancellationToken) -> Self {
        Self { changed, ..self }
    }

    /// Resolves when it has come.
    pub(super) async fn come(&self) {
        let expired = async {
            match self.at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = expired => debug!("the token has expired that a stream was opened with"),
            () = self.changed.cancelled() => debug!("the lock has changed since a stream was opened"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn it_comes_in_its_time() {
        let began = Instant::now();
        Expiry::after(HOUR).come().await;
        assert_eq!(began.elapsed(), HOUR);
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_end_it_never_comes() {
        for never in [Expiry::default(), Expiry::after(Duration::MAX)] {
            let come = tokio::time::timeout(1000 * HOUR, never.come());
            assert!(come.await.is_err());
        }
    }
}
