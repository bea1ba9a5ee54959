//! The top level of the file.

use std::path::Path;

use super::{
    child::{AuthSettings, ChildSettings},
    document::{self, Node},
    door,
    entry::{self, Below},
    environment::{self, Environment, setting},
    error::ConfigError,
    groups,
    identity::{self, IdentitySettings},
    keys,
    layer::{self, Layer},
    prefix,
    reader::{Findings, Reader},
    scalars::one_of,
    self_reference,
    session_keys::SessionKeys,
    settings::{Mode, Settings},
    synonyms,
    warning::Warning,
};

/// 64, which the strictest client allows, less `mcp__mcp-multiplexer__`, which
/// that client puts before it.
const MAX_NAME_LENGTH: usize = 42;

const MODES: &[(&str, Mode)] = &[("eager", Mode::Eager), ("dynamic", Mode::Dynamic)];

/// A file read to its end, whatever is wrong with it.
pub(super) struct Draft {
    /// What is to be in force if nothing is wrong. What is wrong reads as if it did not
    /// stand there.
    pub(super) settings: Settings,
    /// What stops the start.
    pub(super) fatal: Vec<ConfigError>,
    /// Mistakes outside the entries, which stop it too.
    pub(super) problems: Vec<String>,
    /// Mistakes in entries, which disable these.
    pub(super) of_entries: Vec<String>,
}

/// Reads a whole file. Session keys that cannot be read stay as they were `before`.
pub(super) fn read(
    path: &Path,
    text: &str,
    env: &dyn Environment,
    before: Option<&Settings>,
) -> Result<Settings, ConfigError> {
    let draft = draft(path, text, env, before)?;
    match draft.fatal.into_iter().next() {
        Some(error) => Err(error),
        None if draft.problems.is_empty() => Ok(draft.settings),
        None => Err(value_error(path, draft.problems)),
    }
}

/// Reads a whole file to find all that is wrong with it: only one that is no JSON object
/// stops it.
pub(super) fn draft(
    path: &Path,
    text: &str,
    env: &dyn Environment,
    before: Option<&Settings>,
) -> Result<Draft, ConfigError> {
    let root = document::parse(path, text)?;
    let Node::Object(pairs) = &root else {
        return Err(value_error(
            path,
            vec![format!("expected an object, found {}", root.kind())],
        ));
    };
    let mut fatal = Vec::new();
    let mut found = Findings::default();
    let mut top = Reader::open(String::new(), pairs, keys::TOP, env);
    let (identity, token) = match identity::read(env, &mut found.warnings) {
        Ok(read) => read,
        Err(error) => {
            fatal.push(error);
            let token = identity::TokenDefaults::read(env, false)?;
            (IdentitySettings::default(), token)
        }
    };
    let by_variables = environment::child_defaults(env, &mut found.warnings);
    let below = Below {
        layer: read_defaults(&mut top).over(or_default(by_variables, &mut fatal)),
        token: &token,
    };
    let mut children = read_children(path, &mut top, &below, env, &mut found, &mut fatal);
    let mut warnings = found.warnings;
    self_reference::skip_own_commands(&mut children, env, &mut warnings);
    prefix::claim(&mut children);

    let (door, public_url) = or_default(door::read(&mut top, env), &mut fatal);
    let mut settings = Settings {
        path: path.to_owned(),
        max_name_length: top
            .count("maxNameLength", 10..=1024)
            .unwrap_or(MAX_NAME_LENGTH),
        mode: or_default(read_mode(&mut top, env), &mut fatal),
        public_url,
        door,
        groups: groups::read(&mut top, &children),
        meta_tools: top.flag("metaTools").unwrap_or(false),
        always_load: layer::read_globs(&mut top, "alwaysLoad").unwrap_or_default(),
        synonyms: synonyms::read(&mut top, path),
        always_on: or_default(environment::globs(env, "MCP_DYNAMIC_ALWAYS_ON"), &mut fatal),
        identity,
        session_keys: match (SessionKeys::read(env), before) {
            (Err(error), Some(before)) => {
                let kept = format!("{error}; the keys of the start stay in force");
                warnings.push(Warning::new(kept));
                before.session_keys.clone()
            }
            (keys, _) => or_default(keys, &mut fatal),
        },
        children,
        warnings: Vec::new(),
    };
    needs_lock(&mut settings);
    let findings = top.finish();
    identity::warn(&settings.identity, &settings.children, &mut warnings);
    settings.warnings = findings.warnings;
    settings.warnings.append(&mut warnings);
    Ok(Draft {
        settings,
        fatal,
        problems: findings.problems,
        of_entries: found.problems,
    })
}

