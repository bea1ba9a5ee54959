//! The series about tokens, as operators see them.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use tokio::time::Instant;

use super::{error::Outcome, token::ServiceToken};

const MINTS: &str = "mcp_multiplexer_token_mints_total";
const EXPIRY: &str = "mcp_multiplexer_token_expiry_timestamp_seconds";
const MINTED: &str = "mcp_multiplexer_token_minted_timestamp_seconds";

/// Tells the recorder what the counters mean.
pub(crate) fn describe() {
    describe_counter!(
        MINTS,
        "Mints of a token, by identity and outcome: ok, refused, unreachable, timeout, invalid_answer."
    );
}

pub(super) fn minted(identity: &Arc<str>, outcome: Outcome) {
    counter!(MINTS, "identity" => identity.to_string(), "outcome" => outcome.as_str()).increment(1);
}

/// Writes the gauges of the last token of an identity.
pub(super) fn write(identity: &Arc<str>, token: &ServiceToken) {
    describe_gauge!(
        MINTED,
        Unit::Seconds,
        "Unix time at which the token was minted."
    );
    gauge!(MINTED, "identity" => identity.to_string()).set(unix(token.minted_at()));
    if let Some(at) = token.expires_at() {
        describe_gauge!(
            EXPIRY,
            Unit::Seconds,
            "Unix time at which the token expires; in the past when none is valid."
        );
        gauge!(EXPIRY, "identity" => identity.to_string()).set(unix(at));
    }
}

fn unix(at: Instant) -> f64 {
    let now = Instant::now();
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let ahead = at.saturating_duration_since(now).as_secs_f64();
    let behind = now.saturating_duration_since(at).as_secs_f64();
    since.as_secs_f64() + ahead - behind
}
