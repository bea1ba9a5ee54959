//! Children that are slow to go, or will not: each is waited for on its own, and
//! nobody else waits with it.

mod support;

use serde_json::{Value, json};
use support::{
    Child, Door, Era, Fleet, Multiplexer, eventually,
    process::{alive, until_gone},
};

/// A child that goes once it is asked to and [`let_go`] has said so.
fn slow_to_go(mut fleet: Fleet) -> Fleet {
    let when = fleet.path("leave");
    for name in ["slow", "slower"] {
        let child = Child::legacy().option("--leave-when", when.display());
        fleet = fleet.stdio(name, child);
    }
    fleet
}

fn let_go(mux: &Multiplexer) {
    std::fs::write(mux.path("leave"), "").expect("the children may go");
}

async fn until_asked(mux: &Multiplexer, name: &str) {
    mux.journal(name).until("stdin ended", |_| true).await;
}

fn pid(child: &Value) -> u32 {
    let pid = child["pid"].as_u64().expect("a pid");
    pid.try_into().expect("a process id")
}

#[tokio::test]
async fn a_child_that_is_slow_to_go_holds_up_neither_its_successor_nor_the_others() {
    let fleet = slow_to_go(Fleet::new()).stdio("quick", Child::legacy());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let old = pid(&mux.child("slow").await);
    let quick = pid(&mux.child("quick").await);

    // Another entry for one, none for another.
    let entries = [mux.process("slow", Child::legacy())];
    mux.configure(&entries);
    mux.until_generation(2).await;
    mux.until_child("slow", "is another process", |child| {
        child["state"] == "ready" && child["pid"] != json!(old)
    })
    .await;
    for name in ["slow", "slower"] {
        until_asked(&mux, name).await;
    }

    until_gone(&[quick]).await;
    assert_eq!(client.call("slow__echo", "{}").await.content()["calls"], 1);
    for name in ["slow", "slower"] {
        assert!(mux.journal(name).of("left").is_empty(), "{name} is there");
    }
    assert!(alive(old), "it is still about to go");
    let_go(&mux);
    for name in ["slow", "slower"] {
        mux.journal(name).until("left", |_| true).await;
    }
    until_gone(&[old]).await;
}

#[tokio::test]
async fn children_that_are_slow_to_go_are_waited_for_at_the_end() {
    for door in Door::ALL {
        let fleet = slow_to_go(Fleet::new()).stdio("quick", Child::legacy());
        let mut mux = fleet.over(door).await;
        mux.all_ready().await;
        let quick = pid(&mux.child("quick").await);

        mux.terminate();
        for name in ["slow", "slower"] {
            until_asked(&mux, name).await;
        }
        until_gone(&[quick]).await;
        let_go(&mux);

        assert!(mux.ended().await.success(), "{door:?}");
        for name in ["slow", "slower"] {
            assert_eq!(mux.journal(name).of("left").len(), 1, "{door:?} {name}");
            until_gone(&mux.journal(name).pids()).await;
        }
        assert_all_ended(&mux);
    }
}

/// One after the other they would take longer than the end may.
#[tokio::test]
async fn children_that_will_not_go_are_ended_at_the_same_time() {
    const DEAF: [&str; 4] = ["one", "two", "three", "four"];
    let mut fleet = Fleet::new();
    for name in DEAF {
        fleet = fleet.stdio(name, Child::legacy().flag("--ignore-sigterm"));
    }
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;

    mux.terminate();
    // All are asked before the first is gone.
    eventually("every child is asked to go", async || {
        let asked = |name: &&str| !mux.journal(name).of("stdin ended").is_empty();
        DEAF.iter().all(asked).then_some(())
    })
    .await;
    for name in DEAF {
        let pids = mux.journal(name).pids();
        assert!(pids.iter().all(|pid| alive(*pid)), "{name} will not go");
    }

    assert!(mux.ended().await.success());
    for name in DEAF {
        until_gone(&mux.journal(name).pids()).await;
    }
    assert_all_ended(&mux);
}

/// The end was not cut short.
fn assert_all_ended(mux: &Multiplexer) {
    let log = mux.log.text();
    assert!(!log.contains("not every child"), "{log}");
    assert!(log.lines().any(|line| line.ends_with("ended")), "{log}");
}
