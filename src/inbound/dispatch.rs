//! What happens to a request, whichever door it came through.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{answers, introduction::Introduction, listen, session::Session};
use crate::{
    catalog::Primitive,
    config::SessionKeys,
    fleet::{Fleet, NoView},
    protocol::{
        Caller, Era, Frame, LogLevel, View,
        error::{RpcError, code},
        is_specified, json,
        request::Params,
        version::MODERN,
    },
    relay::{Method, Relay, Reply},
};

/// Answers requests: from the snapshot what it can, by a child what it must.
#[derive(Clone, Debug)]
pub struct Dispatch {
    pub(super) fleet: Arc<Fleet>,
    pub(super) relay: Relay,
    shutdown: CancellationToken,
}

/// Who sent a request.
#[derive(Debug)]
pub(super) struct Requester<'a> {
    pub(super) caller: Caller,
    /// A legacy client's session.
    pub(super) session: Option<&'a Session>,
}

impl Requester<'_> {
    /// The sender of a modern request: it says everything itself.
    ///
    /// # Errors
    ///
    /// What it says is not enough, or of a version that is not spoken here.
    pub(super) fn modern(params: &Params, view: View) -> Result<Self, RpcError> {
        let version = params.version.as_deref().unwrap_or_default();
        if version != MODERN.as_str() {
            return Err(RpcError::new(
                code::UNSUPPORTED_VERSION,
                format!("protocol version {version:?} is not supported"),
            )
            .with_data(serde_json::json!({
                "supported": [MODERN.as_str()],
                "requested": version,
            })));
        }
        let Some(abilities) = params.abilities else {
            return Err(missing_meta());
        };
        Ok(Self {
            caller: Caller {
                era: Era::Modern,
                log_level: params.log_level.as_deref().and_then(LogLevel::read),
                session: None,
                subject: None,
                view,
                abilities,
            },
            session: None,
        })
    }
}

/// A modern request without the `_meta` that it must carry.
pub(super) fn missing_meta() -> RpcError {
    RpcError::new(
        code::INVALID_PARAMS,
        "params._meta must hold io.modelcontextprotocol/protocolVersion and \
         io.modelcontextprotocol/clientCapabilities",
    )
}

impl Dispatch {
    /// Answers over these children, until `shutdown`; `keys` are those of all replicas.
    pub fn new(fleet: Arc<Fleet>, keys: Option<&SessionKeys>, shutdown: CancellationToken) -> Self {
        Self {
            relay: Relay::new(Arc::clone(&fleet), keys),
            fleet,
            shutdown,
        }
    }

    /// The same, until something narrower than the end of the program.
    pub(super) fn until(self, shutdown: CancellationToken) -> Self {
        Self { shutdown, ..self }
    }

    /// Cancelled when the program is to end.
    pub(super) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Answers `initialize`, on this view.
    pub(super) fn initialize(&self, frame: &Frame, view: &View) -> Result<Bytes, RpcError> {
        let snapshot = self.fleet.snapshot();
        let shown = snapshot.view(view).map_err(no_view)?;
        answers::initialize(frame, Introduction::lasting(&shown))
    }

    /// Answers one request. What comes before the answer goes to `asides`; the drop
    /// of the future takes the request back.
    pub(super) async fn request(
        &self,
        frame: &Frame,
        params: &Params,
        requester: &Requester<'_>,
        asides: &mpsc::Sender<Bytes>,
    ) -> Reply {
        let method = frame.method().unwrap_or_default();
        let era = requester.caller.era;
        if let (Era::Modern, Some(level)) = (era, requester.caller.log_level) {
            self.fleet.want_log_level(level);
        }
        if let Some(method) = Method::of(&method, era) {
            return self
                .relay
                .carry(method, frame, params, &requester.caller, asides)
                .await;
        }
        if let Some(primitive) = Primitive::listed_by(&method) {
            return Reply::Whole(self.list(frame, primitive, requester).await);
        }
        if !is_specified(&method) {
            return self
                .relay
                .carry(Method::Other, frame, params, &requester.caller, asides)
                .await;
        }
        let view = &requester.caller.view;
        let answered = match (&*method, era) {
            ("ping", Era::Legacy) => Ok(answers::empty(frame)),
            ("logging/setLevel", Era::Legacy) => self.set_log_level(frame, requester.session),
            ("resources/subscribe", Era::Legacy) => {
                return Reply::Whole(self.subscribe(frame, params, requester).await);
            }
            ("resources/unsubscribe", Era::Legacy) => {
                if let Some(session) = requester.session {
                    let uri = params.name.as_deref().unwrap_or_default();
                    session.subscribed.unsubscribe(uri);
                }
                Ok(answers::empty(frame))
            }
            ("server/discover", Era::Modern) => {
                let snapshot = self.fleet.snapshot();
                let shown = snapshot.view(view).map_err(no_view);
                shown.map(|shown| answers::discover(frame, Introduction::of_now(&shown)))
            }
            ("subscriptions/listen", Era::Modern) => {
                listen::subscription(frame, self, &requester.caller, asides).await
            }
            _ => Err(RpcError::new(
                code::METHOD_NOT_FOUND,
                format!("Method not found: {}", shown(&method)),
            )),
        };
        Reply::Whole(answered.unwrap_or_else(|error| error.answer(frame.id()).into_bytes()))
    }

