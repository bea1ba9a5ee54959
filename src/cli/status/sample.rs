//! One look at a running multiplexer: its `/status` and its `/metrics`.

use std::{collections::HashMap, time::Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::traffic::Traffic;
use crate::{
    cli::{CliError, instance::Instance},
    config::ShownUrl,
};

/// What was seen at one moment.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) status: Status,
    /// The same, as it came.
    raw: Value,
    /// By child; empty where no metrics are to be had.
    pub(super) traffic: HashMap<String, Traffic>,
}

/// What we show of `/status`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) uptime_seconds: u64,
    /// Whether reasons are told; an older one does not say.
    pub(super) in_full: Option<bool>,
    pub(super) transport: String,
    pub(super) mode: String,
    pub(super) config: Config,
    pub(super) identity: Identity,
    pub(super) children: Vec<Child>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Config {
    pub(super) path: String,
    pub(super) generation: u64,
    pub(super) last_reload: LastReload,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LastReload {
    pub(super) ok: bool,
    pub(super) error: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Identity {
    pub(super) name: String,
    pub(super) mode: String,
    pub(super) expires_in_seconds: Option<u64>,
    pub(super) mints: u64,
    pub(super) failures: u64,
    pub(super) last_error: Option<String>,
    pub(super) own: Vec<Identity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Child {
    pub(super) name: String,
    pub(super) transport: String,
    pub(super) era: Option<String>,
    pub(super) state: String,
    pub(super) reason: Option<String>,
    pub(super) next_retry_ms: Option<u64>,
    pub(super) breaker: String,
    pub(super) in_flight: u64,
    pub(super) queued: u64,
    pub(super) tools: u64,
    pub(super) restarts: u64,
}

impl Sample {
    /// Looks once.
    pub(super) async fn take(instance: &Instance) -> Result<Self, CliError> {
        let raw = instance.status().await?;
        let metrics = instance.get("metrics").await;
        let metrics = metrics.map_err(|why| CliError::Broken(why.to_string()))?;
        let metrics = metrics.status.is_success().then_some(metrics.body);
        Self::read(raw, &metrics.unwrap_or_default()).map_err(|error| {
            let url = ShownUrl(&instance.url("status")).to_string();
            CliError::Broken(format!("{url}: the answer cannot be read: {error}"))
        })
    }

    /// What was seen now, of `/status` and of `/metrics`.
    pub(super) fn read(raw: Value, metrics: &[u8]) -> serde_json::Result<Self> {
        Ok(Self {
            at: Instant::now(),
            status: Status::deserialize(&raw)?,
            raw,
            traffic: Traffic::read(&String::from_utf8_lossy(metrics)),
        })
    }

    /// Whether this is what strangers are told.
    pub(super) fn is_without_reasons(&self) -> bool {
        self.status.in_full == Some(false)
    }

    /// Whether another process has taken its place since then.
    pub(super) fn restarted_since(&self, last: &Self) -> bool {
        self.status.uptime_seconds < last.status.uptime_seconds
    }

    /// The traffic of a child since another look, or since the start.
    pub(super) fn since(&self, before: Option<&Self>, child: &str) -> Option<Traffic> {
        let now = self.traffic.get(child)?;
        let before = before.and_then(|before| before.traffic.get(child));
        Some(match before {
            Some(before) => now.since(before),
            None => now.clone(),
        })
    }

    /// How long that was, in seconds.
    pub(super) fn seconds_since(&self, before: &Self) -> f64 {
        (self.at - before.at).as_secs_f64()
    }

    /// All of it for scripts: `/status` with each child's traffic.
    pub(super) fn json(&self, before: Option<&Self>) -> Value {
        let mut told = self.raw.clone();
        let children = told.get_mut("children").and_then(Value::as_array_mut);
        for child in children.into_iter().flatten() {
            let Some(name) = child.get("name").and_then(Value::as_str) else {
                continue;
            };
            let traffic = self.since(before, name).unwrap_or_default();
            child["calls"] = json!(traffic.calls);
            child["errors"] = json!(traffic.errors);
            child["p95Seconds"] = json!(traffic.p95());
            if let Some(before) = before {
                child["callsPerSecond"] = json!(traffic.calls / self.seconds_since(before));
            }
        }
        told
    }
}
