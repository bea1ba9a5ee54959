//! Real servers behind the multiplexer, and the official SDKs in front of it.

mod peers;
mod support;

use peers::{Heard, Peers, Sdk, server_everything};
use serde_json::{Value, json};
use support::{
    Door, Fleet,
    http::{Http, With as _, post},
};

/// What one client hears through a multiplexer over this fleet.
async fn heard(sdk: Sdk, door: Door, fleet: Fleet, calls: &[(String, Value)]) -> Heard {
    match door {
        Door::Http => {
            let mux = fleet.over(Door::Http).await;
            sdk.at(&mux.url(), calls).await
        }
        Door::Stdio => {
            let fleet = fleet.unserved().await;
            sdk.over(&fleet.command_line(), fleet.environment(), calls)
                .await
        }
    }
}

async fn uses_every_child(sdk: Sdk, door: Door) {
    let peers = Peers::start().await;
    let message = json!({"message": "Grüße, 世界 🦀"});
    let noon = json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"});
    let calls = [
        ("everything__echo", message.clone()),
        ("remote__echo", message),
        ("everything__get-env", json!({})),
        ("time__convert_time", noon),
        ("guarded__whoami", json!({})),
        ("guarded__add", json!({"a": 19, "b": 23})),
        ("guarded__fail", json!({"why": "no particular reason"})),
    ]
    .map(|(tool, arguments)| (tool.to_owned(), arguments));

    let heard = heard(sdk, door, peers.fleet(), &calls).await;

    assert_eq!(
        names(&heard, "time__"),
        ["time__convert_time", "time__get_current_time"]
    );
    assert_eq!(
        names(&heard, "guarded__"),
        ["guarded__add", "guarded__fail", "guarded__whoami"]
    );
    for echo in ["everything__echo", "remote__echo"] {
        assert_eq!(text(heard.result(echo)), "Echo: Grüße, 世界 🦀");
    }
    let environment = text(heard.result("everything__get-env"));
    assert!(
        environment.contains("PATH") && !environment.contains("OIDC"),
        "{environment}"
    );
    let converted = &heard.result("time__convert_time")["structuredContent"];
    assert_eq!(converted["time_difference"], "+9.0h");
    let caller = &heard.result("guarded__whoami")["structuredContent"];
    assert_eq!(*caller, peers.identity());
    let sum = &heard.result("guarded__add")["structuredContent"];
    assert_eq!(*sum, json!({"result": 42}));
    let failure = heard.result("guarded__fail");
    assert_eq!(failure["isError"], true);
    assert!(text(failure).contains("no particular reason"), "{failure}");
}

#[tokio::test]
async fn the_python_sdk_uses_every_child_over_stdio() {
    uses_every_child(Sdk::Python, Door::Stdio).await;
}

#[tokio::test]
async fn the_python_sdk_uses_every_child_over_http() {
    uses_every_child(Sdk::Python, Door::Http).await;
}

#[tokio::test]
async fn the_typescript_sdk_uses_every_child_over_stdio() {
    uses_every_child(Sdk::TypeScript, Door::Stdio).await;
}

#[tokio::test]
async fn the_typescript_sdk_uses_every_child_over_http() {
    uses_every_child(Sdk::TypeScript, Door::Http).await;
}

/// Without this, the runs above would prove nothing about the service identity.
#[tokio::test]
async fn the_guarded_server_lets_nobody_in_without_a_token() {
    let peers = Peers::start().await;
    let hello = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

    for request in [
        post(&peers.guarded(), hello),
        post(&peers.guarded(), hello).with("authorization", "Bearer e30.e30.e30"),
    ] {
        let reply = Http::default().send(request).await;
        assert_eq!(reply.status, 401);
    }
}

