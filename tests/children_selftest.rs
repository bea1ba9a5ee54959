//! The fixture alone: `test-child` does what the other tests take for granted.
//! Where one of those fails and these pass, the multiplexer is at fault.

mod support;

use std::process::Stdio;

use nix::sys::signal::Signal;
use serde_json::Value;
use support::{
    Answer, Client, Door, Era,
    child::{Remote, program},
    client::{LEGACY_VERSION, MODERN_META, call_params, modern_post, with_modern_meta},
    http::{Http, With as _, post},
    journal::Journal,
    pipe::Pipe,
    process::{alive, signal},
    wire::member,
};
use tempfile::TempDir;
use tokio::process::{Child as Process, Command};

/// A child with nothing in front of it.
struct Alone {
    folder: TempDir,
    remote: Option<Remote>,
    process: Option<Process>,
}

impl Alone {
    async fn start(door: Door, flags: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let journal = folder.path().join("journal").to_string_lossy().into_owned();
        flags.extend(["--journal".to_owned(), journal]);
        let (remote, process) = match door {
            Door::Http => (Some(Remote::start(flags).await), None),
            Door::Stdio => {
                let mut command = Command::new(program());
                command
                    .args(flags)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped());
                (
                    None,
                    Some(
                        command
                            .kill_on_drop(true)
                            .spawn()
                            .expect("test-child starts"),
                    ),
                )
            }
        };
        Self {
            folder,
            remote,
            process,
        }
    }

    async fn client(&mut self, era: Era) -> Client {
        match (&self.remote, &mut self.process) {
            (Some(remote), _) => Client::over_http(remote.url(), era).await,
            (None, process) => Client::over_stdio(pipe(process.as_mut()), era).await,
        }
    }

    fn pipe(&mut self) -> Pipe {
        pipe(self.process.as_mut())
    }

    fn url(&self) -> String {
        self.remote.as_ref().expect("an HTTP child").url()
    }

    fn journal(&self) -> Journal {
        Journal::at(self.folder.path().join("journal"))
    }
}

fn pipe(process: Option<&mut Process>) -> Pipe {
    let process = process.expect("a stdio child");
    let stdin = process.stdin.take().expect("stdin is piped");
    Pipe::new(stdin, process.stdout.take().expect("stdout is piped"))
}

/// Both eras over both transports, HTTP also with event streams only.
fn every_way() -> Vec<(Door, Era, Vec<&'static str>)> {
    let mut ways = Vec::new();
    for era in Era::ALL {
        let name = if era == Era::Legacy {
            "legacy"
        } else {
            "modern"
        };
        ways.push((Door::Stdio, era, vec!["--era", name]));
        ways.push((Door::Stdio, era, vec!["--era", "both"]));
        ways.push((Door::Http, era, vec!["--era", name]));
        ways.push((Door::Http, era, vec!["--era", "both", "--sse"]));
    }
    ways
}

#[tokio::test]
async fn echo_returns_the_arguments_byte_for_byte() {
    for (door, era, flags) in every_way() {
        let mut alone = Alone::start(door, &flags).await;
        let mut client = alone.client(era).await;

        let arguments = r#"{"a":1e400,"a":1.10,"\u0061":"\ud800","n":12345678901234567890123}"#;
        let answer = client.call("echo", arguments).await;

        let echoed = member(answer.structured(), "arguments");
        assert_eq!(echoed, Some(arguments), "{door:?} {era:?} {flags:?}");
        let result_type = member(answer.result(), "resultType");
        assert_eq!(
            result_type.is_some(),
            era == Era::Modern,
            "{door:?} {era:?} {flags:?}"
        );
    }
}

#[tokio::test]
async fn a_list_comes_in_pages_and_keeps_verbatim_entries() {
    let entry = r#"{"x-first":1.10,"name":"odd","inputSchema":{"type":"object"}}"#;
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("tools");
    std::fs::write(&file, format!("odd\t{entry}")).expect("a file");
    let file = file.to_string_lossy();
    for door in Door::ALL {
        let flags = [
            "--bare",
            "--tools",
            "7",
            "--named",
            "extra",
            "--page-size",
            "3",
            "--tools-file",
            &file,
        ];
        let mut alone = Alone::start(door, &flags).await;
        let mut client = alone.client(Era::Modern).await;

        let tools = client.tools().await;

        assert_eq!(tools.len(), 9);
        assert_eq!(tools[0].name, "extra");
        assert_eq!(tools[8].entry, entry);
        assert_eq!(client.call("extra", "{}").await.content()["calls"], 1);
    }
}

