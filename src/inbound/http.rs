//! The HTTP door: `/mcp` and the views below it, for sessions and for stateless requests
//! alike.

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{Path, Request, State, rejection::PathRejection},
    response::{IntoResponse, Response},
    routing::any,
};
use bytes::Bytes;
use futures::FutureExt;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{CONTENT_TYPE, WWW_AUTHENTICATE},
    request::Parts,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{body::Incoming, service::Service};
use hyper_util::service::TowerToHyperService;
use tokio::{net::TcpListener, sync::mpsc};

use super::{
    ASIDES, BODY_LIMIT, Entrance, Guard, Sessions, accept, answers,
    auth::Admission,
    cors,
    dispatch::{Dispatch, Requester, missing_meta},
    listen, negotiate,
    overload::{Admitted, Overload},
    refused::Refused,
    resume::{Beginning, Purpose, Resumed, Streams},
    session::Session,
    session_id::Begun,
    stream, unread,
};
use crate::{
    fleet::NoView,
    protocol::{
        Bearer, Caller, Era, Frame, Kind, Subject, TraceContext, View,
        answer::error_code,
        error::{RpcError, code},
        headers, is_of_another_process,
        request::Params,
        version::known_version,
    },
    relay::Reply,
};

/// When nothing has come for this long, the answer becomes an event stream, so that
/// comments can keep it alive.
const PATIENCE: Duration = Duration::from_secs(10);

/// What can be done with `/mcp`.
const METHODS: &str = "GET, POST, DELETE";

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// A body up to this many bytes is read even where memory is short.
const SMALL: u64 = 4096;

/// What every request needs.
#[derive(Clone, Debug)]
struct Door {
    dispatch: Dispatch,
    sessions: Sessions,
    entrance: Arc<Entrance>,
    guard: Guard,
    overload: Overload,
    /// Who sent the request that this one is for.
    subject: Option<Arc<Subject>>,
    /// The token that it has shown, for the children that are to see it.
    bearer: Option<Bearer>,
    /// Whether callers are told apart.
    told_apart: bool,
    /// What the address of the request shows.
    view: View,
}

/// Serves `/mcp` and its views, and `open` beside it, on a listener until `dispatch` is to end.
/// Returns when the last answer has been sent. What `overload` does not let in is
/// refused; `open` is served all the same.
pub async fn serve(
    listener: TcpListener,
    dispatch: Dispatch,
    sessions: Sessions,
    entrance: Entrance,
    guard: Guard,
    open: Router,
    overload: Overload,
) {
    let shutdown = dispatch.shutdown().clone();
    let entrance = Arc::new(entrance);
    let metadata = guard.router(Arc::clone(&entrance));
    let door = Door {
        dispatch,
        sessions,
        entrance,
        guard,
        overload: overload.clone(),
        subject: None,
        bearer: None,
        told_apart: false,
        view: View::All,
    };
    let router = Router::new()
        .route("/mcp/{child}", any(one_child))
        .route("/mcp/group/{group}", any(one_group))
        .with_state(door.clone())
        .merge(metadata)
        .merge(open.clone());
    let front = Front {
        door: Arc::new(door),
        router: TowerToHyperService::new(router),
    };
    accept::serve(listener, front, open, overload, shutdown).await;
}

/// Answers the requests of all connections: those for `/mcp` itself, which are most, go
/// straight to the door, all others by the router.
#[derive(Clone, Debug)]
struct Front {
    door: Arc<Door>,
    router: TowerToHyperService<Router>,
}

impl Service<http::Request<Incoming>> for Front {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, request: http::Request<Incoming>) -> Self::Future {
        if request.uri().path() == "/mcp" {
            let wants_body = request.method() != Method::HEAD;
            let answered = handle(Door::clone(&self.door), request.map(Body::new));
            Box::pin(answered.map(move |response| {
                Ok(match wants_body {
                    true => response,
                    false => response.map(|_| Body::empty()),
                })
            }))
        } else {
            Box::pin(self.router.call(request))
        }
    }
}

async fn one_child(State(door): State<Door>, name: Name, request: Request) -> Response {
    let view = View::Child(read_name(name).into());
    handle(Door { view, ..door }, request).await
}

async fn one_group(State(door): State<Door>, name: Name, request: Request) -> Response {
    let view = View::Group(read_name(name).into());
    handle(Door { view, ..door }, request).await
}

