//! The pauses between two streams to a child.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);
/// A stream that has lasted this long was a good one.
const LASTED: Duration = Duration::from_secs(30);

/// Doubling pauses, so that a child that refuses each stream, or ends each at once, is
/// not hammered. After a stream that lasted they begin anew.
#[derive(Debug)]
pub(super) struct Pause {
    next: Duration,
    began: Option<Instant>,
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            next: FIRST,
            began: None,
        }
    }
}

impl Pause {
    /// A stream has begun.
    pub(super) fn begins(&mut self) {
        self.began = Some(Instant::now());
    }

    /// The stream is over, or did not begin: waits before the next.
    pub(super) async fn wait(&mut self) {
        if self
            .began
            .take()
            .is_some_and(|began| began.elapsed() >= LASTED)
        {
            self.next = FIRST;
        }
        tokio::time::sleep(self.next).await;
        self.next = (self.next * 2).min(LONGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_until_a_stream_has_lasted() {
        let mut pause = Pause::default();
        let mut waits = Vec::new();
        for lasted in [0, 1, 40, 0] {
            pause.begins();
            tokio::time::sleep(Duration::from_secs(lasted)).await;
            let began = Instant::now();
            pause.wait().await;
            waits.push(began.elapsed().as_secs());
        }
        assert_eq!(waits, [1, 2, 1, 2]);
    }
}
