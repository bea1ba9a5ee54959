//! `"auth": "passthrough"`: the client's own token, to that child alone.

use std::sync::atomic::{AtomicU64, Ordering};

use ::http::{Method, Request};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    house::House,
    service::{DEMAND, MORE, Service},
    support::{
        Child, Door, Era, Fleet, Multiplexer,
        client::{LEGACY_VERSION, call_params, modern_post, with_modern_meta},
        http::{ClosedPort, Http, Reply, With as _, post, request},
    },
};

/// A client that shows a token, or none, with every request, and may say everything by
/// itself.
pub struct Person {
    http: Http,
    pub url: String,
    pub token: Option<String>,
    era: Era,
    session: Option<String>,
    asked: AtomicU64,
}

impl Person {
    /// One that comes with this token.
    pub async fn with(mux: &Multiplexer, token: Option<&str>, era: Era) -> Self {
        Self::at(&mux.url(), token, era).await
    }

    /// The same, at this view.
    pub async fn at(url: &str, token: Option<&str>, era: Era) -> Self {
        let mut person = Self {
            http: Http::default(),
            url: url.to_owned(),
            token: token.map(str::to_owned),
            era,
            session: None,
            asked: AtomicU64::new(0),
        };
        if era == Era::Legacy {
            let params = format!(
                r#"{{"protocolVersion":"{LEGACY_VERSION}","capabilities":{{}},"clientInfo":{{"name":"t","version":"1"}}}}"#
            );
            let reply = person.ask("initialize", &params).await;
            assert_eq!(reply.status, 200);
            person.session = Some(reply.header("mcp-session-id").to_owned());
        }
        person
    }

    /// A request with what it shows.
    pub fn dressed(&self, request: Request<Bytes>) -> Request<Bytes> {
        let request = match &self.token {
            Some(token) => request.with("authorization", &format!("Bearer {token}")),
            None => request,
        };
        match &self.session {
            Some(session) => request
                .with("mcp-session-id", session)
                .with("mcp-protocol-version", LEGACY_VERSION),
            None => request,
        }
    }

    /// The reply to one request.
    pub async fn ask(&self, method: &str, params: &str) -> Reply {
        let params = match self.era {
            Era::Legacy => params.to_owned(),
            Era::Modern => with_modern_meta(params),
        };
        let id = self.asked.fetch_add(1, Ordering::Relaxed);
        let frame =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        let request = match self.era {
            Era::Legacy => post(&self.url, frame),
            Era::Modern => modern_post(&self.url, frame),
        };
        self.http.send(self.dressed(request)).await
    }

    /// The whole answer to a call that goes well as far as HTTP is concerned.
    pub async fn call(&self, tool: &str) -> Value {
        self.call_with(tool, "{}").await
    }

    /// The same with arguments.
    pub async fn call_with(&self, tool: &str, arguments: &str) -> Value {
        let reply = self.ask("tools/call", &call_params(tool, arguments)).await;
        let frame = reply.answer().await.frame;
        serde_json::from_str(&frame).expect("JSON")
    }

    /// The names of the tools it sees.
    pub async fn tools(&self) -> Vec<String> {
        let reply = self.ask("tools/list", "{}").await;
        assert_eq!(reply.status, 200);
        let list: Value = serde_json::from_str(&reply.answer().await.frame).expect("JSON");
        let tools = list["result"]["tools"].as_array().expect("a list");
        let name = |tool: &Value| tool["name"].as_str().expect("a name").to_owned();
        tools.iter().map(name).collect()
    }

    /// The stream on which it hears what belongs to no request.
    pub async fn listen(&self) -> Reply {
        let request = request(Method::GET, &self.url, Bytes::new());
        let request = request.with("accept", "text/event-stream");
        self.http.send(self.dressed(request)).await
    }
}

/// As whom a call was answered.
pub fn user(answer: &Value) -> &Value {
    &answer["result"]["structuredContent"]["user"]
}

pub fn entry(service: &Service) -> Value {
    json!({"url": service.url(), "auth": "passthrough"})
}

async fn two_users(era: Era) -> Service {
    Service::knowing(era, &[("alice-canary", "alice"), ("bob-canary", "bob")]).await
}

async fn open(fleet: Fleet) -> Multiplexer {
    let fleet = fleet.flags(&["--log-level", "debug"]);
    fleet.over(Door::Http).await
}

