//! A thousand entries in the config.

use std::time::Instant;

use serde_json::json;
use tempfile::TempDir;

use crate::support::{
    Door, Era, Fleet, Multiplexer,
    child::{Remote, program},
    eventually,
    http::Http,
    process::Holdings,
};

const MANY: usize = 1000;

/// Several times what each costs; `benches/run` prints that.
const KIB_EACH: u64 = 300;

#[tokio::test]
async fn a_thousand_children_on_one_host_are_served() {
    for era in Era::ALL {
        let name = match era {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        };
        let flags = ["--era", name, "--bare", "--named", "tool"];
        let host = Remote::start(flags.map(str::to_owned).to_vec()).await;
        let few = resident(&host, 10, era).await;
        let many = resident(&host, MANY, era).await;
        let each = many.saturating_sub(few) / (MANY as u64 - 10);
        println!("{era:?}: {few} KiB with 10, {many} KiB with {MANY}: {each} KiB each");
        assert!(each < KIB_EACH, "{era:?}: {each} KiB each");
    }
}

/// The memory of a multiplexer with so many children, when all are ready, listed and
/// callable.
async fn resident(host: &Remote, children: usize, era: Era) -> u64 {
    let mut fleet = Fleet::new();
    for n in 0..children {
        fleet = fleet.entry(&format!("child-{n}"), json!({"url": host.url()}));
    }
    let began = Instant::now();
    let mut mux = fleet.over(Door::Http).await;
    let health = Http::default().get(&mux.at("/health")).await;
    assert_eq!(health.status, 200);
    println!("{era:?}: {children}: healthy after {:?}", began.elapsed());
    eventually("every child is ready", async || {
        let status = mux.status().await;
        let children = status["children"].as_array().expect("children");
        let all = children.iter().all(|child| child["state"] == "ready");
        all.then_some(())
    })
    .await;
    println!("{era:?}: {children}: all ready after {:?}", began.elapsed());
    let mut client = mux.client(era).await;
    eventually("a list of every tool", async || {
        (client.tool_names().await.len() == children).then_some(())
    })
    .await;
    let last = format!("child_{}__tool", children - 1);
    let answer = client.call(&last, r#"{"a":1}"#).await;
    assert!(
        answer.structured().contains(r#"{"a":1}"#),
        "{}",
        answer.frame
    );
    let held = Holdings::of(mux.pid());
    println!("{era:?}: {children}: {} open files", held.files);
    held.resident
}

/// Each was started once, to be listed; the next multiplexer starts the one that is
/// called, and no other.
#[tokio::test]
async fn a_thousand_lazy_children_cost_no_process() {
    let kept = TempDir::with_prefix("kept-").expect("a folder");
    let kept = kept.path().display().to_string();
    let first = lazy(&kept).await;
    let began = Instant::now();
    eventually("every child has been listed and is idle", async || {
        let status = first.status().await;
        let children = status["children"].as_array().expect("children");
        let all = children.iter().all(|child| child["state"] == "idle");
        all.then_some(())
    })
    .await;
    println!(
        "lazy: {MANY}: all listed and idle after {:?}",
        began.elapsed()
    );
    println!("lazy: {MANY}: {:?}", Holdings::of(first.pid()));
    drop(first);

    let began = Instant::now();
    let mut mux = lazy(&kept).await;
    let mut client = mux.client(Era::Modern).await;
    assert_eq!(client.tool_names().await.len(), MANY);
    println!(
        "lazy: {MANY}: listed from what was kept in {:?}",
        began.elapsed()
    );
    let held = Holdings::of(mux.pid());
    println!("lazy: {MANY}: {held:?}");
    assert!(held.children.is_empty(), "nothing was started");

    let answer = client.call("child_500__tool", r#"{"a":1}"#).await;

    assert!(
        answer.structured().contains(r#"{"a":1}"#),
        "{}",
        answer.frame
    );
    // It, if it is not idle again, and the watchdog that ends it should we be killed.
    assert!(Holdings::of(mux.pid()).children.len() <= 2);
}

async fn lazy(kept: &str) -> Multiplexer {
    let mut fleet = Fleet::new()
        .top("defaults", json!({"lazy": true, "idleTimeout": "100ms"}))
        .flags(&["--cache-dir", kept]);
    for n in 0..MANY {
        let args = ["--era", "modern", "--bare", "--named", "tool"];
        let entry = json!({"command": program(), "args": args});
        fleet = fleet.entry(&format!("child-{n}"), entry);
    }
    fleet.over(Door::Http).await
}
