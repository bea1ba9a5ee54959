//! The series about the token, as operators see them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;

use super::error::Outcome;

const MINTS: &str = "mcp_multiplexer_token_mints_total";
const EXPIRY: &str = "mcp_multiplexer_token_expiry_timestamp_seconds";

/// Tells the recorder what the series mean.
#[allow(dead_code, reason = "called where the recorder is installed")]
pub(crate) fn describe() {
    describe_counter!(
        MINTS,
        "Mints of the service token, by outcome: ok, refused, unreachable, timeout, invalid_answer."
    );
    describe_gauge!(
        EXPIRY,
        Unit::Seconds,
        "Unix time at which the service token expires; in the past when none is valid."
    );
}

pub(super) fn minted(outcome: Outcome) {
    counter!(MINTS, "outcome" => outcome.as_str()).increment(1);
}

pub(super) fn expires(at: Instant) {
    let left = at.saturating_duration_since(Instant::now());
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    gauge!(EXPIRY).set((now + left).as_secs_f64());
}