/// The last part of an address.
type Name = Result<Path<String>, PathRejection>;

/// A name that cannot be read is nobody's, as the empty one.
fn read_name(name: Name) -> String {
    name.map(|Path(name)| name).unwrap_or_default()
}

async fn handle(door: Door, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut unread = Some(body);
    let response = answer(door, &head, &mut unread).await;
    match unread {
        Some(body) => unread::taken_in(&head, body, response).await,
        None => response,
    }
}

async fn answer(door: Door, head: &Parts, unread: &mut Option<Body>) -> Response {
    if let Err(reason) = door.entrance.admit(&head.headers, &head.uri) {
        let peer = head.extensions.get();
        door.guard.turned_away(&reason, peer);
        return Refused::plainly(StatusCode::FORBIDDEN, reason).into_response();
    }
    let page = cors::Page::of(&head.headers);
    let response = match cors::asks_first(&head.method, &head.headers) {
        true => cors::preflight(METHODS),
        false => admitted(door, head, unread).await,
    };
    match page {
        Some(page) => page.may_read(response),
        None => response,
    }
}

/// Answers a request that comes from where requests may come from.
async fn admitted(door: Door, head: &Parts, unread: &mut Option<Body>) -> Response {
    let admission = match door.guard.admit(head).await {
        Ok(admission) => admission,
        Err(refusal) => return refusal,
    };
    let bearer = Guard::shown(head);
    let door = Door {
        bearer,
        ..door.let_in(admission)
    };
    if let Err(why) = door.dispatch.sees(&door.view, door.subject.as_ref()) {
        return no_view(&door.view, why).into_response();
    }
    let answered = match head.method {
        Method::POST => door.post(&head.headers, unread).await,
        Method::GET => door.get(&head.headers),
        Method::DELETE => door.delete(&head.headers),
        _ => Err(Refused::method(METHODS)),
    };
    answered.unwrap_or_else(Refused::into_response)
}

/// Unknown is never everything.
fn no_view(view: &View, why: NoView) -> Refused {
    let (what, name) = match view {
        View::All => ("server", "mcp"),
        View::Child(name) => ("server", name.as_str()),
        View::Group(name) => ("group", &**name),
    };
    let name: String = name.chars().take(128).collect();
    let sentence = match why {
        NoView::Unknown => format!("there is no {what} {name:?} here"),
        NoView::Disabled => format!("the {what} {name:?} is disabled"),
    };
    Refused::plainly(StatusCode::NOT_FOUND, sentence)
}

/// Who sent a request that was let in.
enum Sender {
    /// A modern client, that says everything with each request.
    Stateless(Caller),
    /// A legacy client.
    Session(Arc<Session>),
}

/// How a client is told of more than one message.
struct Telling {
    /// Where it can come back to a stream that it has lost.
    resumable: Option<Streams>,
    purpose: Purpose,
    primed: bool,
}

impl Telling {
    fn to(sender: &Sender, all: &HeaderMap) -> Self {
        let resumable = match sender {
            Sender::Stateless(_) => None,
            Sender::Session(session) => Some(session.resumable.clone()),
        };
        Self {
            resumable,
            purpose: Purpose::Request,
            primed: negotiate::takes_priming(all),
        }
    }

    /// An event stream of what has been said, of what comes, and of the answer.
    fn events<F>(
        self,
        said: Option<Bytes>,
        work: Pin<Box<F>>,
        asides: mpsc::Receiver<Bytes>,
    ) -> Response
    where
        F: Future<Output = Option<Reply>> + Send + 'static,
    {
        event_stream(match self.resumable {
            Some(streams) => {
                let beginning = Beginning {
                    purpose: self.purpose,
                    primed: self.primed,
                    said,
                };
                streams.begin(beginning, work, asides)
            }
            None => stream::events(said, work, asides),
        })
    }
}

/// A request that was let in, or the refusal.
type Answered = Result<Response, Refused>;

impl Door {
    /// The door as this one finds it.
    fn let_in(self, admission: Admission) -> Self {
        let Admission {
            subject,
            is_asked_for,
            expiry,
        } = admission;
        let dispatch = self.dispatch.closing(expiry);
        let dispatch = match &subject {
            None if is_asked_for => dispatch.for_stranger(),
            _ => dispatch,
        };
        Self {
            dispatch,
            subject,
            told_apart: is_asked_for,
            ..self
        }
    }

