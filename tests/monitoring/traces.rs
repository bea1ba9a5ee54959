//! Traces: one span for each call, between its client's and its child's; sent to a
//! collector that the environment names, and to nobody else.

use std::sync::{Arc, Mutex, PoisonError};

use axum::{Router, extract::State, routing::post};
use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value as Any},
    resource::v1::Resource,
    trace::v1::{Span, span::SpanKind, status::StatusCode},
};
use prost::Message as _;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::support::{
    Answer, Child, Door, Era, Fleet, Multiplexer, Provider,
    client::{call_params, modern_post, with_modern_meta},
    eventually,
    http::{Http, With},
    wire::member,
};

/// The trace of a client's.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// Its span there.
const SPAN: &str = "00f067aa0ba902b7";

fn traceparent() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

/// A collector that keeps what it is sent.
struct Collector {
    port: u16,
    kept: Kept,
    serving: JoinHandle<()>,
}

type Kept = Arc<Mutex<Vec<(Bytes, ExportTraceServiceRequest)>>>;

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let kept = Kept::default();
        let routes = Router::new()
            .route("/v1/traces", post(keep))
            .with_state(Arc::clone(&kept));
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("the collector");
        });
        Self {
            port,
            kept,
            serving,
        }
    }

    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything it was sent, as it came.
    fn bytes(&self) -> Vec<Bytes> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(|(bytes, _)| bytes.clone()).collect()
    }

    fn spans(&self) -> Vec<(Resource, Span)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let of_resources = kept.iter().flat_map(|(_, request)| &request.resource_spans);
        of_resources
            .flat_map(|of_one| {
                let resource = of_one.resource.clone().expect("a resource");
                let spans = of_one.scope_spans.iter().flat_map(|scope| &scope.spans);
                spans.map(move |span| (resource.clone(), span.clone()))
            })
            .collect()
    }

    /// Waits for the only span of this name.
    async fn span(&self, name: &str) -> (Resource, Span) {
        let found = eventually(&format!("the span {name}"), async || {
            let all = self.spans();
            let of_name: Vec<_> = all.into_iter().filter(|(_, it)| it.name == name).collect();
            Some(of_name).filter(|found| !found.is_empty())
        })
        .await;
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().expect("one")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn keep(State(kept): State<Kept>, body: Bytes) {
    let request = ExportTraceServiceRequest::decode(body.clone()).expect("spans");
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.push((body, request));
}

/// A fleet whose spans go to this collector, at once.
fn traced(endpoint: &str) -> Fleet {
    Fleet::new()
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|it| it.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        other => panic!("{key}: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a span passes on to whatever it leads to.
fn passed_on(span: &Span) -> String {
    format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id))
}

/// The `traceparent` in the `_meta` that the tool `received` has got.
fn got_in_meta(answer: &Answer) -> Option<String> {
    let params = answer.params_received();
    let parent = member(member(&params, "_meta")?, "traceparent")?;
    serde_json::from_str(parent).ok()
}

fn got_in_header(answer: &Answer, name: &str) -> Option<String> {
    Some(answer.content()["headers"][name].as_str()?.to_owned())
}

/// A modern call over HTTP, under these headers.
async fn call_under(mux: &Multiplexer, meta: &str, headers: &[(&str, &str)]) -> Answer {
    let call = call_params("child__received", "{}");
    let meta = format!(
        r#"{},"_meta":{{{meta}}}}}"#,
        call.strip_suffix('}').expect("an object")
    );
    let params = with_modern_meta(&meta);
    let frame =
        format!(r#"{{"jsonrpc":"2.0","id":"a-1","method":"tools/call","params":{params}}}"#);
    let request = modern_post(&mux.url(), frame);
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.with(name, value));
    Http::default().send(request).await.answer().await
}

#[tokio::test]
async fn a_call_is_one_span_between_that_of_its_client_and_that_of_its_child() {
    let collector = Collector::start().await;
    for (era, child_era, door) in [
        (Era::Modern, Era::Modern, Door::Http),
        (Era::Legacy, Era::Modern, Door::Http),
        (Era::Modern, Era::Legacy, Door::Stdio),
        (Era::Legacy, Era::Legacy, Door::Stdio),
    ] {
        let name = format!("{era:?}-{child_era:?}").to_lowercase();
        let mut mux = traced(&collector.endpoint())
            .with(door, &name, Child::of(child_era))
            .over(Door::Http)
            .await;
        mux.all_ready().await;
        let mut client = mux.client(era).await;
        let tool = client.tool_names().await;
        let tool = tool.iter().find(|tool| tool.ends_with("__received"));
        let tool = tool.expect("the tool");

        let meta = format!(
            r#""kept":1.10,"traceparent":"{}","tracestate":"a=b""#,
            traceparent()
        );
        let answer = client.call_with_meta(tool, r#"{"x":1e400}"#, &meta).await;

        let (resource, span) = collector.span(&format!("tools/call {tool}")).await;
        assert_eq!(hex(&span.trace_id), TRACE, "{name}");
        assert_eq!(hex(&span.parent_span_id), SPAN, "{name}");
        assert_eq!(span.trace_state, "a=b", "{name}");
        assert_eq!(span.kind, SpanKind::Server as i32, "{name}");
        assert!(
            span.end_time_unix_nano > span.start_time_unix_nano,
            "{name}"
        );
        assert_eq!(got_in_meta(&answer), Some(passed_on(&span)), "{name}");
        let received = answer.params_received();
        for kept in [r#""kept":1.10"#, r#"{"x":1e400}"#, r#""tracestate":"a=b""#] {
            assert!(received.contains(kept), "{name}: {received}");
        }
        if door == Door::Http {
            let header = got_in_header(&answer, "traceparent");
            assert_eq!(header, Some(passed_on(&span)), "{name}");
            let state = got_in_header(&answer, "tracestate");
            assert_eq!(state.as_deref(), Some("a=b"), "{name}");
        }
        let of_span = |key| attribute(&span.attributes, key);
        for (key, value) in [
            ("mcp.method.name", "tools/call"),
            ("gen_ai.tool.name", tool.as_str()),
            ("gen_ai.operation.name", "execute_tool"),
            ("mcp_multiplexer.child", name.as_str()),
            ("mcp_multiplexer.tool", "received"),
        ] {
            assert_eq!(of_span(key).as_deref(), Some(value), "{name}");
        }
        assert!(of_span("jsonrpc.request.id").is_some(), "{name}");
        assert_eq!(of_span("mcp.session.id").is_some(), era == Era::Legacy);
        assert_eq!(
            of_span("mcp.protocol.version").is_some(),
            era == Era::Modern
        );
        assert_eq!(of_span("error.type"), None, "{name}");
        let of_resource = |key| attribute(&resource.attributes, key);
        assert_eq!(
            of_resource("service.name").as_deref(),
            Some("mcp-multiplexer")
        );
        assert_eq!(
            of_resource("service.version").as_deref(),
            Some(mcp_multiplexer::VERSION)
        );
    }
}

#[tokio::test]
async fn a_call_without_a_trace_begins_one_and_a_header_is_its_parent_where_the_message_is_silent()
{
    let collector = Collector::start().await;
    let mux = traced(&collector.endpoint())
        .env("OTEL_SERVICE_NAME", "tools")
        .http("child", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;

    let begins = call_under(&mux, "", &[]).await;
    let other = "00-11111111111111111111111111111111-2222222222222222-01";
    let headed = call_under(&mux, "", &[("traceparent", other), ("tracestate", "c=d")]).await;
    let meta = format!(r#""traceparent":"{}""#, traceparent());
    let both = call_under(&mux, &meta, &[("traceparent", other)]).await;
    let nonsense = call_under(&mux, r#""traceparent":"nonsense""#, &[]).await;

    let spans = eventually("four spans", async || {
        Some(collector.spans()).filter(|spans| spans.len() == 4)
    })
    .await;
    let of = |answer: &Answer| {
        let parent = got_in_meta(answer).expect("a trace");
        let found = spans.iter().find(|(_, span)| passed_on(span) == parent);
        found
            .unwrap_or_else(|| panic!("{parent} in {spans:?}"))
            .clone()
    };
    let (resource, first) = of(&begins);
    assert_eq!(first.parent_span_id, [0; 0], "{first:?}");
    let service = attribute(&resource.attributes, "service.name");
    assert_eq!(service.as_deref(), Some("tools"));
    let (_, second) = of(&headed);
    assert_eq!(hex(&second.parent_span_id), "2222222222222222");
    assert_eq!(second.trace_state, "c=d");
    let (_, third) = of(&both);
    assert_eq!(hex(&third.parent_span_id), SPAN);
    assert_eq!(hex(&third.links[0].span_id), "2222222222222222");
    let (_, fourth) = of(&nonsense);
    assert_eq!(fourth.parent_span_id, [0; 0], "{fourth:?}");
}

#[tokio::test]
async fn a_span_tells_how_a_call_failed_and_nothing_that_could_be_a_secret() {
    let collector = Collector::start().await;
    let provider = Provider::with("canary-token", 3600).await;
    let mut mux = traced(&collector.endpoint())
        .flags(&["--log-level", "trace,mcp_multiplexer=trace"])
        .env(
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer canary-header",
        )
        .http(
            "child",
            Child::modern().option("--resource", "test://canary-uri"),
        )
        .identity(&provider)
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let session = client.session().expect("a session").to_owned();
    let canary = r#"{"password":"canary-argument"}"#;

    client.call("child__fail", canary).await;
    client.call("child__rpc_error", canary).await;
    client.call("child__no-such-canary-tool", canary).await;
    client.call("child__echo", canary).await;
    let read = r#"{"uri":"test://canary-uri"}"#;
    client.request("resources/read", read).await;
    mux.remote("child").behave("server-error").await;
    client.call("child__received", canary).await;

    for (name, kind) in [
        ("tools/call child__fail", Some("tool_error")),
        ("tools/call child__rpc_error", Some("4711")),
        ("tools/call", Some("-32602")),
        ("tools/call child__echo", None),
        ("resources/read", None),
        ("tools/call child__received", Some("transport")),
    ] {
        let (_, span) = collector.span(name).await;
        let told = attribute(&span.attributes, "error.type");
        if name != "resources/read" {
            assert_eq!(told.as_deref(), kind, "{name}");
            let failed = span
                .status
                .is_some_and(|it| it.code == StatusCode::Error as i32);
            assert_eq!(failed, kind.is_some(), "{name}");
        }
    }
    let (_, refused) = collector.span("tools/call child__rpc_error").await;
    let code = attribute(&refused.attributes, "rpc.response.status_code");
    assert_eq!(code.as_deref(), Some("4711"));
    mux.terminate();
    assert!(mux.ended().await.success());
    for sent in collector.bytes() {
        let text = String::from_utf8_lossy(&sent);
        assert!(!text.contains("canary"), "{text}");
        assert!(!text.contains(&session), "{text}");
    }
    let log = mux.log.text();
    assert!(log.contains("TRACE"), "{log}");
    assert!(!log.contains("canary-header"), "{log}");
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_not_shown_and_stops_nothing() {
    let mut mux = traced("http://user:canary@[nonsense")
        .http("child", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;
    client.call("child__echo", "{}").await.content();
    let log = mux.log.text();
    assert!(log.contains("no traces"), "{log}");
    assert!(!log.contains("canary"), "{log}");
}

#[tokio::test]
async fn a_call_in_a_call_is_in_the_trace_of_who_made_it() {
    let collector = Collector::start().await;
    let mux = traced(&collector.endpoint())
        .top("mode", "dynamic")
        .http("child", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let held = r#"{"name":"child__received","arguments":{}}"#;
    let params = with_modern_meta(&call_params("call_tool", held));
    let frame = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
    let request = modern_post(&mux.url(), frame).with("traceparent", &traceparent());

    let answer = Http::default().send(request).await.answer().await;

    let (_, span) = collector.span("tools/call child__received").await;
    assert_eq!(hex(&span.parent_span_id), SPAN);
    assert_eq!(got_in_meta(&answer), Some(passed_on(&span)));
}

#[tokio::test]
async fn without_a_collector_what_a_client_says_of_its_trace_passes_as_it_came() {
    let mut mux = Fleet::new()
        .http("child", Child::modern())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let meta = r#""traceparent" : "not\u002da trace","tracestate":7"#;

    let answer = call_under(
        &mux,
        meta,
        &[("traceparent", "00-1"), ("tracestate", "c=d")],
    )
    .await;
    let mut client = mux.client(Era::Modern).await;
    let silent = client.call("child__received", "{}").await;

    let received = answer.params_received();
    let received = member(&received, "_meta").expect("metadata").to_owned();
    assert!(received.contains(meta), "{received}");
    for (name, value) in [("traceparent", "00-1"), ("tracestate", "c=d")] {
        assert_eq!(got_in_header(&answer, name).as_deref(), Some(value));
        assert_eq!(got_in_header(&silent, name), None);
    }
    assert!(!silent.params_received().contains("trace"));
}

#[tokio::test]
async fn what_is_not_sampled_is_not_sent_and_the_child_is_told_so() {
    let collector = Collector::start().await;
    let mut mux = traced(&collector.endpoint())
        .env("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        .http("child", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;

    let unsampled = call_under(&mux, "", &[]).await;
    let meta = format!(r#""traceparent":"{}""#, traceparent());
    let sampled = call_under(&mux, &meta, &[]).await;

    let told = got_in_meta(&unsampled).expect("a trace");
    assert!(told.ends_with("-00"), "{told}");
    let (_, span) = collector.span("tools/call child__received").await;
    assert_eq!(got_in_meta(&sampled), Some(passed_on(&span)));
    mux.terminate();
    assert!(mux.ended().await.success());
    assert_eq!(collector.spans().len(), 1);
}

/// The collector accepts connections and never answers; and is not there at all.
#[tokio::test]
async fn a_collector_that_is_dead_stops_no_call_and_no_end() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = silent
        .local_addr()
        .map(|at| (at, silent))
        .expect("an address");
    let closed = crate::support::http::ClosedPort::pick();
    for endpoint in [format!("http://{}", silent.0), closed.url("")] {
        let mut mux = traced(&endpoint)
            .env("OTEL_BSP_MAX_QUEUE_SIZE", "4")
            .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
            .http("child", Child::modern())
            .over(Door::Http)
            .await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Modern).await;
        for _ in 0..50 {
            client.call("child__echo", "{}").await.content();
        }
        if endpoint == closed.url("") {
            let told = |line: &str| line.contains("the collector takes no traces");
            eventually("a line in the log", async || mux.log.find(told)).await;
        }
        mux.terminate();
        assert!(mux.ended().await.success(), "{endpoint}");
    }
}

#[tokio::test]
async fn a_protocol_that_is_not_spoken_is_told_and_stops_nothing() {
    let collector = Collector::start().await;
    let mut mux = traced(&collector.endpoint())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .http("child", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;
    client.call("child__echo", "{}").await.content();
    assert!(mux.log.find(|line| line.contains("no traces")).is_some());
    mux.terminate();
    assert!(mux.ended().await.success());
    assert_eq!(collector.spans().len(), 0);
}
