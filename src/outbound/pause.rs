//! The pauses between two streams to a child.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::RestartSettings;

/// Doubling pauses, so that a child that refuses each stream, or ends each at once, is
/// not hammered. After a stream that lasted they begin anew.
#[derive(Debug)]
pub(super) struct Pause<'a> {
    clocks: &'a RestartSettings,
    next: Duration,
    began: Option<Instant>,
}

impl<'a> Pause<'a> {
    /// Pauses by the clocks of the child's restarts.
    pub(super) fn new(clocks: &'a RestartSettings) -> Self {
        Self {
            clocks,
            next: clocks.backoff,
            began: None,
        }
    }

    /// A stream has begun.
    pub(super) fn begins(&mut self) {
        self.began = Some(Instant::now());
    }

    /// The stream is over, or did not begin: waits before the next.
    pub(super) async fn wait(&mut self) {
        if self
            .began
            .take()
            .is_some_and(|began| began.elapsed() >= self.clocks.stable)
        {
            self.next = self.clocks.backoff;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(self.clocks.max_backoff);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_until_a_stream_has_lasted() {
        let clocks = RestartSettings {
            backoff: Duration::from_secs(1),
            ..RestartSettings::default()
        };
        let mut pause = Pause::new(&clocks);
        let mut waits = Vec::new();
        for lasted in [0, 1, 70, 0] {
            pause.begins();
            tokio::time::sleep(Duration::from_secs(lasted)).await;
            let began = Instant::now();
            pause.wait().await;
            waits.push(began.elapsed().as_secs());
        }
        assert_eq!(waits, [1, 2, 1, 2]);
    }
}