/// What could be read, or as good as nothing.
fn or_default<T: Default>(read: Result<T, ConfigError>, fatal: &mut Vec<ConfigError>) -> T {
    read.unwrap_or_else(|error| {
        fatal.push(error);
        T::default()
    })
}

fn value_error(path: &Path, problems: Vec<String>) -> ConfigError {
    ConfigError::Value {
        path: path.to_owned(),
        problem: problems.join("; "),
    }
}

/// Only a token that was checked can be exchanged: nobody else's would be taken for a
/// user's.
fn needs_lock(settings: &mut Settings) {
    if settings.door.lock.is_some() {
        return;
    }
    for child in settings.children.iter_mut().filter(|it| it.is_per_user()) {
        if matches!(child.auth, AuthSettings::Exchange(_)) {
            child.disabled.get_or_insert_with(|| {
                format!(
                    "entry {:?}: \"auth.tokenExchange\" needs a locked door: an \"auth\" with an \"issuer\" or \"introspection\" at the top of the file",
                    child.name.as_str()
                )
            });
        }
    }
}

/// `defaults` concerns every entry, so a mistake in it concerns the whole.
fn read_defaults(top: &mut Reader<'_>) -> Layer {
    let Some(mut reader) = top.inner("defaults", keys::ENTRY) else {
        return Layer::default();
    };
    let layer = Layer::read(&mut reader);
    top.absorb(reader);
    layer
}

fn read_children(
    path: &Path,
    top: &mut Reader<'_>,
    below: &Below<'_>,
    env: &dyn Environment,
    found: &mut Findings,
    fatal: &mut Vec<ConfigError>,
) -> Vec<ChildSettings> {
    let Some(entries) = top.members("mcpServers") else {
        if top.field("mcpServers").is_none() {
            top.warn("\"mcpServers\" does not stand in the file, so there are no children");
        }
        return Vec::new();
    };
    if entries.is_empty() {
        top.warn("\"mcpServers\" is empty, so there are no children");
    }
    if let Some(name) = document::repeated(entries) {
        fatal.push(ConfigError::DuplicateEntry {
            path: path.to_owned(),
            name: name.to_owned(),
        });
    }
    entries
        .iter()
        .map(|(name, node)| entry::read(name, node, below, env, found))
        .collect()
}

