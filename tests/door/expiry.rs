//! What was opened with a token when that has expired.

use ::http::{Method, Request};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    issuer::{Issuer, Key, now},
    knock::{Knock, discover, in_session, initialize, lets_in, locked, open, page},
    support::{
        Child, Multiplexer,
        client::{LEGACY_VERSION, call_params, modern_post, with_modern_meta},
        http::{Events, Http, With as _},
        wait::eventually,
    },
};

/// How long a token lives, in seconds.
const LIFE: u64 = 5;

struct Place {
    key: Key,
    issuer: Issuer,
    mux: Multiplexer,
    http: Http,
}

impl Place {
    async fn new() -> Self {
        let key = Key::ec("one");
        let issuer = Issuer::with([&key]).await;
        let fleet = locked(&issuer, json!({"leeway": 0})).stdio("clock", Child::modern());
        let mux = open(fleet).await;
        mux.all_ready().await;
        Self {
            key,
            issuer,
            mux,
            http: Http::default(),
        }
    }

    fn short(&self) -> String {
        self.issuer
            .token_with(&self.key, json!({"exp": now() + LIFE}))
    }

    fn long(&self) -> String {
        self.issuer.token(&self.key)
    }

    /// A stream, and the token it was opened with. On a slow machine that may have
    /// expired on the way.
    async fn stream(&self, asks: impl Fn() -> Request<Bytes>) -> (Events, String) {
        eventually("a stream is opened", async || {
            let token = self.short();
            let bears = asks().with("authorization", &format!("Bearer {token}"));
            let reply = self.http.send(bears).await;
            match reply.status.as_u16() {
                200 => Some((reply.events(), token)),
                401 => None,
                other => panic!("{other}: {}", reply.text().await),
            }
        })
        .await
    }

    async fn until_expired(&self, token: &str) {
        eventually("the token expires", async || {
            (!lets_in(&self.mux, token).await).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_sessions_stream_ends_with_its_token_and_the_session_goes_on_with_the_next() {
    let place = Place::new().await;
    let url = place.mux.url();
    let begun = Knock::bearing(&place.http, initialize(&url), &place.long()).await;
    let session = begun.header("mcp-session-id").to_owned();
    let get = || {
        page(Method::GET, &url)
            .with("accept", "text/event-stream")
            .with("mcp-session-id", &session)
            .with("mcp-protocol-version", LEGACY_VERSION)
    };
    let (mut events, token) = place.stream(get).await;

    // To its end, and not to a cut.
    assert_eq!(events.next().await, None);

    place.until_expired(&token).await;
    let stale = Knock::bearing(&place.http, get(), &token).await;
    assert_eq!(stale.status, 401, "{}", stale.body);
    let (again, _) = place.stream(get).await;
    drop(again);
    let ping = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;
    let asks = in_session(&url, &session, ping);
    let goes_on = Knock::bearing(&place.http, asks, &place.long()).await;
    assert_eq!(goes_on.status, 200, "{}", goes_on.body);
}

#[tokio::test]
async fn a_subscription_ends_with_its_token() {
    let place = Place::new().await;
    let listen = || {
        let params = with_modern_meta(r#"{"notifications":{"toolsListChanged":true}}"#);
        let frame = format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen","params":{params}}}"#
        );
        modern_post(&place.mux.url(), frame)
    };
    let (mut events, token) = place.stream(listen).await;

    let mut heard = Vec::new();
    while let Some(frame) = events.next().await {
        heard.push(serde_json::from_str::<Value>(&frame).expect("JSON"));
    }

    assert_eq!(
        heard[0]["method"],
        "notifications/subscriptions/acknowledged"
    );
    let last = heard.last().expect("an answer");
    assert_eq!(last["id"], 7, "{heard:?}");
    assert!(last["result"].is_object(), "{heard:?}");
    place.until_expired(&token).await;
}

#[tokio::test]
async fn what_was_begun_with_a_token_is_answered_after_its_end() {
    let place = Place::new().await;
    let gate = place.mux.path("gate");
    let journal = place.mux.journal("clock");
    let mut attempt = 0;
    let (pending, token) = loop {
        attempt += 1;
        let key = format!("k{attempt}");
        let arguments = json!({"key": key, "until": gate}).to_string();
        let params = with_modern_meta(&call_params("clock__slow", &arguments));
        let frame =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let token = place.short();
        let asks =
            modern_post(&place.mux.url(), frame).with("authorization", &format!("Bearer {token}"));
        let http = place.http.clone();
        let mut pending = tokio::spawn(async move { http.send(asks).await });
        tokio::select! {
            _ = journal.until_keyed("slow", &key) => break (pending, token),
            // It had expired before it came in.
            early = &mut pending => assert_eq!(early.expect("a reply").status, 401),
        }
    };
    place.until_expired(&token).await;

    std::fs::write(&gate, "").expect("the gate can be opened");

    let reply = pending.await.expect("a reply");
    assert_eq!(reply.status, 200);
    let answer = reply.answer().await.frame;
    assert!(answer.contains("\"structuredContent\""), "{answer}");
    let stale = Knock::bearing(&place.http, discover(&place.mux.url()), &token).await;
    assert_eq!(stale.status, 401);
}
