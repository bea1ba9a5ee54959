//! Every series of the program, under one prefix, in one place.
//!
//! Handles are resolved once per child: a call pays for an atomic add, not for a
//! look-up. Gauges of children are not kept here at all: they are written from the
//! fleet's snapshot at every scrape, so that a removed child leaves none behind.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use dashmap::DashMap;
use metrics::{Counter, Histogram, Unit};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::{MetricsCompat, Outcome, Tally, compat};
use crate::{
    VERSION,
    protocol::{ChildName, OwnName},
};

const REQUESTS: &str = "mcp_multiplexer_requests_total";
const REQUEST_DURATION: &str = "mcp_multiplexer_request_duration_seconds";
const OVERHEAD: &str = "mcp_multiplexer_overhead_seconds";
const TOOL_CALLS: &str = "mcp_multiplexer_tool_calls_total";
const TOOL_CALL_DURATION: &str = "mcp_multiplexer_tool_call_duration_seconds";
const BREAKER_TRANSITIONS: &str = "mcp_multiplexer_child_breaker_transitions_total";
const RESTARTS: &str = "mcp_multiplexer_child_restarts_total";
const CONNECT_ATTEMPTS: &str = "mcp_multiplexer_child_connect_attempts_total";
const UNAUTHORIZED: &str = "mcp_multiplexer_child_unauthorized_total";
const SESSION_RENEWALS: &str = "mcp_multiplexer_child_session_renewals_total";
const DROPPED: &str = "mcp_multiplexer_child_messages_dropped_total";
const REFUSED: &str = "mcp_multiplexer_refused_total";
const AUTH_REQUESTS: &str = "mcp_multiplexer_auth_requests_total";
const AUTH_KEY_FETCHES: &str = "mcp_multiplexer_auth_key_fetches_total";
const AUTH_INTROSPECTIONS: &str = "mcp_multiplexer_auth_introspections_total";
const POLICY_DENIED: &str = "mcp_multiplexer_policy_denied_total";
const SESSIONS: &str = "mcp_multiplexer_sessions";
const BUILD_INFO: &str = "mcp_multiplexer_build_info";
const CHILD_UP: &str = "mcp_multiplexer_child_up";
const CHILD_IDLE: &str = "mcp_multiplexer_child_idle";
const CHILD_DISABLED: &str = "mcp_multiplexer_child_disabled";
const BREAKER_STATE: &str = "mcp_multiplexer_child_breaker_state";
const NEXT_RETRY: &str = "mcp_multiplexer_child_next_retry_timestamp_seconds";
const IN_FLIGHT: &str = "mcp_multiplexer_child_in_flight";
const QUEUED: &str = "mcp_multiplexer_child_queued";
const TOOLS: &str = "mcp_multiplexer_child_tools";
const TOOLS_BYTES: &str = "mcp_multiplexer_child_tools_list_bytes";
const CONFIG_GENERATION: &str = "mcp_multiplexer_config_generation";
const CONFIG_RELOAD: &str = "mcp_multiplexer_config_last_reload_successful";
const POLICY_GENERATION: &str = "mcp_multiplexer_policy_generation";
const POLICY_RELOAD: &str = "mcp_multiplexer_policy_last_reload_successful";

/// Seconds. From a call on loopback to the longest deadline there is.
const DURATION_BUCKETS: [f64; 15] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
];
/// Seconds. Our own share is microseconds; what is above a millisecond is a find.
const OVERHEAD_BUCKETS: [f64; 9] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.005, 0.05,
];
/// How often histograms are folded together: the recorder never does it by itself.
const UPKEEP: Duration = Duration::from_secs(5);

/// The process's metrics.
#[derive(Clone, Debug)]
pub struct Recorder(PrometheusHandle);

impl Recorder {
    /// Makes this process's recorder and starts its upkeep; with `compat`, another
    /// program's series are written beside ours. Once per process, inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// When a recorder is installed already.
    pub fn install(compat: Option<MetricsCompat>) -> Result<Self, BuildError> {
        let handle = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full(OVERHEAD.to_owned()), &OVERHEAD_BUCKETS)?
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &DURATION_BUCKETS)?
            .install_recorder()?;
        describe();
        compat::begin(compat);
        metrics::gauge!(BUILD_INFO, "version" => VERSION).set(1.0);
        let upkeep = handle.clone();
        tokio::spawn(async move {
            let mut every = tokio::time::interval(UPKEEP);
            loop {
                every.tick().await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self(handle))
    }

    /// The exposition text: what was recorded, and the gauges that `write` sets.
    pub fn render(&self, write: impl FnOnce(&ChildGauges)) -> String {
        let scratch = PrometheusBuilder::new().build_recorder();
        let gauges = scratch.handle();
        metrics::with_local_recorder(&scratch, || {
            describe_gauges();
            write(&ChildGauges(()));
        });
        let mut text = self.0.render();
        text.push_str(&gauges.render());
        text
    }
}