/// The file's `mode`, else the variable's.
fn read_mode(top: &mut Reader<'_>, env: &dyn Environment) -> Result<Mode, ConfigError> {
    let by_file = top.choice("mode", MODES);
    let name = "MCP_MULTIPLEXER_MODE";
    let by_variable = match setting(env, name) {
        None => None,
        Some(word) => match MODES.iter().find(|(known, _)| *known == word) {
            Some((_, mode)) => Some(*mode),
            None => {
                let known = one_of(MODES.iter().map(|(known, _)| *known));
                return Err(ConfigError::Variable {
                    problem: format!("{name}: expected {known}"),
                });
            }
        },
    };
    if by_file.is_some() && by_variable.is_some() && by_file != by_variable {
        top.warn(&format!(
            "{name} has no effect, since \"mode\" stands in the file"
        ));
    }
    Ok(by_file.or(by_variable).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use proptest::prelude::*;

    use super::*;

    fn with(text: &str, pairs: &[(&str, &str)]) -> Result<Settings, ConfigError> {
        let env: HashMap<String, String> = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        read(Path::new("c.json"), text, &env, None)
    }

    fn settings(text: &str) -> Settings {
        with(text, &[]).expect("valid")
    }

    fn refused(text: &str) -> String {
        with(text, &[]).expect_err("refused").to_string()
    }

    fn warnings(text: &str) -> Vec<String> {
        let settings = settings(text);
        settings.warnings.iter().map(Warning::to_string).collect()
    }

    #[test]
    fn children_stand_in_file_order_broken_and_disabled_ones_included() {
        let settings = settings(
            r#"{"mcpServers": {
                "z": {"command": "a"}, "broken": {}, "off": {"command": "a", "disabled": true},
                "a": {"url": "http://h"}
            }}"#,
        );
        let names: Vec<_> = settings.children.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["z", "broken", "off", "a"]);
        let used: Vec<_> = settings
            .children
            .iter()
            .map(|child| child.disabled.is_none())
            .collect();
        assert_eq!(used, [true, false, false, true]);
        assert_eq!(settings.max_name_length, 42);
        assert_eq!(settings.mode, Mode::Eager);
    }

    #[test]
    fn the_entry_wins_over_defaults_and_defaults_over_the_environment() {
        let text = r#"{
            "defaults": {"timeout": 2, "queueTimeout": 2, "breaker": {"cooldown": 2}},
            "mcpServers": {"a": {"command": "a", "timeout": 1, "breaker_threshold": 1}}
        }"#;
        let env = [
            ("MCP_CHILD_TIMEOUT", "3"),
            ("MCP_CHILD_QUEUE_TIMEOUT", "3"),
            ("MCP_CHILD_CALL_TIMEOUT", "3"),
            ("MCP_CHILD_BREAKER_THRESHOLD", "3"),
        ];
        let child = with(text, &env).expect("valid").children.remove(0);
        assert_eq!(child.timeout, Duration::from_secs(1));
        assert_eq!(child.queue_timeout, Duration::from_secs(2));
        assert_eq!(child.call_timeout, Some(Duration::from_secs(3)));
        assert_eq!(child.breaker.failures, 1);
        assert_eq!(child.breaker.cooldown, Duration::from_secs(2));
        assert_eq!(child.max_concurrency, 16);
    }

    #[test]
    fn two_entries_of_one_name_stop_the_start() {
        let text = refused(r#"{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}"#);
        assert!(text.contains(r#"two entries named "a""#), "{text}");
    }

    #[test]
    fn a_mistake_at_the_top_stops_the_start_and_names_the_key() {
        let cases = [
            ("[]", "expected an object"),
            (r#"{"mcpServers": []}"#, r#""mcpServers""#),
            (
                r#"{"mcpServers": {}, "mcp_servers": {}}"#,
                r#""mcp_servers""#,
            ),
            (r#"{"maxNameLength": 3}"#, "from 10 to 1024, found 3"),
            (
                r#"{"mode": "lazy"}"#,
                r#""eager" or "dynamic", found "lazy""#,
            ),
            (r#"{"public_url": "ftp://h"}"#, r#""public_url""#),
            (r#"{"defaults": {"timeout": -1}}"#, r#""defaults.timeout""#),
            (r#"{"defaults": {"cwd": "${NONE}"}}"#, "variable NONE"),
            (r#"{"groups": {"g": "a"}}"#, r#""groups.g""#),
            (r#"{"groups": {"g": [], "g": []}}"#, r#""g" stands twice"#),
            (r#"{"metaTools": 1}"#, r#""metaTools""#),
            (r#"{"alwaysLoad": ["["]}"#, "not a glob"),
        ];
        for (text, part) in cases {
            let error = refused(text);
            assert!(error.starts_with("c.json: "), "{error}");
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_file_without_children_is_valid_and_a_warning() {
        for text in ["{}", r#"{"mcpServers": {}}"#, r#"{"mcpServers": null}"#] {
            assert_eq!(warnings(text).len(), 1, "{text}");
        }
        let misspelt = warnings(r#"{"servers": {}}"#).join(
            "
",
        );
        assert!(misspelt.contains(r#"nearest known one is "mcpServers""#));
    }

    #[test]
    fn the_later_of_two_with_one_prefix_is_disabled_and_told_what_to_do() {
        let settings = settings(
            r#"{"mcpServers": {
                "github": {"command": "a", "disabled": true},
                "github-mcp": {"command": "a"},
                "GitHub server": {"command": "a"},
                "bare": {"command": "a", "prefix": ""},
                "bare2": {"command": "a", "prefix": ""}
            }}"#,
        );
        let reasons: Vec<_> = settings.children.iter().map(|c| &c.disabled).collect();
        assert_eq!(reasons[1], &None);
        let reason = reasons[2].as_deref().expect("disabled");
        for part in ["GitHub server", "github-mcp", r#"set "prefix""#] {
            assert!(reason.contains(part), "{reason}");
        }
        assert_eq!((reasons[3], reasons[4]), (&None, &None));
    }

    #[test]
    fn an_entry_that_starts_the_multiplexer_itself_is_skipped_with_a_warning() {
        let text = r#"{"mcpServers": {
            "mux": {"command": "/usr/bin/mcp-multiplexer", "args": ["--config", "c.json"]},
            "mux-2": {"command": "mcp-multiplexer", "args": ["demo-child", "clock"], "prefix": "mux"}
        }}"#;
        let settings = settings(text);
        assert!(settings.children[0].disabled.is_some());
        assert_eq!(settings.children[1].disabled, None);
        assert!(settings.warnings[0].to_string().contains(r#""mux""#));
    }

    #[test]
    fn the_mode_of_the_file_wins_over_the_variable() {
        let env = [("MCP_MULTIPLEXER_MODE", "dynamic")];
        assert_eq!(with("{}", &env).expect("valid").mode, Mode::Dynamic);
        let settings = with(r#"{"mode": "eager"}"#, &env).expect("valid");
        assert_eq!(settings.mode, Mode::Eager);
        assert!(
            settings
                .warnings
                .iter()
                .any(|w| w.to_string().contains("MCP_MULTIPLEXER_MODE"))
        );
        let error = with("{}", &[("MCP_MULTIPLEXER_MODE", "hunter2")]).expect_err("refused");
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn a_large_bare_number_warns_that_seconds_are_meant() {
        let text = r#"{"mcpServers": {"a": {"command": "a", "timeout": 30000}}}"#;
        let warnings = warnings(text);
        assert!(warnings[0].contains(r#""timeout" is 30000, which means seconds"#));
    }

    #[test]
    fn a_thousand_entries_are_no_trouble() {
        let entries: Vec<_> = (0..1000)
            .map(|n| format!(r#""child-{n}": {{"command": "a"}}"#))
            .collect();
        let text = format!(r#"{{"mcpServers": {{{}}}}}"#, entries.join(","));
        assert_eq!(settings(&text).children.len(), 1000);
    }

    #[test]
    fn an_odd_value_of_any_key_concerns_its_own_entry_alone() {
        let odd = [
            "null",
            "true",
            "-1",
            "0",
            "1e300",
            "18446744073709551615",
            "0.5",
            r#""""#,
            r#""\u0000""#,
            r#""${NONE}""#,
            "[]",
            "[1]",
            r#"["a", null]"#,
            "{}",
            r#"{"a": 1}"#,
            r#"{"a": {"a": []}}"#,
        ];
        for key in keys::ENTRY {
            for value in odd {
                let text = format!(
                    r#"{{"mcpServers": {{
                        "odd": {{"url": "http://h", "{key}": {value}}},
                        "odd2": {{"command": "a", "{key}": {value}}},
                        "good": {{"command": "a"}}
                    }}}}"#
                );
                let settings = settings(&text);
                assert_eq!(settings.children.len(), 3);
                assert_eq!(settings.children[2].disabled, None, "{key}: {value}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(at in 0..EXAMPLE.len(), cut in 0usize..9, put in r#"[\[\]{}",:0-9a$\-nul\\]{0,6}"#) {
            let mut text: Vec<char> = EXAMPLE.chars().collect();
            let end = (at + cut).min(text.len());
            text.splice(at.min(end)..end, put.chars());
            let _ = with(&text.into_iter().collect::<String>(), &[("MCP_CHILD_TIMEOUT", &put)]);
        }
    }

    const EXAMPLE: &str = r#"{"mode": "eager", "groups": {"g": ["a"]}, "mcpServers": {
        "a": {"command": "${A:-x}", "args": ["1", "2"], "env": {"K": "v"}, "timeout": "1.5s"},
        "b": {"url": "https://u:p@h:81/mcp?q", "headers": {"X-K": "v"}, "breaker": {"failures": 3}}
    }}"#;
}
