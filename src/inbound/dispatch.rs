//! What happens to a request, whichever door it came through.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    answers, expiry::Expiry, introduction::Introduction, listen, meta::Meta, part::Part,
    session::Session,
};
use crate::{
    catalog::{MetaTool, Placed, Primitive},
    config::Settings,
    fleet::{Fleet, NoView, Permitted, Shown},
    protocol::{
        Caller, Era, Frame, LogLevel, Subject, View,
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
    /// The tools of our own, if we offer any.
    meta: Option<Arc<Meta>>,
    shutdown: CancellationToken,
    /// Until when the sender of a request may listen.
    expiry: Expiry,
    /// Whether reasons why children fail are told.
    pub(super) tells_reasons: bool,
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
                log_level: params.log_level.as_deref().and_then(LogLevel::read),
                abilities,
                ..Caller::nobody(Era::Modern, view)
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
    /// Answers over these children, as these settings have it, until `shutdown`.
    pub fn new(fleet: Arc<Fleet>, settings: &Settings, shutdown: CancellationToken) -> Self {
        Self {
            relay: Relay::new(
                Arc::clone(&fleet),
                settings.door.audit,
                settings.session_keys.as_ref(),
            ),
            meta: Meta::new(settings).map(Arc::new),
            fleet,
            shutdown,
            expiry: Expiry::default(),
            tells_reasons: true,
        }
    }

    /// The same for somebody whose token is good that long.
    pub(super) fn closing(self, expiry: Expiry) -> Self {
        Self { expiry, ..self }
    }

    /// The same for somebody nobody knows, at a door that asks.
    pub(super) fn for_stranger(self) -> Self {
        Self {
            tells_reasons: false,
            ..self
        }
    }

    /// The same, until something narrower than the end of the program.
    pub(super) fn until(self, shutdown: CancellationToken) -> Self {
        Self { shutdown, ..self }
    }

    /// The tools of our own, where they are offered.
    fn meta(&self, shown: &Shown<'_>) -> Option<&Meta> {
        self.meta.as_deref().filter(|_| shown.offers_meta_tools())
    }

    fn meta_of(&self, view: &View) -> Option<&Meta> {
        let snapshot = self.fleet.snapshot();
        self.meta(&snapshot.view(view).ok()?)
    }

    /// What a client is told of us, with how our own tools are used.
    fn introduced(&self, shown: &Shown<'_>, mut us: Introduction) -> Introduction {
        if let Some(meta) = self.meta(shown) {
            us.instructions = meta.instructions(us.instructions);
        }
        us
    }

    /// Cancelled when the program is to end.
    pub(super) fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// Whether there is such a view, for this caller.
    ///
    /// # Errors
    ///
    /// There is none, as far as it may know.
    pub(super) fn sees(&self, view: &View, subject: Option<&Arc<Subject>>) -> Result<(), NoView> {
        self.fleet.snapshot().permits(view, subject)
    }

    /// Resolves when what only listens is to end: nothing else waits for the end of a
    /// token, so that what was begun with it is answered.
    pub(super) async fn closes(&self) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            () = self.expiry.come() => {}
        }
    }

    /// Answers `initialize` of this caller, by what was listed to it until now: nobody is
    /// asked for it.
    pub(super) fn initialize(&self, frame: &Frame, caller: &Caller) -> Result<Bytes, RpcError> {
        let snapshot = self.fleet.snapshot_for(caller);
        let shown = snapshot.view(&caller.view).map_err(no_view)?;
        let permitted = shown.permitted(caller.subject.as_ref());
        let us = self.introduced(&shown, Introduction::lasting(&shown, &permitted));
        answers::initialize(frame, us)
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
        if &*method == Method::CallTool.as_str()
            && let Some(tool) = params.name.as_deref().and_then(MetaTool::named)
            && let Some(meta) = self.meta_of(&requester.caller.view)
        {
            let called = meta.call(self, tool, (frame, params), requester, asides);
            return called.await;
        }
        if let Some(method) = Method::of(&method, era) {
            return self
                .relay
                .carry(method, frame, params, &requester.caller, asides)
                .await;
        }
        if let Some(primitive) = Primitive::listed_by(&method) {
            if let Some(demanded) = self.relay.demanded(frame, &requester.caller).await {
                return demanded;
            }
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
                let snapshot = self.fleet.snapshot_for(&requester.caller);
                let shown = snapshot.view(view).map_err(no_view);
                shown.map(|shown| {
                    let permitted = shown.permitted(requester.caller.subject.as_ref());
                    let us = self.introduced(&shown, Introduction::of_now(&shown, &permitted));
                    answers::discover(frame, us)
                })
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
        let view = &requester.caller.view;
        self.fleet.asked_for(view, &requester.caller).await;
        let snapshot = self.fleet.snapshot_for(&requester.caller);
        let listed = snapshot.view(&requester.caller.view).map_err(no_view);
        let Requester { caller, .. } = requester;
        let listed = listed.and_then(|shown| {
            if let Some(session) = requester.session {
                let family = primitive.family();
                session.has_seen(family, shown.generations.of(family));
            }
            let size = shown.catalog.list_size(primitive);
            let permitted = shown.permitted(caller.subject.as_ref());
            answers::list(frame, size, |out| {
                let session = requester.session;
                let part = self.write_list(primitive, (shown, permitted), caller, session, out);
                if let Some(session) = session {
                    session.parts.show(primitive, part);
                }
            })
        });
        listed.unwrap_or_else(|error| error.answer(frame.id()).into_bytes())
    }

    /// Writes the result of a request that lists. Gives what the client sees of it, where
    /// that is not all.
    fn write_list(
        &self,
        primitive: Primitive,
        (shown, permitted): (Shown<'_>, Permitted<'_>),
        caller: &Caller,
        session: Option<&Session>,
        out: &mut Vec<u8>,
    ) -> Option<Part> {
        let start = out.len();
        let meta = self.meta(&shown).filter(|_| primitive == Primitive::Tool);
        let is_part =
            !permitted.shows_all(primitive) || meta.is_some_and(|meta| meta.shows_a_part());
        match meta {
            Some(meta) => meta.write_list((shown, permitted), session, caller.era, out),
            None if is_part => {
                let keep = |placed: &Placed<'_>| permitted.shows(primitive, placed);
                shown
                    .catalog
                    .write_some(primitive, "", keep, caller.era, out);
            }
            None => shown.catalog.write_list(primitive, caller.era, out),
        }
        is_part.then(|| Part::of(&out[start..]))
    }

    /// What a client on this view, of this session if it has one, sees of a list; `None`
    /// where that is all of it.
    pub(super) fn part(
        &self,
        primitive: Primitive,
        caller: &Caller,
        session: Option<&Session>,
    ) -> Option<Part> {
        let snapshot = self.fleet.snapshot_for(caller);
        let shown = snapshot.view(&caller.view).ok()?;
        let permitted = shown.permitted(caller.subject.as_ref());
        let meta = self.meta(&shown).filter(|_| primitive == Primitive::Tool);
        if permitted.shows_all(primitive) && !meta.is_some_and(|meta| meta.shows_a_part()) {
            return None;
        }
        let mut list = Vec::new();
        self.write_list(primitive, (shown, permitted), caller, session, &mut list)
    }

    /// Whether this caller may be told that `uri` has changed, which is `whole` or a part
    /// of it, to which it was once allowed to subscribe.
    pub(super) fn may_hear_of(&self, uri: &str, whole: &str, caller: &Caller) -> bool {
        let snapshot = self.fleet.snapshot_for(caller);
        let Ok(shown) = snapshot.view(&caller.view) else {
            return false;
        };
        let permitted = shown.permitted(caller.subject.as_ref());
        permitted.may_hear_of(uri, whole)
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
