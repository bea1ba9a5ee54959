//! The control plane: rmcp's client, over our own connection.
//!
//! rmcp knows the handshakes, `server/discover`, pings and subscriptions. Its
//! [`Transport`] seam lets it speak them through the same pipe or HTTP link that
//! carries the clients' requests, so there is one connection, one set of headers
//! and one reader per child, and nothing of rmcp's is in the way of a frame.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use http::HeaderMap;
use rmcp::{
    RoleClient,
    handler::client::ClientHandler,
    model::{
        ClientCapabilities, ClientConfig, ClientJsonRpcMessage, ElicitationCapability, ErrorData,
        FormElicitationCapability, Implementation, JsonObject, ProtocolVersion, RootsCapabilities,
        SamplingCapability, ServerJsonRpcMessage, ServerPeerInfo, UrlElicitationCapability,
    },
    service::{
        ClientInitializeError, ClientLifecycleMode, ClientServiceExt, RunningService, ServiceError,
    },
    transport::{DynamicTransportError, Transport},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    Failure,
    http::{
        HttpLink,
        body::{self, Shape},
        denies,
    },
    link::Link,
};
use crate::protocol::{
    Era, Frame, Kind, LogLevel,
    error::{RpcError, code},
    headers, json,
    request::Params,
    version::{MODERN, NEWEST_LEGACY, known_version},
};

/// The running control plane of one connection. Its drop ends it.
pub(super) type Control = RunningService<RoleClient, Handler>;

/// How a handshake is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handshake {
    /// `server/discover`, and `initialize` if the child does not know it.
    Either,
    /// What is known to work: `initialize`.
    Legacy,
    /// What is known to work: `server/discover`.
    Modern,
}

/// Who we are to children.
pub(super) fn client_info() -> Implementation {
    Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
}

/// The extensions that are declared to children: what a client may show or leave, since
/// some servers offer it to nobody else: MCP Apps.
pub(super) fn extensions() -> BTreeMap<String, JsonObject> {
    let settings = serde_json::json!({"mimeTypes": ["text/html;profile=mcp-app"]});
    let apps = settings.as_object().cloned().unwrap_or_default();
    [("io.modelcontextprotocol/ui".to_owned(), apps)].into()
}

/// Shakes hands over `link`; what arrives for the control plane comes by `inbox`.
///
/// # Errors
///
/// The reason as the transport gave it, or `protocol`.
pub(super) async fn shake_hands(
    link: Link,
    inbox: mpsc::Receiver<Frame>,
    how: Handshake,
) -> Result<(Control, ServerPeerInfo), Failure> {
    let mode = match how {
        Handshake::Either => ClientLifecycleMode::Auto {
            preferred_versions: vec![MODERN],
            legacy_version: Some(NEWEST_LEGACY),
        },
        Handshake::Legacy => ClientLifecycleMode::Initialize,
        Handshake::Modern => ClientLifecycleMode::Discover {
            preferred_versions: vec![MODERN],
        },
    };
    let transport = ControlTransport {
        link: link.clone(),
        inbox,
        discover: None,
        given_up: None,
        is_modern: Arc::default(),
    };
    let is_modern = Arc::clone(&transport.is_modern);
    let control = Handler
        .serve_with_lifecycle(transport, mode)
        .await
        .map_err(|error| Failure {
            is_modern: is_modern.load(Ordering::Relaxed),
            ..explain(error)
        })?;
    let info = control
        .peer_info()
        .map(|info| (*info).clone())
        .ok_or_else(|| Failure::protocol("said nothing of itself in the handshake"))?;
    if known_version(info.protocol_version.as_str()).is_none() {
        return Err(unknown_versions(std::slice::from_ref(
            &info.protocol_version,
        )));
    }
    link.negotiated(info.protocol_version.clone());
    Ok((control, info))
}

/// Asks a legacy child for log messages of this level and above.
///
/// # Errors
///
/// When the child refuses.
#[expect(deprecated, reason = "the legacy era's way, for legacy children")]
pub(super) async fn set_log_level(
    control: &rmcp::Peer<RoleClient>,
    level: LogLevel,
) -> Result<(), ServiceError> {
    use rmcp::model::{LoggingLevel, SetLevelRequestParams};
    let level = match level {
        LogLevel::Debug => LoggingLevel::Debug,
        LogLevel::Info => LoggingLevel::Info,
        LogLevel::Notice => LoggingLevel::Notice,
        LogLevel::Warning => LoggingLevel::Warning,
        LogLevel::Error => LoggingLevel::Error,
        LogLevel::Critical => LoggingLevel::Critical,
        LogLevel::Alert => LoggingLevel::Alert,
        LogLevel::Emergency => LoggingLevel::Emergency,
    };
    control.set_level(SetLevelRequestParams::new(level)).await
}

