//! Whatever stands on stdin and stdout, requests are answered: who starts servers gives them
//! pipes, pairs of sockets or files.

mod support;

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    net::Shutdown,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Child as Process, Command, Stdio},
};

use serde_json::{Value, json};
use support::{
    Child, Fleet,
    client::{call_params, with_modern_meta},
    fleet::Started,
};

/// A mebibyte, which no pipe or socket holds at once.
const LONG: usize = 1 << 20;

/// A fleet whose one child echoes.
fn echoing() -> Fleet {
    Fleet::new().stdio("child", Child::legacy())
}

fn start(fleet: &Started, stdin: Stdio, stdout: Stdio, stderr: Stdio) -> Process {
    let line = fleet.command_line();
    Command::new(&line[0])
        .args(&line[1..])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
        .expect("the multiplexer starts")
}

/// A call whose answer has this length at least, with its line's end.
fn call(id: u64, length: usize) -> String {
    let text = "x".repeat(length);
    let arguments = json!({ "text": text }).to_string();
    let params = with_modern_meta(&call_params("child__echo", &arguments));
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{params}}}\n")
}

fn assert_answered(line: &str, id: u64, length: usize) {
    let answer: Value = serde_json::from_str(line).expect("one message");
    assert_eq!(answer["id"], id, "{:.200}", line);
    assert!(answer["result"].to_string().len() > length, "{line:.200}");
}

#[tokio::test]
async fn from_a_file_into_a_file() {
    let fleet = echoing();
    let (requests, answers) = (fleet.path("requests"), fleet.path("answers"));
    let fleet = fleet.unserved().await;
    std::fs::write(&requests, call(1, LONG) + &call(2, LONG)).expect("a file");
    let stdin = File::open(&requests).expect("a file");
    let stdout = File::create(&answers).expect("a file");

    let mut process = start(&fleet, stdin.into(), stdout.into(), Stdio::null());

    assert!(process.wait().expect("an end").success());
    let answers = std::fs::read_to_string(answers).expect("a file");
    let mut lines: Vec<_> = answers.lines().collect();
    lines.sort_by_key(|line| line.find("\"id\":2").is_some());
    let [one, two] = lines[..] else {
        panic!("{} lines", lines.len());
    };
    assert_answered(one, 1, LONG);
    assert_answered(two, 2, LONG);
}

/// As Node.js starts its servers: each stream is a socket.
#[tokio::test]
async fn over_sockets() {
    let fleet = echoing().unserved().await;
    let pair = || UnixStream::pair().expect("a pair of sockets");
    let ((mut to, stdin), (from, stdout)) = (pair(), pair());
    let [stdin, stdout] = [stdin, stdout].map(|socket| Stdio::from(OwnedFd::from(socket)));

    let mut process = start(&fleet, stdin, stdout, Stdio::null());

    let mut lines = BufReader::new(from).lines();
    for id in 1..=3 {
        to.write_all(call(id, LONG).as_bytes()).expect("it reads");
        let line = lines.next().expect("an answer").expect("a line");
        assert_answered(&line, id, LONG);
    }
    to.shutdown(Shutdown::Write).expect("an end");
    assert!(process.wait().expect("an end").success());
}

/// One socket for everything: what is written to stderr waits until it is read.
#[tokio::test]
async fn over_one_socket_that_is_stderr_too() {
    let fleet = echoing().unserved().await;
    let (mut client, socket) = UnixStream::pair().expect("a pair of sockets");
    let same = || Stdio::from(OwnedFd::from(socket.try_clone().expect("the socket")));

    let mut process = start(&fleet, same(), same(), same());

    drop(socket);
    client.write_all(call(1, 1).as_bytes()).expect("it reads");
    let lines = BufReader::new(client.try_clone().expect("the socket")).lines();
    let mut lines = lines.map(|line| line.expect("a line"));
    let answer = lines.find(|line| line.starts_with('{'));
    assert_answered(&answer.expect("an answer"), 1, 1);
    client.shutdown(Shutdown::Write).expect("an end");
    assert!(process.wait().expect("an end").success());
}
