//! The commands of an operator's day, run as a shell runs them.

#[path = "../support/mod.rs"]
mod support;

mod check;
mod clients;
mod pipes;
mod status;
mod waiting;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use support::Output;
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-multiplexer");

#[track_caller]
fn json_of(output: &Output) -> Value {
    serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", output.stdout, output.stderr))
}

#[track_caller]
fn ended(output: &Output, status: i32) {
    let said = format!("{}\n---\n{}", output.stdout, output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
}

/// A user with a home of their own, and nothing else in the environment.
struct User {
    home: TempDir,
    variables: Vec<(&'static str, String)>,
}

impl User {
    fn new() -> Self {
        Self {
            home: TempDir::with_prefix("home-").expect("a folder"),
            variables: Vec::new(),
        }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Puts a file below the home.
    fn has(self, path: &str, text: &str) -> Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        // As the program names it: links are followed.
        let home = self.home.path().canonicalize().expect("a home");
        home.join(path)
    }

    fn reads(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn reads_json(&self, path: &str) -> Value {
        serde_json::from_str(&self.reads(path)).expect("JSON")
    }

    /// All files in a folder of the home.
    fn files(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names.map(|it| it.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Runs the program in the home.
    fn runs(&self, words: &[&str]) -> Output {
        self.runs_in(self.home.path(), words)
    }

    fn runs_in(&self, folder: &Path, words: &[&str]) -> Output {
        let output = Command::new(PROGRAM)
            .args(words)
            .env_clear()
            .env("HOME", self.home.path())
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()
            .expect("the program runs");
        read(output)
    }
}

fn read(output: std::process::Output) -> Output {
    Output {
        status: output.status,
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr: String::from_utf8(output.stderr).expect("text"),
    }
}

#[test]
fn every_command_has_a_help_with_examples() {
    let user = User::new();
    for command in [
        "serve",
        "demo",
        "token",
        "check",
        "status",
        "tools",
        "search",
        "call",
        "healthcheck",
        "import",
        "register",
        "schema",
        "completions",
    ] {
        let output = user.runs(&[command, "--help"]);
        ended(&output, 0);
        let example = format!("mcp-multiplexer {command}");
        assert!(output.stdout.contains("Examples:"), "{}", output.stdout);
        assert!(output.stdout.contains(&example), "{}", output.stdout);
        let places = ["Usage:", "Options:", "Examples:", "Exit status:"];
        let places = places.map(|it| output.stdout.find(it));
        assert!(places.is_sorted(), "{}", output.stdout);
        assert!(user.runs(&["--help"]).stdout.contains(command));
    }
}

#[test]
fn the_schema_is_the_published_one_and_describes_the_example() {
    let output = User::new().runs(&["schema"]);
    ended(&output, 0);
    let published = include_str!("../../docs/mcp_config.schema.json");
    assert_eq!(
        output.stdout, published,
        "cargo run -- schema > docs/mcp_config.schema.json"
    );
    let schema = json_of(&output);
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let example = include_str!("../../mcp_config.example.json");
    let example = serde_json::from_str(example).expect("JSON");
    let errors: Vec<_> = validator
        .iter_errors(&example)
        .map(|it| it.to_string())
        .collect();
    assert_eq!(errors, [""; 0]);
}

#[test]
fn every_shell_gets_its_completions() {
    let user = User::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = user.runs(&["completions", shell]);
        ended(&output, 0);
        for word in ["healthcheck", "transport"] {
            assert!(output.stdout.contains(word), "{shell}: {word}");
        }
        assert!(!output.stdout.contains("demo-child"), "{shell}");
    }
    ended(&user.runs(&["completions", "cmd"]), 2);
}
