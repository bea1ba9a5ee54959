//! What a `test-child` says has happened to it.

use std::{fs, path::PathBuf};

use serde_json::Value;

use super::wait::eventually;

/// The file a child appends its events to.
#[derive(Clone)]
pub struct Journal(PathBuf);

impl Journal {
    /// The journal at `path`, which may not exist yet.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Everything so far. A line that is still being written is left for later.
    pub fn events(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let complete = text.rsplit_once('\n').map_or("", |(complete, _)| complete);
        complete
            .lines()
            .map(|line| serde_json::from_str(line).expect("a journal line is JSON"))
            .collect()
    }

    /// The events of this name.
    pub fn of(&self, event: &str) -> Vec<Value> {
        self.events()
            .into_iter()
            .filter(|noted| noted["event"] == event)
            .collect()
    }

    /// How often this tool was called.
    pub fn calls(&self, tool: &str) -> usize {
        self.of("call")
            .iter()
            .filter(|call| call["tool"] == tool)
            .count()
    }

    /// Waits for an event of this name that `wanted` says yes to.
    pub async fn until(&self, event: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let what = format!("{event} in {}", self.0.display());
        eventually(&what, async || self.of(event).into_iter().find(&wanted)).await
    }

    /// Waits for an event that carries this key.
    pub async fn until_keyed(&self, event: &str, key: &str) -> Value {
        self.until(event, |noted| noted["key"] == key).await
    }

    /// The ids of every process that wrote here or was told of here.
    pub fn pids(&self) -> Vec<u32> {
        let told = self
            .events()
            .into_iter()
            .filter_map(|event| event["pid"].as_u64());
        told.map(|pid| pid.try_into().expect("a process id"))
            .collect()
    }
}
