//! A legacy client that loses a stream comes back for what it missed; and so do we,
//! with children that let go of theirs.

mod peers;
mod support;

use std::{fs, path::Path, sync::Arc, time::Duration};

use http::Method;
use peers::Sdk;
use serde_json::{Value, json};
use support::{
    Child, Client, Door, Era, Fleet, Multiplexer,
    client::{LEGACY_VERSION, call_params},
    http::{Events, Http, Reply, With as _, post, request},
    wait::{eventually, within},
    wire::quoted,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream},
    sync::{Mutex, Notify},
};

/// A child with the tool `pause`.
fn child(era: Era) -> Child {
    Child::of(era).named("pause")
}

/// The arguments of `pause`.
fn until(file: &Path, key: &str) -> String {
    json!({"until": file, "key": key}).to_string()
}

/// A legacy client that shows every event.
struct Session {
    http: Http,
    url: String,
    id: String,
    version: &'static str,
}

impl Session {
    async fn begin(mux: &Multiplexer, version: &'static str) -> Self {
        let client = Client::over_http(mux.url(), Era::Legacy).await;
        Self {
            http: Http::default(),
            url: mux.url(),
            id: client.session().expect("a session").to_owned(),
            version,
        }
    }

    async fn post(&self, frame: String) -> Reply {
        let request = post(&self.url, frame)
            .with("mcp-session-id", &self.id)
            .with("mcp-protocol-version", self.version);
        self.http.send(request).await
    }

    async fn call(&self, id: u32, tool: &str, arguments: &str) -> Reply {
        let params = call_params(tool, arguments);
        self.post(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#
        ))
        .await
    }

    async fn get(&self, last_event: Option<&str>) -> Events {
        let reply = self.open(last_event).await;
        assert_eq!(reply.status, 200);
        reply.events()
    }

    async fn open(&self, last_event: Option<&str>) -> Reply {
        let mut get = request(Method::GET, &self.url, "")
            .with("accept", "text/event-stream")
            .with("mcp-session-id", &self.id)
            .with("mcp-protocol-version", self.version);
        if let Some(id) = last_event {
            get = get.with("last-event-id", id);
        }
        self.http.send(get).await
    }

    async fn notify(&self, method: &str, params: &str) {
        let frame = format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#);
        assert_eq!(self.post(frame).await.status, 202);
    }

    async fn delete(&self) {
        let delete = request(Method::DELETE, &self.url, "").with("mcp-session-id", &self.id);
        assert_eq!(self.http.send(delete).await.status, 204);
    }
}

/// The id and the message of the next event that carries one.
async fn message(events: &mut Events) -> Option<(String, Value)> {
    loop {
        let event = events.next_event().await?;
        if let Some(data) = event.data.filter(|data| !data.is_empty()) {
            let message = serde_json::from_str(&data).expect("a message");
            return Some((event.id.expect("an id"), message));
        }
    }
}

async fn rest(mut events: Events) -> Vec<Value> {
    let mut all = Vec::new();
    while let Some((_, message)) = message(&mut events).await {
        all.push(message);
    }
    all
}