/// Whether the child is there, and as it was: `false` if it answers with an error.
///
/// # Errors
///
/// When no answer came within `patience`.
pub(super) async fn probe(
    control: &rmcp::Peer<RoleClient>,
    era: Era,
    patience: Duration,
) -> Result<bool, Failure> {
    use rmcp::model::{ClientRequest, DiscoverRequest, DiscoverRequestParams, PingRequest};
    let request = match era {
        Era::Legacy => ClientRequest::PingRequest(PingRequest::default()),
        Era::Modern => {
            ClientRequest::DiscoverRequest(DiscoverRequest::new(DiscoverRequestParams {}))
        }
    };
    match tokio::time::timeout(patience, control.send_request(request)).await {
        Ok(Ok(_) | Err(ServiceError::UnexpectedResponse)) => Ok(true),
        Ok(Err(ServiceError::McpError(_))) => Ok(false),
        Ok(Err(ServiceError::TransportSend(error))) => Err(sent(error)),
        Ok(Err(error)) => Err(Failure::transport(error.to_string())),
        Err(_) => Err(Failure::timeout(patience)),
    }
}

/// Answers what rmcp asks of a client: who it is. Notifications are sorted before
/// they come here.
#[derive(Debug)]
pub(super) struct Handler;

impl ClientHandler for Handler {
    fn get_info(&self) -> ClientConfig {
        ClientConfig::new(declared(), client_info()).with_protocol_version(NEWEST_LEGACY)
    }
}

/// What a legacy child is told that it may ask: whatever a client may be able to answer.
/// Whether the one whose call it is has declared it is seen when the child asks.
fn declared() -> ClientCapabilities {
    let mut roots = RootsCapabilities::default();
    roots.list_changed = Some(true);
    let mut elicitation = ElicitationCapability::default();
    elicitation.form = Some(FormElicitationCapability::default());
    elicitation.url = Some(UrlElicitationCapability::default());
    let mut capabilities = ClientCapabilities::default();
    capabilities.roots = Some(roots);
    let mut sampling = SamplingCapability::default();
    sampling.tools = Some(JsonObject::new());
    sampling.context = Some(JsonObject::new());
    capabilities.sampling = Some(sampling);
    capabilities.elicitation = Some(elicitation);
    capabilities.extensions = Some(extensions());
    capabilities
}

struct ControlTransport {
    link: Link,
    inbox: mpsc::Receiver<Frame>,
    /// The id of the last `server/discover`.
    discover: Option<String>,
    /// The same, once `initialize` was sent in its place: rmcp waits 10 s for it, and a
    /// child that takes longer to start answers both. To rmcp, the late answer would be a
    /// wrong one to `initialize`.
    given_up: Option<String>,
    /// The late answer has come, and was not a refusal.
    is_modern: Arc<AtomicBool>,
}

impl Transport<RoleClient> for ControlTransport {
    type Error = Failure;

    fn name() -> Cow<'static, str> {
        "mcp-multiplexer".into()
    }

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Failure>> + Send + 'static {
        let link = self.link.clone();
        let frame = serde_json::to_string(&message).map(Frame::made);
        if let Ok(frame) = &frame {
            match frame.method().as_deref() {
                Some("server/discover") => self.discover = frame.id().map(str::to_owned),
                Some("initialize") => self.given_up = self.discover.take(),
                _ => {}
            }
        }
        async move {
            let frame = frame.map_err(|error| Failure::protocol(error.to_string()))?;
            match link {
                Link::Http(http) => post(http, frame).await,
                Link::Sse(sse) => sse.post(frame.into_bytes(), HeaderMap::new(), None).await,
                Link::Pipe(pipe) => {
                    if pipe.send(frame.into_bytes()) {
                        Ok(())
                    } else {
                        Err(Failure::not_sent("has closed its connection"))
                    }
                }
            }
        }
    }

    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            let frame = tokio::select! {
                biased;
                frame = self.inbox.recv() => frame?,
                () = self.link.closed().cancelled() => return None,
            };
            let is_answer = matches!(frame.kind(), Kind::Result | Kind::Error);
            if is_answer && self.given_up.is_some() && frame.id() == self.given_up.as_deref() {
                let is_modern = frame.kind() == Kind::Result;
                self.is_modern.store(is_modern, Ordering::Relaxed);
                continue;
            }
            if let Some(message) = decode(&frame, &self.link) {
                return Some(message);
            }
        }
    }

    async fn close(&mut self) -> Result<(), Failure> {
        self.link.closed().cancel();
        Ok(())
    }
}

