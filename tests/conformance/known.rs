//! What is known to be lost through the multiplexer.

/// Why a check is lost: the suite's condition for it is never met.
const ANSWERED_AT_ONCE: &str = "an answer that is the first thing to come is JSON, which the suite allows: there is no \
     stream to look at";

/// Scenario, checks, and why.
pub const KNOWN: &[(&str, &[&str], &str)] = &[
    (
        "server-sse-multiple-streams",
        &["server-sse-streams-functional"],
        ANSWERED_AT_ONCE,
    ),
    (
        "server-sse-polling",
        &["server-sse-priming-event", "server-sse-retry-field"],
        ANSWERED_AT_ONCE,
    ),
];