/// Calls of server-everything whose results depend on nothing else.
fn telling_calls(prefix: &str) -> Vec<(String, Value)> {
    let calls = [
        ("echo", json!({"message": "\u{0000}\t\"\\ ü 🦀"})),
        ("get-sum", json!({"a": 0.1, "b": 1e21})),
        ("get-sum", json!({"a": "no number"})),
        ("get-structured-content", json!({"location": "Chicago"})),
        ("get-tiny-image", json!({})),
        (
            "get-annotated-message",
            json!({"messageType": "error", "includeImage": true}),
        ),
        ("get-resource-links", json!({"count": 3})),
        // Long enough that even a slow client has its first news before the result.
        (
            "trigger-long-running-operation",
            json!({"duration": 3, "steps": 3}),
        ),
    ];
    calls
        .map(|(tool, arguments)| (format!("{prefix}{tool}"), arguments))
        .into()
}

async fn hears_the_same_through_the_multiplexer(sdk: Sdk, door: Door) {
    let calls = telling_calls("");
    let through = [telling_calls("everything__"), telling_calls("remote__")].concat();
    let peers = Peers::start().await;
    let server = ["node", &server_everything().to_string_lossy(), "stdio"].map(str::to_owned);

    let directly = sdk.over(&server, &[], &calls).await;
    let heard = heard(sdk, door, peers.fleet(), &through).await;

    for prefix in ["everything__", "remote__"] {
        for (name, entry) in &directly.listed {
            let mut listed = heard.listed[&format!("{prefix}{name}")].clone();
            listed["name"] = json!(name);
            assert_eq!(listed, *entry, "{prefix}{name}");
        }
    }
    for (called, direct) in heard.calls.iter().zip(directly.calls.iter().cycle()) {
        assert_eq!(called["error"], direct["error"], "{}", called["called"]);
        assert_eq!(
            result(sdk, called),
            result(sdk, direct),
            "{}",
            called["called"]
        );
        progresses_alike(called, direct);
    }
}

/// A call's result. A modern client is told in `resultType` what a legacy one knows.
fn result(sdk: Sdk, call: &Value) -> Value {
    let mut result = call["result"].clone();
    if sdk == Sdk::Python
        && let Some(result) = result.as_object_mut()
    {
        result.remove("resultType");
    }
    result
}

/// Both SDKs drop progress that comes together with the result, so how much of it
/// they show is theirs to say; but what they show is in order, and they show some.
fn progresses_alike(called: &Value, direct: &Value) {
    let updates = |call: &Value| call["progress"].as_array().cloned().expect("an array");
    let (shown, shown_directly) = (updates(called), updates(direct));
    assert_eq!(shown.is_empty(), shown_directly.is_empty(), "{called}");
    let both = shown.len().min(shown_directly.len());
    assert_eq!(shown[..both], shown_directly[..both], "{called}");
}

#[tokio::test]
async fn the_python_sdk_hears_the_same_over_stdio() {
    hears_the_same_through_the_multiplexer(Sdk::LegacyPython, Door::Stdio).await;
}

#[tokio::test]
async fn the_python_sdk_hears_the_same_over_http() {
    hears_the_same_through_the_multiplexer(Sdk::LegacyPython, Door::Http).await;
}

#[tokio::test]
async fn the_typescript_sdk_hears_the_same_over_stdio() {
    hears_the_same_through_the_multiplexer(Sdk::TypeScript, Door::Stdio).await;
}

#[tokio::test]
async fn the_typescript_sdk_hears_the_same_over_http() {
    hears_the_same_through_the_multiplexer(Sdk::TypeScript, Door::Http).await;
}

/// The child is legacy and the client modern: all but the keys of the era stays.
#[tokio::test]
async fn a_client_of_the_other_era_hears_the_same() {
    for door in Door::ALL {
        hears_the_same_through_the_multiplexer(Sdk::Python, door).await;
    }
}

/// The names of the tools that begin like this.
fn names<'a>(heard: &'a Heard, prefix: &str) -> Vec<&'a str> {
    let names = heard.listed.keys().map(String::as_str);
    names.filter(|name| name.starts_with(prefix)).collect()
}

fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().expect("a text")
}
