//! Two multiplexers with the same key: a legacy client does not notice which of them it
//! speaks with.

mod support;

use http::{Method, Request};
use serde_json::{Value, json};
use support::{
    Child, Door, Fleet, Multiplexer,
    client::{LEGACY_VERSION, call_params},
    http::{Http, Reply, With as _, post, request},
    wire::method,
};

const KEY: &str = "one key for all replicas and long enough";
const NEWER: &str = "another key for all replicas and as long";

/// A multiplexer with this for `MCP_SESSION_KEY`.
async fn replica(keys: &str) -> Multiplexer {
    let mux = Fleet::new()
        .stdio("a", Child::legacy())
        .env("MCP_SESSION_KEY", keys)
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    mux
}

/// A legacy client behind a balancer that gives each request to the next replica.
struct Balanced<'a> {
    http: Http,
    replicas: Vec<&'a Multiplexer>,
    turn: usize,
    session: String,
}

impl<'a> Balanced<'a> {
    async fn initialize(replicas: Vec<&'a Multiplexer>) -> Self {
        let mut client = Self {
            http: Http::default(),
            replicas,
            turn: 0,
            session: String::new(),
        };
        let reply = client
            .post(&format!(
                r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{LEGACY_VERSION}","capabilities":{{"sampling":{{}}}},"clientInfo":{{"name":"tests","version":"1"}}}}}}"#
            ))
            .await;
        client.session = reply.header("mcp-session-id").to_owned();
        assert_eq!(reply.status, 200);
        client
    }

    async fn send(&mut self, make: impl FnOnce(&str) -> Request<bytes::Bytes>) -> Reply {
        let url = self.replicas[self.turn % self.replicas.len()].url();
        self.turn += 1;
        let mut request = make(&url).with("mcp-protocol-version", LEGACY_VERSION);
        if !self.session.is_empty() {
            request = request.with("mcp-session-id", &self.session);
        }
        self.http.send(request).await
    }

    async fn post(&mut self, frame: &str) -> Reply {
        self.send(|url| post(url, frame.to_owned())).await
    }

    async fn call(&mut self, tool: &str, arguments: &Value) -> Reply {
        let params = call_params(tool, &arguments.to_string());
        self.post(&format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"tools/call","params":{params}}}"#,
            self.turn
        ))
        .await
    }

    async fn delete(&mut self) -> Reply {
        self.send(|url| request(Method::DELETE, url, "")).await
    }
}

#[tokio::test]
async fn a_session_goes_on_at_whichever_replica_is_next() {
    let (one, two) = (replica(KEY).await, replica(KEY).await);
    let mut client = Balanced::initialize(vec![&one, &two]).await;
    assert!(client.session.len() < 1024);
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(client.post(initialized).await.status, 202);
    for number in 0..6 {
        let reply = client.call("a__echo", &json!({"number": number})).await;
        assert_eq!(reply.status, 200);
        let answer = reply.answer().await;
        let echoed: Value = serde_json::from_str(answer.structured()).expect("JSON");
        assert_eq!(echoed["arguments"]["number"], number);
    }
    for mux in [&one, &two] {
        assert_eq!(mux.journal("a").calls("echo"), 3, "each had its turn");
        let sessions = mux.metrics().await.sum("sessions", &[("era", "legacy")]);
        assert_eq!(sessions, 1.0, "it is one session there");
    }
}

/// A list may have changed on the way, and nobody here knows what the client holds.
#[tokio::test]
async fn a_session_that_goes_on_elsewhere_is_told_to_list_again() {
    let (one, two) = (replica(KEY).await, replica(KEY).await);
    let mut client = Balanced::initialize(vec![&one]).await;
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    assert_eq!(client.post(list).await.status, 200);
    client.replicas = vec![&two];

    let listening = client
        .send(|url| request(Method::GET, url, "").with("accept", "text/event-stream"))
        .await;

    assert_eq!(listening.status, 200);
    let mut events = listening.events();
    for family in ["tools", "prompts", "resources"] {
        let told = events.next().await;
        assert_eq!(
            method(&told.expect("an event")).as_deref(),
            Some(&*format!("notifications/{family}/list_changed"))
        );
    }
}

/// A client that hears nothing of it would wait for the end of its call.
#[tokio::test]
async fn an_answer_that_cannot_find_its_question_is_not_taken_for_one_that_has() {
    let mux = replica(KEY).await;
    let mut client = Balanced::initialize(vec![&mux]).await;
    let answer = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{}}}}"#);
    assert_eq!(client.post(&answer("mux-00000000-1")).await.status, 409);
    // One that comes too late is nobody's.
    assert_eq!(client.post(&answer("7")).await.status, 202);
    client.session = "nobodys".to_owned();
    assert_eq!(client.post(&answer("7")).await.status, 404);
    client.session.clear();
    assert_eq!(client.post(&answer("7")).await.status, 400);
}

#[tokio::test]
async fn a_session_outlives_the_process_that_began_it() {
    let before = replica(KEY).await;
    let mut client = Balanced::initialize(vec![&before]).await;
    let session = client.session.clone();
    drop(client);
    drop(before);
    // The key has been exchanged meanwhile, and the old one is still good.
    let after = replica(&format!("{NEWER},{KEY}")).await;
    client = Balanced::initialize(vec![&after]).await;
    assert_ne!(client.session, session);
    client.session = session;
    assert_eq!(client.call("a__echo", &json!({})).await.status, 200);
}

#[tokio::test]
async fn a_session_that_was_ended_is_not_gone_on_with_here() {
    let (one, two) = (replica(KEY).await, replica(KEY).await);
    let mut client = Balanced::initialize(vec![&one]).await;
    client.replicas = vec![&two];
    // Also where it has never been before.
    assert_eq!(client.delete().await.status, 204);
    assert_eq!(client.call("a__echo", &json!({})).await.status, 404);
    assert_eq!(client.delete().await.status, 404);
}

#[tokio::test]
async fn another_key_or_none_knows_nothing_of_a_session() {
    let own = replica(KEY).await;
    let without = Fleet::new()
        .stdio("a", Child::legacy())
        .over(Door::Http)
        .await;
    let mut client = Balanced::initialize(vec![&own]).await;
    let session = client.session.clone();
    let other = replica(NEWER).await;
    for stranger in [&other, &without] {
        client.replicas = vec![stranger];
        client.session.clone_from(&session);
        assert_eq!(client.call("a__echo", &json!({})).await.status, 404);
    }
    // Nor is anything an id that its own process has not signed.
    client.replicas = vec![&own];
    let mut bent = session.clone().into_bytes();
    bent[0] = if bent[0] == b'A' { b'B' } else { b'A' };
    client.session = String::from_utf8(bent).expect("ASCII");
    assert_eq!(client.call("a__echo", &json!({})).await.status, 404);
    client.session = session;
    assert_eq!(client.call("a__echo", &json!({})).await.status, 200);
}

#[tokio::test]
async fn a_key_that_is_too_short_stops_the_start_and_is_not_shown() {
    let output = Fleet::new()
        .env("MCP_SESSION_KEY", "hunter2")
        .run(&["serve", "--transport", "http"])
        .await;
    assert!(!output.status.success());
    assert!(
        output.stderr.contains("MCP_SESSION_KEY"),
        "{}",
        output.stderr
    );
    assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
}
