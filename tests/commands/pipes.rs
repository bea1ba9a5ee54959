//! Pipes whose other end has seen enough.

use std::{
    io::pipe,
    process::{Command, Stdio},
};

use crate::{PROGRAM, User, ended, read, support::Output};

/// A pipe that nobody reads.
fn unread() -> Stdio {
    let (reader, writer) = pipe().expect("a pipe");
    drop(reader);
    writer.into()
}

fn command(user: &User, words: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(words).env_clear();
    command
        .env("HOME", user.path(""))
        .current_dir(user.path(""));
    command
}

fn output(command: &mut Command) -> Output {
    read(command.output().expect("the program starts"))
}

#[test]
fn who_reads_no_further_ends_a_command_quietly() {
    let config = r#"{"mcpServers": {"time": {"command": "uvx"}}}"#;
    let user = User::new()
        .has("mcp_config.json", config)
        .has(".cursor/mcp.json", config);
    for words in [
        &["schema"][..],
        &["completions", "bash"],
        &["check"],
        &["check", "--format", "json"],
        &["import"],
        &["register", "vscode", "--print"],
        &["--help"],
        &["--version"],
    ] {
        let output = output(command(&user, words).stdout(unread()));
        ended(&output, 0);
        let complaint = output.stderr.lines().find(|line| line.contains("pipe"));
        assert_eq!(complaint, None, "{words:?}");
    }
}

#[test]
fn an_error_that_nobody_reads_is_still_told_by_the_status() {
    let user = User::new();
    for (words, status) in [
        (&["status", "--url", "nowhere"][..], 2),
        (&["check", "--config", "none.json"], 2),
        (&["import"], 0),
    ] {
        let output = output(command(&user, words).stderr(unread()));
        ended(&output, status);
    }
}
