//! One entry of `mcpServers`: its keys over the defaults, made into a child.

use std::time::Duration;

use super::{
    child::{BreakerSettings, ChildSettings, DISABLED_IN_CONFIG, TransportSettings},
    document::Node,
    environment::Environment,
    keys,
    layer::Layer,
    prefix,
    reader::{Findings, Reader},
    warning::Warning,
};

const HTTP_TIMEOUT: Duration = Duration::from_secs(15);
/// A first `npx` or `uvx` downloads before it answers.
const STDIO_TIMEOUT: Duration = Duration::from_secs(60);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const HTTP_CONCURRENCY: usize = 64;
const STDIO_CONCURRENCY: usize = 16;
const QUEUE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// Reads an entry. One that is broken is a child too, disabled with the reason,
/// so that the operator sees it where the others are.
pub(super) fn read(
    name: &str,
    node: &Node,
    below: &Layer,
    env: &dyn Environment,
    warnings: &mut Vec<Warning>,
) -> ChildSettings {
    let (own, mut findings) = read_layer(name, node, env);
    check_name(name, &mut findings);
    let own_transport = own.transport.clone();
    let own_auth = own.auth.is_some();
    let layer = own.over(below.clone());

    let transport = match layer.transport.clone().resolve() {
        Ok(transport) => transport,
        // A key that could not be read looks like one that is not set.
        Err(_) if !findings.problems.is_empty() => TransportSettings::Unusable,
        Err(why) => {
            findings.problems.push(format!("{}{why}", place(name)));
            TransportSettings::Unusable
        }
    };
    for key in own_transport.unused(&transport) {
        findings
            .warnings
            .push(without_effect(name, key, &transport));
    }
    if own_auth && matches!(transport, TransportSettings::Stdio(_)) {
        findings
            .warnings
            .push(without_effect(name, "auth", &transport));
    }
    warnings.append(&mut findings.warnings);

    let broken = !findings.problems.is_empty();
    let mut child = settled(name, layer, transport);
    if broken {
        child.transport = TransportSettings::Unusable;
        // An operator who switched an entry off need not have its variables set.
        child
            .disabled
            .get_or_insert_with(|| one_sentence(name, &findings.problems));
    }
    child
}

/// All problems of an entry, which is named once.
fn one_sentence(name: &str, problems: &[String]) -> String {
    let place = place(name);
    let bare = |problem: &String| problem.strip_prefix(&place).unwrap_or(problem).to_owned();
    let problems: Vec<_> = problems.iter().map(bare).collect();
    format!("{place}{}", problems.join("; "))
}

/// How every sentence about an entry begins.
fn place(name: &str) -> String {
    format!("entry {name:?}: ")
}

fn read_layer(name: &str, node: &Node, env: &dyn Environment) -> (Layer, Findings) {
    let Node::Object(pairs) = node else {
        let problem = format!("{}expected an object, found {}", place(name), node.kind());
        let findings = Findings {
            problems: vec![problem],
            ..Findings::default()
        };
        return (Layer::default(), findings);
    };
    let mut reader = Reader::open(place(name), pairs, keys::ENTRY, env);
    let layer = Layer::read(&mut reader);
    (layer, reader.finish())
}

fn check_name(name: &str, findings: &mut Findings) {
    if name.trim().is_empty() || name.contains(char::is_control) {
        findings.problems.push(format!(
            "{}the name of an entry must not be empty or hold control characters",
            place(name)
        ));
    }
}

fn without_effect(name: &str, key: &str, transport: &TransportSettings) -> Warning {
    let kind = match transport {
        TransportSettings::Stdio(_) => "stdio",
        _ => "remote",
    };
    Warning::new(format!(
        "{}{key:?} has no effect on a {kind} child",
        place(name)
    ))
}

fn settled(name: &str, layer: Layer, transport: TransportSettings) -> ChildSettings {
    let remote = matches!(
        transport,
        TransportSettings::Http(_) | TransportSettings::Sse(_)
    );
    let (timeout, concurrency) = if remote {
        (HTTP_TIMEOUT, HTTP_CONCURRENCY)
    } else {
        (STDIO_TIMEOUT, STDIO_CONCURRENCY)
    };
    let call_timeout = layer.call_timeout.unwrap_or(CALL_TIMEOUT);
    let disabled = layer.disabled.unwrap_or(false);
    ChildSettings {
        breaker: breaker(&layer),
        name: name.into(),
        prefix: layer.prefix.unwrap_or_else(|| prefix::derived(name)),
        transport,
        enabled_tools: layer.enabled_tools.unwrap_or_default(),
        disabled_tools: layer.disabled_tools.unwrap_or_default(),
        disabled: disabled.then(|| DISABLED_IN_CONFIG.to_owned()),
        timeout: layer.timeout.unwrap_or(timeout),
        call_timeout: (!call_timeout.is_zero()).then_some(call_timeout),
        max_concurrency: layer.max_concurrency.unwrap_or(concurrency),
        queue_timeout: layer.queue_timeout.unwrap_or(QUEUE_TIMEOUT),
        auth: layer.auth.unwrap_or_default(),
        session: layer.session.unwrap_or_default(),
        lazy: layer.lazy.unwrap_or(false),
        idle_timeout: layer.idle_timeout.unwrap_or(IDLE_TIMEOUT),
    }
}

