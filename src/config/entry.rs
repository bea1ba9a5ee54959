//! One entry of `mcpServers`: its keys over the defaults, made into a child.

use std::{sync::Arc, time::Duration};

use super::{
    child::{
        AuthSettings, BreakerSettings, ChildSettings, DISABLED_IN_CONFIG, RestartSettings,
        TransportSettings,
    },
    document::Node,
    environment::Environment,
    identity::TokenDefaults,
    keys,
    layer::{AuthLayer, Layer},
    prefix,
    reader::{Findings, Reader},
    warning::Warning,
};

const HTTP_TIMEOUT: Duration = Duration::from_secs(15);
/// A first `npx` or `uvx` downloads before it answers.
const STDIO_TIMEOUT: Duration = Duration::from_secs(60);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_CALL_TIMEOUT: Duration = Duration::from_secs(10 * 60);
const HTTP_CONCURRENCY: usize = 64;
const STDIO_CONCURRENCY: usize = 16;
const MAX_QUEUE: usize = 1000;
const QUEUE_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_SESSIONS: usize = 32;
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);

/// What lies below every entry.
pub(super) struct Below<'a> {
    /// The `defaults` of the file over those of the environment.
    pub(super) layer: Layer,
    /// What an `auth` of its own rests on.
    pub(super) token: &'a TokenDefaults,
}

/// Reads an entry. One that is broken is a child too, disabled with the reason,
/// so that the operator sees it where the others are; each of its mistakes is among
/// those `found` too.
pub(super) fn read(
    name: &str,
    node: &Node,
    below: &Below<'_>,
    env: &dyn Environment,
    found: &mut Findings,
) -> ChildSettings {
    let (own, mut findings) = read_layer(name, node, env);
    check_name(name, &mut findings);
    let own_transport = own.transport.clone();
    let own_auth = own.auth.is_some();
    let layer = own.over(below.layer.clone());

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
    let auth = match &layer.auth {
        None => AuthSettings::default(),
        Some(AuthLayer::Is(auth)) => auth.clone(),
        Some(AuthLayer::Own(own)) => {
            let token = own.over(below.token).map(Arc::new);
            complete(
                name,
                token.map(AuthSettings::Own),
                &transport,
                &mut findings,
            )
        }
        Some(AuthLayer::Exchange(own)) => {
            let token = own.exchanged(below.token).map(Arc::new);
            complete(
                name,
                token.map(AuthSettings::Exchange),
                &transport,
                &mut findings,
            )
        }
    };
    if own_auth && is_contradicted(&auth, &transport) {
        findings.warnings.push(Warning::new(format!(
            "{}\"auth\" has no effect: the entry has an Authorization of its own, which goes to the child for every user",
            place(name)
        )));
    }
    found.warnings.append(&mut findings.warnings);

    let broken = !findings.problems.is_empty();
    let mut child = settled(name, layer, transport, auth);
    if broken {
        child.transport = TransportSettings::Unusable;
        // An operator who switched an entry off need not have its variables set.
        if child.disabled.is_none() {
            child.disabled = Some(one_sentence(name, &findings.problems));
            found.problems.append(&mut findings.problems);
        }
    }
    child
}

/// Whether users are to be shown to a child that is told who asks already.
fn is_contradicted(auth: &AuthSettings, transport: &TransportSettings) -> bool {
    let by_user = matches!(auth, AuthSettings::Passthrough | AuthSettings::Exchange(_));
    match transport {
        TransportSettings::Http(remote) | TransportSettings::Sse(remote) => {
            by_user && remote.has_own_authorization()
        }
        TransportSettings::Stdio(_) | TransportSettings::Unusable => false,
    }
}

