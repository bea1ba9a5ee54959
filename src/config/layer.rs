//! The keys of an entry, each set or not, so that one set of them can lie over
//! another: entry over `defaults` over environment.

use std::{ops::RangeInclusive, time::Duration};

use globset::Glob;

use super::{
    child::{AuthSettings, SessionMode},
    document::Node,
    identity::OwnToken,
    keys, prefix,
    reader::Reader,
    shown::quoted,
    transport::TransportLayer,
};

/// How many calls a child may be given at once.
pub(super) const CONCURRENCY: RangeInclusive<usize> = 1..=1_000_000;

/// How many sessions may have a connection of their own.
pub(super) const CONNECTIONS: RangeInclusive<usize> = 1..=1_000_000;

/// How many calls may wait for a free slot; 0: none.
pub(super) const QUEUE: RangeInclusive<usize> = 0..=1_000_000;

/// How many failures in a row a breaker may wait for; 0 turns it off.
pub(super) const FAILURES: RangeInclusive<usize> = 0..=1_000_000;

/// What one layer says; `None`: nothing.
#[derive(Clone, Default)]
pub(super) struct Layer {
    pub(super) transport: TransportLayer,
    pub(super) prefix: Option<String>,
    pub(super) enabled_tools: Option<Vec<String>>,
    pub(super) disabled_tools: Option<Vec<String>>,
    pub(super) disabled: Option<bool>,
    pub(super) timeout: Option<Duration>,
    /// Zero stands for no limit.
    pub(super) call_timeout: Option<Duration>,
    pub(super) max_call_timeout: Option<Duration>,
    pub(super) max_concurrency: Option<usize>,
    pub(super) max_queue: Option<usize>,
    pub(super) queue_timeout: Option<Duration>,
    /// Zero stands for none.
    pub(super) keep_alive: Option<Duration>,
    pub(super) restart_backoff: Option<Duration>,
    pub(super) restart_max_backoff: Option<Duration>,
    pub(super) restart_stable: Option<Duration>,
    pub(super) breaker_failures: Option<usize>,
    pub(super) breaker_cooldown: Option<Duration>,
    pub(super) breaker_max_cooldown: Option<Duration>,
    pub(super) breaker_failure_rate: Option<f64>,
    pub(super) breaker_window: Option<Duration>,
    pub(super) auth: Option<AuthLayer>,
    pub(super) session: Option<SessionMode>,
    pub(super) max_sessions: Option<usize>,
    pub(super) lazy: Option<bool>,
    pub(super) idle_timeout: Option<Duration>,
}

