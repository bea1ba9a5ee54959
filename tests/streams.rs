//! Whatever stands on stdin and stdout, requests are answered: who starts servers gives them
//! pipes, pairs of sockets or files.

mod support;

use std::{
    fs::{File, OpenOptions},
    os::{fd::OwnedFd, unix::net::UnixStream as Socket},
    process::Stdio,
};

use serde_json::{Value, json};
use support::{
    Child, Fleet,
    client::{call_params, with_modern_meta},
    fleet::Started,
    wait::soon,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::UnixStream,
    process::{Child as Process, Command},
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
        .kill_on_drop(true)
        .spawn()
        .expect("the multiplexer starts")
}

async fn assert_ends(mut process: Process) {
    let ended = soon("the end of the multiplexer", process.wait()).await;
    assert!(ended.expect("an end").success());
}

/// Our end of a pair of sockets, and the other one.
fn pair() -> (UnixStream, OwnedFd) {
    let (ours, theirs) = Socket::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("a socket");
    let ours = UnixStream::from_std(ours).expect("a socket");
    (ours, theirs.into())
}

/// A call whose answer has this length at least, with its line's end.
fn call(id: u64, length: usize) -> String {
    let text = "x".repeat(length);
    let arguments = json!({ "text": text }).to_string();
    let params = with_modern_meta(&call_params("child__echo", &arguments));
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{params}}}\n")
}

async fn send(to: &mut UnixStream, text: &str) {
    let sent = soon("room for a call", to.write_all(text.as_bytes())).await;
    sent.expect("it reads");
}

fn assert_answered(line: &str, id: u64, length: usize) {
    let answer: Value = serde_json::from_str(line).expect("one message");
    assert_eq!(answer["id"], id, "{line:.200}");
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

    let process = start(&fleet, stdin.into(), stdout.into(), Stdio::null());

    assert_ends(process).await;
    let answers = std::fs::read_to_string(answers).expect("a file");
    let mut lines: Vec<_> = answers.lines().collect();
    lines.sort_by_key(|line| line.find("\"id\":2").is_some());
    let [one, two] = lines[..] else {
        panic!("{} lines", lines.len());
    };
    assert_answered(one, 1, LONG);
    assert_answered(two, 2, LONG);
}

/// Whose last writer has gone before it is read.
#[tokio::test]
async fn from_a_pipe_that_has_a_name() {
    let fleet = echoing();
    let (requests, answers) = (fleet.path("requests"), fleet.path("answers"));
    let fleet = fleet.unserved().await;
    let made = std::process::Command::new("mkfifo").arg(&requests).status();
    assert!(made.expect("mkfifo of coreutils").success());
    let both = OpenOptions::new().read(true).write(true).open(&requests);
    let mut both = both.expect("both ends");
    let stdin = File::open(&requests).expect("its end");
    std::io::Write::write_all(&mut both, call(1, 1).as_bytes()).expect("room");
    drop(both);
    let stdout = File::create(&answers).expect("a file");

    let process = start(&fleet, stdin.into(), stdout.into(), Stdio::null());

    assert_ends(process).await;
    let answers = std::fs::read_to_string(answers).expect("a file");
    assert_answered(answers.trim_end(), 1, 1);
}

/// As Node.js starts its servers: each stream is a socket.
#[tokio::test]
async fn over_sockets() {
    let fleet = echoing().unserved().await;
    let ((mut to, stdin), (from, stdout)) = (pair(), pair());

    let process = start(&fleet, stdin.into(), stdout.into(), Stdio::null());

    let mut lines = BufReader::new(from).lines();
    for id in 1..=3 {
        send(&mut to, &call(id, LONG)).await;
        let line = soon("an answer", lines.next_line()).await;
        assert_answered(&line.expect("a line").expect("an answer"), id, LONG);
    }
    drop(to);
    assert_ends(process).await;
}

#[tokio::test]
async fn over_one_socket_that_is_stderr_too() {
    let fleet = echoing().unserved().await;
    let (mut client, socket) = pair();
    let same = || Stdio::from(socket.try_clone().expect("the socket"));

    let process = start(&fleet, same(), same(), same());

    drop(socket);
    send(&mut client, &call(1, 1)).await;
    let (from, mut to) = client.into_split();
    let mut lines = BufReader::new(from).lines();
    let answer = loop {
        let line = soon("a line", lines.next_line()).await;
        let line = line.expect("a line").expect("an answer");
        // The others are the log's.
        if line.starts_with('{') {
            break line;
        }
    };
    assert_answered(&answer, 1, 1);
    to.shutdown().await.expect("an end");
    assert_ends(process).await;
}
