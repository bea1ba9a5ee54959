//! How long a call may take: the child's limit, moved on by progress.

use std::{pin::Pin, time::Duration};

use tokio::time::Instant;

use crate::outbound::Failure;

/// The end of a call's patience; none, where the limit is off.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    limit: Option<Duration>,
    longest: Duration,
    at: Option<Instant>,
    last: Instant,
    /// What was left of the patience with the child, while the client is waited for.
    paused: Option<Option<Duration>>,
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
            paused: None,
        }
    }

    /// The latest moment it can be moved on to; none, where the limit is off.
    pub(super) fn last(&self) -> Option<Instant> {
        self.limit.map(|_| self.last)
    }

    /// The end of all patience, with child and client; where the limit is off, of that
    /// with the client.
    pub(super) fn end(&self) -> Instant {
        self.last
    }

    /// The child has shown that it is at work.
    pub(super) fn progressed(&mut self) {
        match &mut self.paused {
            Some(left) => *left = self.limit,
            None => self.at = self.in_future(self.limit),
        }
    }

    /// The client has been asked something: until it has answered, it is not the child
    /// that takes its time.
    pub(super) fn pause(&mut self) {
        if self.paused.is_none() {
            let now = Instant::now();
            if self.limit.is_none() {
                // A child that may take for ever may ask late.
                self.last = now + self.longest;
            }
            self.paused = Some(self.at.map(|at| at.saturating_duration_since(now)));
            self.at = None;
        }
    }

    /// The child goes on.
    pub(super) fn go_on(&mut self) {
        if let Some(left) = self.paused.take() {
            self.at = self.in_future(left);
        }
    }

    fn in_future(&self, left: Option<Duration>) -> Option<Instant> {
        left.map(|left| (Instant::now() + left).min(self.last))
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
            limit = self.passed() => Err(match self.paused {
                None => Failure::timeout(limit),
                Some(_) => Failure::unanswered(limit),
            }),
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
        if self.paused.is_some() {
            tokio::time::sleep_until(self.last).await;
            return self.longest;
        }
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
    async fn the_clients_time_is_not_the_childs() {
        let limit = Duration::from_secs(60);
        let began = Instant::now();
        let mut deadline = Deadline::new(Some(limit), LONGEST);
        tokio::time::advance(Duration::from_secs(50)).await;
        deadline.pause();
        deadline.pause();
        tokio::time::advance(Duration::from_secs(300)).await;
        deadline.go_on();
        assert_eq!(deadline.passed().await, limit);
        assert_eq!(began.elapsed(), Duration::from_secs(360));

        deadline.pause();
        let never = std::pin::pin!(std::future::pending::<Result<(), _>>());
        let failure = deadline.bounds(never).await.unwrap_err();
        assert_eq!(began.elapsed(), LONGEST);
        assert!(!failure.counts(), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_it_never_passes() {
        let deadline = Deadline::new(None, LONGEST);
        let waited = tokio::time::timeout(Duration::from_secs(86_400), deadline.passed()).await;
        assert!(waited.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_the_client_is_waited_for_from_the_question_on() {
        let mut deadline = Deadline::new(None, LONGEST);
        tokio::time::advance(2 * LONGEST).await;
        for _ in 0..2 {
            let asked = Instant::now();
            deadline.pause();
            assert_eq!(deadline.end(), asked + LONGEST);
            assert_eq!(deadline.passed().await, LONGEST);
            assert_eq!(asked.elapsed(), LONGEST);
            deadline.go_on();
        }
    }
}