/// A frame in rmcp's types. An answer they cannot hold becomes an error: rmcp
/// would otherwise wait for it for ever.
fn decode(frame: &Frame, link: &Link) -> Option<ServerJsonRpcMessage> {
    if let (Kind::Result, Some(version)) = (frame.kind(), negotiated(frame)) {
        // Needed by the very next message, before rmcp has told us.
        link.negotiated(version);
    }
    match serde_json::from_slice(frame.bytes()) {
        Ok(message) => Some(message),
        Err(error) if matches!(frame.kind(), Kind::Result | Kind::Error) => {
            let id = serde_json::from_str(frame.id()?).ok()?;
            let error = ErrorData::internal_error(format!("cannot be understood: {error}"), None);
            Some(ServerJsonRpcMessage::error(error, id))
        }
        Err(_) => None,
    }
}

fn negotiated(initialized: &Frame) -> Option<crate::protocol::model::ProtocolVersion> {
    let body = initialized.body_object()?;
    body.get("serverInfo")?;
    known_version(&json::unquote(body.get("protocolVersion")?))
}

/// Sends one message of rmcp's over HTTP; its answers go to the inbox.
async fn post(link: HttpLink, message: Frame) -> Result<(), Failure> {
    let method = message.method().unwrap_or_default().into_owned();
    if method == "notifications/cancelled" && link.is_modern() {
        link.streams().end(&message);
        return Ok(());
    }
    let stream = Stream::of(&link, &message);
    let sending = link.post(message.bytes().clone(), modern_headers(&message, &method));
    let Some(response) = stream.cancelled.run_until_cancelled(sending).await else {
        return Ok(());
    };
    let response = response?;
    if !response.status().is_success() {
        return refused(&link, response, &message, &method).await;
    }
    if method == "initialize" {
        link.began(&response);
    }
    match body::shape(&response)? {
        Shape::Accepted => {}
        Shape::Message if message.kind() == Kind::Request => {
            link.unasked()
                .to_control(body::message(&mut response.into_body()).await?);
        }
        Shape::Message => {}
        Shape::Events => {
            let events = body::events(response.into_body());
            tokio::spawn(pump(link, events, message, stream));
        }
    }
    Ok(())
}

/// A message of rmcp's on its way, until its answer has come. Its drop is the end of it.
struct Stream {
    link: HttpLink,
    id: Box<str>,
    cancelled: CancellationToken,
}