/// What one child's gauges say at this moment.
#[derive(Debug)]
pub struct ChildGauge<'a> {
    /// Its name in the configuration.
    pub child: &'a ChildName,
    /// The word for its transport.
    pub transport: &'static str,
    /// Whether it is connected.
    pub up: bool,
    /// Whether it is lazy, and stopped until a call needs it.
    pub idle: bool,
    /// Whether its entry says that it is disabled.
    pub disabled: bool,
    /// 0 closed, 1 half-open, 2 open.
    pub breaker: u8,
    /// When it is tried next, in seconds since 1970.
    pub next_retry: Option<f64>,
    /// Requests it is working on.
    pub in_flight: usize,
    /// Requests that wait for a slot.
    pub queued: usize,
    /// Tools it offers.
    pub tools: usize,
    /// Bytes these take in a list.
    pub tools_bytes: usize,
}

/// Writes the gauges that are read from the fleet's snapshot.
#[derive(Debug)]
pub struct ChildGauges(());

impl ChildGauges {
    /// One child's gauges.
    pub fn child(&self, gauge: &ChildGauge<'_>) {
        let child = gauge.child.to_string();
        metrics::gauge!(CHILD_UP, "child" => child.clone(), "transport" => gauge.transport)
            .set(f64::from(u8::from(gauge.up)));
        let set = |name: &'static str, value: f64| {
            metrics::gauge!(name, "child" => child.clone()).set(value);
        };
        set(CHILD_IDLE, f64::from(u8::from(gauge.idle)));
        set(CHILD_DISABLED, f64::from(u8::from(gauge.disabled)));
        set(BREAKER_STATE, f64::from(gauge.breaker));
        set(IN_FLIGHT, gauge.in_flight as f64);
        set(QUEUED, gauge.queued as f64);
        set(TOOLS, gauge.tools as f64);
        set(TOOLS_BYTES, gauge.tools_bytes as f64);
        if let Some(at) = gauge.next_retry {
            set(NEXT_RETRY, at);
        }
        compat::write(gauge);
    }

    /// The configuration's generation, and whether its last reload succeeded.
    pub fn config(&self, generation: u64, reloaded: bool) {
        metrics::gauge!(CONFIG_GENERATION).set(generation as f64);
        metrics::gauge!(CONFIG_RELOAD).set(f64::from(u8::from(reloaded)));
    }

    /// The same of the policies, where there are any.
    pub fn policy(&self, generation: u64, reloaded: bool) {
        metrics::gauge!(POLICY_GENERATION).set(generation as f64);
        metrics::gauge!(POLICY_RELOAD).set(f64::from(u8::from(reloaded)));
    }
}

/// How many sessions of one kind there are now.
pub fn set_sessions(transport: &'static str, era: &'static str, count: usize) {
    metrics::gauge!(SESSIONS, "transport" => transport, "era" => era).set(count as f64);
}

/// A client was refused because this process itself is short of something.
pub fn refused(reason: &'static str) {
    metrics::counter!(REFUSED, "reason" => reason).increment(1);
}

/// A request came to the locked door; `outcome` is `ok`, `anonymous` or why not.
pub fn auth_request(outcome: &'static str) {
    metrics::counter!(AUTH_REQUESTS, "outcome" => outcome).increment(1);
}

/// The keys of an issuer were fetched, or were to be.
pub fn auth_key_fetch(ok: bool) {
    metrics::counter!(AUTH_KEY_FETCHES, "outcome" => ok_or_failed(ok)).increment(1);
}

/// An issuer was asked about a token.
pub fn auth_introspection(ok: bool) {
    metrics::counter!(AUTH_INTROSPECTIONS, "outcome" => ok_or_failed(ok)).increment(1);
}