fn said(message: &Value) -> &str {
    message["params"]["data"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_call_whose_stream_was_lost_is_answered_on_the_next() {
    for (door, era) in [
        (Door::Stdio, Era::Legacy),
        (Door::Http, Era::Legacy),
        (Door::Stdio, Era::Modern),
        (Door::Http, Era::Modern),
    ] {
        let mux = Fleet::new()
            .with(door, "a", child(era))
            .over(Door::Http)
            .await;
        mux.all_ready().await;
        let session = Session::begin(&mux, LEGACY_VERSION).await;
        session
            .post(r#"{"jsonrpc":"2.0","id":99,"method":"logging/setLevel","params":{"level":"debug"}}"#.to_owned())
            .await;
        let file = mux.path("go-on");

        let reply = session.call(1, "a__pause", &until(&file, "k")).await;
        let mut events = reply.events();
        let (last, before) = message(&mut events).await.expect("a message");
        assert_eq!(said(&before), "k before");
        drop(events);
        let mut events = session.get(Some(&last)).await;
        // The client is there again, and the work has gone on all the while.
        fs::write(&file, "").expect("a file");
        let (_, after) = message(&mut events).await.expect("what comes later");
        assert_eq!(said(&after), "k after");
        let (_, answer) = message(&mut events).await.expect("an answer");
        assert_eq!(answer["id"], 1);
        assert_eq!(answer["result"]["structuredContent"], json!({"key": "k"}));
        assert!(events.next_event().await.is_none(), "the stream is over");
        assert_eq!(mux.journal("a").calls("pause"), 1, "{door:?} {era:?}");
        assert!(mux.journal("a").of("cancelled").is_empty());

        // All of it may have got lost on the way.
        let again = rest(session.get(Some(&last)).await).await;
        assert_eq!(again.last(), Some(&answer));
    }
}

#[tokio::test]
async fn what_happens_while_a_client_is_away_is_there_when_it_comes_back() {
    let mux = Fleet::new()
        .stdio("a", child(Era::Legacy))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let session = Session::begin(&mux, LEGACY_VERSION).await;
    let file = mux.path("go-on");
    let reply = session.call(1, "a__pause", &until(&file, "k")).await;
    let mut events = reply.events();
    let (last, _) = message(&mut events).await.expect("a message");
    drop(events);
    fs::write(&file, "").expect("a file");
    mux.until_metrics("the call is over", |metrics| {
        metrics.0.lines().any(|line| {
            line.starts_with("mcp_multiplexer_requests_total{") && line.contains(r#"outcome="ok""#)
        })
    })
    .await;
    let told = rest(session.get(Some(&last)).await).await;
    assert_eq!(said(&told[0]), "k after");
    assert_eq!(told[1]["id"], 1);
    assert_eq!(told.len(), 2);
}

#[tokio::test]
async fn two_streams_of_a_session_are_told_apart() {
    let mux = Fleet::new()
        .http("a", child(Era::Legacy))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let session = Session::begin(&mux, LEGACY_VERSION).await;
    let file = mux.path("go-on");
    let mut last = Vec::new();
    for id in [1, 2] {
        let reply = session
            .call(id, "a__pause", &until(&file, &id.to_string()))
            .await;
        let mut events = reply.events();
        last.push(message(&mut events).await.expect("a message").0);
    }
    assert_ne!(last[0], last[1]);
    let second = session.get(Some(&last[1])).await;
    let first = session.get(Some(&last[0])).await;
    fs::write(&file, "").expect("a file");
    for (events, id) in [(first, 1), (second, 2)] {
        let told = rest(events).await;
        let answers: Vec<_> = told.iter().filter(|m| m["result"].is_object()).collect();
        assert_eq!(answers.len(), 1, "{told:?}");
        assert_eq!(answers[0]["id"], id);
    }
}

#[tokio::test]
async fn a_call_whose_client_is_away_is_taken_back_at_once_when_it_says_so() {
    /// Well below the 30 s for which a client may stay away.
    const AT_ONCE: Duration = Duration::from_secs(25);
    // One each: what a child on a pipe says soon after a cancelled call may be of that.
    let mux = Fleet::new()
        .stdio("cancelled", child(Era::Legacy))
        .stdio("deleted", child(Era::Legacy))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let never = mux.path("never");
    for (key, ends) in [("cancelled", false), ("deleted", true)] {
        let journal = mux.journal(key);
        let session = Session::begin(&mux, LEGACY_VERSION).await;
        let tool = |own: &str| format!("{key}__{own}");
        let reply = session.call(1, &tool("pause"), &until(&never, key)).await;
        let mut events = reply.events();
        message(&mut events).await.expect("a message");
        drop(events);
        // A way there and back: that the client is gone has been seen meanwhile.
        session.call(2, &tool("echo"), "{}").await.answer().await;
        assert!(journal.of("cancelled").iter().all(|c| c["key"] != key));
        match ends {
            true => session.delete().await,
            false => {
                session
                    .notify("notifications/cancelled", r#"{"requestId":1}"#)
                    .await;
            }
        }
        within(AT_ONCE, key, journal.until_keyed("cancelled", key)).await;
    }
}

#[tokio::test]
async fn a_call_is_taken_back_when_its_client_stays_away() {
    let mux = Fleet::new()
        .stdio("a", child(Era::Legacy))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let session = Session::begin(&mux, LEGACY_VERSION).await;
    let never = mux.path("never");
    let reply = session.call(1, "a__pause", &until(&never, "k")).await;
    let mut events = reply.events();
    let (last, _) = message(&mut events).await.expect("a message");
    drop(events);
    mux.journal("a").until_keyed("cancelled", "k").await;
    let reply = session.open(Some(&last)).await;
    assert_eq!(reply.status, 204, "there is nothing to come back to");
}

#[tokio::test]
async fn whoever_comes_back_to_an_answered_call_does_not_take_the_session_s_stream() {
    let mux = Fleet::new()
        .stdio("a", child(Era::Legacy))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let session = Session::begin(&mux, LEGACY_VERSION).await;
    let mut news = session.get(None).await;
    let file = mux.path("go-on");
    fs::write(&file, "").expect("a file");
    let reply = session.call(1, "a__pause", &until(&file, "k")).await;
    let mut events = reply.events();
    let mut last = String::new();
    while let Some((id, _)) = message(&mut events).await {
        last = id;
    }
    // SDKs do so after an error, which they take for no answer.
    assert_eq!(session.open(Some(&last)).await.status, 204);
    let arguments = r#"{"name":"fresh"}"#;
    let added = session.call(2, "a__add_tool", arguments).await;
    added.answer().await;
    let (_, told) = message(&mut news).await.expect("the stream goes on");
    assert_eq!(told["method"], "notifications/tools/list_changed");
}

#[tokio::test]
async fn a_session_s_own_stream_goes_on_where_it_was_lost() {
    let mux = Fleet::new()
        .stdio("a", child(Era::Legacy))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let session = Session::begin(&mux, LEGACY_VERSION).await;
    let add = async |name: &str| {
        let arguments = format!(r#"{{"name":{}}}"#, quoted(name));
        session
            .call(1, "a__add_tool", &arguments)
            .await
            .answer()
            .await;
    };
    let mut events = session.get(None).await;
    let primed = events.next_event().await.expect("an event");
    let (stream, _) = primed.id.as_deref().unwrap().split_once('-').unwrap();
    add("one").await;
    let (first, news) = message(&mut events).await.expect("news");
    assert_eq!(news["method"], "notifications/tools/list_changed");
    drop(events);
    add("two").await;
    let mut events = session.get(Some(&first)).await;
    let (second, news) = message(&mut events).await.expect("news");
    assert_eq!(news["method"], "notifications/tools/list_changed");
    assert_ne!(first, second);
    assert!(first.starts_with(stream) && second.starts_with(stream));
}

#[tokio::test]
async fn only_clients_that_know_of_it_are_primed() {
    let mux = Fleet::new()
        .stdio("a", child(Era::Legacy))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let file = mux.path("go-on");
    fs::write(&file, "").expect("a file");
    let mut newest = Session::begin(&mux, LEGACY_VERSION).await;
    let reply = newest.call(1, "a__pause", &until(&file, "k")).await;
    let mut events = reply.events();
    let primed = events.next_event().await.expect("an event");
    assert_eq!(primed.data.as_deref(), Some(""));
    assert!(primed.id.is_some() && primed.retry.is_some());
    let told = rest(newest.get(primed.id.as_deref()).await).await;
    assert_eq!(said(&told[0]), "k before");

    newest.version = "2025-06-18";
    let reply = newest.call(2, "a__pause", &until(&file, "k")).await;
    let text = reply.text().await;
    assert!(text.contains("id: "), "{text}");
    for line in text.lines() {
        assert_ne!(line.trim(), "data:", "{text}");
    }
}

#[tokio::test]
async fn a_modern_client_that_hangs_up_takes_its_call_back() {
    let mux = Fleet::new()
        .stdio("a", child(Era::Legacy))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let params = format!(
        r#"{{"name":"a__pause","arguments":{},"_meta":{{"io.modelcontextprotocol/logLevel":"debug"}}}}"#,
        until(&mux.path("never"), "k")
    );
    let params = support::client::with_modern_meta(&params);
    let frame = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let request = support::client::modern_post(&mux.url(), frame);
    let mut events = Http::default().send(request).await.events();
    let before = events.next_event().await.expect("an event");
    assert_eq!(before.id, None, "nothing to come back with");
    drop(events);
    within(
        Duration::from_secs(25),
        "the end of the work",
        mux.journal("a").until_keyed("cancelled", "k"),
    )
    .await;
}

#[tokio::test]
async fn a_child_that_lets_go_of_a_stream_is_asked_for_the_rest() {
    let mut mux = Fleet::new()
        .http("a", child(Era::Legacy).flag("--polls"))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let file = mux.path("go-on");
    fs::write(&file, "").expect("a file");
    for era in Era::ALL {
        let mut client = mux.client(era).await;
        let answer = client.call("a__pause", &until(&file, "k")).await;
        assert_eq!(answer.structured(), r#"{"key":"k"}"#);
    }
    let journal = mux.journal("a");
    assert_eq!(journal.calls("pause"), 2, "it is not called again");
    assert_eq!(journal.of("resumed").len(), 2);
}

#[tokio::test]
async fn a_child_that_ends_while_it_is_waited_for_is_no_answer() {
    let mut mux = Fleet::new()
        .http("a", child(Era::Legacy).flag("--polls"))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let never = until(&mux.path("never"), "k");
    let pending = client.begin_call("a__pause", &never).await;
    mux.journal("a").until("resumed", |_| true).await;
    mux.remote("a").stop().await;
    let answer = client.finish(pending).await;
    let failure: Value = serde_json::from_str(&answer.frame).expect("JSON");
    let told = &failure["result"]["_meta"]["io.mcp-multiplexer/failure"];
    assert_eq!(told["kind"], "transport", "{failure}");
    assert_eq!(mux.journal("a").calls("pause"), 1);
}

/// A way to a server that can be cut.
struct Line {
    port: u16,
    cut: Arc<Notify>,
    passed: Arc<Mutex<Vec<u8>>>,
}

impl Line {
    async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let line = Self {
            port: listener.local_addr().expect("an address").port(),
            cut: Arc::default(),
            passed: Arc::default(),
        };
        let (cut, passed) = (line.cut.clone(), line.passed.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.expect("the server");
                let (cut, passed) = (cut.clone(), passed.clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = cut.notified() => {}
                        () = carry(client, server, &passed) => {}
                    }
                });
            }
        });
        line
    }

    /// Waits until this has gone to a client.
    async fn until_passed(&self, words: &str) {
        eventually(words, async || {
            let passed = self.passed.lock().await;
            String::from_utf8_lossy(&passed)
                .contains(words)
                .then_some(())
        })
        .await;
    }

    fn cut(&self) {
        self.cut.notify_waiters();
    }
}

async fn carry(client: TcpStream, server: TcpStream, passed: &Mutex<Vec<u8>>) {
    let ((mut asked, mut told), (mut answers, mut asks)) =
        (client.into_split(), server.into_split());
    let down = async {
        let mut piece = vec![0; 4096];
        while let Ok(read @ 1..) = answers.read(&mut piece).await {
            if told.write_all(&piece[..read]).await.is_err() {
                return;
            }
            passed.lock().await.extend_from_slice(&piece[..read]);
        }
    };
    tokio::select! {
        () = down => {}
        _ = copy(&mut asked, &mut asks) => {}
    }
}

#[tokio::test]
async fn the_typescript_sdk_gets_its_answer_over_a_line_that_was_cut() {
    let mux = Fleet::new()
        .stdio("a", child(Era::Legacy))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let server = mux.at("").trim_start_matches("http://").to_owned();
    let line = Line::to(server).await;
    let url = format!("http://127.0.0.1:{}/mcp", line.port);
    let file = mux.path("go-on");
    let arguments = json!({"until": file, "key": "k"});
    let client = tokio::spawn(async move {
        let calls = [("a__pause".to_owned(), arguments)];
        Sdk::TypeScript.at(&url, &calls).await
    });
    line.until_passed("k before").await;
    line.cut();
    fs::write(&file, "").expect("a file");
    let heard = client.await.expect("the client ends");
    assert_eq!(
        heard.result("a__pause")["structuredContent"],
        json!({"key": "k"})
    );
    assert_eq!(mux.journal("a").calls("pause"), 1);
}
