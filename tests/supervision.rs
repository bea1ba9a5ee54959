//! A child that is lost is tried again for ever, by clocks that can be set, and says
//! meanwhile what is wrong with it.

mod support;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use support::{Child, Door, Era, Fleet, Multiplexer, eventually, process::signal};

/// Clocks a hundred times as fast as the built-in ones.
fn fast() -> Value {
    json!({"backoff": "5ms", "maxBackoff": "600ms", "stable": "600ms"})
}

fn reason(child: &Value) -> &str {
    child["reason"].as_str().unwrap_or_default()
}

fn pid(child: &Value) -> u32 {
    let pid = child["pid"].as_u64().expect("a process id");
    u32::try_from(pid).expect("a process id")
}

#[tokio::test]
async fn a_crash_loop_is_told_as_one_with_the_last_exit() {
    let child = Child::broken("exit-at-once").key("restart", fast());
    let mux = Fleet::new().stdio("child", child).over(Door::Http).await;

    let child = mux
        .until_child("child", "is in a crash loop", |child| {
            reason(child).contains("crash loop: ")
        })
        .await;

    let told = reason(&child);
    assert!(told.contains("ended with exit status"), "{told}");
    assert!(told.contains("exits in"), "{told}");
    assert!(
        told.contains("told to exit at once"),
        "its last words: {told}"
    );
    mux.log
        .until("a line about it", |line| {
            line.contains("child=child") && line.contains("crash loop: 3 exits")
        })
        .await;
}

/// Connected each time, and gone again: that is a loop too.
#[tokio::test]
async fn a_child_that_dies_whenever_it_is_ready_is_in_a_crash_loop() {
    let child = Child::legacy().key("restart", json!({"backoff": "1ms", "stable": "1h"}));
    let mux = Fleet::new().stdio("child", child).over(Door::Http).await;
    let mut seen = 0;

    let told = eventually("a crash loop", async || {
        let child = mux.child("child").await;
        if child["state"] == "ready" && child["pid"] != seen {
            seen = pid(&child);
            signal(seen, Signal::SIGKILL);
        }
        reason(&child)
            .contains("crash loop: ")
            .then(|| reason(&child).to_owned())
    })
    .await;

    assert!(told.contains("SIGKILL"), "{told}");
}

#[tokio::test]
async fn the_end_of_an_idle_process_is_noticed_at_once_with_its_last_words() {
    let child = Child::modern()
        .option("--flood-stderr", 2)
        .key("restart", json!({"backoff": "1h", "maxBackoff": "1h"}));
    let mux = Fleet::new().stdio("child", child).over(Door::Http).await;
    let ready = mux.until_ready("child").await;

    signal(pid(&ready), Signal::SIGKILL);

    let down = mux
        .until_child("child", "is down", |child| {
            child["state"] == "down" && reason(child).contains("flood")
        })
        .await;
    assert!(reason(&down).contains("SIGKILL"), "{down:#}");
    assert!(reason(&down).contains("flood 1: "), "{down:#}");
    assert!(down["nextRetryMs"].as_u64() > Some(60_000), "{down:#}");
}

/// Longer than the longest pause many times over: nothing gives up.
#[tokio::test]
async fn a_redeploy_of_any_length_heals() {
    for era in Era::ALL {
        let child = Child::of(era).key("restart", fast());
        let mut mux = Fleet::new().http("child", child).over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;
        mux.remote("child").stop().await;
        let attempts = async |mux: &Multiplexer| {
            let metrics = mux.metrics().await;
            metrics.sum("child_connect_attempts_total", &[("child", "child")])
        };
        eventually("many attempts in vain", async || {
            (attempts(&mux).await >= 12.0).then_some(())
        })
        .await;
        let answer = client.call("child__echo", "{}").await;
        assert_eq!(answer.failure_kind(), "unavailable", "{}", answer.frame);
        assert!(answer.result().contains("refused"), "{}", answer.frame);

        mux.remote("child").restart().await;

        let child = mux.until_ready("child").await;
        assert_eq!(child["breaker"], "closed", "{era:?}");
        client.call("child__echo", "{}").await.content();
    }
}

/// The pause is the entry's, then the defaults', then the environment's.
#[tokio::test]
async fn the_clocks_are_set_by_entry_defaults_and_environment() {
    let mux = Fleet::new()
        .env("MCP_CHILD_RESTART_BACKOFF", "1h")
        .env("MCP_CHILD_RESTART_MAX_BACKOFF", "2h")
        .env("MCP_CHILD_RESTART_STABLE", "1h")
        .stdio("patient", Child::broken("exit-at-once"))
        .stdio(
            "hasty",
            Child::broken("exit-at-once").key("restart", fast()),
        )
        .over(Door::Http)
        .await;

    mux.until_metrics("ten attempts of the hasty one", |metrics| {
        metrics.sum("child_connect_attempts_total", &[("child", "hasty")]) >= 10.0
    })
    .await;

    let patient = mux
        .until_child("patient", "is down", |child| child["state"] == "down")
        .await;
    assert_eq!(patient["attempt"], 1, "{patient:#}");
    assert!(
        patient["nextRetryMs"].as_u64() > Some(2_000_000),
        "{patient:#}"
    );
}