#[tokio::test]
async fn each_user_is_somebody_else_to_the_child_and_sees_what_it_lists_to_them() {
    for (child, client) in [
        (Era::Legacy, Era::Legacy),
        (Era::Legacy, Era::Modern),
        (Era::Modern, Era::Legacy),
        (Era::Modern, Era::Modern),
    ] {
        let service = two_users(child).await;
        let mux = open(Fleet::new().entry("service", entry(&service))).await;
        assert_eq!(mux.child("service").await["state"], "idle");
        assert_eq!(service.seen().len(), 0, "nobody has come yet");
        let alice = Person::with(&mux, Some("alice-canary"), client).await;
        let bob = Person::with(&mux, Some("bob-canary"), client).await;

        let (to_alice, to_bob) = tokio::join!(alice.tools(), bob.tools());

        let tools = |user| ["whoami", "refused", user].map(|tool| format!("service__{tool}"));
        assert_eq!(to_alice, tools("of_alice"), "{child:?} {client:?}");
        assert_eq!(to_bob, tools("of_bob"));
        for _ in 0..3 {
            let (a, b) = tokio::join!(alice.call("service__whoami"), bob.call("service__whoami"));
            assert_eq!(
                (user(&a), user(&b)),
                (&"alice".into(), &"bob".into()),
                "{a} {b}"
            );
            let shown = &a["result"]["structuredContent"]["token"];
            assert_eq!(shown, "Bearer alice-canary");
        }
        let foreign = bob.call("service__of_alice").await;
        assert_eq!(foreign["error"]["code"], -32602, "{foreign}");
        let told = foreign["error"]["message"].as_str().unwrap_or_default();
        let meant = told.split("Did you mean").nth(1).unwrap_or_default();
        assert!(!meant.contains("of_alice"), "{foreign}");
        assert_eq!(mux.child("service").await["dedicatedSessions"], 2);
        assert_eq!(
            mux.child("service").await["tools"],
            0,
            "what all see is nothing"
        );
        let nobody = Person::with(&mux, None, client).await;
        assert_eq!(nobody.tools().await, [""; 0]);
        if child == Era::Legacy {
            let begun = service.tokens("initialize");
            let of = |token: &str| begun.iter().filter(|it| it.ends_with(token)).count();
            assert_eq!((of("alice-canary"), of("bob-canary")), (1, 1), "{begun:?}");
        }
    }
}

#[tokio::test]
async fn a_call_finds_its_tool_before_any_list_was_asked_for() {
    let service = two_users(Era::Legacy).await;
    let mux = open(Fleet::new().entry("service", entry(&service))).await;
    for (token, name) in [("alice-canary", "alice"), ("bob-canary", "bob")] {
        let person = Person::with(&mux, Some(token), Era::Modern).await;
        let answer = person.call(&format!("service__of_{name}")).await;
        assert_eq!(user(&answer), name, "{answer}");
    }
}

#[tokio::test]
async fn what_the_child_demands_reaches_the_client_in_both_eras() {
    for era in Era::ALL {
        let service = two_users(era).await;
        let mux = open(Fleet::new().entry("service", entry(&service))).await;
        let view = mux.at("/mcp/service");
        for client in Era::ALL {
            for token in [None, Some("stranger-canary")] {
                let stranger = Person::with(&mux, token, client).await;
                let call = call_params("service__whoami", "{}");
                let reply = stranger.ask("tools/call", &call).await;
                assert_eq!(reply.status, 401, "{era:?} {client:?} {token:?}");
                assert_eq!(reply.header("www-authenticate"), DEMAND);
                let alone = Person::at(&view, token, client).await;
                let reply = alone.ask("tools/list", "{}").await;
                assert_eq!(reply.status, 401, "{era:?} {client:?} {token:?}");
                assert_eq!(reply.header("www-authenticate"), DEMAND);
            }
            let alice = Person::with(&mux, Some("alice-canary"), client).await;
            let reply = alice
                .ask("tools/call", &call_params("service__refused", "{}"))
                .await;
            assert_eq!(reply.status, 403);
            assert_eq!(reply.header("www-authenticate"), MORE);
            assert_eq!(user(&alice.call("service__whoami").await), "alice");
        }
    }
}

#[tokio::test]
async fn a_token_that_has_ended_is_refused_and_the_next_one_serves_at_once() {
    for era in Era::ALL {
        let service = two_users(era).await;
        let mux = open(Fleet::new().entry("service", entry(&service))).await;
        let mut alice = Person::with(&mux, Some("alice-canary"), Era::Modern).await;
        assert_eq!(user(&alice.call("service__whoami").await), "alice");

        service.forgets("alice-canary");

        for _ in 0..8 {
            let call = call_params("service__whoami", "{}");
            let reply = alice.ask("tools/call", &call).await;
            assert_eq!(
                reply.status, 401,
                "also where others would have a breaker open"
            );
            assert_eq!(reply.header("www-authenticate"), DEMAND);
        }
        service.knows("alice-canary-2", "alice");
        alice.token = Some("alice-canary-2".into());
        assert_eq!(user(&alice.call("service__whoami").await), "alice");
        let bob = Person::with(&mux, Some("bob-canary"), Era::Legacy).await;
        assert_eq!(user(&bob.call("service__whoami").await), "bob");
        assert_eq!(mux.child("service").await["breaker"], "closed");
    }
}

