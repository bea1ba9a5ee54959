//! What a child says on stderr: to the log, and the last of it to whoever asks why it
//! ended.

use std::{
    collections::VecDeque,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::AsyncRead,
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tracing::{debug, info};

use super::paced::Paced;
use crate::{
    outbound::mask::Mask,
    protocol::{
        ChildName,
        lines::{Line, LineReader},
    },
};

/// A longer line is no log line.
const LINE_LIMIT: usize = 16 * 1024;
/// How many of the last lines are kept for the reason of its end.
const LAST_LINES: usize = 3;
const SHOWN_LINE: usize = 300;
/// Of each: a secret that begins in what is shown has to be seen whole, to be masked.
const KEPT_LINE: usize = 8 * 1024;
/// How long the rest may take to be read once the process has ended.
const REST_SHOWS: Duration = Duration::from_millis(100);
/// How many lines are logged within the time of [`A_WHILE`]. The longest traces are
/// shorter.
const MOST_LINES: u32 = 200;
const A_WHILE: Duration = Duration::from_secs(1);

/// A child's stderr, which is being read.
pub(super) struct Stderr {
    mask: Mask,
    last: LastLines,
    reading: JoinHandle<()>,
}

/// As they came, but no longer than masking needs to see.
type LastLines = Arc<Mutex<VecDeque<Box<[u8]>>>>;

/// Without the lines, which may hold a secret.
impl std::fmt::Debug for Stderr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stderr")
    }
}

impl Stderr {
    /// Reads `source` to its end; its lines go to the log, masked, at `info` if `loud`.
    pub(super) fn read(
        child: &ChildName,
        source: impl AsyncRead + Send + Unpin + 'static,
        mask: &Mask,
        loud: bool,
    ) -> Self {
        let last = LastLines::default();
        let log = Log {
            child: child.clone(),
            mask: mask.clone(),
            loud,
        };
        Self {
            mask: mask.clone(),
            last: Arc::clone(&last),
            reading: tokio::spawn(log.run(source, last)),
        }
    }

    /// The last lines, masked and cut, once the process has ended.
    pub(super) async fn last_lines(&mut self) -> Vec<String> {
        // What has left its group may hold it open.
        let _ = timeout(REST_SHOWS, &mut self.reading).await;
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = last.iter().map(|line| {
            let text = self.mask.apply(&String::from_utf8_lossy(line));
            text.chars().take(SHOWN_LINE).collect()
        });
        shown.collect()
    }
}

/// The way to the log.
struct Log {
    child: ChildName,
    mask: Mask,
    loud: bool,
}

impl Log {
    async fn run(self, source: impl AsyncRead + Unpin, last: LastLines) {
        let mut lines = LineReader::new(Paced::new(source), LINE_LIMIT);
        let mut allowance = Allowance::default();
        loop {
            let line = tokio::select! {
                biased;
                line = lines.next() => line,
                () = allowance.has_left_out() => {
                    self.tell_left_out(&mut allowance);
                    continue;
                }
            };
            let line = match line {
                Ok(Some(Line::Whole(line))) => line,
                Ok(Some(Line::TooLong(_))) => continue,
                Ok(None) | Err(_) => break,
            };
            if allowance.is_over() {
                self.tell_left_out(&mut allowance);
                allowance = Allowance::default();
            }
            if allowance.takes() {
                self.tell(&line);
            }
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line[..line.len().min(KEPT_LINE)].into());
        }
        self.tell_left_out(&mut allowance);
    }

    fn tell(&self, line: &[u8]) {
        let child = &self.child;
        let text = self.mask.apply(&String::from_utf8_lossy(line));
        if self.loud {
            info!(target: "mcp_multiplexer::stderr", %child, line = ?text, "stderr");
        } else {
            debug!(target: "mcp_multiplexer::stderr", %child, line = ?text, "stderr");
        }
    }

    fn tell_left_out(&self, allowance: &mut Allowance) {
        let child = &self.child;
        let lines = std::mem::take(&mut allowance.left_out);
        match (lines, self.loud) {
            (0, _) => {}
            (_, true) => info!(target: "mcp_multiplexer::stderr", %child, lines, "stderr left out"),
            (_, false) => {
                debug!(target: "mcp_multiplexer::stderr", %child, lines, "stderr left out");
            }
        }
    }
}

/// How many lines may go to the log for a while.
struct Allowance {
    ends: Instant,
    lines: u32,
    left_out: u64,
}

impl Default for Allowance {
    fn default() -> Self {
        Self {
            ends: Instant::now() + A_WHILE,
            lines: MOST_LINES,
            left_out: 0,
        }
    }
}

impl Allowance {
    /// Whether one more line may be logged; if not, it is counted.
    fn takes(&mut self) -> bool {
        match self.lines.checked_sub(1) {
            Some(rest) => self.lines = rest,
            None => self.left_out += 1,
        }
        self.left_out == 0
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.ends
    }

    /// Waits for its end, if there is something to be told then.
    async fn has_left_out(&self) {
        match self.left_out {
            0 => pending().await,
            _ => sleep_until(self.ends).await,
        }
    }
}