fn breaker(layer: &Layer) -> BreakerSettings {
    let built_in = BreakerSettings::default();
    let cooldown = layer.breaker_cooldown.unwrap_or(built_in.cooldown);
    BreakerSettings {
        failures: layer
            .breaker_failures
            .and_then(|failures| u32::try_from(failures).ok())
            .unwrap_or(built_in.failures),
        cooldown,
        max_cooldown: layer
            .breaker_max_cooldown
            .unwrap_or(built_in.max_cooldown)
            .max(cooldown),
        failure_rate: layer.breaker_failure_rate,
        window: layer.breaker_window.unwrap_or(built_in.window),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;
    use crate::config::document::parse;

    fn entry(text: &str) -> (ChildSettings, Vec<String>) {
        let env: HashMap<String, String> = HashMap::new();
        let node = parse(Path::new("c"), text).expect("JSON");
        let mut warnings = Vec::new();
        let child = read("github-mcp", &node, &Layer::default(), &env, &mut warnings);
        (child, warnings.iter().map(ToString::to_string).collect())
    }

    fn reason(text: &str) -> String {
        entry(text).0.disabled.expect("disabled")
    }

    #[test]
    fn defaults_depend_on_the_transport() {
        let (stdio, _) = entry(r#"{"command": "a"}"#);
        assert_eq!(stdio.timeout, Duration::from_secs(60));
        assert_eq!(stdio.max_concurrency, 16);
        let (http, _) = entry(r#"{"url": "http://h"}"#);
        assert_eq!(http.timeout, Duration::from_secs(15));
        assert_eq!(http.max_concurrency, 64);
        assert_eq!(http.call_timeout, Some(Duration::from_secs(60)));
        assert_eq!(http.queue_timeout, Duration::from_secs(30));
        assert_eq!(http.idle_timeout, Duration::from_secs(300));
        assert_eq!(http.breaker, BreakerSettings::default());
        assert_eq!(http.prefix, "github");
        assert_eq!(http.disabled, None);
    }

    #[test]
    fn a_call_timeout_of_zero_is_none() {
        let (child, _) = entry(r#"{"command": "a", "call_timeout": 0}"#);
        assert_eq!(child.call_timeout, None);
    }

    #[test]
    fn a_long_cooldown_lifts_its_limit() {
        let (child, _) = entry(r#"{"command": "a", "breaker": {"cooldown": "10m"}}"#);
        assert_eq!(child.breaker.max_cooldown, Duration::from_secs(600));
    }

    #[test]
    fn a_broken_entry_is_disabled_and_names_itself_the_key_and_the_variable() {
        let text = r#"{"url": "http://h", "headers": {"Authorization": "Bearer ${GITHUB_TOKEN}"}}"#;
        let (child, _) = entry(text);
        assert!(matches!(child.transport, TransportSettings::Unusable));
        let reason = child.disabled.expect("disabled");
        for part in ["github-mcp", "headers.Authorization", "GITHUB_TOKEN"] {
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn all_mistakes_of_an_entry_are_told_at_once_and_none_that_follows_from_another() {
        let reason = reason(r#"{"url": 5, "timeout": "soon", "max_concurrency": 0}"#);
        assert_eq!(reason.matches("github-mcp").count(), 1, "{reason}");
        assert_eq!(reason.matches("expected").count(), 3, "{reason}");
        assert!(!reason.contains("neither"), "{reason}");
    }

    #[test]
    fn an_entry_that_is_no_object_is_a_broken_child() {
        assert!(reason("[]").contains("expected an object, found a list"));
        assert!(reason("null").contains("found null"));
    }

    #[test]
    fn an_entry_switched_off_needs_nothing_else() {
        assert_eq!(
            reason(r#"{"disabled": true, "url": "${NONE}"}"#),
            DISABLED_IN_CONFIG
        );
    }

    #[test]
    fn keys_of_the_other_transport_are_warned_about() {
        let (_, warnings) = entry(r#"{"url": "http://h", "args": ["x"]}"#);
        assert_eq!(
            warnings,
            ["entry \"github-mcp\": \"args\" has no effect on a remote child"]
        );
        let (_, warnings) = entry(r#"{"command": "a", "headers": {}, "auth": "none"}"#);
        assert_eq!(warnings.len(), 2);
    }
}
