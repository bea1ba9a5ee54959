//! Children over HTTP+SSE, the transport of 2024-11-05: real ones, and one that does
//! what the test says.

mod peers;
mod support;

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use futures::{StreamExt as _, channel::mpsc, stream};
use peers::{Server, everything_by_sse, newest_sse_server, sse_server};
use serde_json::{Value, json};
use support::{Door, Era, Fleet, Multiplexer, Provider, eventually, http::ClosedPort};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};

#[tokio::test]
async fn real_servers_are_listed_and_called_by_clients_of_both_eras() {
    let mut commands = [sse_server("0"), newest_sse_server(), everything_by_sse()];
    let [old, new, everything] = commands.each_mut().map(Server::start);
    let (old, new, everything) = tokio::join!(old, new, everything);
    let mut mux = Fleet::new()
        .entry("old", json!({"url": old.sse()}))
        .entry("new", json!({"url": new.sse(), "type": "sse"}))
        .entry("everything", json!({"url": everything.sse()}))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    assert_eq!(mux.child("old").await["transport"], "sse");
    for era in Era::ALL {
        let mut client = mux.client(era).await;
        let names = client.tool_names().await;
        for name in ["old__add", "new__count", "everything__echo"] {
            assert!(names.contains(&name.to_owned()), "{name} in {names:?}");
        }
        for child in ["old", "new"] {
            let sum = client
                .call(&format!("{child}__add"), r#"{"a":19,"b":23}"#)
                .await;
            assert_eq!(sum.content_text(), "42");
            let failed = client
                .call(&format!("{child}__fail"), r#"{"why":"so"}"#)
                .await;
            assert!(failed.is_tool_error(), "{}", failed.frame);
            let counted = client
                .call_with_meta(
                    &format!("{child}__count"),
                    r#"{"to":3}"#,
                    r#""progressToken":"t""#,
                )
                .await;
            assert_eq!(counted.content_text(), "3");
            let progress = counted
                .before
                .iter()
                .filter(|it| it.contains(r#""progressToken":"t""#));
            assert_eq!(progress.count(), 3, "{:?}", counted.before);
        }
        let echo = client
            .call("everything__echo", r#"{"message":"Grüße"}"#)
            .await;
        assert_eq!(echo.content_text(), "Echo: Grüße");
    }
}

#[tokio::test]
async fn a_real_server_that_is_killed_and_started_again_is_connected_again() {
    let mut server = Server::start(&mut sse_server("0")).await;
    let restart = json!({"backoff": "50ms", "maxBackoff": "200ms"});
    let mut mux = Fleet::new()
        .entry("child", json!({"url": server.sse(), "restart": restart}))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    server.stop().await;
    mux.until_child("child", "is lost", |child| child["state"] != "ready")
        .await;
    let down = client.call("child__add", r#"{"a":1,"b":1}"#).await;
    assert_eq!(down.failure_kind(), "unavailable", "{}", down.frame);
    let _again = Server::start(&mut sse_server(server.port())).await;
    mux.until_ready("child").await;

    let sum = client.call("child__add", r#"{"a":1,"b":1}"#).await;
    assert_eq!(sum.content_text(), "2");
}

/// A child that does what the test says.
struct Scripted {
    origin: String,
    script: Arc<Script>,
    _serving: JoinHandle<()>,
}

struct Script {
    /// What its streams begin with, `{session}` replaced; empty: nothing.
    first: Mutex<String>,
    streams: Mutex<HashMap<String, mpsc::UnboundedSender<String>>>,
    sessions: AtomicU64,
    /// Every message that came by POST.
    heard: Mutex<Vec<Value>>,
    /// The Authorization that it takes no more.
    worn_out: Mutex<Option<String>>,
    last_authorization: Mutex<Option<String>>,
    may_answer: Notify,
    /// The slow POST was given up by who sent it.
    cut: AtomicBool,
    /// The last of its tools.
    tool: Mutex<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody has panicked")
}

/// As most servers have it, but relative to the stream's own address.
const ENDPOINT: &str = "event: endpoint\ndata: messages?session={session}\n\n";

impl Scripted {
    async fn beginning_with(first: &str) -> Self {
        let script = Arc::new(Script {
            first: Mutex::new(first.to_owned()),
            streams: Mutex::default(),
            sessions: AtomicU64::new(0),
            heard: Mutex::default(),
            worn_out: Mutex::default(),
            last_authorization: Mutex::default(),
            may_answer: Notify::new(),
            cut: AtomicBool::new(false),
            tool: Mutex::new("ask".to_owned()),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let app = Router::new()
            .route("/deep/sse", get(open))
            .route("/deep/messages", post(receive))
            .with_state(Arc::clone(&script));
        let serving = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("a child");
        });
        Self {
            origin,
            script,
            _serving: serving,
        }
    }

    async fn start() -> Self {
        Self::beginning_with(ENDPOINT).await
    }

    fn entry(&self) -> Value {
        json!({
            "url": format!("{}/deep/sse", self.origin),
            "restart": {"backoff": "50ms", "maxBackoff": "200ms"},
        })
    }

    async fn behind(&self) -> Multiplexer {
        let mux = Fleet::new()
            .entry("child", self.entry())
            .over(Door::Http)
            .await;
        mux.all_ready().await;
        mux
    }

    /// Ends every stream.
    fn hang_up(&self) {
        lock(&self.script.streams).clear();
    }

    /// Waits for a message that this says yes to.
    async fn until_heard(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, async || {
            lock(&self.script.heard)
                .iter()
                .find(|it| wanted(it))
                .cloned()
        })
        .await
    }

    fn count(&self, tool: &str) -> usize {
        let heard = lock(&self.script.heard);
        let calls = heard.iter().filter(|it| it["params"]["name"] == tool);
        calls.count()
    }
}

impl Script {
    fn refuses(&self, headers: &HeaderMap) -> bool {
        let said = headers.get(header::AUTHORIZATION);
        let said = said
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let refused = said.is_some() && *lock(&self.worn_out) == said;
        *lock(&self.last_authorization) = said;
        refused
    }

    /// Says something on a session's stream; whether there is one.
    fn say(&self, session: &str, message: &Value) -> bool {
        self.send(session, format!("event: message\ndata: {message}\n\n"))
    }

    fn send(&self, session: &str, event: String) -> bool {
        let streams = lock(&self.streams);
        let stream = streams.get(session);
        stream.is_some_and(|stream| stream.unbounded_send(event).is_ok())
    }
}

/// A POST that is not answered yet. Its drop says that it was cut.
struct Open<'a>(&'a Script);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.cut.store(true, Ordering::Relaxed);
    }
}

async fn open(State(script): State<Arc<Script>>, headers: HeaderMap) -> Response {
    if script.refuses(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let session = script.sessions.fetch_add(1, Ordering::Relaxed).to_string();
    let first = lock(&script.first).replace("{session}", &session);
    let (stream, events) = mpsc::unbounded();
    lock(&script.streams).insert(session, stream);
    // A comment, so that the headers leave at once.
    let events = stream::iter([": here\n\n".to_owned(), first]).chain(events);
    let body = Body::from_stream(events.map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

async fn receive(
    State(script): State<Arc<Script>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    axum::Json(message): axum::Json<Value>,
) -> Response {
    if script.refuses(&headers) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let session = &query["session"];
    if !lock(&script.streams).contains_key(session) {
        return StatusCode::NOT_FOUND.into_response();
    }
    lock(&script.heard).push(message.clone());
    let id = message["id"].clone();
    let result = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result});
    let text = |text: &str| result(json!({"content": [{"type": "text", "text": text}]}));
    let tool = message["params"]["name"].as_str().unwrap_or_default();
    match message["method"].as_str().unwrap_or_default() {
        "initialize" => {
            script.say(
                session,
                &result(json!({
                    "protocolVersion": "2024-11-05",
                    "capabilities": {"tools": {"listChanged": true}},
                    "serverInfo": {"name": "scripted", "version": "1"},
                })),
            );
        }
        "tools/list" => {
            let last = lock(&script.tool).clone();
            let names = ["plain", "late", "never", "forget", "exact", &last];
            let tools = names.map(|name| json!({"name": name, "inputSchema": {"type": "object"}}));
            script.say(session, &result(json!({"tools": tools})));
        }
        "tools/call" if tool == "never" => {}
        // The answer first, and only after it has been read the end of the POST.
        "tools/call" if tool == "late" => {
            script.say(session, &text("late"));
            script.may_answer.notified().await;
        }
        // As if it had been started again: the stream lives on in a proxy, say.
        "tools/call" if tool == "forget" && script.sessions.load(Ordering::Relaxed) == 1 => {
            return StatusCode::NOT_FOUND.into_response();
        }
        "tools/call" if tool == "ask" => {
            for id in ["slow", "mine"] {
                let ask = json!({"jsonrpc": "2.0", "id": id, "method": "roots/list"});
                script.say(session, &ask);
            }
        }
        "tools/call" if tool == "exact" => {
            let frame = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{{\"structuredContent\":{{ \"n\" : 1e400,\ndata:  \"x\":\"\\ud800\", \"m\":1.10}}}}}}"
            );
            script.send(session, format!("data: {frame}\n\n"));
        }
        "tools/call" => {
            script.say(session, &text("plain"));
        }
        // An answer that is not taken for a long time.
        _ if id == "slow" => {
            let open = Open(&script);
            script.may_answer.notified().await;
            std::mem::forget(open);
        }
        _ => {}
    }
    (StatusCode::ACCEPTED, "Accepted").into_response()
}

#[tokio::test]
async fn an_endpoint_relative_to_the_stream_is_posted_to_with_its_query() {
    let child = Scripted::start().await;
    let mut mux = child.behind().await;
    for era in Era::ALL {
        let mut client = mux.client(era).await;
        let answer = client.call("child__plain", "{}").await;
        assert_eq!(answer.content_text(), "plain");
    }
    assert_eq!(mux.child("child").await["era"], "legacy");
    child
        .until_heard("the end of the handshake", |it| {
            it["method"] == "notifications/initialized"
        })
        .await;
    let methods: Vec<Value> = lock(&child.script.heard)
        .iter()
        .map(|it| it["method"].clone())
        .collect();
    assert_eq!(methods[0], "initialize", "and nothing newer before it");
}

#[tokio::test]
async fn an_answer_may_come_before_its_post_has_ended() {
    let child = Scripted::start().await;
    let mut mux = child.behind().await;
    let mut client = mux.client(Era::Legacy).await;

    let answer = client.call("child__late", "{}").await;

    assert_eq!(answer.content_text(), "late");
    child.script.may_answer.notify_one();
}

#[tokio::test]
async fn a_cancelled_call_is_cancelled_at_the_child() {
    let child = Scripted::start().await;
    let mut mux = child.behind().await;
    for era in Era::ALL {
        let mut client = mux.client(era).await;
        let pending = client.begin_call("child__never", "{}").await;
        let calls = if era == Era::Legacy { 1 } else { 2 };
        eventually("the call at the child", async || {
            (child.count("never") == calls).then_some(())
        })
        .await;
        let call = child
            .script
            .heard
            .lock()
            .expect("nobody has panicked")
            .iter()
            .rfind(|it| it["params"]["name"] == "never")
            .expect("the call")
            .clone();

        client.cancel(pending).await;

        child
            .until_heard("the cancelling", |it| {
                it["method"] == "notifications/cancelled" && it["params"]["requestId"] == call["id"]
            })
            .await;
    }
}

#[tokio::test]
async fn what_a_child_asks_and_nobody_can_give_is_refused_each_by_itself() {
    let child = Scripted::start().await;
    let mut mux = child.behind().await;
    let mut client = mux.client(Era::Legacy).await;

    let _pending = client.begin_call("child__ask", "{}").await;

    let told = child
        .until_heard("an answer to the child", |it| it["id"] == "mine")
        .await;
    assert!(told["error"]["code"].is_i64(), "{told}");
    let cut = child.script.cut.load(Ordering::Relaxed);
    assert!(!cut, "the other one did not have to be given up for it");
    child.script.may_answer.notify_one();
}

/// What stands between ends long streams as it likes: no reason to wait.
#[tokio::test]
async fn the_end_of_the_stream_ends_its_calls_and_it_is_opened_again_at_once() {
    let child = Scripted::start().await;
    let mut entry = child.entry();
    entry["restart"] = json!({"backoff": "10m", "maxBackoff": "10m"});
    let mut mux = Fleet::new().entry("child", entry).over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let pending = client.begin_call("child__never", "{}").await;
    eventually("the call at the child", async || {
        (child.count("never") == 1).then_some(())
    })
    .await;

    child.hang_up();

    let lost = client.finish(pending).await;
    assert_eq!(lost.failure_kind(), "transport", "{}", lost.frame);
    mux.until_child("child", "is ready again", |it| {
        it["state"] == "ready" && it["restarts"] == 1
    })
    .await;
    let answer = client.call("child__plain", "{}").await;
    assert_eq!(answer.content_text(), "plain");
    assert_eq!(child.count("never"), 1, "it is not sent again");
}

/// The stream's lines are joined, and nothing else is done to what they hold.
#[tokio::test]
async fn what_comes_by_the_stream_reaches_the_client_byte_for_byte() {
    let child = Scripted::start().await;
    let mut mux = child.behind().await;
    let mut client = mux.client(Era::Legacy).await;

    let answer = client.call("child__exact", "{}").await;

    assert_eq!(
        answer.structured(),
        "{ \"n\" : 1e400,\n \"x\":\"\\ud800\", \"m\":1.10}"
    );
}

#[tokio::test]
async fn the_stream_tells_of_a_changed_list() {
    let child = Scripted::start().await;
    let mut mux = child.behind().await;
    let mut client = mux.client(Era::Modern).await;
    client.subscribe().await;
    "renamed".clone_into(&mut lock(&child.script.tool));

    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    assert!(child.script.say("0", &changed));

    // The first may still be of the start.
    let renamed = "child__renamed".to_owned();
    while !client.tool_names().await.contains(&renamed) {
        client.news("notifications/tools/list_changed").await;
    }
}

#[tokio::test]
async fn each_session_has_a_stream_of_its_own_where_the_entry_says_so() {
    let child = Scripted::start().await;
    let mut entry = child.entry();
    entry["session"] = json!("dedicated");
    let mut mux = Fleet::new().entry("child", entry).over(Door::Http).await;
    mux.all_ready().await;
    for streams in [2, 3] {
        let mut client = mux.client(Era::Legacy).await;
        let answer = client.call("child__plain", "{}").await;
        assert_eq!(answer.content_text(), "plain");
        let sessions = child.script.sessions.load(Ordering::Relaxed);
        assert_eq!(sessions, streams, "and one by which it is listed");
    }
}

#[tokio::test]
async fn a_session_that_the_child_has_forgotten_is_renewed_and_the_call_sent_again() {
    let child = Scripted::start().await;
    let mut mux = child.behind().await;
    let mut client = mux.client(Era::Legacy).await;

    let answer = client.call("child__forget", "{}").await;

    assert_eq!(answer.content_text(), "plain");
    assert_eq!(child.count("forget"), 2);
    assert_eq!(child.script.sessions.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn the_token_of_the_fleet_is_sent_with_everything_and_renewed() {
    let provider = Provider::start().await;
    let child = Scripted::start().await;
    let mut mux = Fleet::new()
        .entry("child", child.entry())
        .identity(&provider)
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let first = format!("Bearer {}", provider.token(1));
    assert_eq!(*lock(&child.script.last_authorization), Some(first.clone()));

    *lock(&child.script.worn_out) = Some(first);
    let answer = client.call("child__plain", "{}").await;

    assert_eq!(answer.content_text(), "plain");
    let second = format!("Bearer {}", provider.token(2));
    assert_eq!(*lock(&child.script.last_authorization), Some(second));
    assert_eq!(child.count("plain"), 1);
    let sessions = child.script.sessions.load(Ordering::Relaxed);
    assert_eq!(sessions, 1, "the stream goes on");
}

/// Waits until the child is down, and gives the reason.
async fn reason_of(entry: Value) -> String {
    let mux = Fleet::new().entry("child", entry).over(Door::Http).await;
    let down = mux
        .until_child("child", "is down", |it| it["state"] == "down")
        .await;
    down["reason"].as_str().expect("a reason").to_owned()
}

#[tokio::test]
async fn an_endpoint_of_another_origin_is_refused_and_nothing_sent_there() {
    let elsewhere = Scripted::start().await;
    let first = format!(
        "event: endpoint\ndata: {}/deep/messages?session=0\n\n",
        elsewhere.origin
    );
    let child = Scripted::beginning_with(&first).await;

    let reason = reason_of(child.entry()).await;

    assert!(reason.contains("another origin"), "{reason}");
    assert_eq!(*lock(&elsewhere.script.heard), [Value::Null; 0]);
    assert_eq!(*lock(&child.script.heard), [Value::Null; 0]);
}

#[tokio::test]
async fn a_stream_that_names_no_endpoint_is_given_up_in_time() {
    let child = Scripted::beginning_with("").await;
    let mut entry = child.entry();
    entry["timeout"] = json!("500ms");

    let reason = reason_of(entry).await;

    assert!(reason.contains("named no endpoint"), "{reason}");
}

#[tokio::test]
async fn what_is_no_such_child_is_told_from_one_that_is_away() {
    let chatty = Scripted::beginning_with("data: {\"jsonrpc\":\"2.0\",\"method\":\"x\"}\n\n").await;
    let reason = reason_of(chatty.entry()).await;
    assert!(reason.contains("without naming an endpoint"), "{reason}");

    // It serves Streamable HTTP, without a stream for those who have no session.
    let mut other = Fleet::new()
        .http("real", support::Child::legacy())
        .over(Door::Http)
        .await;
    let url = other.remote("real").url();
    let reason = reason_of(json!({"url": url, "type": "sse"})).await;
    assert!(reason.contains("\"type\" may be \"http\""), "{reason}");

    let nobody = ClosedPort::pick();
    let reason = reason_of(json!({"url": nobody.url("/sse")})).await;
    assert!(reason.contains("refused"), "{reason}");
}
