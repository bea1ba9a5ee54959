//! Who needs a child now: what a child that does not run all the time lives by.

use std::time::Duration;

use tokio::sync::watch;

/// How many calls need a child, from the moment they ask for it until they have
/// ended; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Demand(watch::Sender<usize>);

/// One call that needs its child. Its drop ends that.
#[derive(Debug)]
#[must_use]
pub struct Need(Option<Demand>);

impl Demand {
    /// One more.
    pub(super) fn need(&self) -> Need {
        self.0.send_modify(|calls| *calls += 1);
        Need(Some(self.clone()))
    }

    /// Whether there is any.
    pub(super) fn is_some(&self) -> bool {
        *self.0.borrow() > 0
    }

    /// Waits until there is any.
    pub(super) async fn wanted(&self) {
        // The sender is held here: it cannot be gone.
        let _ = self.0.subscribe().wait_for(|calls| *calls > 0).await;
    }

    /// Waits until there has been none for this long.
    pub(super) async fn none_for(&self, long: Duration) {
        let mut calls = self.0.subscribe();
        loop {
            let _ = calls.wait_for(|calls| *calls == 0).await;
            // One that came and went between two looks is a change, too.
            if tokio::time::timeout(long, calls.changed()).await.is_err() {
                return;
            }
        }
    }
}

impl Need {
    /// The need of a child that runs anyway, or is not called after all.
    pub fn of_no_account() -> Self {
        Self(None)
    }
}

impl Drop for Need {
    fn drop(&mut self) {
        if let Some(Demand(calls)) = &self.0 {
            calls.send_modify(|calls| *calls -= 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_idle_clock_starts_when_the_last_call_ends() {
        let demand = Demand::default();
        let (began, patience) = (Instant::now(), Duration::from_secs(10));
        let first = demand.need();
        let calls = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(first);
            tokio::time::sleep(Duration::from_secs(9)).await;
            // Too short to be seen by anyone who looks now and then.
            drop(demand.need());
        };
        tokio::join!(calls, demand.none_for(patience));
        assert_eq!(began.elapsed(), Duration::from_secs(79));
    }

    #[tokio::test]
    async fn a_need_lasts_until_its_drop() {
        let demand = Demand::default();
        let (one, two) = (demand.need(), demand.need());
        drop(one);
        assert!(demand.is_some());
        demand.wanted().await;
        drop(two);
        assert!(!demand.is_some());
    }
}
