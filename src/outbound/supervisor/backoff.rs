//! The pauses between two attempts to connect, and what is a crash loop.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use crate::{config::RestartSettings, outbound::seconds};

/// Ends in a row that make a loop. Two may be a redeploy that was corrected.
const LOOP: u32 = 3;

/// How often a child has been tried, and how often its process has ended, since it
/// was last up for a while.
#[derive(Clone, Debug)]
pub(in crate::outbound) struct Backoff {
    clocks: RestartSettings,
    attempt: u32,
    exits: u32,
    first_exit: Option<Instant>,
}

impl Backoff {
    pub(super) fn new(clocks: RestartSettings) -> Self {
        Self {
            clocks,
            attempt: 0,
            exits: 0,
            first_exit: None,
        }
    }

    /// Attempts since the child was last stable.
    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The child was up this long.
    pub(super) fn lived(&mut self, lived: Duration) {
        if lived >= self.clocks.stable {
            *self = Self::new(self.clocks.clone());
        }
    }

    /// The child's process has ended by itself.
    pub(super) fn exited(&mut self) {
        self.exits += 1;
        self.first_exit.get_or_insert_with(Instant::now);
    }

    /// In words, if the process ends again and again.
    pub(super) fn crash_loop(&self) -> Option<String> {
        let first = self.first_exit.filter(|_| self.exits >= LOOP)?;
        let since = match first.elapsed() {
            short if short < Duration::from_secs(1) => short,
            long => Duration::from_secs(long.as_secs()),
        };
        Some(format!(
            "crash loop: {} exits in {}",
            self.exits,
            seconds(since)
        ))
    }

    /// Whether the crash loop has just become one.
    pub(super) fn loop_begins(&self) -> bool {
        self.exits == LOOP
    }

    /// The pause before the next attempt: doubling from the first to the longest, a
    /// fifth more or less, so that children that went together do not come back
    /// together.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self
            .clocks
            .backoff
            .saturating_mul(1 << self.attempt.min(16))
            .min(self.clocks.max_backoff);
        self.attempt = self.attempt.saturating_add(1);
        pause.mul_f64(rand::rng().random_range(0.8..1.2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_half_a_second_to_a_minute() {
        let mut backoff = Backoff::new(RestartSettings::default());
        for base in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let pause = backoff.next().as_secs_f64();
            assert!((base * 0.8..base * 1.2).contains(&pause), "{base}: {pause}");
        }
        backoff.attempt = u32::MAX;
        assert!(backoff.next() < Duration::from_secs(72));
    }

    #[test]
    fn a_stable_minute_begins_anew_and_a_short_life_does_not() {
        let mut backoff = Backoff::new(RestartSettings::default());
        for _ in 0..5 {
            backoff.next();
        }
        backoff.lived(Duration::from_secs(59));
        assert_eq!(backoff.attempt(), 5);
        backoff.lived(Duration::from_secs(60));
        assert_eq!(backoff.attempt(), 0);
        assert!(backoff.next() < Duration::from_millis(600));
    }

    #[tokio::test(start_paused = true)]
    async fn the_third_exit_in_a_row_is_a_loop_until_the_child_is_stable() {
        let mut backoff = Backoff::new(RestartSettings::default());
        for exits in 1..=4 {
            backoff.exited();
            assert_eq!(backoff.crash_loop().is_some(), exits >= 3);
            assert_eq!(backoff.loop_begins(), exits == 3);
            tokio::time::sleep(Duration::from_millis(2500)).await;
        }
        let told = backoff.crash_loop();
        assert_eq!(told.as_deref(), Some("crash loop: 4 exits in 10 s"));
        backoff.lived(Duration::from_secs(60));
        assert_eq!(backoff.crash_loop(), None);
    }
}
