//! The bulkhead of one child: how many requests it may work on at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::{Failure, seconds};

/// How many may wait for each slot there is. Beyond that a queue only hides that
/// the child is too slow.
const QUEUE_PER_SLOT: usize = 64;

/// The slots of one child; clones are the same ones. First come, first served.
#[derive(Clone, Debug)]
pub struct Slots {
    free: Arc<Semaphore>,
    queued: Arc<AtomicUsize>,
    total: usize,
    timeout: Duration,
}

/// One slot. Its drop gives it back.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

impl Slots {
    /// `total` slots; waiting for one takes at most `timeout`.
    pub fn new(total: usize, timeout: Duration) -> Self {
        Self {
            free: Arc::new(Semaphore::new(total)),
            queued: Arc::default(),
            total,
            timeout,
        }
    }

    /// A slot, at once or when one comes free.
    ///
    /// # Errors
    ///
    /// `busy` when the queue is full, or the wait took too long.
    pub async fn take(&self) -> Result<Slot, Failure> {
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(Slot(permit));
        }
        let place = Place::take(&self.queued);
        if place.ahead >= self.total.saturating_mul(QUEUE_PER_SLOT) {
            return Err(Failure::busy(format!(
                "is working on {} requests and {} more are waiting",
                self.total, place.ahead
            )));
        }
        match tokio::time::timeout(self.timeout, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Slot(permit)),
            _ => Err(Failure::busy(format!(
                "is working on {} requests and none of them ended within {}",
                self.total,
                seconds(self.timeout)
            ))),
        }
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
        let slots = Slots::new(1, Duration::from_secs(30));
        let held = slots.take().await.unwrap();
        let refused = slots.take().await.unwrap_err();
        assert_eq!(refused.outcome, Outcome::Busy);
        assert_eq!((slots.in_flight(), slots.queued()), (1, 0));
        drop(held);
        assert!(slots.take().await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_has_an_end() {
        let slots = Slots::new(1, Duration::from_secs(30));
        let _held = slots.take().await.unwrap();
        let mut waiting = Vec::new();
        for _ in 0..QUEUE_PER_SLOT {
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
}
