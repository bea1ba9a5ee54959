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
    config::ConfigStatus,
    fleet::{ChildStatus, Fleet, ListCosts},
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
    identity: IdentitiesStatus,
    cost: Option<ListCosts>,
    children: Vec<ChildStatus>,
}

impl Status {
    fn without_reasons(self) -> Self {
        let children = self.children.into_iter();
        Self {
            config: self.config.without_reason(),
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
        let shared = Arc::clone(&self.shared);
        let public = async move |request: Request| {
            let (head, _) = request.into_parts();
            let knows = guard.knows(&head).await;
            status(&shared, &head, knows)
        };
        probes
            .route("/status", get(public))
            .route("/metrics", self.metrics())
    }

    /// The routes on an address of their own.
    fn alone(&self) -> Router {
        let shared = Arc::clone(&self.shared);
        let full = async move |request: Request| {
            let (head, _) = request.into_parts();
            status(&shared, &head, true)
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

/// `in_full`: with the reasons why children fail.
fn status(shared: &Shared, head: &Parts, in_full: bool) -> Response {
    if let Err(reason) = shared.entrance.admit(&head.headers, &head.uri) {
        return (StatusCode::FORBIDDEN, reason).into_response();
    }
    let status = Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: shared.began.elapsed().as_secs(),
        transport: shared.about.transport,
        mode: shared.about.mode,
        config: shared.config.borrow().clone(),
        identity: shared.identities.status(),
        cost: shared.fleet.costs(),
        children: shared.fleet.status(),
    };
    Json(if in_full {
        status
    } else {
        status.without_reasons()
    })
    .into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.recorder.render(|gauges| {
        shared.fleet.write_gauges(gauges);
        shared.identities.write_gauges();
        let config = shared.config.borrow();
        gauges.config(config.generation, config.last_reload.ok);
    });
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}
