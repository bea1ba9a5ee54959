//! Tasks: calls that go on after they are answered. Their ids name the child they are
//! of, so that it is found again by whoever asks.

mod peers;
mod support;

use peers::{Server, fixture};
use serde_json::{Value, json};
use support::{
    Answer, Child, Door, Era, Fleet, Multiplexer,
    client::{LEGACY_VERSION, modern_post},
    eventually,
    http::Http,
};

/// Sends a request of a modern client that knows tasks.
async fn ask(url: &str, method: &str, mut params: Value) -> Answer {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {
            "elicitation": {},
            "extensions": {"io.modelcontextprotocol/tasks": {}},
        },
    });
    let frame = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let request = modern_post(url, frame.to_string());
    Http::default().send(request).await.answer().await
}

fn result(answer: &Answer) -> Value {
    serde_json::from_str(answer.result()).expect("JSON")
}

/// Has the tool make a task, and gives back its id.
async fn begin(url: &str, tool: &str, arguments: Value) -> String {
    let params = json!({"name": tool, "arguments": arguments});
    let made = result(&ask(url, "tools/call", params).await);
    assert_eq!(made["resultType"], "task", "{made}");
    made["taskId"].as_str().expect("an id").to_owned()
}

async fn get(url: &str, id: &str) -> Value {
    result(&ask(url, "tasks/get", json!({"taskId": id})).await)
}

/// How the task stands as soon as it stands like this.
async fn until(url: &str, id: &str, status: &str) -> Value {
    eventually(&format!("{id} is {status}"), async || {
        Some(get(url, id).await).filter(|task| task["status"] == status)
    })
    .await
}

/// Two servers that know tasks, one over each transport.
async fn two(remote: &Server) -> Multiplexer {
    let stdio = json!({"command": fixture::program(), "args": ["stdio"]});
    let fleet = Fleet::new()
        .entry("one", json!({"url": remote.mcp()}))
        .entry("two", stdio);
    let multiplexer = fleet.over(Door::Http).await;
    multiplexer.all_ready().await;
    multiplexer
}

#[tokio::test]
async fn a_task_is_found_again_by_the_id_that_its_child_gave_it() {
    let remote = fixture::over_http().await;
    let mux = two(&remote).await;
    let url = mux.url();
    for child in ["one", "two"] {
        let id = begin(&url, &format!("{child}__confirm_delete"), json!({})).await;
        assert!(id.starts_with(&format!("{child}__")), "{id}");
        let asking = until(&url, &id, "input_required").await;
        assert_eq!(asking["taskId"], *id);
        let responses = json!({"confirm": {"action": "accept", "content": {"confirm": true}}});
        let update = json!({"taskId": id, "inputResponses": responses});
        result(&ask(&url, "tasks/update", update).await);
        let done = until(&url, &id, "completed").await;
        assert_eq!(done["result"]["content"][0]["text"], "confirmed: true");

        let hour = json!({"seconds": 3600});
        let id = begin(&url, &format!("{child}__slow_compute"), hour).await;
        result(&ask(&url, "tasks/cancel", json!({"taskId": id})).await);
        until(&url, &id, "cancelled").await;
    }
}

#[tokio::test]
async fn a_task_is_found_again_by_another_multiplexer() {
    let remote = fixture::over_http().await;
    let first = two(&remote).await;
    let id = begin(&first.url(), "one__slow_compute", json!({"seconds": 3600})).await;
    let second = two(&remote).await;
    drop(first);
    assert_eq!(get(&second.url(), &id).await["status"], "working");
}

#[tokio::test]
async fn a_task_of_a_child_that_is_seen_alone_has_the_childs_own_id() {
    let remote = fixture::over_http().await;
    let mux = two(&remote).await;
    let alone = mux.at("/mcp/one");
    let own = begin(&alone, "slow_compute", json!({"seconds": 3600})).await;
    assert_eq!(get(&alone, &own).await["taskId"], *own);
    let public = format!("one__{own}");
    assert_eq!(get(&mux.url(), &public).await["taskId"], *public);
}

#[tokio::test]
async fn a_task_that_nobody_has_is_unknown() {
    let remote = fixture::over_http().await;
    let mux = two(&remote).await;
    let hour = json!({"seconds": 3600});
    let id = begin(&mux.url(), "one__slow_compute", hour).await;
    let elsewhere = id.replace("one__", "two__");
    for id in [&*elsewhere, "three__1", "1", ""] {
        for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
            let params = json!({"taskId": id, "inputResponses": {}});
            let answer = ask(&mux.url(), method, params).await;
            assert_eq!(answer.error_code(), -32602, "{method} {id}");
        }
    }
    // Whose they are cannot be told, so nobody is told of any.
    let listed = ask(&mux.url(), "tasks/list", json!({})).await;
    assert_eq!(listed.error_code(), -32601);
}

#[tokio::test]
async fn a_task_of_2025_11_25_is_found_again() {
    let child = || {
        let made = r#"{"task":{"taskId":"7","status":"working","ttl":1e3,"x":1.10}}"#;
        let child = Child::legacy().option("--extension", "vendor/any");
        child.returning(made)
    };
    for door in Door::ALL {
        let fleet = Fleet::new()
            .with(door, "one", child())
            .with(door, "two", child());
        let mut mux = fleet.over(door).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;
        let call = r#"{"name":"two__raw","arguments":{},"task":{"ttl":1e3}}"#;
        let made = client.request("tools/call", call).await;
        assert_eq!(
            made.result(),
            r#"{"task":{"taskId":"two__7","status":"working","ttl":1e3,"x":1.10}}"#
        );
        for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
            let asked = client
                .request(method, r#"{"taskId":"two__7","x":1.10}"#)
                .await;
            // This child answers with what it was asked.
            let received = format!(
                r#"{{"method":"{method}","params":{{"taskId":"7","x":1.10}},"x-exact":1.10}}"#
            );
            assert_eq!(asked.result(), received);
            assert_eq!(mux.journal("one").of("extension").len(), 0);
        }
        for unknown in ["tasks/list", "tasks/update"] {
            let answer = client.request(unknown, r#"{"taskId":"two__7"}"#).await;
            assert_eq!(answer.error_code(), -32601, "{unknown}");
        }
    }
}

#[tokio::test]
async fn what_tasks_can_be_carried_is_declared() {
    let remote = fixture::over_http().await;
    let mux = two(&remote).await;
    let discovered = result(&ask(&mux.url(), "server/discover", json!({})).await);
    let extensions = &discovered["capabilities"]["extensions"];
    assert!(extensions["io.modelcontextprotocol/tasks"].is_object());
    assert_eq!(discovered["capabilities"]["tasks"], Value::Null);

    let tasks = json!({"cancel": {}, "requests": {"tools": {"call": {}}}});
    for (version, declared) in [(LEGACY_VERSION, tasks), ("2025-06-18", Value::Null)] {
        let client = json!({"name": "tests", "version": "1"});
        let params = json!({"protocolVersion": version, "capabilities": {}, "clientInfo": client});
        let frame = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let reply = Http::default().post(&mux.url(), frame.to_string()).await;
        let initialized = result(&reply.answer().await);
        assert_eq!(initialized["capabilities"]["tasks"], declared, "{version}");
    }
}
