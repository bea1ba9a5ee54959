//! The methods that the specification names, and its own extension for tasks.

/// Requests and notifications of any version, in either direction. What extensions add is
/// none of them; but what becomes of a task is for nobody but who began it.
const SPECIFIED: &[&str] = &[
    "completion/complete",
    "elicitation/create",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/elicitation/complete",
    "notifications/initialized",
    "notifications/message",
    "notifications/progress",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/roots/list_changed",
    "notifications/subscriptions/acknowledged",
    "notifications/tasks",
    "notifications/tasks/status",
    "notifications/tools/list_changed",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "roots/list",
    "sampling/createMessage",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
];

/// Whether the specification says what this method means. Nobody but the child and the
/// client knows of any other one.
pub fn is_specified(method: &str) -> bool {
    SPECIFIED.binary_search(&method).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_found() {
        assert!(SPECIFIED.is_sorted());
        assert!(is_specified("tools/call") && is_specified("completion/complete"));
        assert!(!is_specified("skills/list") && !is_specified("tools"));
    }
}
