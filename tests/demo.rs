//! The demo does what it prints, and prints what can be pasted.

mod support;

use std::process::{Output, Stdio};

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{
    process::{alive, signal},
    wait::soon,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::Command,
};

/// What every step of the tour is called.
const STEPS: [&str; 12] = [
    "one list",
    "over HTTP, modern",
    "over stdio, legacy",
    "over HTTP, with a token",
    "without the token",
    "killed in mid-flight",
    "the others go on",
    "it comes back",
    "503 again and again",
    "in /metrics",
    "a probe closes it",
    "all is well",
];

fn demo() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mcp-multiplexer"));
    command
        .arg("demo")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The lines up to the one that begins so, which is the last.
async fn lines_until(output: impl AsyncRead + Unpin, last: &str) -> Vec<String> {
    let mut output = BufReader::new(output).lines();
    let mut lines = Vec::new();
    loop {
        let line = soon("a line of the demo", output.next_line()).await;
        let line = line.expect("text").expect("a line before the end");
        lines.push(line);
        if lines.last().is_some_and(|line| line.starts_with(last)) {
            return lines;
        }
    }
}

/// The commands among these lines, each as a person would paste it.
fn commands(lines: &[String]) -> Vec<String> {
    let mut commands = Vec::new();
    let mut lines = lines.iter();
    while let Some(line) = lines.find(|line| line.starts_with("curl ")) {
        let mut command = line.clone();
        while command.ends_with('\\') {
            command.push('\n');
            command.push_str(lines.next().expect("the rest of a command"));
        }
        commands.push(command);
    }
    commands
}

async fn paste(command: &str) -> String {
    let run = Command::new("sh").arg("-c").arg(command).output();
    let Output {
        status,
        stdout,
        stderr,
    } = soon(command, run).await.expect("a shell");
    assert!(status.success(), "{command}\n{}", text(&stderr));
    text(&stdout)
}

#[tokio::test]
async fn the_tour_holds_and_says_so_line_by_line() {
    let tour = soon("the end of the tour", demo().arg("--tour").output()).await;
    let tour = tour.expect("the demo");

    let (seen, errors) = (text(&tour.stdout), text(&tour.stderr));
    assert!(tour.status.success(), "{seen}\n{errors}");
    assert_eq!(errors, "");
    let held: Vec<&str> = seen
        .lines()
        .filter_map(|line| line.strip_prefix("ok "))
        .collect();
    assert_eq!(held.len(), STEPS.len(), "{seen}");
    for (line, step) in held.iter().zip(STEPS) {
        assert!(line.starts_with(step), "{step}: {line}");
    }
    assert!(!seen.contains('\x1b'), "colours that nobody sees: {seen}");
}

#[tokio::test]
async fn what_the_demo_prints_can_be_pasted() {
    let mut demo = demo().spawn().expect("the demo");
    let stdout = demo.stdout.take().expect("its output");
    let lines = lines_until(stdout, "Serving at ").await;

    for (child, transport) in [
        ("accounts", "http"),
        ("reports", "stdio"),
        ("weather", "http"),
    ] {
        let line = lines.iter().find(|line| line.starts_with(child));
        let line = line.unwrap_or_else(|| panic!("{child} in {lines:?}"));
        let columns: Vec<_> = line.split_whitespace().collect();
        assert_eq!(columns[1..4], [transport, "ready", "2"], "{line}");
        columns[4].parse::<u64>().expect("milliseconds");
    }

    let commands = commands(&lines);
    let [list, call, metrics] = &commands[..] else {
        panic!("three commands in {lines:?}");
    };
    let list: Value = serde_json::from_str(&paste(list).await).expect("an answer");
    assert_eq!(list["result"]["tools"].as_array().map(Vec::len), Some(6));
    let call: Value = serde_json::from_str(&paste(call).await).expect("an answer");
    let said = call["result"]["content"][0]["text"].as_str();
    assert!(said.is_some_and(|text| text.contains("Lisbon")), "{call}");
    let metrics = paste(metrics).await;
    let up = r#"mcp_multiplexer_child_up{child="reports",transport="stdio"} 1"#;
    assert!(metrics.contains(up), "{metrics}");

    let begin = lines
        .iter()
        .position(|line| line == "{")
        .expect("a snippet");
    let end = lines.iter().position(|line| line == "}").expect("its end");
    let snippet: Value = serde_json::from_str(&lines[begin..=end].join("\n")).expect("JSON");
    let entry = &snippet["mcpServers"]["demo"];
    let url = entry["url"].as_str().expect("a URL");
    assert_eq!(entry["type"], "http");
    assert!(commands[0].contains(&format!("{url} ")), "{url}");

    let status = paste(&format!("curl -s {}", url.replace("/mcp", "/status"))).await;
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let pids = status["children"].as_array().expect("children").iter();
    let pids: Vec<_> = pids.filter_map(|child| child["pid"].as_u64()).collect();
    assert_eq!(pids.len(), 1, "{status}");

    signal(demo.id().expect("it runs"), Signal::SIGINT);

    let ended = soon("the end of the demo", demo.wait())
        .await
        .expect("an end");
    assert!(ended.success(), "{ended}");
    assert!(!alive(pids[0].try_into().expect("a process id")));
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();

    let demo = demo().arg("--port").arg(port.to_string()).output();

    let demo = soon("the end of the demo", demo).await.expect("the demo");
    assert!(!demo.status.success());
    let told = text(&demo.stderr);
    assert!(
        told.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{told}"
    );
}
