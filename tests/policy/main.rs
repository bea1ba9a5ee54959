//! Who may call what: policies in Cedar, asked by lists and calls alike, changed while
//! they are in use; and the lines that say who called what.

mod access;
mod audit;
mod changing;
mod dynamic;
#[allow(dead_code, reason = "shared with the tests of the door")]
#[path = "../door/issuer.rs"]
mod issuer;
#[allow(dead_code, reason = "shared with the tests of the door")]
#[path = "../door/knock.rs"]
mod knock;
#[path = "../support/mod.rs"]
mod support;

use std::fs;

use ::http::Method;
use bytes::Bytes;
use issuer::{Issuer, Key};
use knock::{Knock, in_session, initialize, open};
use serde_json::{Value, json};
use support::{
    Child, Door, Era, Fleet, Multiplexer,
    client::{call_params, modern_post, with_modern_meta},
    http::{Events, Http, With as _, request},
};

const LIST_CHANGED: &str = "notifications/tools/list_changed";
const READER: &str =
    r#"{"name":"reader","annotations":{"readOnlyHint":true},"inputSchema":{"type":"object"}}"#;
const WRITER: &str = r#"{"name":"writer","inputSchema":{"type":"object"}}"#;

/// What only reads is everybody's; all of a child is for those with a role, a scope or in
/// a group; and of the writing tools some may know that they are there.
const POLICIES: &str = r#"
@id("reading")
permit(principal, action == Action::"call", resource is Tool) when { resource.readOnly };
@id("staff")
permit(principal, action, resource) when {
    principal.roles.contains("admin") || principal.scopes.contains("all")
        || principal.groups.contains("/staff")
};
@id("window-shopping")
permit(principal, action == Action::"list", resource is Tool) when {
    principal.scopes.contains("look")
};
@id("never-on-two")
forbid(principal, action == Action::"call", resource is Tool in Child::"two")
    when { !resource.readOnly };
"#;

/// A child with a tool that reads, one that writes, and a resource.
fn child() -> Child {
    Child::legacy()
        .bare()
        .listing("reader", READER)
        .listing("writer", WRITER)
        .option("--resource", "test://notes")
        .flag("--subscribe")
        .option("--instructions", "Say please.")
}

/// One with a prompt, a template and a resource that can be read.
fn told() -> Child {
    Child::legacy()
        .bare()
        .flag("--contents")
        .flag("--subscribe")
        .option("--resource", "test://notes")
}

/// A locked door, these policies in a file, and two children.
fn fleet(issuer: &Issuer, policies: &str, more: Value) -> Fleet {
    let mut auth = more;
    let fleet = Fleet::new();
    let path = fleet.path("policies.cedar");
    fs::write(&path, policies).expect("the policies can be written");
    auth["policy"] = path.to_string_lossy().into_owned().into();
    let mut base = locked_auth(issuer);
    for (name, value) in auth.as_object().expect("an object") {
        base[name] = value.clone();
    }
    fleet
        .top("auth", base)
        .stdio("one", child())
        .stdio("two", child())
}

fn locked_auth(issuer: &Issuer) -> Value {
    json!({"issuer": issuer.name(), "audiences": [issuer::AUDIENCE]})
}

async fn begun(fleet: Fleet) -> Multiplexer {
    let mux = open(fleet).await;
    mux.all_ready().await;
    mux
}

/// The answer to a modern request that bears this token, or none.
async fn asked(mux: &Multiplexer, token: Option<&str>, method: &str, params: &str) -> Value {
    let params = with_modern_meta(params);
    let frame = format!(r#"{{"jsonrpc":"2.0","id":"r-1","method":"{method}","params":{params}}}"#);
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<&[u8]> = bearer.iter().map(|bearer| bearer.as_bytes()).collect();
    let knock = Knock::with(&Http::default(), modern_post(&mux.url(), frame), &headers).await;
    assert!(knock.body.is_object(), "{}", knock.status);
    knock.body
}

/// A legacy client that bears a token.
struct Person {
    http: Http,
    url: String,
    token: String,
    session: String,
}

impl Person {
    async fn come(mux: &Multiplexer, token: &str) -> Self {
        let (http, url) = (Http::default(), mux.url());
        let begun = Knock::bearing(&http, initialize(&url), token).await;
        let session = begun.header("mcp-session-id").to_owned();
        assert!(!session.is_empty(), "{}: {}", begun.status, begun.body);
        let token = token.to_owned();
        Self {
            http,
            url,
            token,
            session,
        }
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let frame = json!({"jsonrpc": "2.0", "id": 2, "method": method, "params": params});
        let request = in_session(&self.url, &self.session, &frame.to_string());
        Knock::bearing(&self.http, request, &self.token).await.body
    }

    /// How many there are in a list.
    async fn count(&self, method: &str, key: &str) -> usize {
        let answer = self.ask(method, json!({})).await;
        let entries = answer["result"][key].as_array();
        entries.unwrap_or_else(|| panic!("{answer}")).len()
    }

    /// What belongs to no request, from now on.
    async fn listen(&self) -> Events {
        let request = request(Method::GET, &self.url, Bytes::new())
            .with("accept", "text/event-stream")
            .with("mcp-session-id", &self.session)
            .with("authorization", &format!("Bearer {}", self.token));
        self.http.send(request).await.events()
    }
}

/// The next notification on a stream: its method, and its URI if it has one.
async fn next(events: &mut Events) -> (String, String) {
    let frame = events.next().await.expect("a stream that lasts");
    let frame: Value = serde_json::from_str(&frame).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    (text(&frame["method"]), text(&frame["params"]["uri"]))
}

/// Replaces the policies as an editor does.
fn rewrite(path: &std::path::Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("the policies can be written");
    fs::rename(new, path).expect("the policies can be exchanged");
}

async fn listed(mux: &Multiplexer, token: Option<&str>, method: &str, key: &str) -> Vec<String> {
    let answer = asked(mux, token, method, "{}").await;
    let entries = answer["result"][key].as_array();
    let entries = entries.unwrap_or_else(|| panic!("no {key}: {answer}"));
    let name = |entry: &Value| entry["name"].as_str().expect("a name").to_owned();
    entries.iter().map(name).collect()
}

async fn tools(mux: &Multiplexer, token: Option<&str>) -> Vec<String> {
    listed(mux, token, "tools/list", "tools").await
}

async fn call(mux: &Multiplexer, token: Option<&str>, tool: &str) -> Value {
    asked(
        mux,
        token,
        "tools/call",
        &call_params(tool, r#"{"word":"s3same"}"#),
    )
    .await
}

/// Whether a call has come to its child.
fn is_answered(answer: &Value) -> bool {
    answer["result"]["structuredContent"]["calls"].is_number()
}

/// The message of an answer that is an error, and nothing that names a tool in it.
fn unknown(answer: &Value) -> String {
    let message = answer["error"]["message"].as_str();
    let message = message.unwrap_or_else(|| panic!("no error: {answer}"));
    assert!(message.starts_with("Unknown"), "{message}");
    message.to_owned()
}
