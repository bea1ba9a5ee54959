//! Metric handles and logs: the words in which the program tells what it does.
//!
//! Owns: every series name and its description, the words of an [`Outcome`], and
//! the log's shape. Must never know where the numbers come from.

mod logs;
mod metrics;
mod outcome;
mod tally;

pub use logs::{LogFormat, LogGuard, init_logs};
pub use metrics::{
    ChildGauge, ChildGauges, ChildMetrics, Recorder, auth_introspection, auth_key_fetch,
    auth_request, refused, set_sessions,
};
pub use outcome::Outcome;
pub use tally::{Activity, LastFailure, SLOTS, Tally};
