//! The way of spans to a collector: OTLP over HTTP, in batches, from a thread of its own.
//!
//! What is read here besides `OTEL_EXPORTER_OTLP_ENDPOINT` and
//! `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is read by OpenTelemetry's own crates, among it
//! `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_TIMEOUT`, `OTEL_TRACES_SAMPLER`,
//! `OTEL_TRACES_SAMPLER_ARG`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` and
//! `OTEL_BSP_SCHEDULE_DELAY`.

use std::{
    env,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::{Key, KeyValue};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::{info, warn};

use super::traces;
use crate::VERSION;

/// The variables that name a collector.
const ENDPOINTS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
];
/// The variables that name how it is spoken to; the first that is set counts.
const PROTOCOLS: [&str; 2] = [
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
/// The one way we speak.
const SPOKEN: &str = "http/protobuf";
/// How long a collector may take with one batch; a shorter limit of the user's wins.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps spans, and sends them to the collector that the environment names, if it names
/// one. Nothing about traces ever stops a start. Inside a tokio runtime.
pub fn init_traces() {
    let is = |name: &str, value: &str| {
        env::var(name).is_ok_and(|set| set.trim().eq_ignore_ascii_case(value))
    };
    let named = |names: [&str; 2]| names.iter().any(|name| set(name).is_some());
    if !named(ENDPOINTS) || is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return;
    }
    let protocol = PROTOCOLS.iter().find_map(|name| set(name));
    if let Some(protocol) = protocol.filter(|protocol| protocol != SPOKEN) {
        warn!(
            protocol,
            hint = SPOKEN,
            "no traces: collectors are spoken to in one protocol only"
        );
        return;
    }
    match provider() {
        Ok(provider) => {
            traces::keep(provider);
            info!("traces are sent to a collector");
        }
        // The error repeats the address, which may hold a password.
        Err(_) => warn!(
            variables = ENDPOINTS.join(", "),
            "no traces: the collector's address, or what is said of the way to it, cannot be used"
        ),
    }
}

/// Sends what still waits, for as long as `limit`.
pub async fn end_traces(limit: Duration) {
    let Some(provider) = traces::provider() else {
        return;
    };
    // It blocks until the sending thread is done.
    let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(limit));
    let _ = tokio::time::timeout(limit, ended).await;
}

/// A variable's value; one that is set to nothing is not set.
fn set(name: &str) -> Option<String> {
    let value = env::var(name).ok()?;
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

fn provider() -> Result<SdkTracerProvider, Box<dyn std::error::Error>> {
    let client = reqwest::Client::builder()
        // A redirect would take the headers for the collector to whoever it names.
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .user_agent(concat!("mcp-multiplexer/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_http_client(Collector {
            client,
            runtime: Handle::current(),
            failing: AtomicBool::new(false),
        })
        .build()?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource())
        .build())
}

/// What we are, unless the environment says it.
fn resource() -> Resource {
    let version = KeyValue::new("service.version", VERSION);
    let resource = Resource::builder().with_attribute(version).build();
    let name = resource.get(&Key::from_static_str("service.name"));
    if name.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        return resource;
    }
    let of_environment = resource
        .iter()
        .map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    Resource::builder_empty()
        .with_attributes(of_environment.collect::<Vec<_>>())
        .with_service_name("mcp-multiplexer")
        .build()
}

/// The collector. Batches are sent from a thread that knows no runtime.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    runtime: Handle,
    /// Whether it did not take the last batch: that is logged once.
    failing: AtomicBool,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        for value in request.headers_mut().values_mut() {
            value.set_sensitive(true);
        }
        let client = self.client.clone();
        let sent = self
            .runtime
            .spawn(async move { send(&client, request).await });
        let answer = sent.await.map_err(HttpError::from).flatten();
        self.tell(&answer);
        answer
    }
}

impl Collector {
    /// Logs that the collector fails, and that it does no more.
    fn tell(&self, answer: &Result<Response<Bytes>, HttpError>) {
        let reason = match answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(root_cause(&**error)),
        };
        let failed = self.failing.swap(reason.is_some(), Ordering::Relaxed);
        match reason {
            Some(reason) if !failed => warn!(reason, "the collector takes no traces"),
            None if failed => info!("the collector takes traces again"),
            _ => {}
        }
    }
}

async fn send(
    client: &reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let without_url = |error: reqwest::Error| error.without_url();
    let request = reqwest::Request::try_from(request).map_err(without_url)?;
    let answer = client.execute(request).await.map_err(without_url)?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    *response.body_mut() = answer.bytes().await.map_err(without_url)?;
    Ok(response)
}

/// The last in a chain of errors: the others repeat what was attempted.
fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