#[tokio::test]
async fn over_stdio_there_is_no_token_and_a_sentence_says_so() {
    let service = two_users(Era::Legacy).await;
    let fleet = Fleet::new().entry("service", entry(&service));
    let mut mux = fleet.over(Door::Stdio).await;
    for era in Era::ALL {
        if era == Era::Modern {
            continue;
        }
        let mut client = mux.client(era).await;
        assert_eq!(client.tool_names().await, [""; 0]);
        let answer = client.call("service__whoami", "{}").await;
        assert_eq!(answer.failure_kind(), "unauthorized", "{}", answer.frame);
        assert!(
            answer.content_text().contains("the user has shown none"),
            "{}",
            answer.frame
        );
    }
}

#[tokio::test]
async fn nothing_a_client_shows_reaches_any_other_child() {
    let service = two_users(Era::Legacy).await;
    let fleet = Fleet::new()
        .entry("service", entry(&service))
        .http("other", Child::legacy().key("auth", "none"))
        .http("modern", Child::modern())
        .http("own", Child::modern().key("session", "dedicated"));
    let mux = open(fleet).await;
    for child in ["other", "modern", "own"] {
        mux.until_ready(child).await;
    }
    for era in Era::ALL {
        let alice = Person::with(&mux, Some("alice-canary"), era).await;
        for child in ["other", "modern", "own"] {
            let params = call_params(&format!("{child}__received"), "{}");
            let params = match era {
                Era::Legacy => params,
                Era::Modern => with_modern_meta(&params),
            };
            let frame =
                format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
            let request = match era {
                Era::Legacy => post(&mux.url(), frame),
                Era::Modern => modern_post(&mux.url(), frame),
            };
            let request = alice
                .dressed(request)
                .with("cookie", "session=canary")
                .with("proxy-authorization", "Basic canary")
                .with("x-api-key", "canary");
            let answer = Http::default().send(request).await.answer().await;
            let headers = &answer.content()["headers"];
            assert!(headers.is_object(), "{}", answer.frame);
            assert!(!headers.to_string().contains("canary"), "{headers}");
            let host = headers["host"].as_str().unwrap_or_default();
            assert!(!mux.url().contains(host) || host.is_empty(), "{host}");
        }
    }
    let journals = ["other", "modern", "own"].map(|child| mux.journal(child).of("http"));
    for line in journals.iter().flatten() {
        assert!(line["authorization"].is_null(), "{line}");
    }
}

#[tokio::test]
async fn the_tokens_of_users_are_shown_nowhere() {
    let service = two_users(Era::Legacy).await;
    let fleet = Fleet::new()
        .entry("service", entry(&service))
        .env("RUST_LOG", "trace,mcp_multiplexer=trace");
    let mut mux = fleet.over(Door::Http).await;
    let mut said = String::new();
    for token in ["alice-canary", "stranger-canary"] {
        for era in Era::ALL {
            let person = Person::with(&mux, Some(token), era).await;
            said += &format!("{:?}", person.ask("tools/list", "{}").await.answer().await);
            let call = call_params("service__refused", "{}");
            let reply = person.ask("tools/call", &call).await;
            said += &format!("{:?}", reply.headers);
            said += &reply.answer().await.frame;
        }
    }
    assert!(
        service
            .tokens("tools/list")
            .iter()
            .any(|it| it.contains("alice-canary"))
    );
    said += &mux.status().await.to_string();
    said += &mux.metrics().await.0;
    mux.terminate();
    assert!(mux.ended().await.success());
    said += &mux.log.text();
    let at = said
        .find("canary")
        .map(|at| &said[at.saturating_sub(300)..at + 10]);
    assert_eq!(at, None);
}