/// The policies have kept a caller from something; `method` is what it asked for.
pub fn policy_denied(method: &'static str) {
    metrics::counter!(POLICY_DENIED, "method" => method).increment(1);
}

fn ok_or_failed(ok: bool) -> &'static str {
    if ok { "ok" } else { "failed" }
}

/// The counters and histograms of one child.
#[derive(Clone, Debug)]
pub struct ChildMetrics(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    child: String,
    methods: DashMap<&'static str, Arc<Series>>,
    tools: DashMap<OwnName, Arc<Series>>,
    unauthorized: Counter,
    session_renewals: Counter,
    dropped: Counter,
    tally: Arc<Tally>,
}

/// One counter per outcome, made when it is first needed, and one histogram.
#[derive(Debug)]
struct Series {
    counters: [OnceLock<Counter>; Outcome::ALL.len()],
    duration: Histogram,
    /// Our own share, for the series of a method.
    overhead: Option<Histogram>,
}

impl Series {
    fn record(&self, outcome: Outcome, took: Duration, make: impl FnOnce() -> Counter) {
        self.counters[outcome as usize]
            .get_or_init(make)
            .increment(1);
        self.duration.record(took.as_secs_f64());
    }

    fn new(duration: Histogram, overhead: Option<Histogram>) -> Arc<Self> {
        Arc::new(Self {
            counters: Default::default(),
            duration,
            overhead,
        })
    }
}

/// A map of which there are as many as children. By itself it would be made for the
/// entries, and the cores, of a large machine.
fn few<K: Eq + std::hash::Hash, V>() -> DashMap<K, V> {
    DashMap::with_shard_amount(4)
}

impl ChildMetrics {
    /// The handles of one child. Its name comes from the configuration only.
    pub fn new(child: &ChildName) -> Self {
        let tally = Tally::of(child);
        let child = child.to_string();
        compat::child(&child);
        Self(Arc::new(Handles {
            tally,
            methods: few(),
            tools: few(),
            unauthorized: metrics::counter!(UNAUTHORIZED, "child" => child.clone()),
            session_renewals: metrics::counter!(SESSION_RENEWALS, "child" => child.clone()),
            dropped: metrics::counter!(DROPPED, "child" => child.clone()),
            child,
        }))
    }

    /// One request has ended. Of the time it `took`, `ours` was our own share.
    pub fn request(&self, method: &'static str, outcome: Outcome, took: Duration, ours: Duration) {
        let Handles { child, methods, .. } = &*self.0;
        let series = match methods.get(method) {
            Some(series) => Arc::clone(&series),
            None => Arc::clone(&methods.entry(method).or_insert_with(|| {
                Series::new(
                    metrics::histogram!(REQUEST_DURATION, "child" => child.clone(), "method" => method),
                    Some(metrics::histogram!(OVERHEAD, "method" => method)),
                )
            })),
        };
        if let Some(overhead) = &series.overhead {
            overhead.record(ours.as_secs_f64());
        }
        self.0.tally.count(outcome);
        series.record(outcome, took, || {
            metrics::counter!(REQUESTS, "child" => child.clone(), "method" => method, "outcome" => outcome.as_str())
        });
    }

    /// What it was asked of late.
    pub fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// The child has failed somebody, or cannot be reached; `tool` is what was called.
    pub fn failed(&self, kind: Outcome, reason: String, tool: Option<&OwnName>) {
        self.0
            .tally
            .failed(kind, reason, tool.map(OwnName::to_string));
    }

    /// One call of a tool that stands in the catalog has ended.
    pub fn tool_call(&self, tool: &OwnName, outcome: Outcome, took: Duration) {
        let Handles { child, tools, .. } = &*self.0;
        compat::called(child, outcome);
        let series = match tools.get(tool) {
            Some(series) => Arc::clone(&series),
            None => Arc::clone(&tools.entry(tool.clone()).or_insert_with(|| {
                Series::new(
                    metrics::histogram!(TOOL_CALL_DURATION, "child" => child.clone(), "tool" => tool.to_string()),
                    None,
                )
            })),
        };
        series.record(outcome, took, || {
            metrics::counter!(TOOL_CALLS, "child" => child.clone(), "tool" => tool.to_string(), "outcome" => outcome.as_str())
        });
    }

    /// The breaker has changed to `to`.
    pub fn breaker_transition(&self, to: &'static str) {
        metrics::counter!(BREAKER_TRANSITIONS, "child" => self.0.child.clone(), "to" => to)
            .increment(1);
    }