impl Layer {
    /// Reads the keys of an entry or of `defaults`.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut layer = Self {
            transport: TransportLayer::read(reader),
            prefix: read_prefix(reader),
            enabled_tools: read_globs(reader, "enabledTools"),
            disabled_tools: read_globs(reader, "disabledTools"),
            disabled: reader.flag("disabled"),
            timeout: reader.duration("timeout"),
            call_timeout: reader.duration_or_zero("callTimeout"),
            max_call_timeout: reader.duration("maxCallTimeout"),
            max_concurrency: reader.count("maxConcurrency", CONCURRENCY),
            max_queue: reader.count("maxQueue", QUEUE),
            queue_timeout: reader.duration_or_zero("queueTimeout"),
            keep_alive: reader.duration_or_zero("keepAlive"),
            breaker_failures: reader.count("breakerThreshold", FAILURES),
            breaker_cooldown: reader.duration("breakerCooldown"),
            auth: read_auth(reader),
            session: reader.choice("session", SESSIONS),
            max_sessions: reader.count("maxSessions", CONNECTIONS),
            lazy: reader.flag("lazy"),
            idle_timeout: reader.duration("idleTimeout"),
            ..Self::default()
        };
        layer.read_breaker(reader);
        layer.read_restart(reader);
        if let (Some(limit), Some(most)) = (layer.call_timeout, layer.max_call_timeout)
            && most < limit
        {
            let written = reader.spelling("maxCallTimeout");
            reader.refuse(written, "it is shorter than the call timeout it limits");
        }
        layer.warn_odd(reader);
        layer
    }

    fn read_breaker(&mut self, reader: &mut Reader<'_>) {
        let Some(mut breaker) = reader.inner("breaker", keys::BREAKER) else {
            return;
        };
        for (inner, outer) in [
            ("failures", "breakerThreshold"),
            ("cooldown", "breakerCooldown"),
        ] {
            if breaker.field(inner).is_some() && reader.field(outer).is_some() {
                let why = format!(
                    "the same setting stands as {:?} already; keep one spelling",
                    reader.spelling(outer)
                );
                breaker.refuse(inner, &why);
            }
        }
        self.breaker_failures = breaker
            .count("failures", FAILURES)
            .or(self.breaker_failures);
        self.breaker_cooldown = breaker.duration("cooldown").or(self.breaker_cooldown);
        self.breaker_max_cooldown = breaker.duration("maxCooldown");
        self.breaker_failure_rate = breaker.share("failureRate");
        self.breaker_window = breaker.duration("window");
        if let (Some(first), Some(most)) = (self.breaker_cooldown, self.breaker_max_cooldown)
            && most < first
        {
            let written = breaker.spelling("maxCooldown");
            breaker.refuse(written, "it is shorter than the cool-down it limits");
        }
        reader.absorb(breaker);
    }

    fn read_restart(&mut self, reader: &mut Reader<'_>) {
        let Some(mut restart) = reader.inner("restart", keys::RESTART) else {
            return;
        };
        self.restart_backoff = restart.duration("backoff");
        self.restart_max_backoff = restart.duration("maxBackoff");
        self.restart_stable = restart.duration("stable");
        if let (Some(first), Some(most)) = (self.restart_backoff, self.restart_max_backoff)
            && most < first
        {
            let written = restart.spelling("maxBackoff");
            restart.refuse(written, "it is shorter than the pause it limits");
        }
        reader.absorb(restart);
    }

    fn warn_odd(&self, reader: &mut Reader<'_>) {
        for (key, why) in keys::WITHOUT_EFFECT {
            if let Some(field) = reader.field(key) {
                reader.warn(&format!(
                    "the key {:?} has no effect here: {why}",
                    field.written
                ));
            }
        }
        if self.enabled_tools.as_ref().is_some_and(Vec::is_empty) {
            reader.warn("\"enabledTools\" is empty, which lets every tool through");
        }
    }

    /// This layer where it says something, else the one below.
    pub(super) fn over(self, lower: Self) -> Self {
        Self {
            transport: self.transport.over(lower.transport),
            prefix: self.prefix.or(lower.prefix),
            enabled_tools: self.enabled_tools.or(lower.enabled_tools),
            disabled_tools: self.disabled_tools.or(lower.disabled_tools),
            disabled: self.disabled.or(lower.disabled),
            timeout: self.timeout.or(lower.timeout),
            call_timeout: self.call_timeout.or(lower.call_timeout),
            max_call_timeout: self.max_call_timeout.or(lower.max_call_timeout),
            max_concurrency: self.max_concurrency.or(lower.max_concurrency),
            max_queue: self.max_queue.or(lower.max_queue),
            queue_timeout: self.queue_timeout.or(lower.queue_timeout),
            keep_alive: self.keep_alive.or(lower.keep_alive),
            restart_backoff: self.restart_backoff.or(lower.restart_backoff),
            restart_max_backoff: self.restart_max_backoff.or(lower.restart_max_backoff),
            restart_stable: self.restart_stable.or(lower.restart_stable),
            breaker_failures: self.breaker_failures.or(lower.breaker_failures),
            breaker_cooldown: self.breaker_cooldown.or(lower.breaker_cooldown),
            breaker_max_cooldown: self.breaker_max_cooldown.or(lower.breaker_max_cooldown),
            breaker_failure_rate: self.breaker_failure_rate.or(lower.breaker_failure_rate),
            breaker_window: self.breaker_window.or(lower.breaker_window),
            auth: self.auth.or(lower.auth),
            session: self.session.or(lower.session),
            max_sessions: self.max_sessions.or(lower.max_sessions),
            lazy: self.lazy.or(lower.lazy),
            idle_timeout: self.idle_timeout.or(lower.idle_timeout),
        }
    }
}

