//! Request ids belong to their sessions: a thousand clients that all call with id 1
//! each get their own answer, and get it once.

mod support;

use std::collections::HashSet;

use futures::future::join_all;
use support::{
    Child, Door, Fleet, Multiplexer,
    client::{LEGACY_VERSION, call_params, modern_post, with_modern_meta},
    http::{Http, Reply, With as _, post},
    wire::{Answer, member, method},
};

const CLIENTS: usize = 1000;

/// One child that works on all calls at once.
async fn crowded(door: Door) -> Multiplexer {
    let child = Child::legacy().key("maxConcurrency", CLIENTS);
    let mux = Fleet::new()
        .with(door, "child", child)
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    mux
}

/// The params of the `n`th client's call. Those who ask first are answered last.
fn params(n: usize) -> String {
    let ms = CLIENTS - n;
    call_params("child__slow", &format!(r#"{{"ms":{ms},"key":"{n}"}}"#))
}

fn call(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
}

/// A session of its own, opened with an id that is not 1.
async fn session(http: &Http, url: &str) -> String {
    let initialize = format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{LEGACY_VERSION}","capabilities":{{}},"clientInfo":{{"name":"one of many","version":"1"}}}}}}"#
    );
    let reply = http.post(url, initialize).await;
    let session = reply.header("mcp-session-id").to_owned();
    reply.answer().await.result();
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let told = in_session(post(url, initialized), &session);
    assert_eq!(http.send(told).await.status, 202);
    session
}

fn in_session<B>(request: ::http::Request<B>, session: &str) -> ::http::Request<B>
where
    ::http::Request<B>: support::http::With,
{
    request
        .with("mcp-session-id", session)
        .with("mcp-protocol-version", LEGACY_VERSION)
}

/// Every answer in the reply, read to its very end.
async fn answers(reply: Reply) -> Vec<String> {
    if !reply
        .header("content-type")
        .starts_with("text/event-stream")
    {
        return vec![reply.text().await];
    }
    let mut events = reply.events();
    let mut answers = Vec::new();
    while let Some(frame) = events.next().await {
        if method(&frame).is_none() {
            answers.push(frame);
        }
    }
    answers
}

/// The reply to the `n`th client holds its own answer and no other.
fn assert_own_answer(n: usize, answers: Vec<String>) {
    assert_eq!(answers.len(), 1, "client {n}: {answers:?}");
    let answer = Answer {
        frame: answers.into_iter().next().unwrap_or_default(),
        before: Vec::new(),
    };
    assert_eq!(answer.id(), "1", "client {n}: {}", answer.frame);
    assert_eq!(answer.content()["key"], n.to_string(), "client {n}");
}

/// The child was asked once for each client, and never with an id it had seen: it
/// would have refused that.
fn assert_each_was_carried_out_once(mux: &Multiplexer) {
    let carried_out = mux.journal("child").of("slow");
    let keys: HashSet<String> = carried_out
        .iter()
        .map(|slow| slow["key"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(carried_out.len(), CLIENTS);
    assert_eq!(keys.len(), CLIENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_sessions_call_with_id_1_and_each_gets_its_own_answer() {
    for door in Door::ALL {
        let mux = crowded(door).await;
        let (http, url) = (Http::default(), mux.url());
        let sessions = join_all((0..CLIENTS).map(|_| session(&http, &url))).await;
        let distinct: HashSet<&String> = sessions.iter().collect();
        assert_eq!(distinct.len(), CLIENTS, "{door:?}: a session each");

        let replies = join_all(sessions.iter().enumerate().map(|(n, session)| {
            let request = in_session(post(&url, call(&params(n))), session);
            let http = &http;
            async move { answers(http.send(request).await).await }
        }))
        .await;

        for (n, answers) in replies.into_iter().enumerate() {
            assert_own_answer(n, answers);
        }
        assert_each_was_carried_out_once(&mux);
    }
}

/// Modern requests have no session that could tell them apart.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_modern_clients_call_with_id_1_and_each_gets_its_own_answer() {
    for door in Door::ALL {
        let mux = crowded(door).await;
        let (http, url) = (Http::default(), mux.url());

        let replies = join_all((0..CLIENTS).map(|n| {
            let request = modern_post(&url, call(&with_modern_meta(&params(n))));
            let http = &http;
            async move { answers(http.send(request).await).await }
        }))
        .await;

        for (n, answers) in replies.into_iter().enumerate() {
            assert_own_answer(n, answers);
        }
        assert_each_was_carried_out_once(&mux);
    }
}

/// A progress token is the client's own too: it may be the same for everyone.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_clients_with_one_progress_token_each_get_their_own_progress() {
    for door in Door::ALL {
        let mux = crowded(door).await;
        let (http, url) = (Http::default(), mux.url());

        let replies = join_all((0..100).map(|n| {
            let params = format!(
                r#"{{"name":"child__progress","arguments":{{"n":{n}}},"_meta":{{"progressToken":1}}}}"#
            );
            let request = modern_post(&url, call(&with_modern_meta(&params)));
            let http = &http;
            async move { http.send(request).await.answer().await }
        }))
        .await;

        for (n, answer) in replies.into_iter().enumerate() {
            assert_eq!(answer.content()["steps"], n, "{door:?}");
            assert_eq!(answer.before.len(), n, "{door:?}: {:?}", answer.before);
            let own = answer.before.iter().all(|frame| {
                let params = member(frame, "params").unwrap_or_default();
                member(params, "progressToken") == Some("1")
                    && member(params, "total") == Some(n.to_string().as_str())
            });
            assert!(own, "{door:?}, client {n}: {:?}", answer.before);
        }
    }
}
