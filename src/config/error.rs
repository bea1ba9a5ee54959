//! What stops the start.

use std::{io, path::PathBuf};

use thiserror::Error;

/// The configuration as a whole cannot be used.
///
/// A mistake inside one entry is none of these: it disables that entry and
/// stands in its [`disabled`](super::ChildSettings::disabled). No variant holds
/// the content of the file or the value of a secret.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// No file stands at any of the places looked at.
    #[error(
        "no configuration file found; looked at:{}\nhint: pass --config FILE, or set MCP_CONFIG",
        places(looked)
    )]
    NotFound {
        /// The places in the order they were tried, as the operator would write them.
        looked: Vec<String>,
    },

    /// The file is there and cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },

    /// The file is not UTF-8 text or not JSON.
    #[error("{}:{line}:{column}: not valid JSON: {reason}", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// Line of the fault, from 1.
        line: usize,
        /// Column of the fault in bytes, from 1 (0 where the line is empty).
        column: usize,
        /// What the parser expected, never what it found.
        reason: String,
    },

    /// A file of variables has a line that is none.
    #[error(
        "{}:{line}: not a variable\nhint: write NAME=value, and quote a value that has spaces",
        path.display()
    )]
    NotVariables {
        /// The file.
        path: PathBuf,
        /// Where that was seen, from 1: the last line of the value.
        line: usize,
    },

    /// Two entries of `mcpServers` have one name, so one would hide the other.
    #[error("{}: \"mcpServers\" has two entries named {name:?}; rename one", path.display())]
    DuplicateEntry {
        /// The file.
        path: PathBuf,
        /// The name that stands twice.
        name: String,
    },

    /// A value outside the entries has the wrong type or range.
    #[error("{}: {problem}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The key, what was found and what is expected.
        problem: String,
    },

    /// A variable of the environment cannot be used.
    #[error("environment: {problem}")]
    Variable {
        /// The variable, and what is expected of it.
        problem: String,
    },

    /// The service identity is switched on and lacks something.
    #[error("MCP_CLIENT_AUTH={mode} needs {}", missing.join(" and "))]
    Identity {
        /// The value of `MCP_CLIENT_AUTH`.
        mode: &'static str,
        /// The variables that are missing, alternatives joined by `or`.
        missing: Vec<&'static str>,
    },
}

fn places(looked: &[String]) -> String {
    looked.iter().map(|place| format!("\n  {place}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_lists_every_place_on_its_own_line() {
        let error = ConfigError::NotFound {
            looked: vec!["./a.json".into(), "/b.json".into()],
        };
        let text = error.to_string();
        assert!(text.contains("\n  ./a.json\n  /b.json\nhint: "), "{text}");
    }

    #[test]
    fn a_syntax_error_starts_with_path_line_and_column() {
        let error = ConfigError::NotJson {
            path: "x.json".into(),
            line: 3,
            column: 7,
            reason: "trailing comma".into(),
        };
        assert_eq!(
            error.to_string(),
            "x.json:3:7: not valid JSON: trailing comma"
        );
    }
}
