//! What operators and their machines ask: `/health`, `/ready`, `/status`, `/metrics`.

use std::{sync::Arc, time::Instant};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use serde_json::json;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use super::{Entrance, Overload, accept};
use crate::{
    config::ConfigStatus,
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
    children: Vec<ChildStatus>,
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

    /// The routes. `/status` is for the hosts that may come in; probes and scrapes
    /// come by address, and so the others answer whatever `Host` is sent.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/ready", get(ready))
            .route("/status", get(status))
            .route("/metrics", get(metrics))
            .with_state(Arc::clone(&self.shared))
    }

    /// Serves the routes on a listener of their own, until `shutdown`.
    pub async fn serve(&self, listener: TcpListener, shutdown: CancellationToken) {
        // Of its own: clients by the thousand must not keep operators out.
        let overload = Overload::new(Some(CONNECTIONS), None);
        accept::serve(listener, self.router(), self.router(), overload, shutdown).await;
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

async fn status(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    if let Err(reason) = shared.entrance.admit(request.headers(), request.uri()) {
        return (StatusCode::FORBIDDEN, reason).into_response();
    }
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: shared.began.elapsed().as_secs(),
        transport: shared.about.transport,
        mode: shared.about.mode,
        config: shared.config.borrow().clone(),
        identity: shared.identities.status(),
        children: shared.fleet.status(),
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