    async fn post(self, all: &HeaderMap, unread: &mut Option<Body>) -> Answered {
        negotiate::content_types(all)?;
        // Before the body: it is what takes memory. A short one may take a call back.
        let size = unread.as_ref().and_then(|body| body.size_hint().upper());
        let small = size.is_some_and(|size| size <= SMALL);
        let admitted = self.overload.request();
        let admitted = match admitted {
            Err(short) if !small => return Ok(accept::refusal(short)),
            admitted => admitted,
        };
        let frame = Frame::read(read(unread).await?)
            .map_err(|error| Refused::with(StatusCode::BAD_REQUEST, error.answer()))?;
        match frame.kind() {
            Kind::Request => match admitted {
                Ok(admitted) => self.request(all, frame, admitted).await,
                Err(short) => Ok(accept::refusal(short)),
            },
            Kind::Notification => self.notification(all, &frame),
            Kind::Result | Kind::Error => self.answered(all, frame),
        }
    }

    async fn request(self, all: &HeaderMap, frame: Frame, admitted: Admitted) -> Answered {
        let method = frame.method().unwrap_or_default().into_owned();
        let refuse = |status| {
            let frame = &frame;
            move |error: RpcError| Refused::rpc(status, &error, frame.id())
        };
        // It listens for hours and works on nothing: it must not count as what takes
        // the memory, or nobody else would be let in any more.
        let admitted = (method != "subscriptions/listen").then_some(admitted);
        let speaks_modern = negotiate::is_modern(all);
        let mut params = Params::read(&frame, &method).map_err(|error| match error.code {
            code::INVALID_REQUEST => refuse(StatusCode::BAD_REQUEST)(error),
            code::METHOD_NOT_FOUND => refuse(StatusCode::NOT_FOUND)(error),
            _ if speaks_modern => refuse(StatusCode::BAD_REQUEST)(error),
            _ => refuse(StatusCode::OK)(error),
        })?;
        params.trace = TraceContext::of_headers(all);
        let sender = match params.era() {
            Era::Legacy if method == "initialize" => return self.initialize(&frame),
            Era::Modern => {
                // What the headers contradict is not believed in anything.
                negotiate::version(all, &params).map_err(refuse(StatusCode::BAD_REQUEST))?;
                let requester = Requester::modern(&params, self.view.clone())
                    .map_err(refuse(StatusCode::BAD_REQUEST))?;
                negotiate::standard_headers(all, &method, &params)
                    .map_err(refuse(StatusCode::BAD_REQUEST))?;
                params.headers = Some(negotiate::param_headers(all));
                Sender::Stateless(requester.caller)
            }
            Era::Legacy if speaks_modern => {
                return Err(refuse(StatusCode::BAD_REQUEST)(missing_meta()));
            }
            Era::Legacy => Sender::Session(self.session(all, frame.id())?),
        };
        let era = params.era();
        let telling = Telling::to(&sender, all);
        let (asides, mut heard) = mpsc::channel(ASIDES);
        let mut work = Box::pin(self.work(frame, params, sender, asides, admitted));
        // The answer is plain JSON if it is the first thing to come.
        tokio::select! {
            biased;
            reply = &mut work => Ok(plain(reply, heard, era, telling)),
            Some(first) = heard.recv() => Ok(telling.events(Some(first), work, heard)),
            () = tokio::time::sleep(PATIENCE) => Ok(telling.events(None, work, heard)),
        }
    }

    /// The work a request means; `None` if the client has taken it back. Owns all
    /// it needs: it may go on in the body of the response.
    async fn work(
        self,
        frame: Frame,
        params: Params,
        sender: Sender,
        asides: mpsc::Sender<Bytes>,
        _admitted: Option<Admitted>,
    ) -> Option<Reply> {
        let (mut caller, session) = match &sender {
            Sender::Stateless(caller) => (caller.clone(), None),
            Sender::Session(session) => (session.caller(), Some(&**session)),
        };
        self.identify(&mut caller);
        let id = frame.id().unwrap_or("null");
        let entered = session.map(|session| session.in_flight.enter(id));
        if matches!(entered, Some(None)) {
            let error = RpcError::new(code::INVALID_REQUEST, "a request with this id is in flight");
            return Some(Reply::Whole(error.answer(Some(id)).into_bytes()));
        }
        let requester = Requester { caller, session };
        let work = pin!(self.dispatch.request(&frame, &params, &requester, &asides));
        match entered.flatten() {
            Some(entry) => entry.unless_cancelled(work).await,
            None => Some(work.await),
        }
    }

