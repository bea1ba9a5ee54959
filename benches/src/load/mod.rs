//! The load: so many calls at once, each of which is made again as soon as it has been
//! answered.

mod answer;
mod http;
mod stdio;

use std::{
    io::BufRead,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use hyper::Uri;
use serde::{Deserialize, Serialize};

use crate::{
    message::{Era, Payload},
    web::Error,
};

/// How long calls are made before anything is measured, and at least one by each
/// caller: by then pools are filled, and buffers have grown.
const WARM_UP: Duration = Duration::from_millis(150);

/// A process that makes load. It says `warm`, begins when it is told to by a line on
/// stdin, and prints what it measured.
#[derive(Args, Debug)]
pub struct Load {
    /// Who is asked, over HTTP.
    #[arg(long)]
    url: Option<Uri>,
    /// How.
    #[arg(long, value_enum)]
    era: Era,
    /// What stands before the tool's name there.
    #[arg(long, default_value = "")]
    prefix: String,
    /// What it must give.
    #[arg(long)]
    payload: Payload,
    /// Calls at once: over HTTP, connections.
    #[arg(long)]
    concurrency: usize,
    /// For how long.
    #[arg(long)]
    millis: u64,
    /// The token that is shown.
    #[arg(long)]
    token: Option<String>,
    /// All connections share one session: for those who start a child for each.
    #[arg(long)]
    one_session: bool,
    /// The server speaks the transport of 2024: answers come as events.
    #[arg(long)]
    sse: bool,
    /// The first answer is kept in this file.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Every request has the id 1, so that an answer that is ready answers all.
    #[arg(long)]
    one_id: bool,
    /// Else: who is asked, over stdio. The line `warm` says its process, too.
    #[arg(trailing_var_arg = true)]
    command: Vec<String>,
}

/// What a load measured. Times are in microseconds.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measured {
    /// Calls that were answered.
    pub calls: usize,
    /// From the first to the last.
    pub seconds: f64,
    /// The median of the times of a call.
    pub p50: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
    /// 999 of 1000 were faster.
    pub p999: f64,
}

impl Measured {
    /// Of the times of all calls, in nanoseconds.
    fn of(mut times: Vec<u32>, began: Instant) -> Self {
        let seconds = began.elapsed().as_secs_f64();
        times.sort_unstable();
        Self {
            calls: times.len(),
            seconds,
            p50: percentile(&times, 500),
            p99: percentile(&times, 990),
            p999: percentile(&times, 999),
        }
    }

    /// What 999 of 1000 calls were faster than, where there were so many: of fewer it
    /// would be the slowest.
    pub fn tail(&self) -> Option<f64> {
        (self.calls >= 1000).then_some(self.p999)
    }

    /// Calls answered in a second.
    pub fn rate(&self) -> f64 {
        self.calls as f64 / self.seconds
    }
}

impl Load {
    /// Makes the load.
    pub async fn run(self) -> Result<(), Error> {
        match self.url.clone() {
            Some(url) => say(&http::run(self, url).await?),
            None => {
                let (measured, _peer) = stdio::run(&self)?;
                say(&measured)?;
                // What the peer has used is read from outside, while it lives.
                Ok(wait()?)
            }
        }
    }

    fn request(&self, id: u64) -> bytes::Bytes {
        self.payload.request(id, self.era, &self.prefix)
    }

    fn tool(&self) -> String {
        format!("{}{}", self.prefix, self.payload.tool())
    }
}

fn say(measured: &Measured) -> Result<(), Error> {
    println!("{}", serde_json::to_string(measured)?);
    Ok(())
}

/// Waits for a word.
fn wait() -> std::io::Result<()> {
    std::io::stdin().lock().read_line(&mut String::new())?;
    Ok(())
}

/// Nanoseconds since then.
fn since(began: Instant) -> u32 {
    u32::try_from(began.elapsed().as_nanos()).unwrap_or(u32::MAX)
}

/// Of sorted nanoseconds, in microseconds.
fn percentile(times: &[u32], per_mille: usize) -> f64 {
    let at = times.len() * per_mille / 1000;
    let nanos = times.get(at.min(times.len().saturating_sub(1)));
    f64::from(nanos.copied().unwrap_or_default()) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times: Vec<u32> = (1..=1000).map(|n| n * 1000).collect();
        assert_eq!(percentile(&times, 500), 501.0);
        assert_eq!(percentile(&times, 990), 991.0);
        assert_eq!(percentile(&times, 999), 1000.0);
        assert_eq!(percentile(&[], 990), 0.0);
    }
}
