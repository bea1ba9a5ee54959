//! What is said to a person who has to wait.

use std::{
    io::{IsTerminal, Write, stderr},
    time::{Duration, Instant},
};

/// A wait that is shorter needs no word.
const SHORT: Duration = Duration::from_secs(1);
/// The longest line.
const WIDTH: usize = 76;

/// One line on the terminal for as long as a wait goes on.
pub(super) struct Patience {
    began: Instant,
    is_seen: bool,
    is_shown: bool,
}

impl Patience {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            is_seen: stderr().is_terminal(),
            is_shown: false,
        }
    }

    /// Says what is waited for, if that has taken a while and somebody looks.
    pub(super) fn wait_for(&mut self, what: &str) {
        let waited = self.began.elapsed();
        if self.is_seen && waited >= SHORT {
            let waited = format!(" … {} s", waited.as_secs());
            let room = WIDTH.saturating_sub(waited.chars().count());
            let what: String = what.chars().take(room).collect();
            // Nothing depends on whether it can be seen.
            let _ = write!(stderr(), "\r\x1b[K{what}{waited}");
            let _ = stderr().flush();
            self.is_shown = true;
        }
    }

    /// The wait is over.
    pub(super) fn over(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }

    /// Says what is waited for until that is there.
    pub(super) async fn during<T>(what: &str, wait: impl Future<Output = T>) -> T {
        let mut patience = Self::new();
        let mut wait = std::pin::pin!(wait);
        let mut tick = tokio::time::interval(SHORT);
        loop {
            tokio::select! {
                done = &mut wait => {
                    patience.over();
                    return done;
                }
                _ = tick.tick() => patience.wait_for(what),
            }
        }
    }
}
