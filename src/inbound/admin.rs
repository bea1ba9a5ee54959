//! What operators and their machines ask: `/health`, `/ready`, `/status`, `/metrics`, and
//! the page that shows it.

use std::{collections::HashSet, sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::sync::CancellationToken;

use super::{Entrance, Guard, Overload, accept, page};
use crate::{
    VERSION,
    config::{ConfigStatus, LockMode},
    fleet::{ChildStatus, Fleet, ListCosts},
    identity::{Identities, IdentitiesStatus},
    protocol::Subject,
    telemetry::Recorder,
};

/// Connections of operators and of what asks in their name.
const CONNECTIONS: usize = 256;

/// What the process is, told in `/status`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// `stdio` or `http`.
    pub transport: &'static str,
    /// `eager` or `dynamic`.
    pub mode: &'static str,
    /// Whether other machines reach the door.
    #[serde(skip)]
    pub exposed: bool,
}

/// The operators' routes.
#[derive(Clone, Debug)]
pub struct Admin {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    about: About,
    pub(super) config: watch::Receiver<ConfigStatus>,
    pub(super) fleet: Arc<Fleet>,
    identities: Identities,
    recorder: Recorder,
    pub(super) entrance: Entrance,
    /// Who asks callers for their tokens, if anybody.
    door: Option<Guard>,
    began: Instant,
    pub(super) shutdown: CancellationToken,
    /// Room for those who watch.
    pub(super) watchers: Arc<Semaphore>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    version: &'static str,
    uptime_seconds: u64,
    /// Whether reasons are told: strangers at a locked door get none.
    in_full: bool,
    transport: &'static str,
    mode: &'static str,
    config: ConfigStatus,
    /// Of the policies, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<ConfigStatus>,
    /// `None` over stdio.
    door: Option<DoorStatus>,
    identity: IdentitiesStatus,
    /// What the list of tools costs a client, once that is counted.
    cost: Option<ListCosts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    children: Option<Vec<ChildStatus>>,
}

/// Who asks.
#[derive(Debug)]
pub(super) enum Asker {
    /// Nobody who is known, at a locked door.
    Stranger,
    /// Who may come in; as somebody, where that is asked.
    Caller(Option<Arc<Subject>>),
    /// Whoever reaches the address that is for operators.
    Operator,
}

impl Asker {
    /// Whether to be told why children fail.
    pub(super) fn is_told_reasons(&self) -> bool {
        !matches!(self, Self::Stranger)
    }

    /// What of these children it is to be told.
    pub(super) fn told_of(&self, fleet: &Fleet) -> impl Fn(ChildStatus) -> ChildStatus {
        let known = match self {
            Self::Stranger => Some(HashSet::new()),
            Self::Caller(subject) => Some(fleet.known_to(subject.as_ref())),
            Self::Operator => None,
        };
        move |status| match known.as_ref().is_none_or(|it| it.contains(status.name())) {
            true => status,
            false => status.without_reason(),
        }
    }
}

/// How it is found out who asks.
#[derive(Clone, Debug)]
pub(super) enum Desk {
    /// Beside `/mcp`.
    Door(Guard),
    /// On the address that is for operators.
    Alone,
}

impl Desk {
    pub(super) async fn asker(&self, head: &Parts) -> Asker {
        match self {
            Self::Alone => Asker::Operator,
            Self::Door(guard) => match guard.knows(head).await {
                Some(subject) => Asker::Caller(subject),
                None => Asker::Stranger,
            },
        }
    }
}

/// Who may come in.
#[derive(Debug, PartialEq, Serialize)]
struct DoorStatus {
    /// `open`, or the mode of the lock.
    lock: &'static str,
    /// What the operator has to know. Said to strangers too: it is what they find out
    /// by coming in.
    warnings: Vec<&'static str>,
}

impl DoorStatus {
    fn of(mode: Option<LockMode>, exposed: bool) -> Self {
        let permissive = (mode == Some(LockMode::Permissive)).then_some(
            "\"auth\" is permissive: everybody is let in, whatever token they show or do not show",
        );
        let exposed = (exposed && mode != Some(LockMode::Strict))
            .then_some("callers are not authenticated, and other machines can reach this address");
        Self {
            lock: mode.map_or("open", LockMode::as_str),
            warnings: permissive.into_iter().chain(exposed).collect(),
        }
    }
}

