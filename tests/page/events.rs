//! The stream of what changes.

use serde_json::{Value, json};

use crate::support::{
    Child, Door, Era, Fleet, Multiplexer, eventually,
    http::{Events, Http},
};

async fn watch(mux: &Multiplexer) -> Events {
    let reply = Http::default().get(&mux.at("/status/events")).await;
    assert_eq!(reply.status, 200);
    reply.events()
}

async fn next(events: &mut Events) -> Value {
    let data = events.next().await.expect("an event");
    serde_json::from_str(&data).expect("JSON")
}

fn names(news: &Value) -> Vec<&str> {
    let children = news["children"].as_array().map_or(&[][..], Vec::as_slice);
    let names = children.iter().map(|child| child["name"].as_str());
    names.flatten().collect()
}

async fn pair() -> Multiplexer {
    let mux = Fleet::new()
        .stdio("one", Child::legacy())
        .stdio("two", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    // What their lists cost is counted from the first question on, and is a change too.
    eventually("the costs are counted", async || {
        let status = mux.status().await;
        let children = status["children"].as_array().expect("children");
        let counted = children
            .iter()
            .all(|child| child["toolsListTokens"].is_u64());
        (counted && status["cost"].is_object()).then_some(())
    })
    .await;
    mux
}

#[tokio::test]
async fn the_first_event_tells_all_and_the_next_what_has_changed() {
    let mut mux = pair().await;
    let mut events = watch(&mux).await;

    let first = next(&mut events).await;

    assert_eq!(first["names"], json!(["one", "two"]));
    assert_eq!(names(&first), ["one", "two"]);
    let status = mux.status().await;
    assert_eq!(first["process"]["config"], status["config"]);
    assert_eq!(
        first["children"][0]["tools"],
        status["children"][0]["tools"]
    );
    let activity = first["children"][0]["activity"]["calls"].as_array();
    assert_eq!(activity.map(Vec::len), Some(60));

    let mut client = mux.client(Era::Legacy).await;
    client.call("two__echo", "{}").await.content();
    client.call("two__fail", "{}").await;
    loop {
        let news = next(&mut events).await;
        assert_eq!(names(&news), ["two"], "only that: {news:#}");
        assert!(news.get("process").is_none(), "{news:#}");
        let two = &news["children"][0];
        if two["calls"] == 2 && two["inFlight"] == 0 {
            assert_eq!(two["errors"], 1);
            let sum = |of: &str| -> u64 {
                let counts = two["activity"][of].as_array().expect("counts").iter();
                counts.filter_map(Value::as_u64).sum()
            };
            assert_eq!((sum("calls"), sum("errors")), (2, 1), "{news:#}");
            break;
        }
    }
}

#[tokio::test]
async fn a_child_that_fails_calls_is_told_with_the_reason_and_keeps_it() {
    let child = Child::modern().key("breaker", json!({"failures": 2, "cooldown": "1h"}));
    let mut mux = Fleet::new().http("child", child).over(Door::Http).await;
    mux.all_ready().await;
    let mut events = watch(&mux).await;
    next(&mut events).await;
    mux.remote("child").behave("server-error").await;
    let mut client = mux.client(Era::Modern).await;

    // The third one is refused, which is no reason.
    for _ in 0..3 {
        client.call("child__echo", "{}").await.failure();
    }

    let failure = loop {
        let child = next(&mut events).await["children"][0].clone();
        if child["breaker"] == "open" && child["errors"] == 3 {
            break child["lastFailure"].clone();
        }
    };
    assert_eq!(failure["kind"], "transport");
    assert_eq!(failure["tool"], "echo");
    assert!(failure["reason"].to_string().contains("500"), "{failure}");
}

#[tokio::test]
async fn so_many_may_watch_and_one_that_leaves_makes_room() {
    let mux = pair().await;
    let mut all = Vec::new();
    for _ in 0..32 {
        let mut events = watch(&mux).await;
        next(&mut events).await;
        all.push(events);
    }

    let refused = Http::default().get(&mux.at("/status/events")).await;

    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), "10");
    all.pop();
    eventually("room for another", async || {
        let reply = Http::default().get(&mux.at("/status/events")).await;
        (reply.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_end_of_the_program_is_the_end_of_the_stream() {
    let mut mux = pair().await;
    let mut events = watch(&mux).await;
    next(&mut events).await;

    mux.terminate();

    while events.next().await.is_some() {}
    assert!(mux.ended().await.success());
}
