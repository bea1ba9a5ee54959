//! What is sent, and to whom.

use ::http::Method;
use serde_json::{Value, json};

use crate::{
    issuer::{Issuer, Key},
    knock::{Knock, locked, open, page},
    support::{
        Child, Door, Fleet, Multiplexer,
        http::{Http, With as _, request},
    },
};

const PATHS: [&str; 6] = [
    "/",
    "/status/page.css",
    "/status/page.js",
    "/status/icon.svg",
    "/status/events",
    "/status/tools?child=child",
];

async fn status_of(url: &str, header: Option<(&str, &str)>) -> u16 {
    let mut request = request(Method::GET, url, "");
    if let Some((name, value)) = header {
        request = request.with(name, value);
    }
    Http::default().send(request).await.status.as_u16()
}

async fn one() -> Multiplexer {
    let mux = Fleet::new()
        .stdio("child", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    mux
}

#[tokio::test]
async fn the_page_may_ask_nobody_else_and_stand_in_no_frame() {
    let mux = one().await;
    for path in &PATHS[..4] {
        let reply = Http::default().get(&mux.at(path)).await;
        let policy = reply.header("content-security-policy");
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
            "form-action 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
    }
}

#[tokio::test]
async fn hosts_and_origins_are_checked_as_for_status() {
    let mux = one().await;
    for path in PATHS {
        let url = mux.at(path);
        assert_eq!(status_of(&url, None).await, 200, "{path}");
        for foreign in [("host", "evil.example"), ("origin", "http://evil.example")] {
            assert_eq!(status_of(&url, Some(foreign)).await, 403, "{path}");
        }
    }
}

#[tokio::test]
async fn the_page_is_where_status_is() {
    // The multiplexer that serves stdio has nothing but an address for operators.
    let mux = Fleet::new()
        .stdio("child", Child::legacy())
        .over(Door::Stdio)
        .await;
    for path in PATHS {
        assert_eq!(status_of(&mux.at(path), None).await, 200, "{path}");
    }
    let mux = Fleet::new()
        .stdio("child", Child::legacy())
        .flags(&["--admin-addr", "127.0.0.1:0"])
        .over(Door::Http)
        .await;
    for path in PATHS {
        assert_eq!(status_of(&mux.at(path), None).await, 404, "{path}");
    }
}

#[tokio::test]
async fn tools_are_told_under_the_names_that_clients_use() {
    let mux = one().await;
    let url = mux.at("/status/tools?child=child");
    let tools: Value = Http::default().get(&url).await.json().await;
    let echo = tools
        .as_array()
        .and_then(|all| all.iter().find(|tool| tool["name"] == "child__echo"));
    assert!(
        echo.is_some_and(|echo| echo["bytes"].as_u64() > Some(20)),
        "{tools:#}"
    );
    let child = mux.child("child").await;
    assert_eq!(
        tools.as_array().map(Vec::len),
        child["tools"].as_u64().map(|n| n as usize)
    );
    assert_eq!(
        status_of(&mux.at("/status/tools?child=nobody"), None).await,
        404
    );
    assert_eq!(status_of(&mux.at("/status/tools"), None).await, 400);
}

#[tokio::test]
async fn at_a_locked_door_reasons_and_tools_are_for_those_who_may_come_in() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let fleet = locked(&issuer, json!({}))
        .stdio("child", Child::legacy())
        .entry("gone", json!({"command": "/no/such/program"}));
    let mux = open(fleet).await;
    mux.until_ready("child").await;
    let down = |child: &Value| child["state"] == "down";
    mux.until_child("gone", "is down", down).await;
    let http = Http::default();
    let events = mux.at("/status/events");

    let mut told = http.get(&events).await.events();
    let told: Value = serde_json::from_str(&told.next().await.expect("an event")).expect("JSON");
    let gone = &told["children"][1];
    assert_eq!(told["process"]["inFull"], false);
    assert_eq!(
        (&gone["name"], &gone["state"]),
        (&json!("gone"), &json!("down"))
    );
    assert_eq!(
        (&gone["reason"], &gone["lastFailure"]),
        (&Value::Null, &Value::Null)
    );
    assert!(!told.to_string().contains("no/such"), "{told}");
    let tools = mux.at("/status/tools?child=child");
    assert_eq!(status_of(&tools, None).await, 403);
    assert_eq!(status_of(&mux.at("/"), None).await, 200);

    let token = issuer.token(&key);
    let known = Knock::bearing(&http, page(Method::GET, &tools), &token).await;
    assert_eq!(known.status, 200);
    let bearer = format!("Bearer {token}");
    let request = page(Method::GET, &events).with("authorization", &bearer);
    let mut told = http.send(request).await.events();
    let told = told.next().await.expect("an event");
    assert!(told.contains("no/such"), "{told}");
}

#[tokio::test]
async fn what_is_odd_is_a_warning_for_those_who_may_know() {
    let mux = Fleet::new()
        .entry(
            "child",
            json!({"command": "/no/such/program", "tiemout": 5}),
        )
        .flags(&["--host", "0.0.0.0", "--insecure-no-auth"])
        .over(Door::Http)
        .await;
    let port = mux.at("").rsplit(':').next().map(str::to_owned);
    let url = format!("http://127.0.0.1:{}/status", port.expect("a port"));
    let status: Value = Http::default().get(&url).await.json().await;
    let door = status["door"]["warnings"].to_string();
    assert!(door.contains("other machines"), "{status:#}");
    let config = status["config"]["warnings"].to_string();
    assert!(config.contains("tiemout"), "{status:#}");
}
