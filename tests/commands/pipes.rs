//! Pipes whose other end has seen enough.

use std::{
    io::pipe,
    process::{Command, Stdio},
};

use crate::{
    PROGRAM, User, ended, read,
    support::{Child, Door, Fleet, Output, http::ClosedPort},
};

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

#[test]
fn what_was_to_be_written_is_written_for_who_reads_no_further() {
    let config = r#"{"mcpServers": {"time": {"command": "uvx"}}}"#;
    for format in ["text", "json"] {
        let user = User::new().has(".cursor/mcp.json", config);
        let words = [
            "import",
            "--write",
            "--config",
            "mcp_config.json",
            "--format",
            format,
        ];
        let output = output(command(&user, &words).stdout(unread()));
        ended(&output, 0);
        let written = user.reads_json("mcp_config.json");
        assert_eq!(written["mcpServers"]["time"]["command"], "uvx", "{format}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_by_the_status_to_who_reads_no_further() {
    let user = User::new().has("mcp_config.json", r#"{"mcpServers": {"x": {}}}"#);
    for format in ["text", "json"] {
        let words = ["check", "--format", format];
        let output = output(command(&user, &words).stdout(unread()));
        ended(&output, 1);
        assert!(output.stderr.contains("problem"), "{}", output.stderr);
    }

    let nowhere = ClosedPort::pick();
    for format in ["text", "json"] {
        let words = ["token", "--format", format];
        let mut command = command(&user, &words);
        command
            .env("MCP_CLIENT_AUTH", "oidc-client-credentials")
            .env("OIDC_TOKEN_URL", nowhere.url("/token"))
            .env("OIDC_CLIENT_ID", "multiplexer")
            .env("OIDC_CLIENT_SECRET", "secret");
        let output = output(command.stdout(unread()));
        ended(&output, 1);
        assert!(
            output.stderr.contains("identity provider"),
            "{}",
            output.stderr
        );
    }

    let mux = Fleet::new()
        .stdio("sky", Child::legacy())
        .over(Door::Http)
        .await;
    mux.until_ready("sky").await;
    let url = mux.url();
    for format in ["text", "json"] {
        let words = ["call", "sky__fail", "--url", &url, "--format", format];
        let output = output(command(&user, &words).stdout(unread()));
        ended(&output, 1);
        let told = "sky__fail has failed";
        assert!(output.stderr.contains(told), "{}", output.stderr);
    }
}