#[tokio::test]
async fn a_user_who_is_idle_loses_the_connection_and_finds_another() {
    let service = two_users(Era::Legacy).await;
    let mut short = entry(&service);
    short["idleTimeout"] = "100ms".into();
    let mux = open(Fleet::new().entry("service", short)).await;
    let alice = Person::with(&mux, Some("alice-canary"), Era::Modern).await;
    let first = alice.call("service__whoami").await;

    let none = |child: &Value| child["dedicatedSessions"] == 0;
    mux.until_child("service", "has no connections", none).await;

    assert_eq!(mux.child("service").await["state"], "idle");
    let second = alice.call("service__whoami").await;
    let session = |answer: &Value| answer["result"]["structuredContent"]["session"].clone();
    assert_eq!(
        (session(&first), session(&second)),
        ("alice-1".into(), "alice-2".into())
    );
}

#[tokio::test]
async fn in_one_session_another_token_is_another_user() {
    let service = two_users(Era::Legacy).await;
    let mut own = entry(&service);
    own["session"] = "dedicated".into();
    let fleet = Fleet::new()
        .entry("service", entry(&service))
        .entry("own", own);
    let mux = open(fleet).await;
    let mut person = Person::with(&mux, Some("alice-canary"), Era::Legacy).await;
    let other = Person::with(&mux, Some("alice-canary"), Era::Legacy).await;
    let session = |answer: &Value| answer["result"]["structuredContent"]["session"].clone();
    for child in ["service", "own"] {
        let tool = format!("{child}__whoami");
        let (mine, others) = (person.call(&tool).await, other.call(&tool).await);
        let shared = session(&mine) == session(&others);
        assert_eq!(shared, child == "service", "{mine} {others}");
    }

    person.token = Some("bob-canary".into());

    for child in ["service", "own"] {
        let answer = person.call(&format!("{child}__whoami")).await;
        assert_eq!(user(&answer), "bob", "{answer}");
        let tools = person.tools().await;
        assert!(tools.contains(&format!("{child}__of_bob")), "{tools:?}");
        assert!(
            !tools.iter().any(|tool| tool.contains("alice")),
            "{tools:?}"
        );
    }
}

#[tokio::test]
async fn a_child_that_lets_nobody_in_takes_nothing_from_the_lists_of_others() {
    let service = Service::knowing(Era::Legacy, &[]).await;
    let closed = ClosedPort::pick();
    let fleet = Fleet::new()
        .entry("service", entry(&service))
        .entry(
            "gone",
            json!({"url": closed.url("/mcp"), "auth": "passthrough"}),
        )
        .http("open", Child::modern().bare().named("tool"));
    let mux = open(fleet).await;
    mux.until_ready("open").await;
    for era in Era::ALL {
        let person = Person::with(&mux, Some("stranger-canary"), era).await;
        for _ in 0..2 {
            assert_eq!(person.tools().await, ["open__tool"]);
        }
        let answer = person.call("gone__anything").await;
        let kind = &answer["result"]["_meta"]["io.mcp-multiplexer/failure"]["kind"];
        assert_eq!(kind, "unavailable", "{answer}");
    }
}

#[tokio::test]
async fn a_child_that_is_disabled_or_hidden_from_a_user_gets_no_token() {
    let service = Service::knowing(Era::Modern, &[]).await;
    let fleet = Fleet::new();
    let policies = fleet.path("policies.cedar");
    let permits = r#"
        permit(principal, action, resource) unless { resource.child == "hidden" };
    "#;
    std::fs::write(&policies, permits).expect("a file");
    let entry = |more: Value| {
        let mut entry = json!({"url": service.url(), "auth": "passthrough"});
        for (key, value) in more.as_object().expect("keys") {
            entry[key] = value.clone();
        }
        entry
    };
    let fleet = fleet
        .entry("off", entry(json!({"disabled": true})))
        .entry("hidden", entry(json!({})))
        .entry("seen", entry(json!({})));
    let house = House::open_with(fleet, json!({"policy": policies})).await;
    let alice = house.token("alice", 1);
    service.knows(&alice, "alice");
    let person = Person::with(&house.mux, Some(&alice), Era::Modern).await;

    let listed = person.ask("tools/list", "{}").await.answer().await.frame;
    let hidden = person
        .ask("tools/call", &call_params("hidden__whoami", "{}"))
        .await;
    let off = person
        .ask("tools/call", &call_params("off__whoami", "{}"))
        .await;
    let (hidden, off) = (hidden.text().await, off.text().await);

    assert!(listed.contains("seen__"), "{listed}");
    assert!(
        !listed.contains("hidden__") && !listed.contains("off__"),
        "{listed}"
    );
    assert!(
        hidden.contains("Unknown tool") && off.contains("error"),
        "{hidden} {off}"
    );
    // One connection: that of the child that is seen.
    let handshakes = service.tokens("server/discover");
    assert_eq!(
        handshakes,
        [format!("Bearer {alice}")],
        "{:?}",
        service.seen()
    );
}
