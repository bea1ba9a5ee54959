//! The log: one event a line, on stderr, where stdout may carry the protocol.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, filter::ParseError, util::SubscriberInitExt};

/// What is logged when nothing else is asked for. The libraries below tell, at
/// `info`, what belongs at `debug`.
const DEFAULT_FILTER: &str =
    "info,rmcp=warn,hyper=warn,hyper_util=warn,reqwest=warn,rustls=warn,h2=warn";

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts logging. `filter` is a level, which is about this program and leaves the
/// libraries quiet, or directives in the syntax of `RUST_LOG`, which stand for
/// themselves; blank is none.
///
/// # Errors
///
/// When `filter` cannot be read.
pub fn init_logs(format: LogFormat, filter: Option<&str>) -> Result<(), ParseError> {
    let filter = filter.map(str::trim).filter(|filter| !filter.is_empty());
    let directives = match filter {
        Some(level) if level.parse::<tracing::Level>().is_ok() => {
            DEFAULT_FILTER.replacen("info", level, 1)
        }
        Some(directives) => directives.to_owned(),
        None => DEFAULT_FILTER.to_owned(),
    };
    let filter = EnvFilter::try_new(directives)?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    // A second logger in one process is refused; the first one serves.
    let _ = match format {
        LogFormat::Text => lines
            .with_target(false)
            .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .finish()
            .try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
    Ok(())
}
