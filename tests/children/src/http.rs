//! Streamable HTTP at `/mcp`, and `/control` for the test.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    fs,
    future::{Future, pending},
    io::{self, Write as _},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use bytes::Bytes;
use clap::ValueEnum as _;
use futures::{Stream, StreamExt as _, channel::mpsc, future::ready, stream, stream::BoxStream};
use serde_json::json;
use tokio::net::TcpListener;

use crate::{
    broken::{self, Answer},
    message::{Message, Params, RpcError, notification},
    options::{Behaviour, Eras},
    polling::Parked,
    server::{Asker, Era, Frame, Outbox, Server, Session, lock},
    tools::fingerprint,
};

const SESSION_ID: &str = "mcp-session-id";

/// What every request handler sees.
struct Http {
    server: Arc<Server>,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
    next_session: AtomicU64,
    parked: Parked<BoxStream<'static, Frame>>,
}

/// Serves until the process ends.
pub async fn serve(server: Arc<Server>) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", server.options.port)).await?;
    let mut stdout = io::stdout();
    writeln!(stdout, "PORT={}", listener.local_addr()?.port())?;
    stdout.flush()?;
    let http = Arc::new(Http {
        server,
        sessions: Mutex::default(),
        next_session: AtomicU64::new(0),
        parked: Parked::default(),
    });
    let mcp = get(open_stream)
        .post(receive)
        .delete(end_session)
        .layer(middleware::from_fn_with_state(http.clone(), misbehave));
    let routes = Router::new()
        .route("/mcp", mcp)
        .route("/control/forget-sessions", post(forget_sessions))
        .route("/control/behaviour", post(behave))
        .route("/control/end-streams", post(end_streams))
        .with_state(http);
    let routes = routes.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, routes).await
}

/// `POST /control/forget-sessions`: every session is unknown from now on.
async fn forget_sessions(State(http): State<Arc<Http>>) {
    lock(&http.sessions).clear();
}

/// `POST /control/behaviour` with the name of a behaviour as its body.
async fn behave(State(http): State<Arc<Http>>, name: String) -> StatusCode {
    match Behaviour::from_str(&name, false) {
        Ok(behaviour) => {
            http.server.behave(behaviour);
            StatusCode::NO_CONTENT
        }
        Err(_) => StatusCode::BAD_REQUEST,
    }
}

/// `POST /control/end-streams`: what is told without being asked comes to its end.
async fn end_streams(State(http): State<Arc<Http>>) {
    http.server.end_streams();
}

/// What stands before the protocol: brokenness, the gate, and the token.
async fn misbehave(
    State(http): State<Arc<Http>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    let server = &http.server;
    let authorization = request
        .headers()
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes());
    server.journal.note(
        "http",
        json!({
            "method": request.method().as_str(),
            "peer": peer.port(),
            "authorization": authorization.map(|value| fingerprint(&String::from_utf8_lossy(value))),
        }),
    );
    let behaviour = server.behaviour();
    match behaviour {
        Behaviour::ServerError => {
            return (StatusCode::INTERNAL_SERVER_ERROR, "told to be broken").into_response();
        }
        Behaviour::ServerErrorOnce => {
            server.behave(Behaviour::Healthy);
            return (StatusCode::INTERNAL_SERVER_ERROR, "told to be broken once").into_response();
        }
        Behaviour::Unauthorized => return refused(server, StatusCode::UNAUTHORIZED, authorization),
        Behaviour::Forbidden => return refused(server, StatusCode::FORBIDDEN, authorization),
        Behaviour::TooMany => {
            let later = [(header::RETRY_AFTER, "7")];
            return (StatusCode::TOO_MANY_REQUESTS, later).into_response();
        }
        _ => {}
    }
    match broken::answer(behaviour) {
        Some(Answer::Silence) => return pending().await,
        Some(Answer::Bytes(bytes)) => {
            let content_type = if behaviour == Behaviour::Html {
                "text/html"
            } else {
                "application/json"
            };
            return ([(header::CONTENT_TYPE, content_type)], bytes).into_response();
        }
        Some(Answer::Unfinished(bytes)) => {
            let half = stream::once(ready(format!("data: {bytes}")));
            return event_stream(half.chain(stream::pending()));
        }
        None => {}
    }
    if let Some(path) = &server.options.bearer_file {
        let token = fs::read_to_string(path).unwrap_or_default();
        let bears = |token: &str| authorization == Some(format!("Bearer {token}").as_bytes());
        let any = || authorization.is_some_and(|value| value.starts_with(b"Bearer "));
        if !(bears(token.trim()) || token.trim() == "*" && any()) {
            return refused(server, StatusCode::UNAUTHORIZED, authorization);
        }
    }
    next.run(request).await
}

