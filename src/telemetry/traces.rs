//! Traces: one span for each request that is carried, in the words of OpenTelemetry's
//! conventions for MCP.
//!
//! Without a collector there is nothing here to pay for. No argument, result, URI or
//! message of an error is put into a span, nor the id of a session, which lets in who
//! knows it.

use std::sync::OnceLock;

use opentelemetry::{
    Context, KeyValue,
    propagation::{Extractor, TextMapPropagator},
    trace::{
        Link, SpanContext, SpanKind, Status, TraceContextExt, TraceFlags, Tracer, TracerProvider,
    },
};
use opentelemetry_sdk::{
    propagation::TraceContextPropagator,
    trace::{SdkTracer, SdkTracerProvider},
};

use super::Outcome;
use crate::protocol::{
    ChildName, OwnName, TraceContext,
    trace::{TRACEPARENT, TRACESTATE},
};

static KEPT: OnceLock<Kept> = OnceLock::new();

struct Kept {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

/// From now on spans go to this provider. Once per process.
pub(super) fn keep(provider: SdkTracerProvider) {
    let tracer = provider.tracer("mcp-multiplexer");
    // A second one is refused; the first one serves.
    let _ = KEPT.set(Kept { provider, tracer });
}

/// What ends spans that still wait to be sent, if any are kept.
pub(super) fn provider() -> Option<&'static SdkTracerProvider> {
    KEPT.get().map(|kept| &kept.provider)
}

/// What is known of a request when it comes in.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// Its method, one of a few.
    pub method: &'static str,
    /// Its id (JSON text).
    pub id: &'a str,
    /// The number we know its session by.
    pub session: Option<u64>,
    /// The protocol version that it names.
    pub version: Option<&'a str>,
    /// Where it stands in a trace, as its own `_meta` says.
    pub in_meta: Option<TraceContext>,
    /// The same of the HTTP request that brought it.
    pub in_headers: Option<&'a TraceContext>,
}

/// The span of one request; clones are the same one. Without a collector, nothing.
#[derive(Clone, Debug, Default)]
pub struct CallSpan(Option<Context>);

impl CallSpan {
    /// Whether spans are kept at all.
    pub fn are_kept() -> bool {
        KEPT.get().is_some()
    }

    /// The span of a request that has come in, if spans are kept.
    pub fn begin<'a>(request: impl FnOnce() -> Incoming<'a>) -> Self {
        let Some(Kept { tracer, .. }) = KEPT.get() else {
            return Self(None);
        };
        Self(Some(begun(tracer, &request())))
    }

    /// What the request is for stands in the catalog: `name`, as clients know it.
    pub fn is_for_tool(&self, method: &'static str, name: &str) {
        self.is_for(method, "gen_ai.tool.name", name);
        self.set([KeyValue::new("gen_ai.operation.name", "execute_tool")]);
    }

    /// The same of a prompt.
    pub fn is_for_prompt(&self, method: &'static str, name: &str) {
        self.is_for(method, "gen_ai.prompt.name", name);
    }

    fn is_for(&self, method: &'static str, key: &'static str, name: &str) {
        if let Self(Some(context)) = self {
            context.span().update_name(format!("{method} {name}"));
            self.set([KeyValue::new(key, name.to_owned())]);
        }
    }

    /// Where whatever the request leads to stands in the trace.
    pub fn trace(&self) -> Option<TraceContext> {
        let context = self.0.as_ref()?;
        let span = context.span();
        let here = span.span_context();
        let flags = here.trace_flags() & TraceFlags::SAMPLED;
        let state = here.trace_state().header();
        here.is_valid().then(|| TraceContext {
            parent: format!(
                "00-{}-{}-{:02x}",
                here.trace_id(),
                here.span_id(),
                flags.to_u8()
            ),
            state: Some(state).filter(|state| !state.is_empty()),
        })
    }

    /// The request is refused here with this code: no child has seen it.
    pub fn refused(&self, code: i64) {
        self.fail(&code.to_string(), Some(code));
        self.end();
    }

    /// The request has ended; with this code, if with a JSON-RPC error.
    pub fn ended(
        &self,
        child: &ChildName,
        tool: Option<&OwnName>,
        outcome: Outcome,
        code: Option<i64>,
    ) {
        if self.0.is_none() {
            return;
        }
        self.set([KeyValue::new("mcp_multiplexer.child", child.to_string())]);
        if let Some(tool) = tool {
            self.set([KeyValue::new("mcp_multiplexer.tool", tool.to_string())]);
        }
        match (outcome, code) {
            (Outcome::Ok, _) => {}
            (Outcome::RpcError, Some(code)) => self.fail(&code.to_string(), Some(code)),
            (failed, _) => self.fail(failed.as_str(), None),
        }
        self.end();
    }

    fn fail(&self, kind: &str, code: Option<i64>) {
        self.set([KeyValue::new("error.type", kind.to_owned())]);
        self.set(code.map(|code| KeyValue::new("rpc.response.status_code", code.to_string())));
        if let Self(Some(context)) = self {
            context.span().set_status(Status::error(""));
        }
    }

    fn set(&self, attributes: impl IntoIterator<Item = KeyValue>) {
        if let Self(Some(context)) = self {
            context.span().set_attributes(attributes);
        }
    }

    fn end(&self) {
        if let Self(Some(context)) = self {
            context.span().end();
        }
    }
}

fn begun(tracer: &SdkTracer, request: &Incoming<'_>) -> Context {
    let said = request.in_meta.as_ref().and_then(read);
    let brought = request.in_headers.and_then(read);
    // What the message itself says wins: one HTTP request is no measure of it.
    let parent = said.clone().or_else(|| brought.clone());
    let beside = brought.filter(|brought| said.as_ref().is_some_and(|said| said != brought));
    let mut attributes = vec![KeyValue::new("mcp.method.name", request.method)];
    if request.id != "null" {
        let id = crate::protocol::json::unquote(request.id).into_owned();
        attributes.push(KeyValue::new("jsonrpc.request.id", id));
    }
    let session = request.session.map(|number| number.to_string());
    attributes.extend(session.map(|session| KeyValue::new("mcp.session.id", session)));
    let version = request.version.map(str::to_owned);
    attributes.extend(version.map(|version| KeyValue::new("mcp.protocol.version", version)));
    let around = match parent {
        Some(parent) => Context::new().with_remote_span_context(parent),
        None => Context::new(),
    };
    let span = tracer
        .span_builder(request.method)
        .with_kind(SpanKind::Server)
        .with_attributes(attributes)
        .with_links(beside.into_iter().map(Link::with_context).collect())
        .start_with_context(tracer, &around);
    Context::new().with_span(span)
}

/// A place in a trace, if what is said of it can be read.
fn read(said: &TraceContext) -> Option<SpanContext> {
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Said(said));
    let span = context.span();
    Some(span.span_context().clone()).filter(SpanContext::is_valid)
}

struct Said<'a>(&'a TraceContext);

impl Extractor for Said<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            TRACEPARENT => Some(&self.0.parent),
            TRACESTATE => self.0.state.as_deref(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT, TRACESTATE]
    }
}
