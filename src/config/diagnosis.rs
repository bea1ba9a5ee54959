//! All that is wrong or odd in a configuration, each with its place: for whoever is about
//! to repair it.

use std::{collections::HashMap, path::Path};

use serde::Serialize;

use super::{
    DISABLED_IN_CONFIG, Settings, Warning, document, environment::Environment, error::ConfigError,
    file, position::Map,
};

/// What was found when a file was read to its end.
#[derive(Debug)]
pub struct Diagnosis {
    /// The settings, if the program would start with them.
    pub settings: Option<Settings>,
    /// What is wrong.
    pub problems: Vec<Finding>,
    /// What is only odd.
    pub warnings: Vec<Finding>,
    /// Where each entry stands: line and column.
    pub places: HashMap<String, (usize, usize)>,
}

/// One thing that is wrong or odd. It holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The entry it is in; `None`: it is outside of them.
    pub entry: Option<String>,
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// Column in that line, from 1.
    pub column: Option<usize>,
    /// What it is.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl Diagnosis {
    /// Reads a file to its end, whatever is wrong with it.
    ///
    /// # Errors
    ///
    /// There is nothing to read: the file is missing or cannot be read.
    pub fn of(path: &Path, env: &dyn Environment) -> Result<Self, ConfigError> {
        let bytes = std::fs::read(path).map_err(|source| ConfigError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let read = document::decode(path, &bytes)
            .and_then(|text| Ok((text, file::draft(path, text, env, None)?)));
        let (text, draft) = match read {
            Ok(read) => read,
            Err(error) => {
                return Ok(Self {
                    settings: None,
                    problems: vec![Finding::fatal(&error, &Map::of(""))],
                    warnings: Vec::new(),
                    places: HashMap::new(),
                });
            }
        };
        let map = Map::of(text);
        let told = |sentence: &String| Finding::told(sentence, &map);
        let mut problems: Vec<_> = draft
            .fatal
            .iter()
            .map(|error| Finding::fatal(error, &map))
            .chain(draft.problems.iter().map(told))
            .chain(draft.of_entries.iter().map(told))
            .collect();
        let settings = draft.settings;
        let warnings: Vec<String> = settings.warnings.iter().map(Warning::to_string).collect();
        for child in &settings.children {
            let name = child.name.as_str();
            let of_entry = |problem: &Finding| problem.entry.as_deref() == Some(name);
            let Some(reason) = &child.disabled else {
                continue;
            };
            // Prefixes that are taken: what is wrong in an entry itself has been told.
            if reason != DISABLED_IN_CONFIG
                && !warnings.contains(reason)
                && !problems.iter().any(of_entry)
            {
                problems.push(Finding::of_entry(name, reason, &map));
            }
        }
        let starts = draft.fatal.is_empty() && draft.problems.is_empty();
        let warnings = warnings.iter().map(told).collect();
        let names = settings.children.iter().map(|child| child.name.to_string());
        let places = names.filter_map(|name| {
            let place = map.find(Some(&name), None)?;
            Some((name, place))
        });
        let places = places.collect();
        let mut diagnosis = Self {
            settings: starts.then_some(settings),
            problems,
            warnings,
            places,
        };
        for found in [&mut diagnosis.problems, &mut diagnosis.warnings] {
            found.sort_by_key(|finding| (finding.line, finding.column));
        }
        Ok(diagnosis)
    }
}

impl Finding {
    /// Something about an entry, which the message need not name.
    pub fn new(entry: &str, message: &str, hint: Option<&str>) -> Self {
        let named = format!("entry {entry:?} ");
        Self {
            entry: Some(entry.to_owned()),
            line: None,
            column: None,
            message: message.strip_prefix(&named).unwrap_or(message).to_owned(),
            hint: hint.map(str::to_owned),
        }
    }

    fn of_entry(entry: &str, sentence: &str, map: &Map<'_>) -> Self {
        let (message, hint) = with_hint(sentence);
        Self::new(entry, message, hint).at(map, Some("prefix"))
    }

    /// Places a sentence as the reader makes them: `entry "a": "headers.X-Key": what is
    /// wrong; what to do`.
    fn told(sentence: &str, map: &Map<'_>) -> Self {
        let (entry, rest) = match sentence.strip_prefix("entry ").and_then(quoted) {
            Some((entry, rest)) => (Some(entry), rest.strip_prefix(": ").unwrap_or(rest)),
            None => (None, sentence),
        };
        let key = rest.find('"').and_then(|at| quoted(&rest[at..]));
        let (message, hint) = with_hint(rest);
        Self {
            entry,
            line: None,
            column: None,
            message: message.to_owned(),
            hint: hint.map(str::to_owned),
        }
        .at(map, key.as_ref().map(|(key, _)| key.as_str()))
    }

