//! How long a call may take: the child's limit, moved on by progress.

use std::{pin::Pin, time::Duration};

use tokio::time::Instant;

use crate::outbound::Failure;

/// The end of a call's patience; none, where the limit is off.
#[derive(Debug)]
pub(super) struct Deadline {
    limit: Option<Duration>,
    longest: Duration,
    at: Option<Instant>,
    last: Instant,
}

impl Deadline {
    /// `limit` from now; progress moves it on, up to `longest` from now.
    pub(super) fn new(limit: Option<Duration>, longest: Duration) -> Self {
        let now = Instant::now();
        let longest = longest.max(limit.unwrap_or_default());
        Self {
            limit,
            longest,
            at: limit.map(|limit| now + limit),
            last: now + longest,
        }
    }

    /// The latest moment it can be moved on to; none, where the limit is off.
    pub(super) fn last(&self) -> Option<Instant> {
        self.limit.map(|_| self.last)
    }

    /// The child has shown that it is at work.
    pub(super) fn progressed(&mut self) {
        self.at = self
            .limit
            .map(|limit| (Instant::now() + limit).min(self.last));
    }

    /// `work`, unless the deadline passes before it is done. It comes by pointer: by
    /// value every function it goes through would hold it twice, and a call's future
    /// would have tens of kilobytes.
    ///
    /// # Errors
    ///
    /// `timeout`, or what the work gives.
    pub(super) async fn bounds<T>(
        &self,
        work: Pin<&mut impl Future<Output = Result<T, Failure>>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            done = work => done,
            limit = self.passed() => Err(Failure::timeout(limit)),
        }
    }

    /// The same for something that the client does.
    ///
    /// # Errors
    ///
    /// [`Failure::unread`].
    pub(super) async fn bounds_client(
        &self,
        work: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Failure> {
        tokio::select! {
            biased;
            () = work => Ok(()),
            limit = self.passed() => Err(Failure::unread(limit)),
        }
    }

    /// Resolves with the limit when the patience is at its end.
    async fn passed(&self) -> Duration {
        match (self.at, self.limit) {
            (Some(at), Some(limit)) => {
                tokio::time::sleep_until(at).await;
                if at == self.last { self.longest } else { limit }
            }
            _ => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(600);

    #[tokio::test(start_paused = true)]
    async fn progress_moves_the_deadline_on_up_to_ten_minutes() {
        let began = Instant::now();
        let mut deadline = Deadline::new(Some(Duration::from_secs(60)), LONGEST);
        while tokio::time::timeout(Duration::from_secs(50), deadline.passed())
            .await
            .is_err()
        {
            deadline.progressed();
        }
        assert_eq!(began.elapsed(), LONGEST);
        assert_eq!(deadline.passed().await, LONGEST);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_no_fault_of_the_child() {
        let deadline = Deadline::new(Some(Duration::from_secs(60)), LONGEST);
        let never = std::pin::pin!(std::future::pending());
        let failure = deadline.bounds_client(never).await.unwrap_err();
        assert!(!failure.counts(), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_it_never_passes() {
        let deadline = Deadline::new(None, LONGEST);
        let waited = tokio::time::timeout(Duration::from_secs(86_400), deadline.passed()).await;
        assert!(waited.is_err());
    }
}