impl Stream {
    fn of(link: &HttpLink, message: &Frame) -> Self {
        let id: Box<str> = message.id().unwrap_or_default().into();
        Self {
            link: link.clone(),
            cancelled: match message.kind() {
                Kind::Request => link.streams().begin(&id),
                _ => CancellationToken::new(),
            },
            id,
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.link.streams().ended(&self.id);
    }
}

/// Passes a stream's messages on. A stream that ends without the answer answers
/// with an error, so that rmcp does not wait for it.
async fn pump(link: HttpLink, mut events: body::Events, request: Frame, stream: Stream) {
    let closed = link.closed().clone();
    let way = Link::Http(link.clone());
    let passed = async {
        while let Some(Ok(event)) = events.next().await {
            let Some(Ok(frame)) = event.frame else {
                continue;
            };
            let answered = matches!(frame.kind(), Kind::Result | Kind::Error);
            link.unasked().sort(frame, &way);
            if answered {
                return true;
            }
        }
        false
    };
    let passed = stream.cancelled.run_until_cancelled(passed);
    let answered = match closed.run_until_cancelled(passed).await {
        Some(Some(answered)) => answered,
        // Nobody waits for it.
        _ => true,
    };
    if !answered && request.kind() == Kind::Request {
        let error = RpcError::new(code::INTERNAL, "the stream ended before the answer");
        link.unasked().to_control(error.answer(request.id()));
    }
}

/// A refused message. A child that refuses `server/discover` with a 4xx is a legacy
/// one: rmcp learns that from an error to this request, not from a broken transport.
async fn refused(
    link: &HttpLink,
    mut response: http::Response<hyper::body::Incoming>,
    message: &Frame,
    method: &str,
) -> Result<(), Failure> {
    let refused = link.refused(&response);
    let told = Frame::read(body::error_body(response.body_mut()).await).ok();
    let error = told
        .as_ref()
        .filter(|frame| frame.kind() == Kind::Error)
        .and_then(Frame::body);
    let is_refusal =
        response.status().is_client_error() && !refused.session_lost && !denies(&response);
    let discovering = method == "server/discover"
        && response.status().is_client_error()
        && response.status() != http::StatusCode::FORBIDDEN
        && refused.retry_after.is_none();
    match (error, message.id()) {
        // An error to whatever was asked is an answer, with any status.
        (error, Some(id)) if discovering || error.is_some() && is_refusal => {
            let error = error.unwrap_or(r#"{"code":-32601,"message":"unknown method"}"#);
            link.unasked().to_control(Frame::made(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#
            )));
            Ok(())
        }
        _ => Err(refused),
    }
}

/// The headers of a modern message; none for a legacy one.
fn modern_headers(message: &Frame, method: &str) -> HeaderMap {
    let mut extra = HeaderMap::new();
    let version = Params::read(message, method).ok().and_then(|p| p.version);
    if let Some(version) = version {
        extra.insert(headers::PROTOCOL_VERSION, headers::encode(&version));
        extra.insert(headers::METHOD, headers::encode(method));
    }
    extra
}

/// The reason a handshake failed, in our words.
fn explain(error: ClientInitializeError) -> Failure {
    match error {
        ClientInitializeError::TransportError { error, .. } => sent(error),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => explain(*fallback),
        ClientInitializeError::ConnectionClosed(_) => {
            Failure::transport("closed its connection during the handshake")
        }
        ClientInitializeError::JsonRpcError(error) => {
            Failure::protocol("refused the handshake").with_detail(&error.message)
        }
        ClientInitializeError::NoCompatibleProtocolVersion {
            server_supported, ..
        } => unknown_versions(&server_supported),
        // Some of these hold the child's whole answer.
        other => Failure::protocol("failed the handshake").with_detail(&other.to_string()),
    }
}

/// The failure of a child that speaks no version we know. A version is a date: what
/// looks like one may be told to clients.
fn unknown_versions(versions: &[ProtocolVersion]) -> Failure {
    let is_date =
        |text: &&str| text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    let all: Vec<&str> = versions.iter().map(ProtocolVersion::as_str).collect();
    match all.iter().copied().find(is_date) {
        Some(version) => Failure::protocol(format!(
            "speaks protocol version {version}, which is not known here"
        )),
        None => Failure::protocol("speaks no protocol version that is known here"),
    }
    .with_detail(&all.join(", "))
}

/// The failure that our transport gave rmcp.
pub(super) fn sent(error: DynamicTransportError) -> Failure {
    match error.error.downcast::<Failure>() {
        Ok(failure) => *failure,
        Err(other) => Failure::transport(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

    use super::*;
    use crate::{
        outbound::{stdio::Pipe, unasked::Unasked},
        telemetry::ChildMetrics,
    };

    /// A modern child that takes as long as this until it reads the first line.
    async fn shakes_hands_after(start: Duration, how: Handshake) -> Result<(), Failure> {
        let (stdin, child_in) = tokio::io::duplex(1 << 16);
        let (mut child_out, stdout) = tokio::io::duplex(1 << 16);
        let child = tokio::spawn(async move {
            tokio::time::sleep(start).await;
            let mut lines = BufReader::new(child_in).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let message: Value = serde_json::from_str(&line).unwrap();
                let body = match message["method"] == "server/discover" {
                    true => json!({"result": {
                        "resultType": "complete", "supportedVersions": ["2026-07-28"],
                        "capabilities": {}, "ttlMs": 0, "cacheScope": "private",
                        "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "c", "version": "1"}},
                    }}),
                    false => json!({"error": {"code": -32601, "message": "unknown method"}}),
                };
                let mut answer = json!({"jsonrpc": "2.0", "id": message["id"]});
                let members = body.as_object().unwrap().clone();
                answer.as_object_mut().unwrap().extend(members);
                let line = format!("{answer}\n");
                child_out.write_all(line.as_bytes()).await.unwrap();
            }
        });
        let name = "child".into();
        let metrics = ChildMetrics::new(&name);
        let (messages, _) = tokio::sync::broadcast::channel(1);
        let (unasked, inbox) = Unasked::new(name, Arc::default(), messages, metrics);
        let link = Link::Pipe(Pipe::new(stdin, stdout, unasked));
        let shaken = shake_hands(link, inbox, how).await;
        child.abort();
        shaken.map(|_| ())
    }

    #[tokio::test(start_paused = true)]
    async fn a_modern_child_that_is_slow_to_start_is_known_as_one_the_next_time() {
        let slow = Duration::from_secs(30);
        let failure = shakes_hands_after(slow, Handshake::Either).await;
        assert!(failure.unwrap_err().is_modern);
        shakes_hands_after(slow, Handshake::Modern).await.unwrap();
        let quick = Duration::from_secs(1);
        shakes_hands_after(quick, Handshake::Either).await.unwrap();
    }
}