impl Status {
    /// The same without what only those may know who may come in; so far it is without
    /// children.
    fn without_reasons(self) -> Self {
        Self {
            config: self.config.without_reason(),
            policy: self.policy.map(ConfigStatus::without_reason),
            identity: self.identity.without_reason(),
            ..self
        }
    }
}

impl Shared {
    /// All but the children, which are read by themselves.
    pub(super) fn process(&self, asker: &Asker) -> Status {
        let status = Status {
            version: VERSION,
            uptime_seconds: self.began.elapsed().as_secs(),
            in_full: asker.is_told_reasons(),
            transport: self.about.transport,
            mode: self.about.mode,
            config: self.config.borrow().clone(),
            policy: self.fleet.policies().status(),
            door: self
                .door
                .as_ref()
                .map(|guard| DoorStatus::of(guard.mode(), self.about.exposed)),
            identity: self.identities.status(),
            cost: self.fleet.costs(),
            children: None,
        };
        match status.in_full {
            true => status,
            false => status.without_reasons(),
        }
    }
}

impl Admin {
    /// Routes that tell of this process, whose HTTP door `door` guards if it has one.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another part of what is shown"
    )]
    pub fn new(
        about: About,
        config: watch::Receiver<ConfigStatus>,
        fleet: Arc<Fleet>,
        identities: Identities,
        recorder: Recorder,
        entrance: Entrance,
        door: Option<Guard>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                about,
                config,
                fleet,
                identities,
                recorder,
                entrance,
                door,
                began: Instant::now(),
                shutdown,
                watchers: Arc::new(Semaphore::new(page::WATCHERS)),
            }),
        }
    }

    /// The routes beside `/mcp`: all of them, or, where operators have an address of
    /// their own, those that probes ask. `/status` and the page are for the hosts that may
    /// come in, and tell strangers of no reasons where `guard` locks; probes and scrapes
    /// come by address, and so the others answer whatever `Host` is sent.
    pub fn beside(&self, guard: Guard, probes_only: bool) -> Router {
        match probes_only {
            true => self.probes(),
            false => self.all(Desk::Door(guard)),
        }
    }

    fn all(&self, desk: Desk) -> Router {
        let shared = Arc::clone(&self.shared);
        let asked_by = desk.clone();
        let told = async move |head: Parts| status(&shared, &head, &asked_by).await;
        self.probes()
            .route("/status", get(told))
            .route("/metrics", self.metrics())
            .merge(page::router(Arc::clone(&self.shared), desk))
    }

    fn probes(&self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/ready", get(ready))
            .with_state(Arc::clone(&self.shared))
    }

    fn metrics(&self) -> MethodRouter {
        get(metrics).with_state(Arc::clone(&self.shared))
    }

    /// Serves the routes on a listener of their own, until the end of the program; where
    /// strangers may reach it, and are told from others, `guard` knows them.
    pub async fn serve(&self, listener: TcpListener, guard: Option<Guard>) {
        // Of its own: clients by the thousand must not keep operators out.
        let overload = Overload::new(Some(CONNECTIONS), None);
        let routes = self.all(guard.map_or(Desk::Alone, Desk::Door));
        let shutdown = self.shared.shutdown.clone();
        let all = TowerToHyperService::new(routes.clone());
        accept::serve(listener, all, routes, overload, shutdown).await;
    }
}

/// Alive. Never depends on children.
async fn health() -> Response {
    Json(json!({"status": "ok"})).into_response()
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    match shared.fleet.is_settled() {
        true => Json(json!({"status": "ready"})).into_response(),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": "connecting"})),
        )
            .into_response(),
    }
}

async fn status(shared: &Shared, head: &Parts, desk: &Desk) -> Response {
    if let Err(reason) = shared.entrance.admit(&head.headers, &head.uri) {
        return (StatusCode::FORBIDDEN, reason).into_response();
    }
    let asker = desk.asker(head).await;
    let children = shared.fleet.status().into_iter();
    let told = asker.told_of(&shared.fleet);
    let status = Status {
        children: Some(children.map(told).collect()),
        ..shared.process(&asker)
    };
    Json(status).into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.recorder.render(|gauges| {
        shared.fleet.write_gauges(gauges);
        shared.identities.write_gauges();
        let config = shared.config.borrow();
        gauges.config(config.generation, config.last_reload.ok);
        if let Some(policy) = shared.fleet.policies().status() {
            gauges.policy(policy.generation, policy.last_reload.ok);
        }
    });
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}