    /// Answers a request for a list; the first one waits for children that are starting.
    async fn list(&self, frame: &Frame, primitive: Primitive, requester: &Requester<'_>) -> Bytes {
        self.fleet.settled().await;
        let snapshot = self.fleet.snapshot();
        let listed = snapshot.view(&requester.caller.view).map_err(no_view);
        let listed = listed.and_then(|shown| {
            if let Some(session) = requester.session {
                let family = primitive.family();
                session.has_seen(family, shown.generations.of(family));
            }
            answers::list(frame, requester.caller.era, primitive, shown.catalog)
        });
        listed.unwrap_or_else(|error| error.answer(frame.id()).into_bytes())
    }

    /// Subscribes a legacy client to a resource, for as long as its session lasts.
    async fn subscribe(
        &self,
        frame: &Frame,
        params: &Params,
        Requester { caller, session }: &Requester<'_>,
    ) -> Bytes {
        let id = frame.id().unwrap_or("null");
        let uri = params.name.as_deref().unwrap_or_default();
        let Some(session) = session else {
            return answers::empty(frame);
        };
        match session
            .subscribed
            .subscribe(&self.relay, uri, id, caller)
            .await
        {
            Ok(()) => answers::empty(frame),
            Err(answer) => answer.into_bytes(),
        }
    }

    /// Takes a notification. What the specification does not know is a child's.
    pub(super) fn notification(&self, frame: &Frame, caller: &Caller, session: Option<&Session>) {
        match frame.method().as_deref() {
            Some("notifications/cancelled") => {
                let params = frame.body_object();
                if let Some(session) = session
                    && let Some(id) = params.as_ref().and_then(|params| params.get("requestId"))
                {
                    session.in_flight.cancel(id);
                }
            }
            Some("notifications/progress") => {
                if let Some(session) = &caller.session {
                    session.asked().progressed(frame.clone());
                }
            }
            Some("notifications/roots/list_changed") => {
                for child in &self.fleet.snapshot().children {
                    if let Some(session) = &caller.session {
                        child.tell_dedicated(session, frame);
                    }
                }
            }
            Some(method) if !is_specified(method) => self.relay.notify(frame, caller),
            _ => {}
        }
    }

    fn set_log_level(&self, frame: &Frame, session: Option<&Session>) -> Result<Bytes, RpcError> {
        let params = frame.body_object();
        let level = params
            .as_ref()
            .and_then(|params| params.get("level"))
            .and_then(|raw| LogLevel::read(&json::unquote(raw)))
            .ok_or_else(|| {
                RpcError::new(
                    code::INVALID_PARAMS,
                    "params.level must be one of debug, info, notice, warning, error, critical, \
                     alert, emergency",
                )
            })?;
        if let Some(session) = session {
            session.set_log_level(level);
        }
        self.fleet.want_log_level(level);
        Ok(answers::empty(frame))
    }
}

/// The view was there when the request came in.
fn no_view(_: NoView) -> RpcError {
    RpcError::new(code::INVALID_REQUEST, "what this address shows is gone")
}

/// As much of a client's text as an error repeats.
fn shown(text: &str) -> String {
    text.chars().take(128).collect()
}