const SESSIONS: &[(&str, SessionMode)] = &[
    ("shared", SessionMode::Shared),
    ("dedicated", SessionMode::Dedicated),
];

fn read_prefix(reader: &mut Reader<'_>) -> Option<String> {
    let prefix = reader.text("prefix")?;
    if !prefix::is_valid(&prefix) {
        reader.refuse(
            "prefix",
            "only ASCII letters, digits, \"_\" and \"-\" can stand in it: model APIs refuse others",
        );
        return None;
    }
    Some(prefix)
}

/// A list of globs, each checked.
pub(super) fn read_globs(reader: &mut Reader<'_>, key: &'static str) -> Option<Vec<String>> {
    let written = reader.spelling(key);
    let globs = reader.texts_as_written(key)?;
    let mut sound = true;
    for glob in &globs {
        if let Err(error) = Glob::new(&glob.expanded) {
            let why = format!("{} is not a glob: {}", quoted(glob.raw), error.kind());
            reader.refuse(written, &why);
            sound = false;
        }
    }
    sound.then(|| globs.into_iter().map(|glob| glob.expanded).collect())
}

/// What a layer says of `auth`.
#[derive(Clone)]
pub(super) enum AuthLayer {
    Is(AuthSettings),
    /// A token of its own, still to be completed from the environment.
    Own(OwnToken),
    /// What users' tokens are exchanged for, still to be completed as well.
    Exchange(OwnToken),
}

const AUTH_WORDS: &[(&str, AuthWord)] = &[
    ("service", AuthWord::Service),
    ("none", AuthWord::None),
    ("passthrough", AuthWord::Passthrough),
];

#[derive(Clone, Copy)]
enum AuthWord {
    Service,
    None,
    Passthrough,
}

