//! Metric handles, logs and traces: the words in which the program tells what it does.
//!
//! Owns: every series name and its description, the words of an [`Outcome`],
//! the log's shape, and what a span tells. Must never know where the numbers come from.

mod compat;
mod logs;
mod metrics;
mod otlp;
mod outcome;
mod tally;
mod traces;

pub use compat::MetricsCompat;
pub use logs::{AUDIT, LogFormat, LogGuard, init_logs};
pub use metrics::{
    ChildGauge, ChildGauges, ChildMetrics, Recorder, auth_introspection, auth_key_fetch,
    auth_request, policy_denied, refused, set_sessions,
};
pub use otlp::{end_traces, init_traces};
pub use outcome::Outcome;
pub use tally::{Activity, LastFailure, SLOTS, Tally};
pub use traces::{CallSpan, Incoming};