/// Nobody waits for what is known to be gone, also while it is being tried again.
#[tokio::test]
async fn a_call_to_a_child_that_never_answered_is_not_held_up_by_the_next_attempt() {
    let child = Child::broken("black-hole")
        .key("timeout", "200ms")
        .key("queueTimeout", "1h")
        .key("restart", json!({"backoff": "1ms"}));
    let mut mux = Fleet::new().stdio("child", child).over(Door::Http).await;
    mux.until_metrics("a first attempt", |metrics| {
        metrics.sum("child_connect_attempts_total", &[("child", "child")]) >= 1.0
    })
    .await;
    let mut client = mux.client(Era::Modern).await;

    for _ in 0..20 {
        let answer = client.call("child__echo", "{}").await;
        assert_eq!(answer.failure_kind(), "unavailable", "{}", answer.frame);
    }
}

/// A program behind a URL is exchanged without a word.
#[tokio::test]
async fn a_child_that_comes_back_in_another_era_is_spoken_to_in_that() {
    for (before, after) in [(Era::Legacy, Era::Modern), (Era::Modern, Era::Legacy)] {
        let child = Child::of(before).key("restart", fast());
        let mut mux = Fleet::new().http("child", child).over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;
        client.call("child__echo", "{}").await.content();
        mux.remote("child").stop().await;

        mux.remote("child").restart_as(after).await;

        mux.until_child("child", "speaks the other era", |child| {
            child["state"] == "ready" && child["era"] == after.as_str()
        })
        .await;
        let answer = client.call("child__echo", "{}").await;
        assert_eq!(answer.content()["calls"], 1, "{after:?}: {}", answer.frame);
    }
}

/// Nothing tells of the exchange but the answer to a call.
#[tokio::test]
async fn an_answer_in_the_wrong_protocol_makes_the_child_be_asked_anew() {
    for (before, after) in [(Era::Legacy, Era::Modern), (Era::Modern, Era::Legacy)] {
        let child = Child::of(before)
            .key("keepAlive", 0)
            .key("restart", json!({"backoff": "1h", "maxBackoff": "1h"}));
        let mut mux = Fleet::new().http("child", child).over(Door::Http).await;
        mux.all_ready().await;
        mux.journal("child").until("listening", |_| true).await;
        let mut client = mux.client(Era::Legacy).await;
        mux.remote("child").stop().await;
        mux.remote("child").restart_as(after).await;

        let answer = eventually("an answer in the other era", async || {
            let answer = client.call("child__echo", r#"{"a":1}"#).await;
            let answered = answer.frame.contains("structuredContent");
            answered.then_some(answer)
        })
        .await;

        assert_eq!(answer.content()["calls"], 1, "{after:?}: {}", answer.frame);
    }
}

/// The streams for news break with the child, and are there again when it is.
#[tokio::test]
async fn news_of_a_child_that_was_away_is_heard_again() {
    for era in Era::ALL {
        let child = Child::of(era).key("restart", fast());
        let mut mux = Fleet::new().http("child", child).over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;
        mux.remote("child").stop().await;
        mux.until_child("child", "is down", |child| child["state"] == "down")
            .await;
        mux.remote("child").restart().await;
        mux.until_ready("child").await;
        let listening = mux.journal("child").of("listening").len();
        eventually("it listens again", async || {
            (mux.journal("child").of("listening").len() >= listening.max(2)).then_some(())
        })
        .await;

        client
            .call("child__add_tool", r#"{"name":"late"}"#)
            .await
            .content();

        eventually("the tool that came later", async || {
            let names = client.tool_names().await;
            names.contains(&"child__late".to_owned()).then_some(())
        })
        .await;
    }
}

/// Whoever is being started when all ends is ended as one that runs.
#[tokio::test]
async fn a_child_that_is_still_starting_gets_time_to_end_too() {
    let fleet = Fleet::new().stdio("child", Child::legacy().gated());
    let mut mux = fleet.over(Door::Http).await;
    mux.journal("child").until("request", |_| true).await;

    mux.terminate();

    assert!(mux.ended().await.success());
    assert_eq!(mux.journal("child").of("stdin ended").len(), 1);
}

/// As on a slow machine: both questions of the handshake wait for it when it has started.
#[tokio::test]
async fn a_child_that_starts_more_slowly_than_it_is_probed_is_started_once() {
    let child = Child::default().gated();
    let mux = Fleet::new().stdio("slow", child).over(Door::Http).await;
    let journal = mux.journal("slow");
    let is_fallback = |noted: &Value| noted["method"] == "initialize";
    journal.until("request", is_fallback).await;

    mux.open_gate("slow");

    let ready = mux.until_ready("slow").await;
    assert_eq!(ready["era"], "legacy");
    assert_eq!(journal.of("started").len(), 1);
}
