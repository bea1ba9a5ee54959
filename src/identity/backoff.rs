//! How long to leave the identity provider alone after a failed mint.

use std::time::Duration;

use rand::Rng;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// 1 s, doubling to 60 s. Jitter only shortens, by up to a fifth, so that 60 s
/// is the most anybody waits for a provider that is back.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The pause after one more failure. A provider that asks for a longer one
    /// gets it, up to a minute: no answer of its can silence us for a day.
    pub(super) fn after_failure(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.next.mul_f64(rand::rng().random_range(0.8..=1.0));
        self.next = (self.next * 2).min(LONGEST);
        pause.max(asked.unwrap_or_default().min(LONGEST))
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_to_a_minute_and_starts_again_after_a_success() {
        let mut backoff = Backoff::new();
        for base in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0] {
            let pause = backoff.after_failure(None).as_secs_f64();
            assert!(
                (base * 0.8..=base).contains(&pause),
                "{pause} s is not {base} s less jitter"
            );
        }
        backoff.reset();
        assert!(backoff.after_failure(None) <= FIRST);
    }

    #[test]
    fn a_longer_pause_asked_for_is_honoured_up_to_a_minute() {
        let mut backoff = Backoff::new();
        let seven = Duration::from_secs(7);
        assert_eq!(backoff.after_failure(Some(seven)), seven);
        let day = Duration::from_secs(86_400);
        assert_eq!(backoff.after_failure(Some(day)), LONGEST);
        assert!(backoff.after_failure(Some(Duration::ZERO)) >= Duration::from_secs(3));
    }
}