#[tokio::test]
async fn progress_and_log_messages_come_before_the_answer() {
    for (door, era, flags) in every_way() {
        let mut alone = Alone::start(door, &flags).await;
        let mut client = alone.client(era).await;

        let token = r#""progressToken":"mine""#;
        let progress = client.call_with_meta("progress", r#"{"n":2}"#, token).await;
        let level = r#""io.modelcontextprotocol/logLevel":"info""#;
        let level = if era == Era::Modern { level } else { "" };
        let log = client
            .call_with_meta("log", r#"{"data":1.10}"#, level)
            .await;

        assert_eq!(progress.before.len(), 2, "{door:?} {era:?} {flags:?}");
        assert!(progress.before[0].contains(r#""progressToken":"mine","progress":1,"#));
        assert_eq!(log.before.len(), 1, "{door:?} {era:?} {flags:?}");
        assert!(log.before[0].contains(r#""data":1.10"#));
    }
}

#[tokio::test]
async fn whoever_subscribes_learns_of_a_new_tool() {
    for (door, era, flags) in every_way() {
        let mut alone = Alone::start(door, &flags).await;
        let mut client = alone.client(era).await;
        client.subscribe().await;

        client.call("add_tool", r#"{"name":"later"}"#).await;

        client.news("notifications/tools/list_changed").await;
        assert!(client.tool_names().await.contains(&"later".to_owned()));
    }
}

#[tokio::test]
async fn a_call_taken_back_is_noted_as_cancelled() {
    for (door, era, flags) in every_way() {
        let mut alone = Alone::start(door, &flags).await;
        let mut client = alone.client(era).await;
        let pending = client
            .begin_call("slow", r#"{"until":"/nowhere","key":"k"}"#)
            .await;
        alone.journal().until_keyed("slow", "k").await;

        client.cancel(pending).await;

        alone.journal().until_keyed("cancelled", "k").await;
    }
}

#[tokio::test]
async fn each_era_refuses_the_other() {
    let mut legacy = Alone::start(Door::Stdio, &["--era", "legacy"]).await;
    let mut modern = Alone::start(Door::Stdio, &["--era", "modern"]).await;
    let discover = request(1, "server/discover", &with_modern_meta("{}"));
    let initialize = request(1, "initialize", r#"{"protocolVersion":"2025-11-25"}"#);

    assert_eq!(
        ask(&mut legacy.pipe(), &discover).await.error_code(),
        -32601
    );
    assert_eq!(
        ask(&mut modern.pipe(), &initialize).await.error_code(),
        -32601
    );

    let legacy = Alone::start(Door::Http, &["--era", "legacy"]).await;
    let modern = Alone::start(Door::Http, &["--era", "modern"]).await;
    let http = Http::default();
    let refused = http.send(modern_post(&legacy.url(), discover)).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json().await["id"], Value::Null);
    let refused = http.post(&modern.url(), initialize).await;
    assert_eq!(refused.status, 404);
    assert_eq!(refused.answer().await.error_code(), -32601);
}

#[tokio::test]
async fn a_legacy_session_knows_its_ids_and_can_be_forgotten() {
    let alone = Alone::start(Door::Http, &["--era", "legacy"]).await;
    let (http, url) = (Http::default(), alone.url());
    let opened = http
        .post(
            &url,
            request(1, "initialize", r#"{"protocolVersion":"2025-11-25"}"#),
        )
        .await;
    let session = opened.header("mcp-session-id").to_owned();
    let list = |id: u64, session: &str| {
        post(&url, request(id, "tools/list", "{}")).with("mcp-session-id", session)
    };

    assert_eq!(http.send(list(2, &session)).await.status, 200);
    assert_eq!(
        http.send(list(2, &session))
            .await
            .answer()
            .await
            .error_code(),
        -32600
    );
    assert_eq!(http.send(list(3, "another")).await.status, 404);
    assert_eq!(
        http.send(list(3, &session).without("mcp-session-id"))
            .await
            .status,
        400
    );
    alone
        .remote
        .as_ref()
        .expect("an HTTP child")
        .forget_sessions()
        .await;
    assert_eq!(http.send(list(4, &session)).await.status, 404);
}

#[tokio::test]
async fn a_modern_request_needs_headers_and_metadata_that_agree() {
    let alone = Alone::start(Door::Http, &["--era", "modern"]).await;
    let (http, url) = (Http::default(), alone.url());
    let call = request(
        1,
        "tools/call",
        &with_modern_meta(&call_params("echo", "{}")),
    );
    let good = || modern_post(&url, call.clone());

    assert_eq!(http.send(good()).await.status, 200);
    for (header, wrong) in [
        ("mcp-protocol-version", LEGACY_VERSION),
        ("mcp-method", "tools/list"),
        ("mcp-name", "raw"),
    ] {
        for bad in [good().with(header, wrong), good().without(header)] {
            let refused = http.send(bad).await;
            assert_eq!(refused.status, 400, "{header}");
            assert_eq!(refused.answer().await.error_code(), -32020, "{header}");
        }
    }
    let old = MODERN_META.replace("2026-07-28", "2027-01-01");
    let future = request(1, "tools/list", &format!(r#"{{"_meta":{{{old}}}}}"#));
    let refused = http
        .send(modern_post(&url, future).with("mcp-protocol-version", "2027-01-01"))
        .await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.answer().await.error_code(), -32022);
}

#[tokio::test]
async fn a_legacy_child_refuses_the_keys_of_the_modern_era() {
    let mut alone = Alone::start(Door::Stdio, &["--era", "legacy"]).await;
    let list = request(1, "tools/list", &with_modern_meta("{}"));

    assert_eq!(ask(&mut alone.pipe(), &list).await.error_code(), -32602);
}

#[tokio::test]
async fn a_child_behind_a_token_answers_401_to_any_other() {
    let folder = TempDir::new().expect("a folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "right\n").expect("a file");
    let alone = Alone::start(Door::Http, &["--bearer-file", &file.to_string_lossy()]).await;
    let call = request(
        1,
        "tools/call",
        &with_modern_meta(&call_params("identity", "{}")),
    );
    let with = |token: &str| modern_post(&alone.url(), call.clone()).with("authorization", token);
    let http = Http::default();

    assert_eq!(http.send(with("Bearer wrong")).await.status, 401);
    let answer = http.send(with("Bearer right")).await.answer().await;

    let seen = answer.content()["authorization"].as_str().map(str::len);
    assert_eq!(seen, Some(64), "a hash and not the header itself");
}

#[tokio::test]
async fn a_child_can_be_broken_and_healed_while_it_runs() {
    let alone = Alone::start(Door::Http, &[]).await;
    let remote = alone.remote.as_ref().expect("an HTTP child");
    let http = Http::default();
    let status = async || {
        let list = request(1, "tools/list", &with_modern_meta("{}"));
        http.send(modern_post(&alone.url(), list))
            .await
            .status
            .as_u16()
    };

    for (behaviour, expected) in [
        ("server-error", 500),
        ("unauthorized", 401),
        ("html", 200),
        ("healthy", 200),
    ] {
        remote.behave(behaviour).await;
        assert_eq!(status().await, expected, "{behaviour}");
    }
}

#[tokio::test]
async fn a_child_that_is_broken_breaks_as_its_name_says() {
    for (behaviour, expected) in [
        ("garbage", "%% Welcome"),
        ("not-json-rpc", r#"{"hello""#),
        ("html", "<!doctype html>"),
    ] {
        let mut alone = Alone::start(Door::Stdio, &["--behaviour", behaviour]).await;
        let mut pipe = alone.pipe();
        pipe.line("{}").await;
        let answer = pipe.next().await.expect("an answer of some kind");
        assert!(answer.starts_with(expected), "{behaviour}: {answer}");
    }
    let mut alone = Alone::start(Door::Stdio, &["--behaviour", "exit-at-once"]).await;
    assert!(
        alone.pipe().next().await.is_none(),
        "it ended without a word"
    );
}

#[tokio::test]
async fn a_grandchild_outlives_a_child_that_nobody_cleans_up_after() {
    let mut alone = Alone::start(Door::Stdio, &["--grandchild"]).await;
    let grandchild = alone.journal().until("grandchild", |_| true).await;
    let pid = u32::try_from(grandchild["pid"].as_u64().expect("a pid")).expect("a pid");

    drop(alone.pipe());
    let ended = alone.process.as_mut().expect("a stdio child").wait().await;

    assert!(ended.expect("an exit status").success());
    assert!(alive(pid), "this is what the multiplexer has to clean up");
    signal(pid, Signal::SIGKILL);
}

fn request(id: u64, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

async fn ask(pipe: &mut Pipe, frame: &str) -> Answer {
    pipe.line(frame).await;
    Answer {
        frame: pipe.next().await.expect("an answer"),
        before: Vec::new(),
    }
}