    /// Says who sends the request.
    fn identify(&self, caller: &mut Caller) {
        caller.subject = self.subject.clone();
        caller.bearer = self.bearer.clone();
        caller.told_apart = self.told_apart;
        caller.takes_pieces = true;
    }

    /// Whoever sends something outside of a session.
    fn caller(&self, era: Era) -> Caller {
        let mut caller = Caller::nobody(era, self.view.clone());
        self.identify(&mut caller);
        caller
    }

    fn initialize(&self, frame: &Frame) -> Answered {
        let caller = self.caller(Era::Legacy);
        let answer = self.dispatch.initialize(frame, &caller);
        let answer = answer.map_err(|error| Refused::rpc(StatusCode::OK, &error, frame.id()))?;
        let begun = Begun {
            abilities: answers::abilities(frame),
            view: self.view.clone(),
            owner: self.subject.as_deref().map(Subject::key),
        };
        let Some(id) = self.sessions.begin(begun) else {
            let full = "too many sessions are open: try again later";
            return Err(Refused::plainly(StatusCode::SERVICE_UNAVAILABLE, full));
        };
        let mut response = json(StatusCode::OK, answer);
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert(headers::SESSION_ID, id);
        }
        Ok(response)
    }

    fn notification(&self, all: &HeaderMap, frame: &Frame) -> Answered {
        // A modern client takes requests back by closing their streams.
        if negotiate::is_modern(all) {
            let caller = self.caller(Era::Modern);
            self.dispatch.notification(frame, &caller, None);
        } else {
            let session = self.session(all, None)?;
            let mut caller = session.caller();
            self.identify(&mut caller);
            self.dispatch.notification(frame, &caller, Some(&session));
        }
        Ok(StatusCode::ACCEPTED.into_response())
    }

    /// Takes a client's answer to something it was asked.
    fn answered(&self, all: &HeaderMap, frame: Frame) -> Answered {
        // A modern client answers with its next request.
        if !negotiate::is_modern(all) {
            let session = self.session(all, None)?;
            if is_of_another_process(&frame) {
                return Err(Refused::plainly(
                    StatusCode::CONFLICT,
                    "another replica has asked this: the answer has to go there",
                ));
            }
            session.key().asked().answered(frame);
        }
        Ok(StatusCode::ACCEPTED.into_response())
    }

    /// The stream on which a legacy client hears of what belongs to no request; or the
    /// rest of one that it has lost.
    fn get(&self, all: &HeaderMap) -> Answered {
        if negotiate::is_modern(all) {
            return Err(Refused::method("POST"));
        }
        if !negotiate::accepts(all, "text/event-stream") {
            return Err(Refused::plainly(
                StatusCode::NOT_ACCEPTABLE,
                "Accept must include text/event-stream",
            ));
        }
        let session = self.session(all, None)?;
        let last_event = negotiate::last_event(all);
        match last_event.map(|id| session.resumable.resume(id)) {
            Some(Resumed::Rest(body)) => return Ok(event_stream(body)),
            // Who reads event streams does not ask again after this.
            Some(Resumed::Nothing) => return Ok(StatusCode::NO_CONTENT.into_response()),
            Some(Resumed::Anew) | None => {}
        }
        let mut caller = session.caller();
        self.identify(&mut caller);
        let mut open = session.open_stream();
        let telling = Telling {
            purpose: Purpose::Session,
            ..Telling::to(&Sender::Session(session), all)
        };
        let (asides, heard) = mpsc::channel(ASIDES);
        let dispatch = self.dispatch.clone();
        let work = Box::pin(async move {
            let session = Arc::clone(open.session());
            tokio::select! {
                () = listen::session(&dispatch, &session, &caller, &asides) => {}
                () = open.superseded() => {}
                () = dispatch.closes() => {}
            }
            None
        });
        Ok(telling.events(None, work, heard))
    }

    fn delete(&self, all: &HeaderMap) -> Answered {
        if negotiate::is_modern(all) {
            return Err(Refused::method("POST"));
        }
        self.session(all, None)?;
        let ended = negotiate::session_id(all).is_some_and(|id| self.sessions.end(id));
        if ended {
            Ok(StatusCode::NO_CONTENT.into_response())
        } else {
            Err(Refused::unknown_session(None))
        }
    }

    /// The session a legacy request names.
    fn session(&self, all: &HeaderMap, id: Option<&str>) -> Result<Arc<Session>, Refused> {
        let bad = |reason: &str| {
            let error = RpcError::new(code::INVALID_REQUEST, reason);
            Refused::rpc(StatusCode::BAD_REQUEST, &error, id)
        };
        if let Some(version) = all.get(headers::PROTOCOL_VERSION)
            && version.to_str().ok().and_then(known_version).is_none()
        {
            return Err(bad(
                "MCP-Protocol-Version names a version that is not supported",
            ));
        }
        let Some(session) = negotiate::session_id(all) else {
            return Err(bad(
                "Mcp-Session-Id is missing: begin with initialize, or send the _meta of 2026-07-28",
            ));
        };
        self.sessions
            .get(session, &self.view, self.subject.as_deref())
            .ok_or_else(|| Refused::unknown_session(id))
    }
}

