//! One handshake's worth of HTTP: session, version, and requests within them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use super::{
    body::LastEvent,
    challenge::{Challenge, denies},
    client::{HttpClient, Make},
    exchange::HttpExchange,
};
use crate::{
    outbound::{
        Challenged, Failure, Outgoing,
        credentials::{Credentials, Shown},
        slots::Slot,
        unasked::Unasked,
    },
    protocol::{Era, Frame, headers, model::ProtocolVersion},
    telemetry::ChildMetrics,
};

/// How long the child may take over a notification: nobody waits for it.
pub(in crate::outbound) const ASIDE_TIMEOUT: Duration = Duration::from_secs(5);
/// How many of these may be on their way.
const ASIDES: usize = 8;
/// How long the child may take over an answer to a request of its own.
const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
/// How many of these may be on their way: more than calls ask at once. A child that asks
/// and asks, and does not take the answers, is not answered for ever.
const REPLIES: usize = 256;
/// How much of what the child takes back may wait for those that have been asked.
const TAKEN_BACK: usize = 64;
/// How long the child may take to end a session. It is part of our own end.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// What all requests of one connection to a child have in common; clones are the
/// same one.
#[derive(Clone)]
pub(in crate::outbound) struct HttpLink(Arc<Inner>);

struct Inner {
    remote: Remote,
    unasked: Unasked,
    asides: Arc<Semaphore>,
    replies: Arc<Semaphore>,
    session: OnceLock<HeaderValue>,
    version: OnceLock<ProtocolVersion>,
    /// Where the child has sent us, on its own origin.
    moved: OnceLock<Uri>,
    streams: Streams,
    /// What the child takes back of what it has asked, once it has asked.
    taken_back: OnceLock<broadcast::Sender<Frame>>,
    closed: CancellationToken,
}

/// The control plane's streams, by the ids of their requests: a modern child learns from
/// the end of a stream that its request is cancelled.
#[derive(Debug, Default)]
pub(in crate::outbound) struct Streams(Mutex<HashMap<Box<str>, CancellationToken>>);

impl Streams {
    /// A stream begins, until this is cancelled.
    pub(in crate::outbound) fn begin(&self, id: &str) -> CancellationToken {
        self.lock().entry(id.into()).or_default().clone()
    }

