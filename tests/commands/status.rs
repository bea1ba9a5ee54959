//! `status` and `healthcheck`, asked of a multiplexer that runs.

use std::process::Stdio;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader},
    process::Command,
};

use crate::{
    PROGRAM, User, ended, json_of,
    support::{Child, Door, Era, Fleet, Multiplexer, http::ClosedPort, wait::soon},
};

async fn serving() -> Multiplexer {
    let mut mux = Fleet::new()
        .stdio("good", Child::legacy())
        .entry("gone", serde_json::json!({"command": "/no/such/program"}))
        .over(Door::Http)
        .await;
    mux.until_ready("good").await;
    mux.until_child("gone", "is down", |child| child["state"] == "down")
        .await;
    let mut client = mux.client(Era::Legacy).await;
    for _ in 0..3 {
        client.call("good__echo", "{}").await.result();
    }
    mux
}

fn status(mux: &Multiplexer, words: &[&str]) -> crate::support::Output {
    let url = mux.url();
    let words = [&["status", "--url", url.as_str()], words].concat();
    User::new().runs(&words)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_children_their_traffic_and_their_reasons_are_shown() {
    let mux = serving().await;
    let output = status(&mux, &[]);
    ended(&output, 0);
    let row = output
        .stdout
        .lines()
        .find(|line| line.starts_with("good "))
        .expect("a row");
    for part in ["ready", "closed", "stdio", "legacy", " 3 ", "0.0 %", " ms"] {
        assert!(row.contains(part), "{part}: {row}");
    }
    assert!(
        output.stdout.contains("gone: could not be started"),
        "{}",
        output.stdout
    );
    assert!(!output.stdout.contains('\u{1b}'), "no colour in a pipe");

    let told = json_of(&status(&mux, &["--format", "json"]));
    let child = &told["children"][0];
    assert_eq!(child["calls"], 3.0, "{child}");
    assert_eq!(child["errors"], 0.0);
    assert!(child["p95Seconds"].is_f64(), "{child}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_address_comes_from_the_variable_too() {
    let mux = serving().await;
    let user = User::new().with("MCP_MULTIPLEXER_URL", &mux.url());
    ended(&user.runs(&["status"]), 0);
    let wrong = User::new().with("MCP_MULTIPLEXER_URL", "127.0.0.1:8000");
    ended(&wrong.runs(&["status"]), 2);
}

#[test]
fn nobody_there_is_told_as_that() {
    let port = ClosedPort::pick();
    let url = port.url("");
    let output = User::new().runs(&["status", "--url", &url]);
    ended(&output, 1);
    assert!(output.stderr.contains("hint:"), "{}", output.stderr);
}

#[tokio::test]
async fn watched_without_a_terminal_it_prints_a_line_for_each_look_until_it_is_ended() {
    let mux = serving().await;
    for (format, wanted) in [("text", "1 of 2 ready"), ("json", "\"callsPerSecond\"")] {
        let mut watching = Command::new(PROGRAM)
            .args(["status", "--watch", "--format", format, "--url", &mux.url()])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut lines = BufReader::new(watching.stdout.take().expect("a pipe")).lines();
        let mut seen = Vec::new();
        for _ in 0..2 {
            let line = soon("a line", lines.next_line()).await.expect("text");
            seen.push(line.expect("a line"));
        }
        assert!(seen[1].contains(wanted), "{seen:?}");
        if format == "json" {
            serde_json::from_str::<Value>(&seen[1]).expect("JSON");
        }
        end(&watching);
        let status = soon("the end", watching.wait()).await.expect("a status");
        assert_eq!(status.code(), Some(0));
    }
}

#[tokio::test]
async fn watched_on_a_terminal_it_leaves_everything_as_it_was() {
    let mux = serving().await;
    // A pseudo terminal of util-linux; its own end is the command's.
    let line = format!("exec {PROGRAM} status --watch --url {}", mux.url());
    let mut terminal = Command::new("script")
        .args([
            "--quiet",
            "--flush",
            "--return",
            "--command",
            &line,
            "/dev/null",
        ])
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("script of util-linux");
    let mut keys = terminal.stdin.take().expect("a pipe");
    let mut shown = terminal.stdout.take().expect("a pipe");
    let mut text = String::new();
    // Two frames: the second is drawn over the first.
    soon("two frames", async {
        let mut part = [0; 4096];
        while text.matches("Ctrl-C ends").count() < 2 {
            let read = shown.read(&mut part).await.expect("a frame");
            assert!(read > 0, "it has ended: {text}");
            text.push_str(&String::from_utf8_lossy(&part[..read]));
        }
    })
    .await;
    assert!(text.contains("\u{1b}[?1049h"), "the other screen: {text:?}");
    assert!(text.contains("\u{1b}[32mready"), "{text:?}");
    // Ctrl-C, as a terminal sends it.
    tokio::io::AsyncWriteExt::write_all(&mut keys, &[3])
        .await
        .expect("a key");
    let status = soon("the end", terminal.wait()).await.expect("a status");
    let mut rest = String::new();
    soon("the rest", shown.read_to_string(&mut rest))
        .await
        .expect("text");
    text.push_str(&rest);
    assert_eq!(status.code(), Some(0), "{text:?}");
    for undone in ["\u{1b}[?1049l", "\u{1b}[?25h", "\u{1b}[?7h"] {
        assert!(text.contains(undone), "{undone:?} in {text:?}");
    }
}

fn end(process: &tokio::process::Child) {
    let pid = process.id().and_then(|pid| i32::try_from(pid).ok());
    kill(Pid::from_raw(pid.expect("it runs")), Signal::SIGINT).expect("it can be ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_of_one_that_serves_is_good_and_of_none_is_not() {
    let mux = serving().await;
    let url = url::Url::parse(&mux.url()).expect("a URL");
    let port = url.port().expect("a port").to_string();
    let user = User::new();
    // Whoever listens everywhere is asked here.
    for host in ["127.0.0.1", "0.0.0.0"] {
        let output = user.runs(&["healthcheck", "--host", host, "--port", &port]);
        ended(&output, 0);
        assert_eq!(
            (output.stdout, output.stderr),
            (String::new(), String::new())
        );
    }
    // Both children have been tried by now.
    ended(&user.runs(&["healthcheck", "--ready", "--port", &port]), 0);
    let closed = ClosedPort::pick();
    let url = url::Url::parse(&closed.url("/")).expect("a URL");
    let port = url.port().expect("a port").to_string();
    ended(&user.runs(&["healthcheck", "--port", &port]), 1);
}
