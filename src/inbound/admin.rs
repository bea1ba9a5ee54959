//! What operators and their machines ask: `/health`, `/ready`, `/status`, `/metrics`.

use std::{sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde::Serialize;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{Entrance, Guard, Overload, accept};
use crate::{
    config::{ConfigStatus, LockMode},
    fleet::{ChildStatus, Fleet},
    identity::{Identities, IdentitiesStatus},
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
}

/// The operators' routes.
#[derive(Clone, Debug)]
pub struct Admin {
    shared: Arc<Shared>,
    /// The guard of the door, and whether other machines can reach it, if it is over HTTP.
    door: Option<(Guard, bool)>,
}

#[derive(Debug)]
struct Shared {
    about: About,
    config: watch::Receiver<ConfigStatus>,
    fleet: Arc<Fleet>,
    identities: Identities,
    recorder: Recorder,
    entrance: Entrance,
    began: Instant,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    version: &'static str,
    uptime_seconds: u64,
    transport: &'static str,
    mode: &'static str,
    config: ConfigStatus,
    /// Of the policies, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<ConfigStatus>,
    /// `None` over stdio.
    door: Option<DoorStatus>,
    identity: IdentitiesStatus,
    children: Vec<ChildStatus>,
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
    fn without_reasons(self) -> Self {
        let children = self.children.into_iter();
        Self {
            config: self.config.without_reason(),
            policy: self.policy.map(ConfigStatus::without_reason),
            identity: self.identity.without_reason(),
            children: children.map(ChildStatus::without_reason).collect(),
            ..self
        }
    }
}

impl Admin {
    /// Routes that tell of this process.
    pub fn new(
        about: About,
        config: watch::Receiver<ConfigStatus>,
        fleet: Arc<Fleet>,
        identities: Identities,
        recorder: Recorder,
        entrance: Entrance,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                about,
                config,
                fleet,
                identities,
                recorder,
                entrance,
                began: Instant::now(),
            }),
            door: None,
        }
    }

    /// The same, with what is to be said of the door where clients come in.
    pub fn of_door(self, guard: Guard, exposed: bool) -> Self {
        Self {
            door: Some((guard, exposed)),
            ..self
        }
    }

    /// The routes beside `/mcp`: all of them, or, where operators have an address of
    /// their own, those that probes ask. `/status` is for the hosts that may come in, and
    /// tells strangers of no reasons where `guard` locks; probes and scrapes come by
    /// address, and so the others answer whatever `Host` is sent.
    pub fn beside(&self, guard: Guard, probes_only: bool) -> Router {
        let probes = self.probes();
        if probes_only {
            return probes;
        }
        let admin = self.clone();
        let public = async move |request: Request| {
            let (head, _) = request.into_parts();
            let knows = guard.knows(&head).await;
            admin.status(&head, knows)
        };
        probes
            .route("/status", get(public))
            .route("/metrics", self.metrics())
    }

    /// The routes on an address of their own.
    fn alone(&self) -> Router {
        let admin = self.clone();
        let full = async move |request: Request| {
            let (head, _) = request.into_parts();
            admin.status(&head, true)
        };
        self.probes()
            .route("/status", get(full))
            .route("/metrics", self.metrics())
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

    /// `in_full`: with the reasons why children fail.
    fn status(&self, head: &Parts, in_full: bool) -> Response {
        let shared = &self.shared;
        if let Err(reason) = shared.entrance.admit(&head.headers, &head.uri) {
            return (StatusCode::FORBIDDEN, reason).into_response();
        }
        let door = self.door.as_ref();
        let status = Status {
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: shared.began.elapsed().as_secs(),
            transport: shared.about.transport,
            mode: shared.about.mode,
            config: shared.config.borrow().clone(),
            policy: shared.fleet.policies().status(),
            door: door.map(|(guard, exposed)| DoorStatus::of(guard.mode(), *exposed)),
            identity: shared.identities.status(),
            children: shared.fleet.status(),
        };
        Json(if in_full {
            status
        } else {
            status.without_reasons()
        })
        .into_response()
    }

    /// Serves the routes on a listener of their own, until `shutdown`.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) {
        // Of its own: clients by the thousand must not keep operators out.
        let overload = Overload::new(Some(CONNECTIONS), None);
        accept::serve(listener, self.alone(), self.alone(), overload, shutdown).await;
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
