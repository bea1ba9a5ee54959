//! The environment: where variables come from, and the defaults they set.

use std::{collections::HashMap, path::Path};

use secrecy::{ExposeSecret, SecretString};
use serde_json::Number;

use super::{
    document::Node, env_file, error::ConfigError, layer::Layer, reader::Reader, warning::Warning,
};

/// Where variables are read from, so that tests need not touch the process.
pub trait Environment {
    /// The variable's value; `None` if it is not set or not Unicode.
    fn get(&self, name: &str) -> Option<String>;
}

/// The environment of this process, and behind it a file of variables.
///
/// What the process has wins, unless it is empty. The file is only looked up: no other
/// program sees what stands in it.
#[derive(Debug, Default)]
pub struct ProcessEnvironment {
    file: HashMap<String, SecretString>,
}

impl ProcessEnvironment {
    /// The environment, and this file behind it, as it is now.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or a line of it is no variable.
    pub fn with(file: Option<&Path>) -> Result<Self, ConfigError> {
        let file = file.map(env_file::read).transpose()?;
        Ok(Self {
            file: file.unwrap_or_default(),
        })
    }

    /// Whether the variable stands in the file, whatever the process has.
    pub fn is_in_file(&self, name: &str) -> bool {
        self.file.contains_key(name)
    }
}

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        let own = std::env::var(name).ok();
        let of_file = || self.file.get(name).map(|it| it.expose_secret().to_owned());
        match own {
            Some(own) if !own.is_empty() => Some(own),
            own => of_file().or(own),
        }
    }
}

impl Environment for HashMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        HashMap::get(self, name).cloned()
    }
}

/// A setting's value, trimmed. Blank counts as unset: that is what whoever
/// writes `OIDC_SCOPE=` into a stack file means.
pub(super) fn setting(env: &dyn Environment, name: &str) -> Option<String> {
    let value = env.get(name)?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// A switch as people write it in an environment.
pub(super) fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Globs with commas between them.
pub(super) fn globs(env: &dyn Environment, name: &str) -> Result<Vec<String>, ConfigError> {
    let text = setting(env, name).unwrap_or_default();
    let globs = text.split(',').map(str::trim).filter(|it| !it.is_empty());
    globs
        .map(|glob| match globset::Glob::new(glob) {
            Ok(_) => Ok(glob.to_owned()),
            Err(error) => Err(ConfigError::Variable {
                problem: format!("{name}: {glob:?} is not a glob: {}", error.kind()),
            }),
        })
        .collect()
}

const TIMEOUT: &str = "MCP_CHILD_TIMEOUT";
const CALL_TIMEOUT: &str = "MCP_CHILD_CALL_TIMEOUT";
const MAX_CALL_TIMEOUT: &str = "MCP_CHILD_MAX_CALL_TIMEOUT";
const MAX_CONCURRENCY: &str = "MCP_CHILD_MAX_CONCURRENCY";
const MAX_QUEUE: &str = "MCP_CHILD_MAX_QUEUE";
const QUEUE_TIMEOUT: &str = "MCP_CHILD_QUEUE_TIMEOUT";
const KEEP_ALIVE: &str = "MCP_CHILD_KEEP_ALIVE";
const RESTART_BACKOFF: &str = "MCP_CHILD_RESTART_BACKOFF";
const RESTART_MAX_BACKOFF: &str = "MCP_CHILD_RESTART_MAX_BACKOFF";
const RESTART_STABLE: &str = "MCP_CHILD_RESTART_STABLE";
const BREAKER_THRESHOLD: &str = "MCP_CHILD_BREAKER_THRESHOLD";
const BREAKER_COOLDOWN: &str = "MCP_CHILD_BREAKER_COOLDOWN";
const BREAKER_MAX_COOLDOWN: &str = "MCP_CHILD_BREAKER_MAX_COOLDOWN";
const BREAKER_FAILURE_RATE: &str = "MCP_CHILD_BREAKER_FAILURE_RATE";
const BREAKER_WINDOW: &str = "MCP_CHILD_BREAKER_WINDOW";
const LAZY: &str = "MCP_CHILD_LAZY";

const VARIABLES: &[&str] = &[
    TIMEOUT,
    CALL_TIMEOUT,
    MAX_CALL_TIMEOUT,
    MAX_CONCURRENCY,
    MAX_QUEUE,
    QUEUE_TIMEOUT,
    KEEP_ALIVE,
    RESTART_BACKOFF,
    RESTART_MAX_BACKOFF,
    RESTART_STABLE,
    BREAKER_THRESHOLD,
    BREAKER_COOLDOWN,
    BREAKER_MAX_COOLDOWN,
    BREAKER_FAILURE_RATE,
    BREAKER_WINDOW,
    LAZY,
];

/// What the `MCP_CHILD_…` variables say for every entry. They are read with the
/// rules of the file, so that a number means the same in both.
pub(super) fn child_defaults(
    env: &dyn Environment,
    warnings: &mut Vec<Warning>,
) -> Result<Layer, ConfigError> {
    let pairs: Vec<(String, Node)> = VARIABLES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), as_node(name, setting(env, name)?))))
        .collect();
    let mut reader = Reader::open(String::new(), &pairs, VARIABLES, env);
    let layer = Layer {
        timeout: reader.duration(TIMEOUT),
        call_timeout: reader.duration_or_zero(CALL_TIMEOUT),
        max_call_timeout: reader.duration(MAX_CALL_TIMEOUT),
        max_concurrency: reader.count(MAX_CONCURRENCY, super::layer::CONCURRENCY),
        max_queue: reader.count(MAX_QUEUE, super::layer::QUEUE),
        queue_timeout: reader.duration_or_zero(QUEUE_TIMEOUT),
        keep_alive: reader.duration_or_zero(KEEP_ALIVE),
        restart_backoff: reader.duration(RESTART_BACKOFF),
        restart_max_backoff: reader.duration(RESTART_MAX_BACKOFF),
        restart_stable: reader.duration(RESTART_STABLE),
        breaker_failures: reader.count(BREAKER_THRESHOLD, super::layer::FAILURES),
        breaker_cooldown: reader.duration(BREAKER_COOLDOWN),
        breaker_max_cooldown: reader.duration(BREAKER_MAX_COOLDOWN),
        breaker_failure_rate: reader.share(BREAKER_FAILURE_RATE),
        breaker_window: reader.duration(BREAKER_WINDOW),
        lazy: reader.flag(LAZY),
        ..Layer::default()
    };
    let findings = reader.finish();
    warnings.extend(findings.warnings);
    if !findings.problems.is_empty() {
        return Err(ConfigError::Variable {
            problem: findings.problems.join("; "),
        });
    }
    Ok(layer)
}