    /// A child that was ready is being started or connected anew.
    pub fn restarted(&self, reason: &'static str) {
        metrics::counter!(RESTARTS, "child" => self.0.child.clone(), "reason" => reason)
            .increment(1);
        compat::restarted(&self.0.child);
    }

    /// An attempt to connect has ended; `outcome` is `ok` or a failing outcome.
    pub fn connect_attempt(&self, outcome: Outcome) {
        metrics::counter!(CONNECT_ATTEMPTS, "child" => self.0.child.clone(), "outcome" => outcome.as_str())
            .increment(1);
    }

    /// The child answered 401.
    pub fn unauthorized(&self) {
        self.0.unauthorized.increment(1);
    }

    /// The child had lost our session and was given a new one.
    pub fn session_renewed(&self) {
        self.0.session_renewals.increment(1);
    }

    /// A message of the child that nobody could take was dropped.
    pub fn message_dropped(&self) {
        self.0.dropped.increment(1);
    }
}

fn describe() {
    use metrics::{
        describe_counter as counter, describe_gauge as gauge, describe_histogram as histogram,
    };
    counter!(REQUESTS, "Requests to a child that ended, by outcome.");
    histogram!(
        REQUEST_DURATION,
        Unit::Seconds,
        "Time from a request's arrival to its answer."
    );
    histogram!(
        OVERHEAD,
        Unit::Seconds,
        "The multiplexer's own share of a request."
    );
    counter!(TOOL_CALLS, "Calls of a tool that ended, by outcome.");
    histogram!(
        TOOL_CALL_DURATION,
        Unit::Seconds,
        "Time from a call's arrival to its answer."
    );
    counter!(
        BREAKER_TRANSITIONS,
        "Changes of a child's circuit breaker, by new state."
    );
    counter!(
        RESTARTS,
        "Times a child that was ready had to be started or connected anew."
    );
    counter!(
        CONNECT_ATTEMPTS,
        "Attempts to connect to a child, by outcome."
    );
    counter!(UNAUTHORIZED, "401 answers of a child.");
    counter!(
        SESSION_RENEWALS,
        "Sessions that a child had lost and that were renewed."
    );
    counter!(
        DROPPED,
        "Messages of a child outside of any request that nobody could take."
    );
    counter!(
        REFUSED,
        "Clients refused because the multiplexer itself was short of something."
    );
    counter!(
        AUTH_REQUESTS,
        "Requests that came to the locked door, by what became of them there."
    );
    counter!(
        AUTH_KEY_FETCHES,
        "Times the keys of an issuer were asked for."
    );
    counter!(
        AUTH_INTROSPECTIONS,
        "Times an issuer was asked about a token."
    );
    counter!(
        POLICY_DENIED,
        "Requests that the policies kept from a child, by method."
    );
    gauge!(SESSIONS, "Sessions and streams of clients now.");
    gauge!(BUILD_INFO, "Always 1; the version is in the label.");
}

fn describe_gauges() {
    use metrics::describe_gauge as gauge;
    gauge!(CHILD_UP, "Whether a child is connected.");
    gauge!(
        CHILD_IDLE,
        "Whether a lazy child is stopped until a call needs it."
    );
    gauge!(
        CHILD_DISABLED,
        "Whether a child's entry says that it is disabled."
    );
    gauge!(
        BREAKER_STATE,
        "A child's circuit breaker: 0 closed, 1 half-open, 2 open."
    );
    gauge!(
        NEXT_RETRY,
        Unit::Seconds,
        "When a child that is down is tried next, in Unix time."
    );
    gauge!(IN_FLIGHT, "Requests a child is working on.");
    gauge!(QUEUED, "Requests waiting for a free slot of a child.");
    gauge!(TOOLS, "Tools a child offers.");
    gauge!(TOOLS_BYTES, "Bytes a child's tools take in a list.");
    gauge!(
        CONFIG_GENERATION,
        "How many configurations have been in force, this one included."
    );
    gauge!(
        CONFIG_RELOAD,
        "Whether the configuration file was last read without error."
    );
    gauge!(
        POLICY_GENERATION,
        "How many sets of policies have been in force, this one included."
    );
    gauge!(
        POLICY_RELOAD,
        "Whether the policies were last read without error."
    );
}
