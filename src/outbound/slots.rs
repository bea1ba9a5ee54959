//! The bulkhead of one child: how many requests it may work on at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::failure::{Failure, seconds};

/// How long a cancelled request keeps its slot if the child does not say that it is
/// done with it.
pub(super) const CANCEL_GRACE: Duration = Duration::from_secs(5);

/// The slots of one child; clones are the same ones. First come, first served.
#[derive(Clone, Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    queued: Arc<AtomicUsize>,
    total: usize,
    most_queued: usize,
    timeout: Duration,
}

/// One slot. Its drop gives it back.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Slots {
    /// `total` slots. At most `most_queued` wait for one at the same time, each at most
    /// `timeout`: beyond that a queue only hides that the child is too slow.
    pub fn new(total: usize, most_queued: usize, timeout: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(total)),
            queued: Arc::default(),
            total,
            most_queued,
            timeout,
        }
    }

    /// A slot, at once or when one comes free.
    ///
    /// # Errors
    ///
    /// `busy` when the queue is full, or the wait took too long; `unavailable` when
    /// there are no more slots.
    pub async fn take(&self) -> Result<Slot, Failure> {
        match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => return Ok(Slot(permit)),
            Err(TryAcquireError::Closed) => return Err(taken_out()),
            Err(TryAcquireError::NoPermits) => {}
        }
        let place = Place::take(&self.queued);
        if place.ahead >= self.most_queued {
            return Err(Failure::busy(format!(
                "is working on {} requests and {} more are waiting",
                self.total, place.ahead
            )));
        }
        match tokio::time::timeout(self.timeout, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Slot(permit)),
            Ok(Err(_closed)) => Err(taken_out()),
            Err(_) => Err(Failure::busy(format!(
                "is working on {} requests and none of them ended within {}",
                self.total,
                seconds(self.timeout)
            ))),
        }
    }

    /// Gives out no more slots, if none is taken: nobody can come between the look and
    /// the end.
    pub fn close_if_idle(&self) -> bool {
        let all = u32::try_from(self.total).unwrap_or(u32::MAX);
        let idle = self.free.try_acquire_many(all);
        if idle.is_ok() {
            self.free.close();
        }
        idle.is_ok()
    }

    /// Gives out no more slots. Who waits for one is told so.
    pub fn close(&self) {
        self.free.close();
    }

    /// How many requests the child is working on.
    pub fn in_flight(&self) -> usize {
        self.total - self.free.available_permits().min(self.total)
    }

    /// How many requests wait for a slot.
    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }
}

fn taken_out() -> Failure {
    Failure::unavailable("has been taken out of the configuration", None)
}

/// A place in the queue. Its drop leaves the queue.
struct Place<'a> {
    queued: &'a AtomicUsize,
    ahead: usize,
}

impl<'a> Place<'a> {
    fn take(queued: &'a AtomicUsize) -> Self {
        Self {
            ahead: queued.fetch_add(1, Ordering::Relaxed),
            queued,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Outcome;

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_for_a_slot_is_told_so() {
        let slots = Slots::new(1, 10, Duration::from_secs(30));
        let held = slots.take().await.unwrap();
        let refused = slots.take().await.unwrap_err();
        assert_eq!(refused.outcome, Outcome::Busy);
        assert_eq!((slots.in_flight(), slots.queued()), (1, 0));
        drop(held);
        assert!(slots.take().await.is_ok());
    }

    #[tokio::test]
    async fn closed_slots_are_given_to_nobody_and_taken_ones_stay() {
        let slots = Slots::new(2, 0, Duration::from_secs(30));
        let held = slots.take().await.unwrap();
        assert!(!slots.close_if_idle());
        drop(held);
        assert!(slots.close_if_idle());
        let refused = slots.take().await.unwrap_err();
        assert_eq!(refused.outcome, Outcome::Unavailable);
        assert_eq!((slots.in_flight(), slots.queued()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_has_an_end() {
        const QUEUE: usize = 3;
        let slots = Slots::new(1, QUEUE, Duration::from_secs(30));
        let _held = slots.take().await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..QUEUE {
            let mut wait = Box::pin({
                let slots = slots.clone();
                async move { slots.take().await }
            });
            assert!(futures::poll!(&mut wait).is_pending());
            waiting.push(wait);
        }
        let started = tokio::time::Instant::now();
        assert_eq!(slots.take().await.unwrap_err().outcome, Outcome::Busy);
        assert_eq!(started.elapsed(), Duration::ZERO);
        drop(waiting);
        assert_eq!(slots.queued(), 0);
    }

    /// Who comes when a slot has just come free does not pass those who wait.
    #[tokio::test(start_paused = true)]
    async fn first_come_is_first_served() {
        let slots = Slots::new(1, 10, Duration::from_secs(30));
        let held = slots.take().await.unwrap();
        let mut first = Box::pin(slots.take());
        let mut second = Box::pin(slots.take());
        assert!(futures::poll!(&mut first).is_pending());
        assert!(futures::poll!(&mut second).is_pending());

        drop(held);
        let mut late = Box::pin(slots.take());

        assert!(futures::poll!(&mut late).is_pending());
        assert!(futures::poll!(&mut second).is_pending());
        let first = first.await.unwrap();
        assert!(futures::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await.unwrap());
        late.await.unwrap();
    }
}
