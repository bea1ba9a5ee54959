//! Short of something itself, the multiplexer refuses what is new, says of what, and
//! lives on.

mod support;

use std::{fs, process::Command};

use support::{
    Child, Client, Door, Era, Fleet, Multiplexer,
    client::modern_post,
    eventually,
    http::{Http, Reply},
    process::until_gone,
};
use tokio::net::TcpStream;

/// A request on a connection of its own.
async fn ask(mux: &Multiplexer) -> Option<Reply> {
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let request = modern_post(&mux.url(), list.to_owned());
    Http::default().try_send(request).await
}

/// Waits until a request on a new connection is refused, for what it says.
async fn until_refused(mux: &Multiplexer, reason: &str) {
    let reply = eventually("a refusal", async || {
        ask(mux).await.filter(|reply| reply.status == 503)
    })
    .await;
    assert_eq!(reply.header("retry-after"), "1");
    let said = reply.text().await;
    assert!(said.contains(reason), "{said}");
}

async fn until_served(mux: &Multiplexer) {
    eventually("an answer", async || {
        ask(mux).await.filter(|reply| reply.status == 200).map(drop)
    })
    .await;
}

async fn health(mux: &Multiplexer) -> Option<u16> {
    let request = support::http::request(::http::Method::GET, &mux.at("/health"), "");
    let reply = Http::default().try_send(request).await?;
    Some(reply.status.as_u16())
}

async fn refusals(mux: &Multiplexer, reason: &str) -> f64 {
    let metrics = mux.metrics().await;
    metrics.sum("refused_total", &[("reason", reason)])
}

async fn hold(mux: &Multiplexer, connections: usize) -> Vec<TcpStream> {
    let address = mux.at("");
    let address = address.trim_start_matches("http://");
    let mut held = Vec::new();
    for _ in 0..connections {
        held.push(TcpStream::connect(address).await.expect("a connection"));
    }
    held
}

#[tokio::test]
async fn beyond_the_connections_there_may_be_new_ones_are_refused_in_words() {
    let mut mux = Fleet::new()
        .flags(&["--max-connections", "8"])
        .stdio("child", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let held = hold(&mux, 16).await;

    until_refused(&mux, "--max-connections").await;

    for _ in 0..20 {
        assert_eq!(health(&mux).await, Some(200));
    }
    assert!(refusals(&mux, "connections").await >= 1.0);
    client.call("child__echo", "{}").await.content();
    drop(held);
    until_served(&mux).await;
}

/// The system says that no file can be opened any more. Linux only: it is told by
/// `prlimit` while it runs.
#[tokio::test]
async fn without_a_file_descriptor_left_it_refuses_and_lives_on() {
    let mut mux = Fleet::new()
        .stdio("process", Child::legacy())
        .http("remote", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    client.call("remote__echo", "{}").await.content();
    let limit = open_files(&mux) + 8;
    limit_files(&mux, limit);
    let held = hold(&mux, 20).await;

    until_refused(&mux, "file descriptor").await;

    eventually("health", async || {
        (health(&mux).await == Some(200)).then_some(())
    })
    .await;
    // A client that is connected is told so too, or is served.
    let answer = client.call("process__echo", "{}");
    answer_or_refusal(answer).await;
    drop(held);
    until_served(&mux).await;
    let mut late = mux.client(Era::Modern).await;
    for child in ["process", "remote"] {
        let answer = late.call(&format!("{child}__echo"), "{}").await;
        assert!(!answer.is_tool_error(), "{child}: {}", answer.frame);
        let status = mux.child(child).await;
        assert_eq!(
            (&status["state"], &status["restarts"]),
            (&"ready".into(), &0.into())
        );
    }
    assert!(refusals(&mux, "file_descriptors").await >= 1.0);
}

async fn answer_or_refusal(answer: impl Future<Output = support::Answer>) {
    let answer = answer.await;
    assert!(
        answer.frame.contains("structuredContent") || answer.frame.contains("file descriptor"),
        "{}",
        answer.frame
    );
}

fn open_files(mux: &Multiplexer) -> usize {
    let open = fs::read_dir(format!("/proc/{}/fd", mux.pid()));
    open.expect("its files").count()
}

fn limit_files(mux: &Multiplexer, most: usize) {
    let limited = Command::new("prlimit")
        .arg(format!("--pid={}", mux.pid()))
        .arg(format!("--nofile={most}:"))
        .status();
    assert!(limited.expect("prlimit (of util-linux) runs").success());
}

/// Less than it needs to be there at all: it then does one thing at a time.
#[tokio::test]
async fn above_its_memory_it_refuses_what_is_new_while_something_is_open() {
    let mut mux = Fleet::new()
        .env("MCP_MAX_MEMORY", "1MiB")
        .stdio("child", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client: Client = mux.client(Era::Modern).await;
    let gate = mux.path("gate");
    let arguments = format!(r#"{{"until":"{}","key":"k"}}"#, gate.display());
    let open = client.begin_call("child__slow", &arguments).await;
    mux.journal("child").until_keyed("slow", "k").await;

    until_refused(&mux, "--max-memory").await;

    assert_eq!(health(&mux).await, Some(200));
    assert!(refusals(&mux, "memory").await >= 1.0);
    fs::write(gate, "").expect("the gate opens");
    assert_eq!(client.finish(open).await.content()["key"], "k");
    until_served(&mux).await;
}

/// It may be open for hours: it is nothing that others would have to wait for.
#[tokio::test]
async fn above_its_memory_a_subscription_keeps_nobody_out() {
    let mut mux = Fleet::new()
        .env("MCP_MAX_MEMORY", "1MiB")
        .stdio("child", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;
    let gate = mux.path("gate");
    let arguments = format!(r#"{{"until":"{}","key":"k"}}"#, gate.display());
    let open = client.begin_call("child__slow", &arguments).await;
    mux.journal("child").until_keyed("slow", "k").await;
    // Memory is known to be short from here on.
    until_refused(&mux, "--max-memory").await;
    fs::write(gate, "").expect("the gate opens");
    client.finish(open).await.content();

    let listen = r#"{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;
    let listen = modern_post(&mux.url(), listen.to_owned());
    let listening = Http::default().try_send(listen).await.expect("a reply");
    assert_eq!(listening.status, 200);

    client.call("child__echo", "{}").await.content();
    drop(listening);
}

/// Clients that start it may well ignore its stderr. One thread is all it has here: a
/// log line that waited for somebody to read it would hold up everything.
#[tokio::test]
async fn while_nobody_reads_its_log_calls_are_answered_and_it_can_be_ended() {
    let mut mux = Fleet::new()
        .env("TOKIO_WORKER_THREADS", "1")
        .stdio("child", Child::legacy().named("chatter"))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    mux.log.leave_unread(true);
    client
        .call("child__chatter", r#"{"lines":true}"#)
        .await
        .content();

    for _ in 0..100 {
        client.call("child__echo", "{}").await.content();
    }

    let pid = mux.pid();
    mux.terminate();
    until_gone(&[pid]).await;
    mux.log.leave_unread(false);
    assert!(mux.ended().await.success());
}

#[tokio::test]
async fn a_limit_that_is_none_is_refused_at_the_start() {
    for (flag, value) in [
        ("--max-connections", "0"),
        ("--max-connections", "many"),
        ("--max-memory", "0"),
        ("--max-memory", "1.5G"),
    ] {
        let output = Fleet::new().run(&["serve", flag, value]).await;

        assert_eq!(output.status.code(), Some(2), "{flag} {value}");
        assert!(output.stderr.contains(flag), "{}", output.stderr);
    }
}
