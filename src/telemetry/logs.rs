//! The log: one event a line, on stderr, where stdout may carry the protocol.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tracing::warn;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, filter::ParseError, util::SubscriberInitExt};

/// What is logged when nothing else is asked for. The libraries below tell, at
/// `info`, what belongs at `debug`.
const DEFAULT_FILTER: &str =
    "info,rmcp=warn,hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,h2=warn,notify=warn";

/// The target of the lines that say who called what.
pub const AUDIT: &str = "audit";

/// How many lines may wait for stderr to take them. A line of a child has up to 16 KiB.
const WAITING_LINES: usize = 4096;
/// Between two lines about lines that were dropped.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Holds the log open; its drop writes what still waits, if anybody reads it.
#[must_use = "lines that wait are lost with it"]
#[derive(Debug)]
pub struct LogGuard {
    worker: Option<WorkerGuard>,
    losses: Arc<Losses>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // A full queue that nobody reads will not get any shorter; and the worker's
        // guard would say so on stdout.
        if self.losses.now() > self.losses.seen() {
            std::mem::forget(self.worker.take());
        }
    }
}

/// Starts logging. Nobody who logs ever waits for stderr: lines beyond those that may
/// wait for it are dropped, and the log says so. `filter` is a level, which is about this program and leaves the
/// libraries quiet, or directives in the syntax of `RUST_LOG`, which stand for
/// themselves; blank is none.
///
/// # Errors
///
/// When `filter` cannot be read.
pub fn init_logs(format: LogFormat, filter: Option<&str>) -> Result<LogGuard, ParseError> {
    let filter = filter.map(str::trim).filter(|filter| !filter.is_empty());
    let directives = match filter {
        Some(level) if level.parse::<tracing::Level>().is_ok() => {
            DEFAULT_FILTER.replacen("info", level, 1)
        }
        Some(directives) => directives.to_owned(),
        None => DEFAULT_FILTER.to_owned(),
    };
    // Whoever wants the audit gets it at every level; what comes later wins over this.
    let filter = EnvFilter::try_new(format!("{AUDIT}=info,{directives}"))?;
    let losses = Arc::<Losses>::default();
    let (writer, worker) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("log")
        .finish(Telling {
            inner: io::stderr(),
            losses: Arc::clone(&losses),
            told: None,
        });
    // Nobody has set it before.
    let _ = losses.dropped.set(writer.error_counter());
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer);
    // A second logger in one process is refused; the first one serves.
    let _ = match format {
        LogFormat::Text => lines
            .with_target(false)
            .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .finish()
            .try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    Ok(LogGuard {
        worker: Some(worker),
        losses,
    })
}

/// Lines that were dropped since the start.
#[derive(Debug, Default)]
struct Losses {
    dropped: OnceLock<ErrorCounter>,
    /// How many they were when stderr last took a line.
    seen: AtomicUsize,
}

impl Losses {
    fn now(&self) -> usize {
        self.dropped.get().map_or(0, ErrorCounter::dropped_lines)
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::Acquire)
    }
}

/// Writes lines, and logs how many were dropped as soon as any are taken again.
struct Telling<W> {
    inner: W,
    losses: Arc<Losses>,
    /// How many were told of, and when.
    told: Option<(usize, Instant)>,
}

impl<W: Write> Write for Telling<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(line)?;
        let dropped = self.losses.now();
        self.losses.seen.store(dropped, Ordering::Release);
        let due = match self.told {
            Some((told, at)) => dropped > told && at.elapsed() >= TOLD_EVERY,
            None => dropped > 0,
        };
        if due {
            self.told = Some((dropped, Instant::now()));
            // Waits in the queue like every other line: this does not come back here.
            warn!(dropped, "log lines were dropped: stderr was not read");
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
