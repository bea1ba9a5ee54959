//! What operators see of a child, computed in one place for all who show it.

use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::time::Instant;

use super::Fleet;
use crate::{
    catalog::Listing,
    outbound::{BreakerState, Child, Phase},
    protocol::Era,
    telemetry::ChildGauges,
};

/// One child in `/status`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChildStatus {
    name: String,
    prefix: String,
    transport: &'static str,
    era: Option<Era>,
    state: Phase,
    reason: Option<String>,
    /// Unix time in seconds.
    since: u64,
    attempt: u32,
    next_retry_ms: Option<u64>,
    breaker: BreakerState,
    in_flight: usize,
    queued: usize,
    tools: usize,
    resources: usize,
    prompts: usize,
    tools_list_bytes: usize,
    /// Tools left out because another child has their public name.
    tools_left_out: usize,
    restarts: u64,
    pid: Option<u32>,
}

impl Fleet {
    /// Every child, in file order.
    pub fn status(&self) -> Vec<ChildStatus> {
        let snapshot = self.snapshot();
        let left_out = |child: &Child| {
            let collisions = snapshot.catalog.collisions().iter();
            collisions.filter(|c| c.left_out == *child.name()).count()
        };
        snapshot
            .children
            .iter()
            .map(|child| status(child, left_out(child)))
            .collect()
    }

    /// Writes the gauges of every child.
    pub fn write_gauges(&self, gauges: &ChildGauges) {
        for child in &self.snapshot().children {
            let (in_flight, queued) = child.load();
            let listing = child.listing();
            gauges.child(
                child.name(),
                child.transport(),
                child.state().phase == Phase::Ready,
                child.breaker() as u8,
                child.next_retry_timestamp(),
                in_flight,
                queued,
                listing.as_ref().map_or(0, |listing| listing.tools.len()),
                listing.as_ref().map_or(0, |listing| listing.tools_size()),
            );
        }
    }
}

fn status(child: &Child, tools_left_out: usize) -> ChildStatus {
    let state = child.state();
    let (in_flight, queued) = child.load();
    let listing = child.listing();
    ChildStatus {
        name: child.name().to_string(),
        prefix: child.settings.prefix.clone(),
        transport: child.transport(),
        era: state.era,
        state: state.phase,
        reason: state.told_in_full(),
        since: state
            .since
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs()),
        attempt: state.attempt,
        next_retry_ms: child.next_retry().map(|at| {
            let wait: Duration = at.saturating_duration_since(Instant::now());
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
        }),
        breaker: child.breaker(),
        in_flight,
        queued,
        tools: listing.as_ref().map_or(0, |listing| listing.tools.len()),
        resources: 0,
        prompts: 0,
        tools_list_bytes: listing.as_deref().map_or(0, Listing::tools_size),
        tools_left_out,
        restarts: state.restarts,
        pid: state.pid,
    }
}
