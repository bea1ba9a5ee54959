//! Arguments that are told in `Mcp-Param-*` headers too: made anew for a child that
//! reads them, compared with the body where a client sends them; and the errors of the
//! modern era under their HTTP statuses.

mod support;

use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
    routing::post,
};
use serde_json::{Value, json};
use support::{
    Answer, Child, Client, Door, Era, Fleet, Multiplexer,
    client::{call_params, modern_post, with_modern_meta},
    http::{Http, With as _},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// A tool that tells what it was reached with, and wants this in headers.
const RECEIVED: &str = r#"{"name":"received","inputSchema":{"type":"object","properties":{
    "region":{"type":"string","x-mcp-header":"Region"},
    "at":{"type":"object","properties":{"depth":{"type":"integer","x-mcp-header":"Depth"}}},
    "dry":{"type":"boolean","x-mcp-header":"Dry"},
    "query":{"type":"string"}}}}"#;

const ARGUMENTS: &str = r#"{"query":"q","region":"S\u00e3o Paulo","at":{"depth":7.0},"dry":true}"#;

fn receiving(era: Era) -> Child {
    Child::of(era)
        .bare()
        .listing("received", &one_line(RECEIVED))
}

fn one_line(entry: &str) -> String {
    entry.replace('\n', " ")
}

/// The headers of this kind with which the tool was reached.
fn told(answer: &Answer) -> Value {
    let headers = answer.content()["headers"].clone();
    let all = headers.as_object().expect("headers").clone();
    let told = all
        .into_iter()
        .filter(|(name, _)| name.starts_with("mcp-param-"));
    Value::Object(told.collect())
}

async fn over_http(child: Child) -> Multiplexer {
    let mux = Fleet::new().http("child", child).over(Door::Http).await;
    mux.all_ready().await;
    mux
}