    /// A stream has ended.
    pub(in crate::outbound) fn ended(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Ends the stream of the request that this `notifications/cancelled` names.
    pub(in crate::outbound) fn end(&self, cancelled: &Frame) {
        let params = cancelled.body_object();
        let id = params.as_ref().and_then(|params| params.get("requestId"));
        if let Some(stream) = id.and_then(|id| self.lock().remove(id)) {
            stream.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a child is, and what is sent with every request.
#[derive(Clone)]
pub(in crate::outbound) struct Remote {
    /// The process's connections.
    pub(in crate::outbound) client: HttpClient,
    /// The child's endpoint.
    pub(in crate::outbound) uri: Uri,
    /// The entry's own headers.
    pub(in crate::outbound) headers: HeaderMap,
    /// Who we are to it; nobody where the entry has an `Authorization` of its own.
    pub(in crate::outbound) credentials: Credentials,
    /// The child's counters.
    pub(in crate::outbound) metrics: ChildMetrics,
}

/// Without the address: keys travel in its query.
impl std::fmt::Debug for HttpLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpLink")
            .field("host", &self.0.remote.uri.host())
            .field("version", &self.0.version)
            .finish_non_exhaustive()
    }
}

impl HttpLink {
    /// A link on which nothing has been said yet.
    pub(in crate::outbound) fn new(remote: Remote, unasked: Unasked) -> Self {
        Self(Arc::new(Inner {
            remote,
            unasked,
            asides: Arc::new(Semaphore::new(ASIDES)),
            replies: Arc::new(Semaphore::new(REPLIES)),
            session: OnceLock::new(),
            version: OnceLock::new(),
            moved: OnceLock::new(),
            streams: Streams::default(),
            taken_back: OnceLock::new(),
            closed: CancellationToken::new(),
        }))
    }

    /// The version the handshake settled on. Once.
    pub(in crate::outbound) fn negotiated(&self, version: ProtocolVersion) {
        let _ = self.0.version.set(version);
    }

    /// The session the child gave, once it has.
    pub(in crate::outbound) fn began(&self, response: &Response<Incoming>) {
        if let Some(session) = response.headers().get(headers::SESSION_ID) {
            let mut session = session.clone();
            session.set_sensitive(true);
            let _ = self.0.session.set(session);
        }
    }

    /// Whether the child keeps a session for us.
    pub(in crate::outbound) fn has_session(&self) -> bool {
        self.0.session.get().is_some()
    }

    /// Where messages outside of any request go.
    pub(in crate::outbound) fn unasked(&self) -> &Unasked {
        &self.0.unasked
    }

    /// The control plane's streams.
    pub(in crate::outbound) fn streams(&self) -> &Streams {
        &self.0.streams
    }

    /// Hears what the child takes back of what it has asked, on whichever stream.
    pub(super) fn taken_back(&self) -> broadcast::Receiver<Frame> {
        let sender = || broadcast::Sender::new(TAKEN_BACK);
        self.0.taken_back.get_or_init(sender).subscribe()
    }

    /// The child takes back what it has asked: its `notifications/cancelled`.
    pub(in crate::outbound) fn takes_back(&self, message: Frame) {
        if let Some(taken_back) = self.0.taken_back.get() {
            // Without a receiver nothing is asked: not an error.
            let _ = taken_back.send(message);
        }
    }

    /// Cancelled when this connection is given up.
    pub(in crate::outbound) fn closed(&self) -> &CancellationToken {
        &self.0.closed
    }

    /// Sends a request of a client. `slot` is held until its answer has passed.
    ///
    /// # Errors
    ///
    /// When the child did not accept it.
    pub(in crate::outbound) async fn call(
        &self,
        request: &Outgoing<'_>,
        slot: Option<Slot>,
    ) -> Result<HttpExchange, Failure> {
        let mut extra = HeaderMap::new();
        if self.is_modern() {
            extra.insert(headers::METHOD, headers::encode(request.method));
            if let Some(name) = request.name {
                extra.insert(headers::NAME, headers::encode(name));
            }
        }
        extra.extend(request.headers.iter().cloned());
        let mut sent = HttpExchange::new(self.clone(), request, slot);
        match self
            .post_as(request.frame.clone(), extra, request.shown.as_ref())
            .await
        {
            Ok(response) => sent.receive(response).await?,
            Err(failure) => {
                sent.give_up();
                return Err(failure);
            }
        }
        Ok(sent)
    }

    /// Sends one message.
    ///
    /// # Errors
    ///
    /// When no response came, or a second 401.
    pub(in crate::outbound) async fn post(
        &self,
        message: Bytes,
        extra: HeaderMap,
    ) -> Result<Response<Incoming>, Failure> {
        self.post_as(message, extra, None).await
    }

    /// The same for a user who has shown this for it.
    ///
    /// # Errors
    ///
    /// As [`post`](Self::post).
    pub(in crate::outbound) async fn post_as(
        &self,
        message: Bytes,
        extra: HeaderMap,
        shown: Option<&Shown>,
    ) -> Result<Response<Incoming>, Failure> {
        let post = || {
            let mut request = self.request(Method::POST, Full::new(message.clone()));
            let all = request.headers_mut();
            all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            all.insert(
                ACCEPT,
                HeaderValue::from_static("application/json, text/event-stream"),
            );
            // In place of what stands there already; pairs would be put beside it.
            all.extend(extra.clone());
            request
        };
        self.send(&post, shown).await
    }

    /// Where requests go.
    pub(in crate::outbound) fn uri(&self) -> &Uri {
        self.0.moved.get().unwrap_or(&self.0.remote.uri)
    }

    /// Opens the legacy stream for messages outside of any request.
    ///
    /// # Errors
    ///
    /// When no response came, or a second 401.
    pub(in crate::outbound) async fn open_events(
        &self,
        last_event: &LastEvent,
    ) -> Result<Response<Incoming>, Failure> {
        let get = || {
            let mut request = self.request(Method::GET, Full::default());
            let all = request.headers_mut();
            all.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            if let Some(id) = &last_event.0 {
                all.insert(headers::LAST_EVENT_ID, id.clone());
            }
            request
        };
        self.send(&get, None).await
    }

    /// Sends a message that nobody waits for; drops it when too many are on their way.
    pub(in crate::outbound) fn post_aside(&self, message: Frame) {
        let Ok(permit) = Arc::clone(&self.0.asides).try_acquire_owned() else {
            return self.0.unasked.dropped();
        };
        let mut extra = HeaderMap::new();
        if self.is_modern()
            && let Some(method) = message.method()
        {
            extra.insert(headers::METHOD, headers::encode(&method));
        }
        let link = self.clone();
        tokio::spawn(async move {
            let posted = link.post(message.into_bytes(), extra);
            // The child's loss: it is cleaned up when the connection ends.
            let _ = tokio::time::timeout(ASIDE_TIMEOUT, posted).await;
            drop(permit);
        });
    }

    /// Gives the child an answer to a request of its own. One that is lost is counted
    /// and told: the child waits for it.
    pub(in crate::outbound) fn reply(&self, answer: Frame) {
        let Ok(permit) = Arc::clone(&self.0.replies).try_acquire_owned() else {
            return self.0.unasked.unanswered("it takes no answers");
        };
        let link = self.clone();
        tokio::spawn(async move {
            let posted = link.post(answer.into_bytes(), HeaderMap::new());
            match tokio::time::timeout(REPLY_TIMEOUT, posted).await {
                Ok(Ok(response)) if response.status().is_success() => {}
                Ok(Ok(_)) => link.0.unasked.unanswered("it refused the answer"),
                Ok(Err(_)) => link.0.unasked.unanswered("it could not be reached"),
                Err(_) => link
                    .0
                    .unasked
                    .unanswered("it did not take the answer in time"),
            }
            drop(permit);
        });
    }

    /// Ends the child's session, if there is one.
    pub(in crate::outbound) async fn end_session(&self) {
        if self.has_session() {
            let delete = || self.request(Method::DELETE, Full::default());
            // A child that does not answer forgets us by itself one day.
            let _ = tokio::time::timeout(END_TIMEOUT, self.send(&delete, None)).await;
        }
    }

    pub(in crate::outbound) fn is_modern(&self) -> bool {
        let version = self.0.version.get();
        version.is_some_and(|version| Era::of(version) == Era::Modern)
    }

    fn request(&self, method: Method, body: Full<Bytes>) -> Request<Full<Bytes>> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = self.uri().clone();
        let all = request.headers_mut();
        all.clone_from(&self.0.remote.headers);
        if let Some(session) = self.0.session.get() {
            all.insert(headers::SESSION_ID, session.clone());
        }
        if let Some(version) = self.0.version.get()
            && let Ok(version) = HeaderValue::from_str(version.as_str())
        {
            all.insert(headers::PROTOCOL_VERSION, version);
        }
        request
    }

    /// Sends a request, made anew each time that it is sent; follows a child that has
    /// moved within its own origin, as frameworks do that want a slash at the end. No
    /// other redirect is followed: our credentials are for this origin.
    async fn send(
        &self,
        request: Make<'_>,
        shown: Option<&Shown>,
    ) -> Result<Response<Incoming>, Failure> {
        let Remote {
            client,
            credentials,
            metrics,
            ..
        } = &self.0.remote;
        let response = client.send(request, credentials, shown, metrics).await?;
        let moved = matches!(
            response.status(),
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
        );
        if !moved {
            return Ok(response);
        }
        // Of requests at once the first one to learn of it says where to.
        match same_origin(self.uri(), &response) {
            None => Ok(response),
            Some(uri) => {
                self.0.moved.get_or_init(|| uri);
                drop(response);
                client.send(request, credentials, shown, metrics).await
            }
        }
    }

    /// The failure that a status other than 2xx stands for.
    pub(in crate::outbound) fn refused(&self, response: &Response<Incoming>) -> Failure {
        let status = response.status();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        match status {
            StatusCode::NOT_FOUND if self.has_session() => Failure::session_lost(),
            StatusCode::FORBIDDEN => {
                let Challenge { scope, words } = Challenge::of(response.headers());
                let needs = scope.map(|scope| format!("; it needs the scope {scope:?}"));
                let challenged = match &self.0.remote.credentials {
                    Credentials::User(user) if user.passes_on() && denies(response) => {
                        Some(Challenged::of(status, response.headers()))
                    }
                    _ => None,
                };
                Failure {
                    challenged,
                    ..Failure::denied(format!(
                        "answered 403: this identity may not do that{}",
                        needs.unwrap_or_default()
                    ))
                }
                .with_detail(&words)
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
                if retry_after.is_some() =>
            {
                Failure {
                    retry_after,
                    blameless: status == StatusCode::TOO_MANY_REQUESTS,
                    ..Failure::transport(format!("answered HTTP {}: not now", status.as_u16()))
                }
            }
            StatusCode::TOO_MANY_REQUESTS => Failure {
                asked_too_much: true,
                ..Failure::transport("answered HTTP 429: it is asked too much")
            },
            _ if status.is_server_error() => {
                Failure::transport(format!("answered HTTP {}", status.as_u16()))
            }
            _ => Failure {
                refused: status.is_client_error(),
                ..Failure::protocol(format!(
                    "answered HTTP {}, which is no MCP",
                    status.as_u16()
                ))
            },
        }
    }
}

/// Where a response sends us, if that is on the origin the request went to.
fn same_origin(asked: &Uri, response: &Response<Incoming>) -> Option<Uri> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let asked = url::Url::parse(&asked.to_string()).ok()?;
    let target = asked.join(location).ok()?;
    (target.origin() == asked.origin()).then(|| target.as_str().parse().ok())?
}
