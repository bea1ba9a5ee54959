//! What is gone comes back by itself, however long it was away. All clocks are a
//! hundredth of what they are by default: ten minutes are six seconds.

use std::{
    fs,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::{
    figures::Figures,
    support::{
        Child, Client, Door, Era, Fleet, Multiplexer, child::program, eventually, metrics::Metrics,
        process::signal,
    },
};

/// In ten minutes of pauses that double from 0.5 s to 60 s there are as many attempts.
const ATTEMPTS_IN_TEN_MINUTES: u64 = 16;

/// What a caller of a dead child waits at the median; on an idle machine far less.
const AT_ONCE: Duration = Duration::from_millis(50);
/// Several times the longest pause between two attempts.
const SOON: Duration = Duration::from_secs(5);

/// The clocks of a child, a hundredth of the defaults.
fn hurried(child: Child) -> Child {
    child
        .key(
            "restart",
            json!({"backoff": "5ms", "maxBackoff": "600ms", "stable": "600ms"}),
        )
        .key("breaker", json!({"failures": 5, "cooldown": "150ms"}))
        .key("timeout", "5s")
}

fn breaker(metrics: &Metrics) -> Option<f64> {
    metrics.value("child_breaker_state", &[("child", "child")])
}

fn failed_attempts(metrics: &Metrics) -> f64 {
    let all = metrics.sum("child_connect_attempts_total", &[("child", "child")]);
    let ok = [("child", "child"), ("outcome", "ok")];
    all - metrics.sum("child_connect_attempts_total", &ok)
}

/// Calls once, and notes how long a failure took.
async fn attempt(client: &mut Client, failures: &mut Figures) -> bool {
    let began = Instant::now();
    let answer = client.call("child__echo", "{}").await;
    if !answer.is_tool_error() {
        return true;
    }
    failures.note(began.elapsed());
    let kind = answer.failure_kind();
    let due = ["transport", "unavailable", "circuit_open"];
    assert!(due.contains(&kind.as_str()), "{}", answer.frame);
    false
}

#[tokio::test]
async fn a_dead_child_fails_at_once_is_seen_to_and_is_back_when_it_is_back() {
    for era in Era::ALL {
        let mut mux = Fleet::new()
            .http("child", hurried(Child::of(era)))
            .over(Door::Http)
            .await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Modern).await;
        mux.remote("child").stop().await;
        mux.until_child("child", "is down", |child| child["state"] == "down")
            .await;

        let mut failures = Figures::default();
        for _ in 0..20 {
            assert!(!attempt(&mut client, &mut failures).await, "it is dead");
        }
        println!("{era:?}: failures once it is known dead: {failures}");
        assert!(failures.median() < AT_ONCE, "{era:?}: {failures}");

        let fifth = eventually("the fifth failure", async || {
            (failed_attempts(&mux.metrics().await) >= 5.0).then(Instant::now)
        })
        .await;
        mux.until_metrics("an open breaker", |metrics| breaker(metrics) == Some(2.0))
            .await;
        let open = fifth.elapsed();
        println!("{era:?}: open {open:?} after the fifth failure");
        assert!(open < SOON, "{era:?}: {open:?}");

        mux.remote("child").restart().await;
        let back = Instant::now();
        mux.until_ready("child").await;
        let back = back.elapsed();
        println!("{era:?}: ready {back:?} after its return");
        assert!(back < SOON, "{era:?}: {back:?}");
        assert_eq!(breaker(&mux.metrics().await), Some(0.0), "{era:?}");
        assert!(attempt(&mut client, &mut failures).await, "it is back");

        let mut first = Figures::default();
        for _ in 0..5 {
            mux.until_ready("child").await;
            mux.remote("child").stop().await;
            assert!(!attempt(&mut client, &mut first).await, "it is dead");
            mux.remote("child").restart().await;
        }
        println!("{era:?}: the first failure of a dead child: {first}");
        assert!(first.median() < AT_ONCE, "{era:?}: {first}");
    }
}

/// A remote child is away for ten minutes, and comes back as it was, or in another era.
#[tokio::test]
async fn a_redeploy_of_ten_minutes_heals() {
    for (before, after) in [
        (Era::Legacy, Era::Legacy),
        (Era::Modern, Era::Modern),
        (Era::Legacy, Era::Modern),
    ] {
        let fleet = Fleet::new();
        let era = fleet.path("era");
        fs::write(&era, name_of(before)).expect("the era can be written");
        let child = Child::default().option("--era-file", era.display());
        let mut mux = fleet.http("child", hurried(child)).over(Door::Http).await;
        mux.all_ready().await;
        mux.remote("child").stop().await;
        fs::write(&era, name_of(after)).expect("the era can be written");
        let what = format!("{before:?} to {after:?}");

        heals(&mut mux, &what, async |mux| {
            mux.remote("child").restart().await;
        })
        .await;

        assert_eq!(mux.child("child").await["era"], name_of(after), "{what}");
    }
}

/// A child whose program is being replaced cannot be started for ten minutes.
#[tokio::test]
async fn a_program_that_is_missing_for_ten_minutes_heals() {
    let fleet = Fleet::new();
    let installed = fleet.path("server");
    symlink(program(), &installed).expect("the program can be installed");
    let child = hurried(Child::modern()).key("command", installed.display().to_string());
    let mut mux = fleet.stdio("child", child).over(Door::Http).await;
    mux.all_ready().await;
    let pid = mux.child("child").await["pid"].as_u64().expect("a pid");
    fs::remove_file(&installed).expect("the program can be removed");
    signal(u32::try_from(pid).expect("a process id"), Signal::SIGKILL);

    heals(&mut mux, "a program", async |_| {
        symlink(program(), &installed).expect("the program can be installed");
    })
    .await;
}

/// The child has gone: calls fail for as long as it stays away, and then they do not.
async fn heals(mux: &mut Multiplexer, what: &str, back: impl AsyncFnOnce(&mut Multiplexer)) {
    let mut client = mux.client(Era::Legacy).await;
    let process = mux.pid();
    let mut failures = Figures::default();
    let began = Instant::now();
    eventually("attempts of ten minutes", async || {
        assert!(
            !attempt(&mut client, &mut failures).await,
            "{what}: it is away"
        );
        let attempts = mux.child("child").await["attempt"].as_u64();
        (attempts >= Some(ATTEMPTS_IN_TEN_MINUTES)).then_some(())
    })
    .await;
    let away = began.elapsed();

    back(mux).await;

    let back = Instant::now();
    eventually("an answer", async || {
        attempt(&mut client, &mut failures).await.then_some(())
    })
    .await;
    let back = back.elapsed();
    println!("{what}: away {away:?}, an answer {back:?} after; failures: {failures}");
    assert!(back < SOON, "{what}: {back:?}");
    assert!(failures.median() < AT_ONCE, "{what}: {failures}");
    assert_eq!(mux.pid(), process, "the multiplexer went on");
    assert_eq!(breaker(&mux.metrics().await), Some(0.0), "{what}");
    mux.until_ready("child").await;
}

fn name_of(era: Era) -> &'static str {
    match era {
        Era::Legacy => "legacy",
        Era::Modern => "modern",
    }
}