#[tokio::test]
async fn a_modern_child_is_told_in_headers_whoever_calls() {
    for door in Door::ALL {
        let mut mux = Fleet::new()
            .http("child", receiving(Era::Modern))
            .over(door)
            .await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;

        let answer = client.call("child__received", ARGUMENTS).await;
        let none = client
            .call("child__received", r#"{"region":null,"query":"q"}"#)
            .await;

        let expected = json!({
            "mcp-param-region": "=?base64?U8OjbyBQYXVsbw==?=",
            "mcp-param-depth": "7",
            "mcp-param-dry": "true",
        });
        assert_eq!(told(&answer), expected, "{door:?}");
        assert_eq!(answer.arguments_received(), ARGUMENTS, "{door:?}");
        assert_eq!(told(&none), json!({}), "{door:?}");
    }
}

#[tokio::test]
async fn a_legacy_child_is_told_nothing_in_headers() {
    let mut mux = over_http(receiving(Era::Legacy)).await;
    let mut client = mux.client(Era::Legacy).await;

    let answer = client.call("child__received", ARGUMENTS).await;

    assert_eq!(told(&answer), json!({}));
}

/// Calls the tool as a modern client over HTTP, with these headers.
async fn call_with(mux: &Multiplexer, arguments: &str, headers: &[(&str, &str)]) -> (u16, Answer) {
    let params = with_modern_meta(&call_params("child__received", arguments));
    let frame = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#);
    let request = headers
        .iter()
        .fold(modern_post(&mux.url(), frame), |request, (name, value)| {
            request.with(name, value)
        });
    let reply = Http::default().send(request).await;
    (reply.status.as_u16(), reply.answer().await)
}

#[tokio::test]
async fn what_a_modern_client_says_in_headers_must_be_what_its_body_says() {
    let children = [
        (Door::Http, Era::Modern),
        (Door::Http, Era::Legacy),
        (Door::Stdio, Era::Modern),
    ];
    for (door, era) in children {
        let mux = Fleet::new()
            .with(door, "child", receiving(era))
            .over(Door::Http)
            .await;
        mux.all_ready().await;
        let region = r#"{"region":"eu"}"#;
        for (headers, arguments) in [
            (&[("mcp-param-region", "eu")][..], region),
            (&[("Mcp-Param-Region", "=?base64?ZXU=?=")], region),
            (&[("mcp-param-depth", "42.0")], r#"{"at":{"depth":42}}"#),
            (&[("mcp-param-unknown", "x")], "{}"),
        ] {
            let (status, answer) = call_with(&mux, arguments, headers).await;
            assert_eq!(status, 200, "{headers:?}: {}", answer.frame);
            assert_eq!(answer.arguments_received(), arguments);
            assert_eq!(told(&answer)["mcp-param-unknown"], Value::Null);
        }
        for (headers, arguments) in [
            (&[][..], region),
            (&[("mcp-param-region", "us")], region),
            (&[("mcp-param-region", "EU")], region),
            (&[("mcp-param-region", "=?base64?ZXU?=")], region),
            (&[("mcp-param-region", "eu")], "{}"),
            (&[("mcp-param-region", "eu")], r#"{"region":null}"#),
            (&[("mcp-param-depth", "43")], r#"{"at":{"depth":42}}"#),
        ] {
            let (status, answer) = call_with(&mux, arguments, headers).await;
            assert_eq!(status, 400, "{headers:?}: {}", answer.frame);
            assert_eq!(answer.error_code(), -32020, "{}", answer.frame);
            assert_eq!(answer.id(), "7");
        }
        assert_eq!(
            mux.journal("child").calls("received"),
            4,
            "{door:?} {era:?}"
        );
    }
}

/// Over stdio and in the legacy era there are no such headers to compare.
#[tokio::test]
async fn only_a_modern_client_over_http_is_asked_for_headers() {
    for (door, era) in [
        (Door::Http, Era::Legacy),
        (Door::Stdio, Era::Legacy),
        (Door::Stdio, Era::Modern),
    ] {
        let mut mux = Fleet::new()
            .http("child", receiving(Era::Modern))
            .over(door)
            .await;
        mux.all_ready().await;
        let mut client = mux.client(era).await;

        let answer = client.call("child__received", r#"{"region":"eu"}"#).await;

        assert_eq!(
            told(&answer),
            json!({"mcp-param-region": "eu"}),
            "{door:?} {era:?}"
        );
    }
}

#[tokio::test]
async fn an_argument_that_stands_twice_and_is_told_in_a_header_is_refused() {
    let mut mux = over_http(receiving(Era::Modern)).await;
    let mut client = mux.client(Era::Legacy).await;

    let twice = client
        .call("child__received", r#"{"region":"a","r\u0065gion":"b"}"#)
        .await;
    let other = client
        .call("child__received", r#"{"query":"a","query":"b"}"#)
        .await;

    assert_eq!(twice.error_code(), -32600, "{}", twice.frame);
    assert_eq!(other.arguments_received(), r#"{"query":"a","query":"b"}"#);
}

/// MCP 2026-07-28: a client must leave out, over HTTP, what asks for headers that
/// cannot be.
#[tokio::test]
async fn a_tool_that_asks_for_impossible_headers_is_left_out_over_http_alone() {
    let unfit = r#"{"name":"unfit","inputSchema":{"properties":{"n":{"type":"number","x-mcp-header":"N"}}}}"#;
    let fit = r#"{"name":"fit","inputSchema":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}}}"#;
    for (door, era, listed) in [
        (Door::Http, Era::Modern, vec!["child__fit"]),
        (Door::Http, Era::Legacy, vec!["child__unfit", "child__fit"]),
        (Door::Stdio, Era::Modern, vec!["child__unfit", "child__fit"]),
    ] {
        let child = Child::of(era)
            .bare()
            .listing("unfit", unfit)
            .listing("fit", fit);
        let mut mux = Fleet::new()
            .with(door, "child", child)
            .over(Door::Http)
            .await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;

        assert_eq!(client.tool_names().await, listed, "{door:?} {era:?}");
        let left_out = mux.child("child").await["toolsLeftOut"].clone();
        assert_eq!(left_out, 2 - listed.len(), "{door:?} {era:?}");
        if listed.len() == 1 {
            mux.log
                .until("the tool in the log", |line| {
                    line.contains("left out") && line.contains("unfit") && line.contains("child")
                })
                .await;
        }
    }
}

/// A modern child over HTTP whose one tool wants its argument `zone` in a header; with
/// which name, changes.
struct Picky {
    url: String,
    desk: Arc<Desk>,
    _serving: JoinHandle<()>,
}

#[derive(Default)]
struct Desk {
    /// The header that it wants by now.
    wanted: Mutex<&'static str>,
    /// The one that its list speaks of.
    listed: Mutex<&'static str>,
    calls: AtomicUsize,
    lists: AtomicUsize,
    discoveries: AtomicUsize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody has panicked")
}

impl Picky {
    async fn start() -> Self {
        let desk = Arc::new(Desk::default());
        *lock(&desk.wanted) = "Zone";
        *lock(&desk.listed) = "Zone";
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/mcp", listener.local_addr().expect("an address"));
        let app = Router::new()
            .route("/mcp", post(receive))
            .with_state(Arc::clone(&desk));
        let serving =
            tokio::spawn(async move { axum::serve(listener, app).await.expect("a child") });
        Self {
            url,
            desk,
            _serving: serving,
        }
    }

    async fn behind(&self) -> Multiplexer {
        let fleet = Fleet::new().entry("picky", json!({"url": self.url, "keepAlive": 0}));
        let mux = fleet.over(Door::Http).await;
        mux.all_ready().await;
        mux
    }
}

async fn receive(
    State(desk): State<Arc<Desk>>,
    headers: HeaderMap,
    Json(message): Json<Value>,
) -> Response {
    let id = message["id"].clone();
    let result = |mut result: Value| {
        result["resultType"] = json!("complete");
        Json(json!({"jsonrpc": "2.0", "id": id, "result": result})).into_response()
    };
    let error = |status: StatusCode, code: i64| {
        let error = json!({"code": code, "message": "told to", "data": {"exact": 1}});
        (
            status,
            Json(json!({"jsonrpc": "2.0", "id": id, "error": error})),
        )
            .into_response()
    };
    match message["method"].as_str().unwrap_or_default() {
        "server/discover" => {
            desk.discoveries.fetch_add(1, Ordering::Relaxed);
            result(json!({
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
                "ttlMs": 0,
                "cacheScope": "private",
            }))
        }
        "tools/list" => {
            desk.lists.fetch_add(1, Ordering::Relaxed);
            let listed = *lock(&desk.listed);
            let zone = json!({"type": "string", "x-mcp-header": listed});
            let schema = json!({"type": "object", "properties": {"zone": zone}});
            result(json!({
                "tools": [{"name": "go", "inputSchema": schema}],
                "ttlMs": 0,
                "cacheScope": "private",
            }))
        }
        "tools/call" => {
            desk.calls.fetch_add(1, Ordering::Relaxed);
            let arguments = &message["params"]["arguments"];
            if let Some(code) = arguments["code"].as_i64() {
                let status = arguments["status"].as_u64().expect("a status");
                let status = u16::try_from(status).expect("a status");
                return error(StatusCode::from_u16(status).expect("a status"), code);
            }
            let wanted = format!("mcp-param-{}", lock(&desk.wanted));
            let said = headers.get(wanted).and_then(|value| value.to_str().ok());
            match said == arguments["zone"].as_str() {
                true => result(json!({"content": [{"type": "text", "text": "gone"}]})),
                false => error(StatusCode::BAD_REQUEST, -32020),
            }
        }
        _ => error(StatusCode::NOT_FOUND, -32601),
    }
}

#[tokio::test]
async fn a_child_that_wants_other_headers_by_now_is_listed_again_and_called_again() {
    let picky = Picky::start().await;
    let mut mux = picky.behind().await;
    let mut client = mux.client(Era::Legacy).await;
    let gone = async |client: &mut Client| {
        let answer = client.call("picky__go", r#"{"zone":"a"}"#).await;
        assert_eq!(answer.content_text(), "gone");
    };
    gone(&mut client).await;
    for name in [&picky.desk.wanted, &picky.desk.listed] {
        *lock(name) = "Place";
    }

    gone(&mut client).await;

    assert_eq!(picky.desk.calls.load(Ordering::Relaxed), 3);
    gone(&mut client).await;
    assert_eq!(picky.desk.calls.load(Ordering::Relaxed), 4, "at once");
}

#[tokio::test]
async fn a_child_that_wants_what_it_does_not_list_is_called_once_and_its_error_told() {
    let picky = Picky::start().await;
    let mux = picky.behind().await;
    *lock(&picky.desk.wanted) = "Secret";
    let lists = picky.desk.lists.load(Ordering::Relaxed);

    let params = with_modern_meta(&call_params("picky__go", r#"{"zone":"a"}"#));
    let frame = format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#);
    let request = modern_post(&mux.url(), frame).with("mcp-param-zone", "a");
    let reply = Http::default().send(request).await;

    assert_eq!(reply.status, 400);
    assert_eq!(reply.answer().await.error_code(), -32020);
    assert_eq!(picky.desk.calls.load(Ordering::Relaxed), 1);
    assert!(
        picky.desk.lists.load(Ordering::Relaxed) > lists,
        "it was asked"
    );
}

#[tokio::test]
async fn a_childs_error_has_the_status_of_the_clients_era() {
    let picky = Picky::start().await;
    let mut mux = picky.behind().await;
    let url = mux.url();
    let mut legacy = mux.client(Era::Legacy).await;
    for (code, status) in [
        (-32021, 400),
        (-32022, 400),
        (-32601, 404),
        (-32602, 200),
        (4711, 200),
    ] {
        for from in [200, 400] {
            let arguments = json!({"code": code, "status": from}).to_string();
            let params = with_modern_meta(&call_params("picky__go", &arguments));
            let frame =
                format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#);
            let reply = Http::default().send(modern_post(&url, frame)).await;
            assert_eq!(reply.status, status, "{code} with {from}");
            let answer = reply.answer().await;
            assert_eq!(answer.error_code(), code);
            assert_eq!(answer.error()["data"], json!({"exact": 1}));

            // Its client asserts nothing of the status, so it is asked for itself.
            let answer = legacy.call("picky__go", &arguments).await;
            assert_eq!(answer.error_code(), code);
            let session = legacy.session().expect("a session");
            let params = call_params("picky__go", &arguments);
            let frame =
                format!(r#"{{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{params}}}"#);
            let request = support::http::post(&url, frame).with("mcp-session-id", session);
            let reply = Http::default().send(request).await;
            assert_eq!(reply.status, 200, "{code} with {from}");
        }
    }
}

/// Whoever gives such an error speaks the modern era: that need not be asked.
#[tokio::test]
async fn an_error_of_the_modern_era_is_no_doubt_about_the_childs_era() {
    let picky = Picky::start().await;
    let mut mux = picky.behind().await;
    let mut client = mux.client(Era::Legacy).await;
    for code in [-32020, -32021] {
        let arguments = json!({"code": code, "status": 400}).to_string();
        let answer = client.call("picky__go", &arguments).await;
        assert_eq!(answer.error_code(), code);
    }
    assert_eq!(picky.desk.discoveries.load(Ordering::Relaxed), 1);

    let answer = client
        .call("picky__go", r#"{"code":-32600,"status":400}"#)
        .await;
    assert_eq!(answer.error_code(), -32600);
    assert_eq!(picky.desk.discoveries.load(Ordering::Relaxed), 2);
}

/// As the conformance suite has it (`server-stateless`).
#[tokio::test]
async fn what_a_modern_request_lacks_or_asks_in_vain_has_its_own_status() {
    let mux = Fleet::new().over(Door::Http).await;
    let ask = async |method: &str, params: &str, version: &str| {
        let frame = format!(r#"{{"jsonrpc":"2.0","id":5,"method":"{method}","params":{params}}}"#);
        let request = modern_post(&mux.url(), frame).with("mcp-protocol-version", version);
        let reply = Http::default().send(request).await;
        let status = reply.status.as_u16();
        let answer = reply.answer().await;
        assert_eq!(answer.id(), "5", "{method}");
        (status, answer.error_code())
    };
    let now = "2026-07-28";
    let meta = |version: &str| {
        format!(
            r#"{{"_meta":{{"io.modelcontextprotocol/protocolVersion":"{version}","io.modelcontextprotocol/clientCapabilities":{{}}}}}}"#
        )
    };
    let discover = "server/discover";
    for params in [
        "{}",
        r#"{"_meta":{}}"#,
        r#"{"_meta":1}"#,
        r#"{"_meta":{"io.modelcontextprotocol/clientCapabilities":{}}}"#,
        r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#,
    ] {
        assert_eq!(ask(discover, params, now).await, (400, -32602), "{params}");
    }
    let future = "v999.0.0";
    assert_eq!(ask(discover, &meta(future), future).await, (400, -32022));
    assert_eq!(ask(discover, &meta(future), now).await, (400, -32020));
    assert_eq!(ask(discover, &meta(now), "2025-11-25").await, (400, -32020));
    for method in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
        "unknown/method",
    ] {
        assert_eq!(
            ask(method, &meta(now), now).await,
            (404, -32601),
            "{method}"
        );
    }
}
