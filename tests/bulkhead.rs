//! A child is given as much as it can take at once; who is too many waits in order, or
//! is told so; and no child is slowed by another.

mod support;

use serde_json::{Value, json};
use support::{Answer, Child, Client, Door, Era, Fleet, Multiplexer};

/// A call that goes on until the test says so.
fn until(mux: &Multiplexer, gate: &str, key: &str) -> String {
    format!(
        r#"{{"until":"{}","key":"{key}"}}"#,
        mux.path(gate).display()
    )
}

fn open(mux: &Multiplexer, gate: &str) {
    std::fs::write(mux.path(gate), "").expect("the gate opens");
}

/// One child behind either door, with one slot, and a client.
async fn one_slot(door: Door, child: Child) -> (Multiplexer, Client) {
    let child = child.key("maxConcurrency", 1);
    let mut mux = Fleet::new()
        .with(door, "child", child)
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let client = mux.client(Era::Legacy).await;
    (mux, client)
}

async fn until_load(mux: &Multiplexer, in_flight: u64, queued: u64) {
    mux.until_child("child", "has this load", |child| {
        child["inFlight"] == in_flight && child["queued"] == queued
    })
    .await;
}

fn order(mux: &Multiplexer) -> Vec<Value> {
    let slow = mux.journal("child").of("slow");
    slow.iter().map(|call| call["key"].clone()).collect()
}

#[tokio::test]
async fn who_waits_is_served_in_the_order_of_arrival() {
    for door in Door::ALL {
        let (mux, mut client) = one_slot(door, Child::modern()).await;
        let mut calls = Vec::new();
        for n in 0..6 {
            let arguments = until(&mux, "gate", &n.to_string());
            calls.push(client.begin_call("child__slow", &arguments).await);
            until_load(&mux, 1, n).await;
        }
        assert_eq!(order(&mux), ["0"], "{door:?}: one at a time");

        open(&mux, "gate");

        for call in calls {
            client.finish(call).await.content();
        }
        assert_eq!(order(&mux), ["0", "1", "2", "3", "4", "5"], "{door:?}");
        until_load(&mux, 0, 0).await;
    }
}

/// Without the bound these would wait for an hour.
#[tokio::test]
async fn a_full_queue_refuses_at_once() {
    for (most, key) in [(0, "none"), (2, "two")] {
        let child = Child::legacy()
            .key("maxQueue", most)
            .key("queueTimeout", "1h");
        let (mux, mut client) = one_slot(Door::Stdio, child).await;
        let arguments = until(&mux, "gate", key);
        let mut calls = vec![client.begin_call("child__slow", &arguments).await];
        until_load(&mux, 1, 0).await;
        for n in 1..=most {
            calls.push(client.begin_call("child__slow", &arguments).await);
            until_load(&mux, 1, n).await;
        }

        let refused: Answer = client.call("child__echo", "{}").await;

        assert_eq!(refused.failure_kind(), "busy", "{}", refused.frame);
        assert_eq!(mux.child("child").await["breaker"], "closed");
        open(&mux, "gate");
        for call in calls {
            assert_eq!(client.finish(call).await.content()["key"], key);
        }
    }
}

#[tokio::test]
async fn the_queue_is_bounded_by_the_environment_too() {
    let child = Child::legacy()
        .key("maxConcurrency", 1)
        .key("queueTimeout", "1h");
    let mut mux = Fleet::new()
        .env("MCP_CHILD_MAX_QUEUE", "0")
        .stdio("child", child)
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let arguments = until(&mux, "gate", "k");
    let _open = client.begin_call("child__slow", &arguments).await;
    until_load(&mux, 1, 0).await;

    let refused = client.call("child__echo", "{}").await;

    assert_eq!(refused.failure_kind(), "busy", "{}", refused.frame);
}