/// An `auth` that rests on variables, or why it cannot be had.
fn complete(
    name: &str,
    auth: Result<AuthSettings, String>,
    transport: &TransportSettings,
    findings: &mut Findings,
) -> AuthSettings {
    match auth {
        Ok(auth) => auth,
        // Without meaning there, as a warning says.
        Err(_) if matches!(transport, TransportSettings::Stdio(_)) => AuthSettings::None,
        Err(why) => {
            findings.problems.push(format!("{}{why}", place(name)));
            AuthSettings::None
        }
    }
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

fn settled(
    name: &str,
    layer: Layer,
    transport: TransportSettings,
    auth: AuthSettings,
) -> ChildSettings {
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
    let keep_alive = layer.keep_alive.unwrap_or(KEEP_ALIVE);
    let disabled = layer.disabled.unwrap_or(false);
    ChildSettings {
        breaker: breaker(&layer),
        restart: restart(&layer),
        name: name.into(),
        prefix: layer.prefix.unwrap_or_else(|| prefix::derived(name)),
        transport,
        enabled_tools: layer.enabled_tools.unwrap_or_default(),
        disabled_tools: layer.disabled_tools.unwrap_or_default(),
        disabled: disabled.then(|| DISABLED_IN_CONFIG.to_owned()),
        timeout: layer.timeout.unwrap_or(timeout),
        call_timeout: (!call_timeout.is_zero()).then_some(call_timeout),
        max_call_timeout: layer
            .max_call_timeout
            .unwrap_or(MAX_CALL_TIMEOUT)
            .max(call_timeout),
        max_concurrency: layer.max_concurrency.unwrap_or(concurrency),
        max_queue: layer.max_queue.unwrap_or(MAX_QUEUE),
        queue_timeout: layer.queue_timeout.unwrap_or(QUEUE_TIMEOUT),
        keep_alive: (remote && !keep_alive.is_zero()).then_some(keep_alive),
        auth,
        session: layer.session.unwrap_or_default(),
        max_sessions: layer.max_sessions.unwrap_or(MAX_SESSIONS),
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

fn restart(layer: &Layer) -> RestartSettings {
    let built_in = RestartSettings::default();
    let backoff = layer.restart_backoff.unwrap_or(built_in.backoff);
    RestartSettings {
        backoff,
        max_backoff: layer
            .restart_max_backoff
            .unwrap_or(built_in.max_backoff)
            .max(backoff),
        stable: layer.restart_stable.unwrap_or(built_in.stable),
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
        let mut found = Findings::default();
        let token = TokenDefaults::read(&env, false).expect("tolerated");
        let below = Below {
            layer: Layer::default(),
            token: &token,
        };
        let child = read("github-mcp", &node, &below, &env, &mut found);
        (
            child,
            found.warnings.iter().map(ToString::to_string).collect(),
        )
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
        assert_eq!(http.max_call_timeout, Duration::from_secs(600));
        assert_eq!(http.max_queue, 1000);
        assert_eq!(http.keep_alive, Some(Duration::from_secs(30)));
        assert_eq!(stdio.keep_alive, None);
        assert_eq!(http.restart, RestartSettings::default());
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
    fn a_long_first_wait_lifts_its_limit() {
        let (child, _) = entry(r#"{"command": "a", "callTimeout": "20m"}"#);
        assert_eq!(child.max_call_timeout, Duration::from_secs(1200));
        let (child, _) = entry(r#"{"command": "a", "restart": {"backoff": "2m"}}"#);
        assert_eq!(child.restart.max_backoff, Duration::from_secs(120));
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
    fn a_header_that_speaks_for_all_users_is_warned_about() {
        let header = r#""headers": {"Authorization": "Bearer x"}"#;
        let text = format!(r#"{{"url": "http://h", {header}, "auth": "passthrough"}}"#);
        let (child, warnings) = entry(&text);
        assert!(!child.is_per_user());
        assert!(
            warnings[0].contains("an Authorization of its own"),
            "{warnings:?}"
        );
        let (child, warnings) = entry(r#"{"url": "http://h", "auth": "passthrough"}"#);
        assert!(child.is_per_user() && warnings.is_empty(), "{warnings:?}");
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
