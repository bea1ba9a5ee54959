//! A child is killed in the middle of calls, again and again.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    figures::Figures,
    strict::Strict,
    support::{
        Child, Door, Fleet, Multiplexer, eventually,
        process::{Holdings, signal, until_gone},
    },
};

const KILLS: usize = 100;
const CALLS: usize = 4;
/// What a caller waits at the median until it knows; on an idle machine far less.
const AT_ONCE: Duration = Duration::from_millis(100);

#[tokio::test]
async fn a_legacy_stdio_child() {
    killed_again_and_again(Door::Stdio, Child::legacy()).await;
}

#[tokio::test]
async fn a_modern_stdio_child() {
    killed_again_and_again(Door::Stdio, Child::modern()).await;
}

#[tokio::test]
async fn a_legacy_http_child() {
    killed_again_and_again(Door::Http, Child::legacy()).await;
}

#[tokio::test]
async fn a_modern_http_child() {
    killed_again_and_again(Door::Http, Child::modern()).await;
}

/// Nobody hears from the pipes that their child is gone: what it has started holds them.
#[tokio::test]
async fn a_stdio_child_with_a_grandchild_that_clings_to_its_pipes() {
    let child = Child::modern().flag("--grandchild").flag("--clinging");
    killed_again_and_again(Door::Stdio, child).await;
}

/// Each call in flight fails once, as `transport`; the child comes back each time;
/// and in the end nothing is left of all those that were.
async fn killed_again_and_again(door: Door, child: Child) {
    let what = format!("{door:?} {child}");
    let child = child.key(
        "restart",
        json!({"backoff": "5ms", "maxBackoff": "20ms", "stable": "1h"}),
    );
    let mut mux = Fleet::new()
        .with(door, "child", child)
        .over(Door::Stdio)
        .await;
    mux.all_ready().await;
    let mut client = Strict::new(mux.pipe());
    let mut pid = served_by(&mut client, 0).await;
    let mut dead = Vec::new();
    let mut took = Figures::default();
    let mut before = None;

    for round in 0..KILLS {
        for n in 0..CALLS {
            let key = format!("{round}-{n}");
            let arguments = format!(r#"{{"until":"/nowhere","key":"{key}"}}"#);
            client.begin("child__slow", &arguments).await;
            let journal = mux.journal("child");
            tokio::select! {
                _ = journal.until_keyed("slow", &key) => {}
                answer = client.come() => panic!("nothing has been killed yet: {answer}"),
            }
        }
        // With calls in flight, so that as many connections are open as will be.
        before.get_or_insert_with(|| Holdings::of(mux.pid()));
        let killed = Instant::now();
        signal(pid, Signal::SIGKILL);
        for _ in 0..CALLS {
            let answer = client.next().await;
            took.note(killed.elapsed());
            assert_eq!(answer.failure_kind(), "transport", "{}", answer.frame);
        }
        if door == Door::Http {
            mux.remote("child").stop().await;
            mux.remote("child").restart().await;
        }
        dead.push(pid);
        pid = served_by(&mut client, pid).await;
    }

    println!("{what}: from the kill to the failures: {took}");
    assert!(took.median() < AT_ONCE, "{what}: {took}");
    let ours = [pid, grandchild(&mux)];
    dead.extend(mux.journal("child").pids());
    dead.retain(|pid| !ours.contains(pid));
    until_gone(&dead).await;
    let before = before.expect("there was a round");
    let after = Holdings::until_back(mux.pid(), &before, CALLS).await;
    println!("{what}: before {before:?}, after {after:?}");
    assert_counted(&mux, "transport", (KILLS * CALLS) as f64).await;
}

/// What the last process has started, if it has.
fn grandchild(mux: &Multiplexer) -> u32 {
    let started = mux.journal("child").of("grandchild");
    let pid = started.last().and_then(|last| last["pid"].as_u64());
    pid.and_then(|pid| u32::try_from(pid).ok())
        .unwrap_or_default()
}

/// The process that answers now, which is not the one that did: its id.
async fn served_by(client: &mut Strict, other: u32) -> u32 {
    eventually("an answer of the next process", async || {
        let answer = client.call("child__identity", "{}").await;
        if answer.is_tool_error() {
            let kind = answer.failure_kind();
            let due = ["unavailable", "transport", "circuit_open"];
            assert!(due.contains(&kind.as_str()), "{}", answer.frame);
            return None;
        }
        let pid = answer.content()["pid"].as_u64().expect("a process id");
        u32::try_from(pid).ok().filter(|pid| *pid != other)
    })
    .await
}

async fn assert_counted(mux: &Multiplexer, outcome: &str, at_least: f64) {
    let metrics = mux.metrics().await;
    let counted = metrics.sum(
        "requests_total",
        &[("child", "child"), ("outcome", outcome)],
    );
    assert!(counted >= at_least, "{outcome}: {counted} of {at_least}");
}
