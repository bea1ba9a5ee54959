//! Half of a fleet may be broken, each child in its own way: the rest serves, nobody
//! waits for the broken ones, and operators are told what is wrong with each.

mod support;

use serde_json::{Value, json};
use support::{
    Child, Door, Era, Fleet, Multiplexer,
    http::{ClosedPort, Http},
};

/// A way of being broken, the entry's name, and words of which its reason has one.
type Broken = (&'static str, &'static [&'static str]);

const BROKEN: [Broken; 10] = [
    ("refused", &["refused"]),
    ("black-hole", &["no answer"]),
    ("exits-at-once", &["exit"]),
    ("garbage", &["json"]),
    ("wrong-version", &["1999-01-01"]),
    ("errors", &["500"]),
    ("locked", &["401"]),
    // Clients hear our own words alone, operators the child's too.
    ("web-page", &["html", "no mcp"]),
    ("never-answers", &["no answer"]),
    ("missing", &["not found", "no such file"]),
];

/// Long enough for any answer that comes, since only silence waits for it.
const PATIENCE: &str = "4s";

/// The ten broken children, between the ten good ones, which wait for their gate.
fn half_broken(closed: &ClosedPort) -> Fleet {
    let broken = |behaviour| Child::broken(behaviour).key("timeout", PATIENCE);
    let mut fleet = Fleet::new()
        .entry("refused", json!({"url": closed.url("/mcp")}))
        .http("black-hole", broken("black-hole"))
        .stdio("exits-at-once", broken("exit-at-once"))
        .stdio("garbage", broken("garbage"))
        .stdio("wrong-version", broken("wrong-version"))
        .http("errors", broken("server-error"))
        .http("locked", broken("unauthorized"))
        .http("web-page", broken("html"))
        .stdio("never-answers", broken("never-initializes"))
        .entry("missing", json!({"command": "no-such-program-anywhere"}));
    for n in 0..10 {
        let door = if n % 2 == 0 { Door::Stdio } else { Door::Http };
        let child = Child::of(if n < 5 { Era::Legacy } else { Era::Modern });
        fleet = fleet.with(door, &good(n), child.bare().named("tool").gated());
    }
    fleet
}

fn good(n: usize) -> String {
    format!("good-{n}")
}

fn open_every_gate(mux: &Multiplexer) {
    for n in 0..10 {
        mux.open_gate(&good(n));
    }
}

#[tokio::test]
async fn health_answers_while_no_child_has_connected() {
    let closed = ClosedPort::pick();
    let mux = half_broken(&closed).over(Door::Http).await;

    let health = Http::default().get(&mux.at("/health")).await;

    assert_eq!(health.status, 200);
    assert_eq!(health.json().await["status"], "ok");
    // Behind their gates, the good ones cannot have become ready before that.
    for child in children(&mux).await {
        assert_ne!(child["state"], "ready", "{child}");
    }
}

#[tokio::test]
async fn the_good_children_are_listed_and_callable_beside_ten_broken_ones() {
    let closed = ClosedPort::pick();
    let mut mux = half_broken(&closed).over(Door::Http).await;
    open_every_gate(&mux);
    for n in 0..10 {
        mux.until_ready(&good(n)).await;
    }
    for era in Era::ALL {
        let mut client = mux.client(era).await;

        let names = client.tool_names().await;

        let expected: Vec<String> = (0..10).map(|n| format!("good_{n}__tool")).collect();
        assert_eq!(names, expected, "{era:?}");
        for name in expected {
            let answer = client.call(&name, r#"{"a":1}"#).await;
            assert!(answer.structured().contains(r#"{"a":1}"#), "{name}");
        }
    }
}

#[tokio::test]
async fn status_says_of_each_broken_child_what_is_wrong_with_it() {
    let closed = ClosedPort::pick();
    let mux = half_broken(&closed).over(Door::Http).await;

    let mut vague = Vec::new();
    for (name, words) in BROKEN {
        let down = mux
            .until_child(name, "is down", |child| child["state"] == "down")
            .await;

        let reason = down["reason"].as_str().unwrap_or_default().to_lowercase();
        if !words.iter().any(|word| reason.contains(word)) {
            vague.push(format!("{name}: {reason:?} has none of {words:?}"));
        }
        let tried_again = down["nextRetryMs"].is_u64();
        assert!(tried_again, "there is a next try: {down:#}");
    }
    assert!(vague.is_empty(), "{vague:#?}");
}

#[tokio::test]
async fn a_call_to_a_broken_child_fails_with_the_childs_name_and_the_reason() {
    let closed = ClosedPort::pick();
    let mut mux = half_broken(&closed).over(Door::Http).await;
    let mut client = mux.client(Era::Legacy).await;
    let mut vague = Vec::new();
    for (name, words) in BROKEN {
        mux.until_child(name, "is down", |child| child["state"] == "down")
            .await;
        let tool = format!("{}__anything", name.replace('-', "_"));

        let answer = client.call(&tool, "{}").await;

        assert_eq!(answer.failure_kind(), "unavailable", "{}", answer.frame);
        assert_eq!(answer.failure()["child"], name);
        let said = answer.content_text().to_lowercase();
        assert!(said.contains(name), "{said}");
        if !words.iter().any(|word| said.contains(word)) {
            vague.push(format!("{said:?} has none of {words:?}"));
        }
    }
    assert!(vague.is_empty(), "{vague:#?}");
}

/// There is no last attempt: whoever repairs a child need not touch us.
#[tokio::test]
async fn a_broken_child_that_heals_is_served() {
    let mut mux = Fleet::new()
        .http("errors", Child::broken("server-error"))
        .http("web-page", Child::broken("html"))
        .over(Door::Http)
        .await;
    for name in ["errors", "web-page"] {
        mux.until_child(name, "has failed twice", |child| {
            child["attempt"].as_u64() >= Some(2)
        })
        .await;

        mux.remote(name).behave("healthy").await;

        mux.until_ready(name).await;
    }
    let mut client = mux.client(Era::Modern).await;
    assert_eq!(
        client.call("errors__echo", "{}").await.content()["calls"],
        1
    );
    let echo = client.call("web_page__echo", "{}").await;
    assert_eq!(echo.content()["calls"], 1);
}

/// A child that never answers has most of an hour; the first list does not wait for it.
#[tokio::test]
async fn a_black_hole_holds_up_neither_the_first_list_nor_readiness() {
    let patient = |child: Child| child.key("timeout", "50m");
    let mut mux = Fleet::new()
        .http("hole", patient(Child::broken("black-hole")))
        .stdio("silence", patient(Child::broken("black-hole")))
        .stdio("good", Child::legacy().bare().named("tool"))
        .over(Door::Http)
        .await;
    mux.until_ready("good").await;
    let mut client = mux.client(Era::Legacy).await;

    let names = client.tool_names().await;

    assert_eq!(names, ["good__tool"]);
    support::eventually("readiness", async || {
        let ready = Http::default().get(&mux.at("/ready")).await;
        (ready.status == 200).then_some(())
    })
    .await;
    for name in ["hole", "silence"] {
        assert_eq!(mux.child(name).await["state"], "connecting");
    }
}

/// The name is not in any list yet, but its prefix says whose it will be.
#[tokio::test]
async fn a_call_to_a_child_that_is_still_starting_waits_for_it() {
    for door in Door::ALL {
        let mut mux = Fleet::new()
            .with(door, "child", Child::legacy().gated())
            .over(Door::Http)
            .await;
        let mut client = mux.client(Era::Legacy).await;
        let call = client.begin_call("child__echo", r#"{"early":true}"#).await;

        mux.open_gate("child");

        let answer = client.finish(call).await;
        assert!(
            answer.structured().contains(r#"{"early":true}"#),
            "{door:?}"
        );
    }
}

#[tokio::test]
async fn the_log_has_a_line_for_each_child_with_how_it_went() {
    let closed = ClosedPort::pick();
    let mux = half_broken(&closed).over(Door::Http).await;
    open_every_gate(&mux);

    let names = (0..10).map(|n| (good(n), "state=ready"));
    let broken = BROKEN.map(|(name, _)| (name.to_owned(), "state=down"));
    for (name, state) in names.chain(broken) {
        let child = format!("child={name} ");
        // Quotes around a value are a matter of taste.
        let line = mux
            .log
            .until(&format!("a line for {name}"), |line| {
                let line = line.replace('"', "");
                line.contains(&child) && line.contains(state)
            })
            .await
            .replace('"', "");

        let door = mux.child(&name).await["transport"].clone();
        let door = door.as_str().unwrap_or_default();
        assert!(line.contains(&format!("transport={door} ")), "{line}");
        let outcome = if state.contains("ready") {
            " tools=1"
        } else {
            " reason="
        };
        assert!(line.contains(outcome), "{line}");
    }
}

async fn children(mux: &Multiplexer) -> Vec<Value> {
    let status = mux.status().await;
    let children = status["children"].as_array().cloned().unwrap_or_default();
    assert_eq!(children.len(), 20, "{status:#}");
    children
}
