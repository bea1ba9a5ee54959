//! The environment: where variables come from, and the defaults they set.

use std::collections::HashMap;

use serde_json::Number;

use super::{document::Node, error::ConfigError, layer::Layer, reader::Reader, warning::Warning};

/// Where variables are read from, so that tests need not touch the process.
pub trait Environment {
    /// The variable's value; `None` if it is not set or not Unicode.
    fn get(&self, name: &str) -> Option<String>;
}

/// The environment of this process.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
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

const TIMEOUT: &str = "MCP_CHILD_TIMEOUT";
const CALL_TIMEOUT: &str = "MCP_CHILD_CALL_TIMEOUT";
const MAX_CONCURRENCY: &str = "MCP_CHILD_MAX_CONCURRENCY";
const QUEUE_TIMEOUT: &str = "MCP_CHILD_QUEUE_TIMEOUT";
const BREAKER_THRESHOLD: &str = "MCP_CHILD_BREAKER_THRESHOLD";
const BREAKER_COOLDOWN: &str = "MCP_CHILD_BREAKER_COOLDOWN";
const LAZY: &str = "MCP_CHILD_LAZY";

const VARIABLES: &[&str] = &[
    TIMEOUT,
    CALL_TIMEOUT,
    MAX_CONCURRENCY,
    QUEUE_TIMEOUT,
    BREAKER_THRESHOLD,
    BREAKER_COOLDOWN,
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
        max_concurrency: reader.count(MAX_CONCURRENCY, super::layer::CONCURRENCY),
        queue_timeout: reader.duration_or_zero(QUEUE_TIMEOUT),
        breaker_failures: reader.count(BREAKER_THRESHOLD, super::layer::FAILURES),
        breaker_cooldown: reader.duration(BREAKER_COOLDOWN),
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
            (LAZY, "1"),
        ])
        .expect("valid");
        assert_eq!(layer.timeout, Some(Duration::from_secs(5)));
        assert_eq!(layer.call_timeout, Some(Duration::ZERO));
        assert_eq!(layer.max_concurrency, Some(3));
        assert_eq!(layer.queue_timeout, Some(Duration::from_millis(250)));
        assert_eq!(layer.breaker_failures, Some(0));
        assert_eq!(layer.breaker_cooldown, Some(Duration::from_millis(1500)));
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