/// Reads a body to its end, after which it is no longer unread.
async fn read(unread: &mut Option<Body>) -> Result<Bytes, Refused> {
    let body = unread.get_or_insert_default();
    let body = Limited::new(body, BODY_LIMIT).collect();
    let Ok(collected) = tokio::time::timeout(BODY_TIMEOUT, body).await else {
        return Err(Refused::plainly(
            StatusCode::REQUEST_TIMEOUT,
            "the body took too long",
        ));
    };
    match collected {
        Ok(collected) => {
            *unread = None;
            Ok(collected.to_bytes())
        }
        Err(error) if error.is::<LengthLimitError>() => Err(Refused::plainly(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("a message may have at most {} MiB", BODY_LIMIT >> 20),
        )),
        Err(_) => Err(Refused::plainly(
            StatusCode::BAD_REQUEST,
            "the body was cut",
        )),
    }
}

/// A whole answer as JSON; what was said before it, if it came in the same moment,
/// makes an event stream of it.
fn plain(
    reply: Option<Reply>,
    mut heard: mpsc::Receiver<Bytes>,
    era: Era,
    telling: Telling,
) -> Response {
    if let Ok(first) = heard.try_recv() {
        let work = Box::pin(std::future::ready(reply));
        return telling.events(Some(first), work, heard);
    }
    match reply {
        // Taken back: there is nothing to say (MCP, "Cancellation").
        None => event_stream(Body::empty()),
        Some(Reply::Whole(answer)) => json(status_of(&answer, era), answer),
        Some(Reply::Challenged(challenged, answer)) => {
            let mut response = json(challenged.status, answer);
            for demand in &*challenged.demands {
                let all = response.headers_mut();
                all.append(WWW_AUTHENTICATE, demand.clone());
            }
            response
        }
        Some(Reply::Long(answer)) => {
            let mut response = Response::new(stream::long(answer));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
    }
}

/// The HTTP status of an answer. Legacy errors come with 200, and so do most modern
/// ones; these come with their own (MCP 2026-07-28, "Error handling").
fn status_of(answer: &Bytes, era: Era) -> StatusCode {
    // An answer that is no error is not looked at twice.
    if era == Era::Legacy
        || memchr::memmem::find(&answer[..answer.len().min(256)], b"\"error\"").is_none()
    {
        return StatusCode::OK;
    }
    let told = Frame::read(answer.clone()).ok();
    match told.and_then(|error| error_code(&error)) {
        Some(code::UNSUPPORTED_VERSION | code::MISSING_CAPABILITY | code::HEADER_MISMATCH) => {
            StatusCode::BAD_REQUEST
        }
        Some(code::METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

fn json(status: StatusCode, body: Bytes) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], body).into_response()
}

fn event_stream(body: Body) -> Response {
    let mut response = Response::new(body);
    let all = response.headers_mut();
    all.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    all.insert(
        http::header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache"),
    );
    // Proxies that gather what they pass on would hold back every event.
    all.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