    fn fatal(error: &ConfigError, map: &Map<'_>) -> Self {
        let mut finding = Self {
            entry: None,
            line: None,
            column: None,
            message: error.to_string(),
            hint: None,
        };
        match error {
            ConfigError::NotJson {
                line,
                column,
                reason,
                ..
            } => {
                finding.message = format!("not valid JSON: {reason}");
                finding.line = Some(*line);
                finding.column = Some(*column);
                finding.hint = Some(
                    "JSON knows no comments, no single quotes, and no comma after the last member"
                        .to_owned(),
                );
            }
            ConfigError::DuplicateEntry { name, .. } => {
                finding = Self::new(name, "two entries have this name", Some("rename one"));
                return finding.at(map, None);
            }
            ConfigError::Value { problem, .. } => finding.message.clone_from(problem),
            ConfigError::Variable { .. } => {}
            ConfigError::Identity { .. } => {
                finding.hint = Some("set them, or unset MCP_CLIENT_AUTH".to_owned());
            }
            ConfigError::NotFound { .. }
            | ConfigError::Unreadable { .. }
            | ConfigError::NotVariables { .. } => {}
        }
        finding
    }

    fn at(mut self, map: &Map<'_>, key: Option<&str>) -> Self {
        let found = map.find(self.entry.as_deref(), key);
        self.line = found.map(|(line, _)| line);
        self.column = found.map(|(_, column)| column);
        self
    }
}

/// Our sentences say what is wrong and, after a semicolon, what to do.
fn with_hint(sentence: &str) -> (&str, Option<&str>) {
    match sentence.rsplit_once("; ") {
        // Not within something that is quoted.
        Some((message, hint)) if hint.matches('"').count() % 2 == 0 => (message, Some(hint)),
        _ => (sentence, None),
    }
}

/// A text in quotes as `Debug` writes it, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut literals = serde_json::Deserializer::from_str(text).into_iter::<String>();
    let literal = literals.next()?.ok()?;
    Some((literal, &text[literals.byte_offset()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnosis(text: &str, env: &[(&str, &str)]) -> Diagnosis {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mcp_config.json");
        std::fs::write(&path, text).expect("a file");
        let env: HashMap<String, String> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Diagnosis::of(&path, &env).expect("it can be read")
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_line_and_what_to_do() {
        let text = r#"{
  "maxNameLength": 3,
  "mcpServers": {
    "good": { "command": "x" },
    "bad": {
      "url": "http://h",
      "timeout": "soon",
      "headers": { "X-Key": "${NONE}" }
    },
    "good-mcp": { "command": "x" },
    "off": { "disabled": true, "url": 5 }
  },
  "mode": "lazy"
}"#;
        let env = [("MCP_CHILD_TIMEOUT", "never")];
        let found = diagnosis(text, &env);
        assert!(found.settings.is_none());
        let told: Vec<_> = found
            .problems
            .iter()
            .map(|p| (p.line, p.entry.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                (None, None),
                (Some(2), None),
                (Some(7), Some("bad")),
                (Some(8), Some("bad")),
                (Some(10), Some("good-mcp")),
                (Some(13), None),
            ],
            "{:#?}",
            found.problems
        );
        let unset = &found.problems[3];
        assert!(
            unset.message.ends_with("the variable NONE is not set"),
            "{unset:?}"
        );
        assert!(
            unset
                .hint
                .as_deref()
                .is_some_and(|hint| hint.contains("${NONE:-"))
        );
        let taken = &found.problems[4];
        assert!(
            taken
                .hint
                .as_deref()
                .is_some_and(|hint| hint.contains("prefix"))
        );
    }

    #[test]
    fn what_is_odd_has_its_line_too() {
        let found = diagnosis(
            "{\"mcpServers\": {\n\"a\": {\"command\": \"x\",\n\"breaker\": {\n\"failurs\": 3}}}}",
            &[],
        );
        assert_eq!(found.problems, []);
        assert_eq!(found.warnings[0].line, Some(4), "{:?}", found.warnings);
        assert!(found.settings.is_some());
    }

    #[test]
    fn a_file_that_is_no_json_has_one_problem_with_its_line() {
        let found = diagnosis("{\n  // a comment\n}", &[]);
        assert_eq!(found.problems.len(), 1);
        assert_eq!(found.problems[0].line, Some(2));
        assert!(found.settings.is_none());
        assert_eq!(diagnosis("[]", &[]).problems.len(), 1);
    }
}
