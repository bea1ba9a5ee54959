//! What was measured, for a person to read.

use std::{fmt, time::Duration};

/// Durations of the same kind.
#[derive(Clone, Default)]
pub struct Figures(Vec<Duration>);

impl Figures {
    /// One more.
    pub fn note(&mut self, took: Duration) {
        self.0.push(took);
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The duration that this share (0 to 1) of them does not exceed.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        sorted.get(at).copied().unwrap_or_default()
    }

    /// Half of them are no longer.
    pub fn median(&self) -> Duration {
        self.quantile(0.5)
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |share| self.quantile(share).as_secs_f64() * 1000.0;
        write!(
            f,
            "p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms of {}",
            ms(0.5),
            ms(0.99),
            ms(1.0),
            self.count()
        )
    }
}