fn refused(server: &Server, status: StatusCode, authorization: Option<&[u8]>) -> Response {
    let authorization = String::from_utf8_lossy(authorization.unwrap_or_default());
    let token = authorization.split(' ').next_back().unwrap_or_default();
    let said = |text: &str| text.replace("{token}", token);
    let challenge = [(header::WWW_AUTHENTICATE, said(&server.options.challenge))];
    match &server.options.refusal {
        None => (status, challenge).into_response(),
        Some(text) => {
            let error = RpcError::new(-32003, said(text));
            (challenge, refusal(status, "null", &error)).into_response()
        }
    }
}

/// `POST /mcp`.
async fn receive(
    State(http): State<Arc<Http>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !accepts_both(&headers) {
        return StatusCode::NOT_ACCEPTABLE.into_response();
    }
    if !text(&headers, header::CONTENT_TYPE.as_str()).starts_with("application/json") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response();
    }
    let message = match Message::read(&body) {
        Ok(message) => message,
        Err(error) => {
            return refusal(
                StatusCode::BAD_REQUEST,
                "null",
                &RpcError::new(-32700, error),
            );
        }
    };
    let params = message.params();
    let Some(method) = message.method.clone() else {
        if let Err(refused) = http.session(&headers) {
            return *refused;
        }
        http.server.asking.answered(&body);
        return StatusCode::ACCEPTED.into_response();
    };
    let Some(id) = message.id.as_deref().map(|id| id.get().to_owned()) else {
        return http.notification(&headers, &message, &method, &params);
    };
    http.server
        .journal
        .note("request", json!({"method": method, "peer": peer.port()}));
    match http.server.era(&method, &params) {
        Ok(Era::Modern) => http.modern(&headers, message, &method, &id, &params).await,
        Ok(Era::Legacy) => http.legacy(&headers, message, &method, &id).await,
        // Servers from before `server/discover` miss the session first, and say so to nobody.
        Err(_) if method == "server/discover" => refusal(
            StatusCode::BAD_REQUEST,
            "null",
            &RpcError::new(-32000, "Bad Request: Server not initialized"),
        ),
        Err(error) => refusal(status_of(&error), &id, &error),
    }
}

