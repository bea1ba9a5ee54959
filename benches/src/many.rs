//! What one child more costs the multiplexer, while nobody calls it.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use tokio::time::{sleep, timeout};

use crate::{
    processes::{Server, start_multiplexer},
    usage,
    web::{self, Error},
};

/// How long all children may take to become ready.
const PATIENCE: Duration = Duration::from_secs(120);

/// A multiplexer with many children.
pub struct Many {
    /// What the children are.
    pub name: String,
    /// How many.
    pub children: usize,
    /// What each of them holds, in bytes: the difference to a multiplexer with one.
    pub each: u64,
    /// All memory, in bytes.
    pub memory: u64,
    /// From the start until all are ready.
    pub ready: Duration,
}

impl Many {
    /// Starts a multiplexer with one child, and one with `children`, each an entry of
    /// its own for the server at `url`.
    pub async fn measure(
        name: &str,
        program: &Path,
        folder: &Path,
        url: &str,
        children: usize,
    ) -> Result<Self, Error> {
        let (one, _) = settled(program, folder, url, 1).await?;
        let (memory, ready) = settled(program, folder, url, children).await?;
        let others = u64::try_from(children.saturating_sub(1).max(1))?;
        Ok(Self {
            name: name.to_owned(),
            children,
            each: memory.saturating_sub(one) / others,
            memory,
            ready,
        })
    }

    /// The line for a person.
    pub fn line(&self) -> String {
        format!(
            "{} children, {:<14} {:>6.1} KiB each, {:>6.1} MiB in all, all ready after {:.1} s",
            self.children,
            self.name,
            self.each as f64 / 1024.0,
            self.memory as f64 / 1_048_576.0,
            self.ready.as_secs_f64()
        )
    }
}

/// The memory of a multiplexer with so many children, and how long all took to be ready.
async fn settled(
    program: &Path,
    folder: &Path,
    url: &str,
    children: usize,
) -> Result<(u64, Duration), Error> {
    let entry = |n| (format!("child-{n}"), json!({"url": url}));
    let entries: Map<String, Value> = (0..children).map(entry).collect();
    let began = Instant::now();
    let server = start_multiplexer(program, folder, entries, url).await?;
    timeout(PATIENCE, all_ready(&server, children)).await??;
    Ok((usage::memory(server.pid)?, began.elapsed()))
}

/// Waits until so many children are ready. The metrics say it: to look at `/status` would
/// make a tokenizer, of twenty megabytes.
pub async fn all_ready(server: &Server, children: usize) -> Result<(), Error> {
    let metrics = server.url.replace("/mcp", "/metrics");
    loop {
        let metrics = web::get(&metrics).await?;
        let up = String::from_utf8_lossy(&metrics)
            .lines()
            .filter(|line| line.starts_with("mcp_multiplexer_child_up{") && line.ends_with(" 1"))
            .count();
        if up == children {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
}
