//! Children that lie, hang and flood: what their callers are told is defined, and
//! whoever calls another child notices nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{
    figures::Figures,
    load::word,
    support::{
        Answer, Child, Client, Door, Era, Fleet, Multiplexer,
        client::{call_params, modern_post, with_modern_meta},
        http::Http,
        process::{Holdings, alive, until_gone},
    },
};

/// Calls to the neighbours for each of the two figures that are compared.
const CALLS: usize = 200;

/// What a neighbour's calls may take at the median while a child misbehaves, beside
/// what they took before: a machine that runs a flood has less time for all.
const SLOWER: u32 = 3;
const A_LITTLE: Duration = Duration::from_millis(10);

/// A child whose calls are given up soon, and whose breaker stays closed, so that each
/// call meets the child.
fn misbehaving(child: Child) -> Child {
    let named = child
        .named("behave")
        .named("flood")
        .named("chatter")
        .named("huge");
    named
        .key_unless_set("callTimeout", "300ms")
        .key_unless_set("timeout", "30s")
        .key_unless_set("breaker", json!({"failures": 0}))
}

/// The child between two neighbours, one behind each door.
async fn beside_neighbours(door: Door, child: Child) -> (Multiplexer, Client) {
    let mut mux = Fleet::new()
        .stdio("left", Child::legacy())
        .with(door, "bad", misbehaving(child))
        .http("right", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let client = mux.client(Era::Modern).await;
    (mux, client)
}

/// How long calls to the neighbours take, one after the other.
async fn neighbours(client: &mut Client) -> Figures {
    let mut took = Figures::default();
    for n in 0..CALLS {
        let tool = ["left__echo", "right__echo"][n % 2];
        let began = Instant::now();
        let answer = client.call(tool, "{}").await;
        took.note(began.elapsed());
        assert!(!answer.is_tool_error(), "{}", answer.frame);
    }
    took
}

/// Runs `trouble`, again and again, while the neighbours are called; each of its rounds
/// that has begun is waited for, so that what it asserts is seen.
async fn undisturbed(
    what: &str,
    mux: &mut Multiplexer,
    before: Figures,
    mut trouble: impl AsyncFnMut(),
) {
    let mut client = mux.client(Era::Modern).await;
    let (done, mut is_done) = tokio::sync::oneshot::channel();
    let measured = async {
        let during = neighbours(&mut client).await;
        // The other side ends only after this.
        let _ = done.send(());
        during
    };
    let troubled = async {
        loop {
            trouble().await;
            if is_done.try_recv().is_ok() {
                return;
            }
        }
    };
    let (during, ()) = tokio::join!(measured, troubled);
    println!("{what}: neighbours before: {before}");
    println!("{what}: neighbours during: {during}");
    let limit = before.median() * SLOWER + A_LITTLE;
    assert!(during.median() < limit, "{what}: {during} after {before}");
}

/// Breaks the child by the way in that it has.
async fn behave(mux: &mut Multiplexer, client: &mut Client, door: Door, behaviour: &str) {
    match door {
        Door::Http => mux.remote("bad").behave(behaviour).await,
        Door::Stdio => {
            let arguments = json!({"behaviour": behaviour}).to_string();
            let answer = client.call("bad__behave", &arguments).await;
            assert!(!answer.is_tool_error(), "{}", answer.frame);
        }
    }
}

/// A child of this behaviour; every call to it is told one of `words`, `ok` among them.
async fn misbehaves(door: Door, child: Child, behaviour: &str, words: &[&str]) {
    let (mut mux, mut client) = beside_neighbours(door, child).await;
    let before = neighbours(&mut client).await;
    behave(&mut mux, &mut client, door, behaviour).await;
    let what = format!("{door:?} {behaviour}");
    undisturbed(&what, &mut mux, before, async || {
        let answer = client.call("bad__echo", r#"{"a":1}"#).await;
        let word = word(&answer);
        assert!(words.contains(&word.as_str()), "{what}: {}", answer.frame);
        if word == "ok" {
            assert!(answer.structured().contains(r#""arguments":{"a":1}"#));
        }
    })
    .await;
}

#[tokio::test]
async fn a_child_that_hangs() {
    for door in Door::ALL {
        // A call that was given up keeps its slot for a while, until there is none.
        let words = ["timeout", "busy"];
        let child = Child::modern().key("queueTimeout", "300ms");
        misbehaves(door, child, "black-hole", &words).await;
    }
}

#[tokio::test]
async fn a_child_that_answers_garbage() {
    // Servers that print to stdout are common: on a pipe a line that is no message is
    // none, and the answer is still waited for.
    let child = || Child::legacy().key("queueTimeout", "300ms");
    misbehaves(Door::Stdio, child(), "garbage", &["timeout", "busy"]).await;
    misbehaves(Door::Http, child(), "garbage", &["protocol"]).await;
    misbehaves(Door::Http, child(), "not-json-rpc", &["protocol"]).await;
}

#[tokio::test]
async fn a_child_that_answers_twice() {
    misbehaves(Door::Stdio, Child::legacy(), "twice", &["ok"]).await;
    misbehaves(Door::Http, Child::modern().sse(), "twice", &["ok"]).await;
}

#[tokio::test]
async fn a_child_that_answers_what_nobody_asked() {
    misbehaves(Door::Stdio, Child::modern(), "stray", &["ok"]).await;
    misbehaves(Door::Http, Child::legacy().sse(), "stray", &["ok"]).await;
    // Without a stream the stranger is all there is.
    misbehaves(Door::Http, Child::legacy(), "stray", &["protocol"]).await;
}

#[tokio::test]
async fn a_child_that_sends_half_a_line_and_falls_silent() {
    for door in Door::ALL {
        let child = Child::legacy().key("queueTimeout", "300ms");
        misbehaves(door, child, "half-line", &["timeout", "busy"]).await;
    }
}

/// More than a message may have, on one line: it is not kept, and the next one is read.
#[tokio::test]
async fn a_child_that_sends_a_hundred_megabytes_on_one_line() {
    a_hundred_megabytes(Door::Stdio, Child::modern(), "protocol").await;
    a_hundred_megabytes(Door::Http, Child::legacy().sse(), "protocol").await;
    // A long answer is passed on as it comes, so that at the limit it can only be cut.
    a_hundred_megabytes(Door::Http, Child::modern(), "cut").await;
}

async fn a_hundred_megabytes(door: Door, child: Child, expected: &str) {
    let child = child.key_unless_set("callTimeout", "5m");
    let (mut mux, mut client) = beside_neighbours(door, child).await;
    let before = neighbours(&mut client).await;
    let quiet = Holdings::of(mux.pid());
    let params = call_params("bad__huge", r#"{"bytes":100000000}"#);
    let params = with_modern_meta(&params);
    let frame = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let (http, url) = (Http::default(), mux.url());

    undisturbed(&format!("{door:?} 100 MB"), &mut mux, before, async || {
        let reply = http.send(modern_post(&url, frame.clone())).await;
        let said = match reply.try_bytes().await {
            None => "cut".to_owned(),
            Some(body) => {
                let body = String::from_utf8(body.into()).expect("UTF-8");
                // A slow machine is told by a stream that it takes its time.
                let event = body.lines().find_map(|line| line.strip_prefix("data: "));
                let frame = event.unwrap_or(&body).to_owned();
                let before = Vec::new();
                word(&Answer { frame, before })
            }
        };
        assert_eq!(said, expected, "{door:?}");
    })
    .await;

    let Holdings { peak, resident, .. } = Holdings::of(mux.pid());
    println!(
        "{door:?} 100 MB: {} KiB before, {peak} KiB at most, {resident} KiB after",
        quiet.resident
    );
    // The limit of a message is 64 MiB; to read that far it may stand there twice.
    assert!(peak < quiet.resident + 200 * 1024, "{door:?}: {peak} KiB");
    if door == Door::Stdio {
        let line = |line: &str| line.contains("over the limit") && line.contains("child=bad");
        mux.log.until("a line about it", line).await;
    }
    let answer = client.call("bad__echo", "{}").await;
    assert_eq!(word(&answer), "ok", "{door:?}: {}", answer.frame);
}

#[tokio::test]
async fn a_child_that_floods_with_notifications() {
    for door in Door::ALL {
        let child = Child::legacy().key("callTimeout", "1m");
        let (mut mux, mut client) = beside_neighbours(door, child).await;
        let before = neighbours(&mut client).await;
        let stop = mux.path("stop");
        let arguments = json!({"perSecond": 10_000, "until": stop}).to_string();
        let mut flooded = mux.client(Era::Legacy).await;
        let flood = flooded.begin_call("bad__flood", &arguments).await;

        undisturbed(&format!("{door:?} flood"), &mut mux, before, async || {
            // The pipe that is flooded carries answers all the same.
            let answer = client.call("bad__echo", "{}").await;
            assert_eq!(word(&answer), "ok", "{door:?}: {}", answer.frame);
        })
        .await;

        std::fs::write(stop, "").expect("the flood can be stopped");
        let answer = flooded.finish(flood).await;
        assert_eq!(word(&answer), "ok", "{door:?}: {}", answer.frame);
        println!(
            "{door:?} flood: {} sent, {} passed on",
            answer.content()["sent"],
            answer.before.len()
        );
    }
}

/// Lines without end, and one line without end.
#[tokio::test]
async fn a_child_that_writes_to_stderr_without_end() {
    for lines in [true, false] {
        let (mut mux, mut client) = beside_neighbours(Door::Stdio, Child::modern()).await;
        let before = neighbours(&mut client).await;
        let arguments = json!({"lines": lines}).to_string();
        client.call("bad__chatter", &arguments).await;

        undisturbed(&format!("stderr {lines}"), &mut mux, before, async || {
            let answer = client.call("bad__echo", "{}").await;
            assert_eq!(word(&answer), "ok", "{}", answer.frame);
        })
        .await;
    }
}

/// It hangs, so it is started anew; it does not go when it is asked to, and it has
/// started another. None of them is left, and nobody waits for that.
#[tokio::test]
async fn a_child_that_will_not_go_and_leaves_others_behind() {
    let child = Child::modern()
        .flag("--ignore-sigterm")
        .flag("--grandchild")
        .key("timeout", "500ms")
        .key("breaker", json!({"failures": 1, "cooldown": "50ms"}))
        .key("restart", json!({"backoff": "10ms", "maxBackoff": "50ms"}));
    let (mut mux, mut client) = beside_neighbours(Door::Stdio, child).await;
    let before = neighbours(&mut client).await;
    let old = mux.journal("bad").pids();
    assert_eq!(old.len(), 2, "the child and the grandchild");
    behave(&mut mux, &mut client, Door::Stdio, "black-hole").await;

    let own = old.clone();
    undisturbed("stubborn", &mut mux, before, async || {
        let answer = client.call("bad__echo", "{}").await;
        let due = ["ok", "timeout", "circuit_open", "unavailable", "transport"];
        assert!(due.contains(&word(&answer).as_str()), "{}", answer.frame);
    })
    .await;

    let back = |child: &Value| child["state"] == "ready" && child["pid"] != json!(own[0]);
    mux.until_child("bad", "is another process", back).await;
    until_gone(&old).await;
    let new = mux.journal("bad").pids();
    assert!(new[old.len()..].iter().any(|pid| alive(*pid)), "{new:?}");
}
