//! What operators see of a child, computed in one place for all who show it.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::Serialize;
use tokio::time::Instant;

use super::Fleet;
use crate::{
    catalog::{Listing, Primitive},
    config::DISABLED_IN_CONFIG,
    outbound::{BreakerState, Child, Phase, State},
    protocol::{Era, Subject, View},
    telemetry::{Activity, ChildGauge, ChildGauges, LastFailure, Outcome},
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
    /// The kind of failure that `reason` tells of.
    cause: Option<&'static str>,
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
    /// What a model reads them as; `None` until that has been counted.
    tools_list_tokens: Option<usize>,
    /// Tools left out because another child has their public name, or because they
    /// cannot be called.
    tools_left_out: usize,
    restarts: u64,
    /// Client sessions that have a connection of their own.
    dedicated_sessions: usize,
    /// Those of them whose connection is not ready.
    dedicated_not_ready: usize,
    pid: Option<u32>,
    /// Requests that ended since the start of the process, and those of them that failed.
    calls: u64,
    errors: u64,
    /// Also when the child is well again.
    last_failure: Option<Arc<LastFailure>>,
}

impl ChildStatus {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same for those who may know what there is, and not why it fails.
    pub fn without_reason(self) -> Self {
        Self {
            reason: None,
            cause: None,
            pid: None,
            last_failure: None,
            ..self
        }
    }
}

impl Fleet {
    /// Every child, in file order.
    pub fn status(&self) -> Vec<ChildStatus> {
        let tokens = self.tokens();
        let seen = self.seen();
        seen.iter().map(|seen| seen.status(tokens(seen))).collect()
    }

    /// The same, each with what it was asked in so many of the last slots.
    pub fn status_and_activity(&self, slots: usize) -> Vec<(ChildStatus, Activity)> {
        let tokens = self.tokens();
        let activity = |seen: &Seen| seen.child.metrics.tally().activity(slots);
        self.seen()
            .iter()
            .map(|seen| (seen.status(tokens(seen)), activity(seen)))
            .collect()
    }

    /// The names of the children that this caller may know of as a whole.
    pub fn known_to(&self, subject: Option<&Arc<Subject>>) -> HashSet<String> {
        let snapshot = self.snapshot();
        let Ok(shown) = snapshot.view(&View::All) else {
            return HashSet::new();
        };
        let permitted = shown.permitted(subject);
        let known = snapshot
            .children
            .iter()
            .filter(|child| permitted.knows(child));
        known.map(|child| child.name().to_string()).collect()
    }

    /// What a child's list of tools costs, once that is counted.
    fn tokens(&self) -> impl Fn(&Seen) -> Option<usize> {
        let costs = self.costs.of(&self.snapshot());
        move |seen| {
            let of_child = costs.as_ref()?.of_child(seen.child.name());
            of_child.map(|cost| cost.tokens)
        }
    }

    /// Writes the gauges of every child.
    pub fn write_gauges(&self, gauges: &ChildGauges) {
        for seen in self.seen() {
            gauges.child(&seen.gauge());
        }
    }

    /// Every child as operators are to see it: read once, from one snapshot, for
    /// status and gauges alike.
    fn seen(&self) -> Vec<Seen> {
        let snapshot = self.snapshot();
        let collisions = snapshot.catalog.collisions();
        let children = snapshot.children.iter().zip(&snapshot.listings);
        children
            .map(|(child, listing)| Seen {
                state: child.state(),
                load: child.load(),
                sessions: child.sessions(),
                left_out: collisions
                    .iter()
                    .filter(|c| c.left_out == *child.name())
                    .count()
                    + listing.as_ref().map_or(0, |listing| listing.unfit.len()),
                child: Arc::clone(child),
                listing: listing.clone(),
            })
            .collect()
    }
}

/// A child is there for clients when what it offers stands in the catalog.
fn phase(state: &State, is_listed: bool) -> Phase {
    match state.phase {
        Phase::Ready | Phase::Idle if !is_listed => Phase::Connecting,
        phase => phase,
    }
}

/// How a child stands, as clients are told: its phase, and whether a call is in good
/// hands now.
pub fn standing(child: &Child, is_listed: bool) -> (Phase, bool) {
    let phase = phase(&child.state(), is_listed || child.settings.is_per_user());
    let closed = child.breaker() == BreakerState::Closed;
    (phase, phase.serves() && closed)
}

struct Seen {
    child: Arc<Child>,
    state: Arc<State>,
    /// What stands in the catalog of it.
    listing: Option<Arc<Listing>>,
    load: (usize, usize),
    sessions: Vec<Arc<Child>>,
    left_out: usize,
}

impl Seen {
    fn phase(&self) -> Phase {
        let is_listed = self.listing.is_some() || self.child.settings.is_per_user();
        phase(&self.state, is_listed)
    }

    fn tools(&self) -> (usize, usize) {
        self.listing.as_ref().map_or((0, 0), |listing| {
            (listing.tools().len(), listing.tools_size())
        })
    }

    fn count(&self, primitive: Primitive) -> usize {
        let listing = self.listing.as_ref();
        listing.map_or(0, |listing| listing.of(primitive).len())
    }

    fn status(&self, tools_list_tokens: Option<usize>) -> ChildStatus {
        let Self { child, state, .. } = self;
        let (tools, tools_list_bytes) = self.tools();
        let (in_flight, queued) = self.load;
        let tally = child.metrics.tally();
        let (calls, errors) = tally.totals();
        ChildStatus {
            name: child.name().to_string(),
            prefix: child.settings.prefix.clone(),
            transport: child.transport(),
            era: state.era,
            state: self.phase(),
            reason: state.told_in_full(),
            cause: state.cause.map(Outcome::as_str),
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
            tools,
            resources: self.count(Primitive::Resource),
            prompts: self.count(Primitive::Prompt),
            tools_list_bytes,
            tools_list_tokens,
            tools_left_out: self.left_out,
            restarts: state.restarts,
            dedicated_sessions: self.sessions.len(),
            dedicated_not_ready: self
                .sessions
                .iter()
                .filter(|session| session.state().phase != Phase::Ready)
                .count(),
            pid: state.pid,
            calls,
            errors,
            last_failure: tally.last_failure(),
        }
    }

    fn gauge(&self) -> ChildGauge<'_> {
        let (tools, tools_bytes) = self.tools();
        let (in_flight, queued) = self.load;
        ChildGauge {
            child: self.child.name(),
            transport: self.child.transport(),
            up: self.phase() == Phase::Ready,
            idle: self.phase() == Phase::Idle,
            disabled: self.child.settings.disabled.as_deref() == Some(DISABLED_IN_CONFIG),
            breaker: self.child.breaker() as u8,
            next_retry: self.child.next_retry_timestamp(),
            in_flight,
            queued,
            tools,
            tools_bytes,
        }
    }
}
