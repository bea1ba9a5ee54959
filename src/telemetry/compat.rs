//! The series of agent-utilities' multiplexer, beside ours and from the same events, so
//! that dashboards and alerts made for it go on.
//!
//! They mean what they meant there: calls of tools alone are counted, and a tool that
//! fails by itself has been called well.

use std::sync::atomic::{AtomicBool, Ordering};

use metrics::{counter, describe_counter, describe_gauge, gauge};

use super::{ChildGauge, Outcome};

const THEIR_CALLS: &str = "agent_utilities_mcp_child_calls_total";
const THEIR_BREAKER_STATE: &str = "agent_utilities_mcp_child_breaker_state";
const THEIR_RESTARTS: &str = "agent_utilities_mcp_child_restarts_total";
const THEIR_QUEUE_DEPTH: &str = "agent_utilities_mcp_child_queue_depth";
const THEIR_RUNNING: &str = "agent_utilities_mcp_child_process_running";
const THEIR_MOUNTED: &str = "agent_utilities_mcp_child_tools_mounted";
const THEIR_DISPATCHABLE: &str = "agent_utilities_mcp_child_tools_dispatchable";

/// The breaker's word for open.
const OPEN: u8 = 2;

/// Whose series are written beside ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum MetricsCompat {
    /// Those of agent-utilities.
    AgentUtilities,
}

static ON: AtomicBool = AtomicBool::new(false);

fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Begins to write them, before any child is there.
pub(super) fn begin(compat: Option<MetricsCompat>) {
    let Some(MetricsCompat::AgentUtilities) = compat else {
        return;
    };
    ON.store(true, Ordering::Relaxed);
    describe_counter!(
        THEIR_CALLS,
        "Calls of tools that ended, by child and outcome."
    );
    describe_counter!(
        THEIR_RESTARTS,
        "Times a child had to be started or connected anew."
    );
}

/// A child is there: what it can be restarted by is countable from now on.
pub(super) fn child(child: &str) {
    if is_on() {
        counter!(THEIR_RESTARTS, "server" => child.to_owned()).increment(0);
    }
}

/// A call of a tool has ended.
pub(super) fn called(child: &str, outcome: Outcome) {
    if is_on()
        && let Some(word) = word(outcome)
    {
        counter!(THEIR_CALLS, "server" => child.to_owned(), "outcome" => word).increment(1);
    }
}

/// A child is started or connected anew.
pub(super) fn restarted(child: &str) {
    if is_on() {
        counter!(THEIR_RESTARTS, "server" => child.to_owned()).increment(1);
    }
}

/// Writes one child's gauges.
pub(super) fn write(child: &ChildGauge<'_>) {
    if !is_on() {
        return;
    }
    describe_gauge!(
        THEIR_BREAKER_STATE,
        "A child's circuit breaker: 0 closed, 1 half-open, 2 open."
    );
    describe_gauge!(
        THEIR_QUEUE_DEPTH,
        "Calls waiting for a free slot of a child."
    );
    describe_gauge!(THEIR_RUNNING, "Whether a child is connected.");
    describe_gauge!(THEIR_MOUNTED, "Tools a child offers.");
    describe_gauge!(
        THEIR_DISPATCHABLE,
        "Tools of a child that can be called now: it is connected, and its breaker not open."
    );
    let dispatchable = match child.up && child.breaker != OPEN {
        true => child.tools,
        false => 0,
    };
    let server = child.child.to_string();
    gauge!(THEIR_BREAKER_STATE, "server" => server.clone()).set(f64::from(child.breaker));
    gauge!(THEIR_QUEUE_DEPTH, "server" => server.clone()).set(child.queued as f64);
    gauge!(THEIR_RUNNING, "server" => server.clone()).set(f64::from(u8::from(child.up)));
    gauge!(THEIR_MOUNTED, "server" => server.clone()).set(child.tools as f64);
    gauge!(THEIR_DISPATCHABLE, "server" => server).set(dispatchable as f64);
}

/// The original's word for an outcome; it has none for a call that was taken back.
fn word(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Ok | Outcome::ToolError => Some("ok"),
        Outcome::RpcError | Outcome::Protocol | Outcome::Unauthorized | Outcome::Denied => {
            Some("error")
        }
        Outcome::Transport => Some("transport_error"),
        Outcome::Timeout => Some("timeout"),
        Outcome::Busy => Some("busy"),
        Outcome::Unavailable => Some("unavailable"),
        Outcome::CircuitOpen => Some("short_circuited"),
        Outcome::Cancelled => None,
    }
}