fn read_auth(reader: &mut Reader<'_>) -> Option<AuthLayer> {
    let field = reader.field("auth")?;
    if let Node::Object(members) = field.value {
        let known = |name: &str| keys::known(keys::ENTRY_AUTH, name);
        if members
            .iter()
            .any(|(name, _)| known(name) == Some("tokenExchange"))
        {
            return OwnToken::read_exchange(reader).map(AuthLayer::Exchange);
        }
        return OwnToken::read(reader).map(AuthLayer::Own);
    }
    Some(AuthLayer::Is(match reader.choice("auth", AUTH_WORDS)? {
        AuthWord::Service => AuthSettings::Service,
        AuthWord::None => AuthSettings::None,
        AuthWord::Passthrough => AuthSettings::Passthrough,
    }))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;
    use crate::config::{
        document::{Node, parse},
        reader::Findings,
    };

    fn layer(text: &str) -> (Layer, Findings) {
        let env: HashMap<String, String> = HashMap::new();
        let Ok(Node::Object(pairs)) = parse(Path::new("c"), text) else {
            panic!("an object was expected");
        };
        let mut reader = Reader::open(String::new(), &pairs, keys::ENTRY, &env);
        let layer = Layer::read(&mut reader);
        (layer, reader.finish())
    }

    #[test]
    fn the_flat_breaker_keys_mean_those_of_the_object() {
        let (flat, findings) = layer(r#"{"breaker_threshold": 3, "breakerCooldown": "2s"}"#);
        assert!(findings.problems.is_empty());
        assert_eq!(flat.breaker_failures, Some(3));
        assert_eq!(flat.breaker_cooldown, Some(Duration::from_secs(2)));
        let (deep, findings) = layer(
            r#"{"breaker": {"failures": 0, "max_cooldown": 60, "failureRate": 0.5, "window": "10s"}}"#,
        );
        assert!(findings.problems.is_empty(), "{:?}", findings.problems);
        assert_eq!(deep.breaker_failures, Some(0));
        assert_eq!(deep.breaker_failure_rate, Some(0.5));
    }

    #[test]
    fn a_breaker_that_contradicts_itself_is_refused() {
        let cases = [
            (
                r#"{"breaker_threshold": 3, "breaker": {"failures": 3}}"#,
                "breaker_threshold",
            ),
            (
                r#"{"breaker": {"cooldown": 60, "maxCooldown": 30}}"#,
                "shorter than",
            ),
            (r#"{"breaker": {"failureRate": 50}}"#, "up to 1"),
            (r#"{"breaker": {"failures": -1}}"#, "found -1"),
            (r#"{"breaker": 3}"#, "expected an object"),
        ];
        for (text, part) in cases {
            let problems = layer(text).1.problems;
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].contains(part), "{text}: {problems:?}");
        }
    }

    #[test]
    fn clocks_that_contradict_each_other_are_refused() {
        let cases = [
            (
                r#"{"restart": {"backoff": "2s", "max_backoff": "1s"}}"#,
                "restart.max_backoff",
            ),
            (
                r#"{"callTimeout": "2s", "maxCallTimeout": "1s"}"#,
                "shorter than the call timeout",
            ),
            (r#"{"restart": {"stable": 0}}"#, "more than 0"),
        ];
        for (text, part) in cases {
            let problems = layer(text).1.problems;
            assert_eq!(problems.len(), 1, "{text}: {problems:?}");
            assert!(problems[0].contains(part), "{text}: {problems:?}");
        }
    }

    #[test]
    fn keys_without_effect_say_so_in_either_spelling() {
        let (_, findings) = layer(r#"{"pool_size": 4, "maxRestarts": 5, "restart_window": 6}"#);
        let text: Vec<_> = findings.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(text.len(), 3);
        assert!(text[0].starts_with("the key \"pool_size\" has no effect here"));
    }

    #[test]
    fn auth_is_a_word_or_an_object_with_known_keys() {
        let word = |text: &str| match layer(text).0.auth {
            Some(AuthLayer::Is(auth)) => auth,
            _ => panic!("{text}"),
        };
        assert!(word(r#"{"auth": "none"}"#) == AuthSettings::None);
        assert!(word(r#"{"auth": "passthrough"}"#) == AuthSettings::Passthrough);
        let (exchange, findings) = layer(r#"{"auth": {"token_exchange": {"audience": "x"}}}"#);
        assert!(matches!(exchange.auth, Some(AuthLayer::Exchange(_))));
        assert!(findings.problems.is_empty(), "{:?}", findings.problems);
        let (_, findings) = layer(r#"{"auth": {"tokenExchange": {"audience": 1}, "scope": "y"}}"#);
        assert_eq!(findings.problems.len(), 2, "{:?}", findings.problems);
        assert!(
            findings.problems[1].contains("auth.scope"),
            "{:?}",
            findings.problems
        );
        let (own, findings) = layer(r#"{"auth": {"audience": "x", "scop": "y"}}"#);
        assert!(matches!(own.auth, Some(AuthLayer::Own(_))));
        assert!(
            findings.warnings[0]
                .to_string()
                .contains("\"auth.scop\" is not known")
        );
        assert!(layer(r#"{"auth": true}"#).1.problems[0].contains("or \"passthrough\""));
    }

    #[test]
    fn a_wrong_glob_or_prefix_is_refused() {
        let (_, findings) = layer(r#"{"enabledTools": ["a[", "b*"], "prefix": "a b"}"#);
        assert_eq!(findings.problems.len(), 2);
        assert!(findings.problems[1].contains("\"a[\" is not a glob"));
    }

    #[test]
    fn the_upper_layer_wins_key_by_key() {
        let (upper, _) = layer(r#"{"timeout": 1, "breaker": {"failures": 2}}"#);
        let (lower, _) = layer(r#"{"timeout": 9, "lazy": true, "breaker": {"cooldown": 3}}"#);
        let both = upper.over(lower);
        assert_eq!(both.timeout, Some(Duration::from_secs(1)));
        assert_eq!(both.lazy, Some(true));
        assert_eq!(both.breaker_failures, Some(2));
        assert_eq!(both.breaker_cooldown, Some(Duration::from_secs(3)));
    }
}
