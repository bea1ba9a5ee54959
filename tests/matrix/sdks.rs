//! The official SDKs as clients of children that are made with them.

use serde_json::{Value, json};

use crate::{
    Doing,
    peers::walk::{Walker, new_server, old_server},
    support::{Door, Fleet},
};

/// What every client sees of a child.
fn expected(child: &str, more: &[&str]) -> Value {
    let mut tools = vec!["ask", "count", "fail", "sample"];
    tools.extend(more);
    let tools: Vec<_> = tools.iter().map(|own| format!("{child}__{own}")).collect();
    json!({
        "tools": tools,
        "count": [false, "3"],
        "logged": ["info", child, "counting to 3"],
        "failed": true,
        "ask": [false, "accept Ann"],
        "sample": [false, "forty-two"],
        "asked": ["Who?", "How many?"],
        "listed": true,
        "read": ["a note", "note 7"],
        "prompts": [format!("{child}__greet")],
        "prompt": "Hello, Ada!",
        "completion": ["Ada", "Alan"],
    })
}

/// SDKs drop progress that comes together with the result: what they show is in order,
/// and they show some.
fn progresses(seen: &mut Value) {
    let shown = seen["progress"].take();
    let shown: Vec<_> = shown.as_array().expect("an array").iter().collect();
    seen.as_object_mut().expect("an object").remove("progress");
    assert!(!shown.is_empty(), "{seen}");
    for (step, shown) in (1..).zip(shown) {
        let shown: Vec<_> = shown
            .as_array()
            .expect("a pair")
            .iter()
            .map(Value::as_f64)
            .collect();
        assert_eq!(shown, [Some(f64::from(step)), Some(3.0)]);
    }
}

#[tokio::test]
async fn every_sdk_walks_through_children_of_every_sdk() {
    let mux = Fleet::new()
        .entry("old", old_server())
        .entry("new", new_server())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    for (client, version) in [
        (Walker::OldPython, "2025-11-25"),
        (Walker::LegacyPython, "2025-11-25"),
        (Walker::Python, "2026-07-28"),
        (Walker::TypeScript, "2025-11-25"),
    ] {
        let doing = Doing::now(format_args!("{client:?}"));
        let mut seen = client.walk(&mux.url()).await;
        for child in ["old", "new"] {
            progresses(&mut seen[child]);
        }
        // The old SDK's servers take no subscriptions.
        let mut new = expected("new", &["touch"]);
        new["updated"] = json!("walk://2/note");
        let expected = json!({"version": version, "old": expected("old", &[]), "new": new});
        assert_eq!(seen, expected, "{seen:#}");
        drop(doing);
    }
}
