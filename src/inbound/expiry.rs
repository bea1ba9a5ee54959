//! What is opened with a token ends with it: a stream must not tell for hours what its
//! listener may no longer ask.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};
use tracing::debug;

/// When the token that a request was let in by is good no longer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Expiry(Option<Instant>);

impl Expiry {
    /// In this time; what never comes is as good as no end.
    pub(super) fn after(time: Duration) -> Self {
        Self(Instant::now().checked_add(time))
    }

    /// Resolves when it has come.
    pub(super) async fn come(self) {
        match self.0 {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
        debug!("the token has expired that a stream was opened with");
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