/// Every slot and every place of the queue is taken, and a call has timed out: all that
/// is the slow child's.
#[tokio::test]
async fn a_child_that_is_full_slows_no_other() {
    let slow = Child::legacy()
        .key("maxConcurrency", 2)
        .key("maxQueue", 3)
        .key("queueTimeout", "1h");
    let mut mux = Fleet::new()
        .stdio("child", slow)
        .stdio("process", Child::legacy())
        .http("remote", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let arguments = until(&mux, "gate", "k");
    for _ in 0..5 {
        client.begin_call("child__slow", &arguments).await;
    }
    until_load(&mux, 2, 3).await;

    for n in 1..=50 {
        for other in ["process", "remote"] {
            let answer = client.call(&format!("{other}__echo"), "{}").await;
            assert_eq!(answer.content()["calls"], n, "{other}");
        }
    }

    until_load(&mux, 2, 3).await;
}

/// The child may be at work on what was taken back: until it says that it is done, or
/// a while has passed, nothing more is put upon it.
#[tokio::test]
async fn a_cancelled_call_gives_its_slot_back_in_the_end() {
    for (door, era) in [
        (Door::Stdio, Era::Legacy),
        (Door::Http, Era::Legacy),
        (Door::Http, Era::Modern),
    ] {
        let child = Child::of(era).key("queueTimeout", "1m");
        let (mux, mut client) = one_slot(door, child).await;
        let call = client
            .begin_call("child__slow", &until(&mux, "gate", "k"))
            .await;
        mux.journal("child").until_keyed("slow", "k").await;

        client.cancel(call).await;
        mux.journal("child").until_keyed("cancelled", "k").await;

        let answer = client.call("child__echo", "{}").await;
        assert_eq!(answer.content()["calls"], 1, "{door:?} {era:?}");
        until_load(&mux, 0, 0).await;
    }
}

/// It is told to stop and does not: its slot is not free before it is done.
#[tokio::test]
async fn a_call_that_took_too_long_keeps_its_slot_while_the_child_works_on() {
    let child = Child::legacy()
        .flag("--ignore-cancel")
        .key("callTimeout", "100ms")
        .key("queueTimeout", "1m");
    let (mux, mut client) = one_slot(Door::Stdio, child).await;
    let arguments = until(&mux, "gate", "k");

    let late = client.call("child__slow", &arguments).await;

    assert_eq!(late.failure_kind(), "timeout", "{}", late.frame);
    assert_eq!(mux.child("child").await["inFlight"], 1);
    let next = client.begin_call("child__echo", "{}").await;
    until_load(&mux, 1, 1).await;
    assert_eq!(mux.journal("child").calls("echo"), 0);
    open(&mux, "gate");
    assert_eq!(client.finish(next).await.content()["calls"], 1);
}

#[tokio::test]
async fn a_call_that_waits_for_a_slot_can_be_taken_back() {
    let (mux, mut client) = one_slot(Door::Stdio, Child::legacy()).await;
    let arguments = until(&mux, "gate", "first");
    let first = client.begin_call("child__slow", &arguments).await;
    until_load(&mux, 1, 0).await;
    let second = client.begin_call("child__echo", "{}").await;
    until_load(&mux, 1, 1).await;

    client.cancel(second).await;

    until_load(&mux, 1, 0).await;
    open(&mux, "gate");
    client.finish(first).await.content();
    assert_eq!(mux.journal("child").calls("echo"), 0);
}

/// Each report of progress is a sign of life, but not for ever.
#[tokio::test]
async fn progress_extends_a_call_up_to_its_longest_time() {
    let child = Child::legacy()
        .named("drip")
        .key("callTimeout", "500ms")
        .key("maxCallTimeout", "2s");
    let mut mux = Fleet::new().stdio("child", child).over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let token = r#""progressToken":"t""#;
    let drip = async |client: &mut Client, steps: u32| {
        let arguments = format!(r#"{{"n":{steps},"ms":100}}"#);
        client
            .call_with_meta("child__drip", &arguments, token)
            .await
    };

    let long = drip(&mut client, 10).await;
    assert_eq!(long.content()["steps"], 10, "{}", long.frame);

    let endless = drip(&mut client, 1_000_000).await;
    assert_eq!(endless.failure_kind(), "timeout", "{}", endless.frame);
    assert!(endless.result().contains("within 2 s"), "{}", endless.frame);
    mux.journal("child").until("cancelled", |_| true).await;
}

#[tokio::test]
async fn no_limit_means_no_limit() {
    let child = Child::legacy()
        .key("callTimeout", 0)
        .key("maxCallTimeout", "50ms");
    let (mux, mut client) = one_slot(Door::Stdio, child).await;
    let call = client
        .begin_call("child__slow", &until(&mux, "gate", "k"))
        .await;
    mux.journal("child").until_keyed("slow", "k").await;
    // Longer than the other limit: a hundred answers of `/status`.
    for _ in 0..100 {
        assert_eq!(mux.child("child").await["inFlight"], 1);
    }

    open(&mux, "gate");

    assert_eq!(client.finish(call).await.content()["key"], "k");
}

fn tool(name: &str, annotations: &Value) -> String {
    let schema = json!({"type": "object"});
    json!({"name": name, "inputSchema": schema, "annotations": annotations}).to_string()
}

/// A call is sent twice only if that does no harm.
#[tokio::test]
async fn what_fails_on_the_way_is_sent_again_only_if_its_tool_says_that_it_may() {
    for era in Era::ALL {
        let child = Child::of(era)
            .bare()
            .listing("read", &tool("read", &json!({"readOnlyHint": true})))
            .listing("put", &tool("put", &json!({"idempotentHint": true})))
            .listing("write", &tool("write", &json!({"readOnlyHint": false})))
            .listing("plain", &tool("plain", &json!({})));
        let mut mux = Fleet::new().http("child", child).over(Door::Http).await;
        mux.all_ready().await;
        mux.journal("child").until("listening", |_| true).await;
        let mut client = mux.client(Era::Legacy).await;
        let posts = |mux: &Multiplexer| {
            let all = mux.journal("child").of("http");
            all.iter()
                .filter(|request| request["method"] == "POST")
                .count()
        };

        for (name, sent) in [("read", 2), ("put", 2), ("write", 1), ("plain", 1)] {
            mux.remote("child").behave("server-error-once").await;
            let before = posts(&mux);
            let answer = client.call(&format!("child__{name}"), "{}").await;
            assert_eq!(
                posts(&mux) - before,
                sent,
                "{era:?} {name}: {}",
                answer.frame
            );
            assert_eq!(answer.is_tool_error(), sent == 1, "{era:?} {name}");
        }

        // Twice, and no more.
        mux.remote("child").behave("server-error").await;
        let before = posts(&mux);
        let failed = client.call("child__read", "{}").await;
        assert_eq!(failed.failure_kind(), "transport", "{}", failed.frame);
        assert_eq!(posts(&mux) - before, 2, "{era:?}");
    }
}
