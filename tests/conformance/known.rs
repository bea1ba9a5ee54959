//! What is known to be lost through the multiplexer.

/// Why a check is lost: the suite's condition for it is never met.
const ANSWERED_AT_ONCE: &str = "an answer that is the first thing to come is JSON, which the suite allows: there is no \
     stream to look at";

/// Why a check is lost: a legacy client and a modern child.
const NOT_YET_ASKED: &str =
    "what a modern child asks for in a result is not yet asked of a legacy client";

/// Why a check is lost: a legacy client cannot watch a resource.
const NOT_YET_WATCHED: &str = "resources/subscribe is not yet carried";

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
    (
        "elicitation-sep1034-defaults",
        &[
            "elicitation-sep1034-boolean-default",
            "elicitation-sep1034-enum-default",
            "elicitation-sep1034-general",
            "elicitation-sep1034-integer-default",
            "elicitation-sep1034-number-default",
            "elicitation-sep1034-string-default",
        ],
        NOT_YET_ASKED,
    ),
    (
        "elicitation-sep1330-enums",
        &[
            "elicitation-sep1330-general",
            "elicitation-sep1330-legacy-enumnames",
            "elicitation-sep1330-titled-multi",
            "elicitation-sep1330-titled-single",
            "elicitation-sep1330-untitled-multi",
            "elicitation-sep1330-untitled-single",
        ],
        NOT_YET_ASKED,
    ),
    (
        "tools-call-elicitation",
        &["tools-call-elicitation"],
        NOT_YET_ASKED,
    ),
    (
        "tools-call-sampling",
        &["tools-call-sampling"],
        NOT_YET_ASKED,
    ),
    (
        "resources-subscribe",
        &["resources-subscribe"],
        NOT_YET_WATCHED,
    ),
    (
        "resources-unsubscribe",
        &["resources-unsubscribe"],
        NOT_YET_WATCHED,
    ),
];
