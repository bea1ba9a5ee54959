//! How long a call may take: the child's limit, moved on by progress.

use std::time::Duration;

use tokio::time::Instant;

use crate::outbound::Failure;

/// Progress moves a deadline on, but not for ever.
const LONGEST: Duration = Duration::from_secs(600);

/// The end of a call's patience; none, where the limit is off.
#[derive(Debug)]
pub(super) struct Deadline {
    limit: Option<Duration>,
    at: Option<Instant>,
    last: Instant,
}

impl Deadline {
    /// `limit` from now.
    pub(super) fn new(limit: Option<Duration>) -> Self {
        let now = Instant::now();
        Self {
            limit,
            at: limit.map(|limit| now + limit),
            last: now + LONGEST.max(limit.unwrap_or_default()),
        }
    }

    /// The child has shown that it is at work.
    pub(super) fn progressed(&mut self) {
        self.at = self
            .limit
            .map(|limit| (Instant::now() + limit).min(self.last));
    }

    /// `work`, unless the deadline passes before it is done.
    ///
    /// # Errors
    ///
    /// `timeout`, or what the work gives.
    pub(super) async fn bounds<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            done = work => done,
            limit = self.passed() => Err(Failure::timeout(limit)),
        }
    }

    /// Resolves with the limit when the patience is at its end.
    async fn passed(&self) -> Duration {
        match (self.at, self.limit) {
            (Some(at), Some(limit)) => {
                tokio::time::sleep_until(at).await;
                limit
            }
            _ => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn progress_moves_the_deadline_on_up_to_ten_minutes() {
        let began = Instant::now();
        let mut deadline = Deadline::new(Some(Duration::from_secs(60)));
        while tokio::time::timeout(Duration::from_secs(50), deadline.passed())
            .await
            .is_err()
        {
            deadline.progressed();
        }
        assert_eq!(began.elapsed(), LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_it_never_passes() {
        let deadline = Deadline::new(None);
        let waited = tokio::time::timeout(Duration::from_secs(86_400), deadline.passed()).await;
        assert!(waited.is_err());
    }
}