/// The JSON value an author of a file would have written for this text.
fn as_node(name: &str, text: String) -> Node {
    if name == LAZY {
        return flag(&text).map_or(Node::String(text), Node::Bool);
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Node::Number(whole.into());
    }
    match text.parse().ok().and_then(Number::from_f64) {
        Some(number) => Node::Number(number),
        None => Node::String(text),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn layer(pairs: &[(&str, &str)]) -> Result<Layer, ConfigError> {
        let env: HashMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        child_defaults(&env, &mut Vec::new())
    }

    #[test]
    fn every_variable_sets_its_default() {
        let layer = layer(&[
            (TIMEOUT, "5"),
            (CALL_TIMEOUT, "0"),
            (MAX_CONCURRENCY, " 3 "),
            (QUEUE_TIMEOUT, "250ms"),
            (BREAKER_THRESHOLD, "0"),
            (BREAKER_COOLDOWN, "1.5"),
            (MAX_CALL_TIMEOUT, "20m"),
            (MAX_QUEUE, "0"),
            (KEEP_ALIVE, "0"),
            (RESTART_BACKOFF, "5ms"),
            (RESTART_MAX_BACKOFF, "50ms"),
            (RESTART_STABLE, "1s"),
            (BREAKER_MAX_COOLDOWN, "70ms"),
            (BREAKER_FAILURE_RATE, "0.5"),
            (BREAKER_WINDOW, "10"),
            (LAZY, "1"),
        ])
        .expect("valid");
        assert_eq!(layer.timeout, Some(Duration::from_secs(5)));
        assert_eq!(layer.call_timeout, Some(Duration::ZERO));
        assert_eq!(layer.max_concurrency, Some(3));
        assert_eq!(layer.queue_timeout, Some(Duration::from_millis(250)));
        assert_eq!(layer.breaker_failures, Some(0));
        assert_eq!(layer.breaker_cooldown, Some(Duration::from_millis(1500)));
        assert_eq!(layer.max_call_timeout, Some(Duration::from_secs(1200)));
        assert_eq!(layer.max_queue, Some(0));
        assert_eq!(layer.keep_alive, Some(Duration::ZERO));
        assert_eq!(layer.restart_backoff, Some(Duration::from_millis(5)));
        assert_eq!(layer.restart_max_backoff, Some(Duration::from_millis(50)));
        assert_eq!(layer.restart_stable, Some(Duration::from_secs(1)));
        assert_eq!(layer.breaker_max_cooldown, Some(Duration::from_millis(70)));
        assert_eq!(layer.breaker_failure_rate, Some(0.5));
        assert_eq!(layer.breaker_window, Some(Duration::from_secs(10)));
        assert_eq!(layer.lazy, Some(true));
    }

    #[test]
    fn a_blank_variable_is_an_unset_one() {
        let layer = layer(&[(TIMEOUT, "  "), (LAZY, "")]).expect("valid");
        assert_eq!((layer.timeout, layer.lazy), (None, None));
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for (name, value) in [
            (TIMEOUT, "soon"),
            (TIMEOUT, "0"),
            (MAX_CONCURRENCY, "0"),
            (LAZY, "perhaps"),
        ] {
            let error = layer(&[(name, value)]).err().expect("refused");
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn switches_are_read_as_people_write_them() {
        assert_eq!(flag(" Yes "), Some(true));
        assert_eq!(flag("0"), Some(false));
        assert_eq!(flag(""), None);
    }
}