/// `GET /mcp`: what a legacy session is told without asking.
async fn open_stream(State(http): State<Arc<Http>>, headers: HeaderMap) -> Response {
    if http.server.options.era == Eras::Modern {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    if let Err(refused) = http.session(&headers) {
        return *refused;
    }
    if let Some(frames) = http.parked.take(text(&headers, "last-event-id")) {
        http.server.journal.note("resumed", json!({}));
        return event_stream(frames.map(|frame| event(&frame.into_text())));
    }
    let changes = http.server.list_changes();
    let news = stream::unfold(changes, |mut changes| async {
        changes.changed().await.ok()?;
        Some((
            notification("notifications/tools/list_changed", "{}"),
            changes,
        ))
    });
    let session = text(&headers, SESSION_ID).to_owned();
    let asked = stream::unfold(http.server.asking.outside(), |mut asked| async {
        let (session, frame) = asked.recv().await.ok()?;
        Some(((session, frame), asked))
    });
    let mine = session.clone();
    let asked = asked.filter_map(move |(asked, frame)| ready((asked == mine).then_some(frame)));
    let server = http.server.clone();
    let told = server
        .resources
        .news()
        .filter_map(move |news| ready(server.resources.for_session(&session, news)));
    http.server.journal.note("listening", json!({}));
    let news = stream::select(stream::select(Box::pin(news), Box::pin(asked)), told);
    // A first comment, so that the headers leave at once.
    let events =
        stream::once(ready(": here\n\n".to_owned())).chain(news.map(|frame| event(&frame)));
    event_stream(events.take_until(http.server.end_of_streams()))
}

/// `DELETE /mcp`.
async fn end_session(State(http): State<Arc<Http>>, headers: HeaderMap) -> Response {
    match lock(&http.sessions).remove(text(&headers, SESSION_ID)) {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => unknown_session(),
    }
}

impl Http {
    /// The legacy session a request names, or the answer to one that names none.
    fn session(&self, headers: &HeaderMap) -> Result<Arc<Session>, Box<Response>> {
        let id = text(headers, SESSION_ID);
        if id.is_empty() {
            let error = RpcError::new(-32000, "Bad Request: Mcp-Session-Id header is required");
            return Err(Box::new(refusal(StatusCode::BAD_REQUEST, "null", &error)));
        }
        let known = lock(&self.sessions).get(id).cloned();
        known.ok_or_else(|| Box::new(unknown_session()))
    }

    fn notification(
        &self,
        headers: &HeaderMap,
        message: &Message,
        method: &str,
        params: &Params,
    ) -> Response {
        self.server.journal.note("notification", message.noted());
        if self.server.options.era != Eras::Modern {
            let session = match self.session(headers) {
                Ok(session) => session,
                Err(refused) => return *refused,
            };
            if let ("notifications/cancelled", Some(id)) = (method, &params.request_id)
                && !self.server.options.ignore_cancel
            {
                session.cancel(id.get());
            }
        }
        StatusCode::ACCEPTED.into_response()
    }

    /// A session outlives its connections: the work goes on when the client drops
    /// the stream, and ends when the client says `notifications/cancelled`.
    async fn legacy(
        &self,
        headers: &HeaderMap,
        message: Message,
        method: &str,
        id: &str,
    ) -> Response {
        let (session, opened) = if method == "initialize" {
            let (session_id, session) = self.open_session();
            (session, Some(session_id))
        } else {
            let only = self.server.options.version.as_deref();
            if only.is_some_and(|only| only != text(headers, "mcp-protocol-version")) {
                let error = RpcError::new(-32000, "Bad Request: Unsupported protocol version");
                return refusal(StatusCode::BAD_REQUEST, id, &error);
            }
            match self.session(headers) {
                Ok(session) => (session, None),
                Err(refused) => return *refused,
            }
        };
        if let Err(error) = session.claim(id) {
            return refusal(StatusCode::OK, id, &error);
        }
        let (out, frames) = mpsc::unbounded();
        session.run(id, self.work(message, id, Era::Legacy, headers, out));
        let mut response = self.answer(Era::Legacy, frames).await;
        if let Some(session_id) = opened.and_then(|id| id.parse().ok()) {
            response.headers_mut().insert(SESSION_ID, session_id);
        }
        response
    }

    /// The work lives and dies with the response.
    async fn modern(
        &self,
        headers: &HeaderMap,
        message: Message,
        method: &str,
        id: &str,
        params: &Params,
    ) -> Response {
        if let Err(error) = headers_match(headers, method, params) {
            return refusal(status_of(&error), id, &error);
        }
        let (out, frames) = mpsc::unbounded();
        let work = self.work(message, id, Era::Modern, headers, out);
        let work = stream::once(work).filter_map(|()| ready(None));
        self.answer(Era::Modern, Box::pin(stream::select(frames, work)))
            .await
    }

    fn open_session(&self) -> (String, Arc<Session>) {
        let number = self.next_session.fetch_add(1, Ordering::Relaxed);
        let id = format!("session-{}-{number}", std::process::id());
        let session = Arc::new(Session::default());
        lock(&self.sessions).insert(id.clone(), session.clone());
        (id, session)
    }

    /// Carries out a request and sends its answer to `out`.
    fn work(
        &self,
        message: Message,
        id: &str,
        era: Era,
        headers: &HeaderMap,
        out: Outbox,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (server, id) = (self.server.clone(), id.to_owned());
        let asker = Asker {
            era,
            headers: readable(headers),
        };
        async move {
            let reply = server.request(&message, &asker, &out).await;
            server.answer(&out, &id, &reply);
        }
    }

    /// Plain JSON if the answer is the first thing to come, an event stream otherwise.
    async fn answer(
        &self,
        era: Era,
        mut frames: impl Stream<Item = Frame> + Unpin + Send + 'static,
    ) -> Response {
        // Legacy servers begin a stream with an event that holds nothing but its id.
        let priming = (era == Era::Legacy).then(|| "id: 0\ndata: \n\n".to_owned());
        let priming = stream::iter(priming);
        let frames = if self.server.options.sse {
            frames.left_stream()
        } else {
            match frames.next().await {
                Some(Frame::Answer(answer)) => return json_answer(era, answer),
                first if self.server.options.polls && era == Era::Legacy => {
                    let rest = stream::iter(first).chain(frames).boxed();
                    return event_stream(stream::iter([self.parked.park(rest)]));
                }
                first => stream::iter(first).chain(frames).right_stream(),
            }
        };
        event_stream(priming.chain(frames.map(|frame| event(&frame.into_text()))))
    }
}

/// A modern server answers an unknown method with 404; a legacy one with 200 as any error.
fn json_answer(era: Era, answer: String) -> Response {
    let status = match era {
        Era::Modern if answer.contains(r#""error":{"code":-32601,"#) => StatusCode::NOT_FOUND,
        Era::Modern if answer.contains(r#""error":{"code":-32022,"#) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    (status, [(header::CONTENT_TYPE, "application/json")], answer).into_response()
}

/// The status with which the modern era refuses a request.
fn status_of(error: &RpcError) -> StatusCode {
    match error.code {
        -32601 => StatusCode::NOT_FOUND,
        _ => StatusCode::BAD_REQUEST,
    }
}

/// What the modern era demands of the headers: they say what the body says.
fn headers_match(headers: &HeaderMap, method: &str, params: &Params) -> Result<(), RpcError> {
    let name = match method {
        "tools/call" | "prompts/get" => params.name.as_deref(),
        "resources/read" => params.uri.as_deref(),
        _ => None,
    };
    let expected = [
        (
            "mcp-protocol-version",
            params.meta.protocol_version.as_deref(),
        ),
        ("mcp-method", Some(method)),
        ("mcp-name", name),
    ];
    for (header, body) in expected {
        let body = body.unwrap_or_default();
        let said = text(headers, header);
        if said != body {
            let message = format!("Header mismatch: {header} is {said:?}, the body says {body:?}");
            return Err(RpcError::new(-32020, message));
        }
    }
    Ok(())
}

fn accepts_both(headers: &HeaderMap) -> bool {
    let accepted = text(headers, header::ACCEPT.as_str());
    accepted.contains("application/json") && accepted.contains("text/event-stream")
}

fn refusal(status: StatusCode, id: &str, error: &RpcError) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        error.frame(id),
    )
        .into_response()
}

fn unknown_session() -> Response {
    refusal(
        StatusCode::NOT_FOUND,
        "null",
        &RpcError::new(-32001, "Session not found"),
    )
}

/// A header that stands twice says nothing.
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let mut values = headers.get_all(name).iter();
    values
        .next()
        .filter(|_| values.next().is_none())
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn readable(headers: &HeaderMap) -> BTreeMap<String, String> {
    headers
        .iter()
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect()
}

/// One event; a newline between the frame's tokens begins a further `data` line.
fn event(frame: &str) -> String {
    let mut event = String::with_capacity(frame.len() + 24);
    event.push_str("event: message\n");
    for line in frame.lines() {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    event
}

fn event_stream(events: impl Stream<Item = String> + Send + 'static) -> Response {
    let body = Body::from_stream(events.map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}
