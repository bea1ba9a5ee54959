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
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Entrance;
use crate::{
    fleet::{ChildStatus, Fleet},
    identity::{Identity, IdentityStatus},
    telemetry::Recorder,
};

/// What the process is, told in `/status`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    /// `stdio` or `http`.
    pub transport: &'static str,
    /// `eager` or `dynamic`.
    pub mode: &'static str,
    /// The configuration file.
    pub config_path: String,
}

/// The operators' routes.
#[derive(Clone, Debug)]
pub struct Admin {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    about: About,
    fleet: Arc<Fleet>,
    identity: Identity,
    recorder: Recorder,
    entrance: Entrance,
    began: Instant,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    version: &'static str,
    uptime_seconds: u64,
    transport: &'static str,
    mode: &'static str,
    config: Config<'a>,
    identity: IdentityStatus,
    children: Vec<ChildStatus>,
}

/// A configuration is read once, at the start.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    path: &'a str,
    generation: u64,
    last_reload: &'static str,
}

impl Admin {
    /// Routes that tell of this process.
    pub fn new(
        about: About,
        fleet: Arc<Fleet>,
        identity: Identity,
        recorder: Recorder,
        entrance: Entrance,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                about,
                fleet,
                identity,
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
    ///
    /// # Errors
    ///
    /// When the listener fails.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: CancellationToken,
    ) -> std::io::Result<()> {
        axum::serve(listener, self.router())
            .with_graceful_shutdown(shutdown.cancelled_owned())
            .await
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
        config: Config {
            path: &shared.about.config_path,
            generation: 1,
            last_reload: "ok",
        },
        identity: shared.identity.status(),
        children: shared.fleet.status(),
    })
    .into_response()
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.recorder.render(|gauges| {
        shared.fleet.write_gauges(gauges);
        gauges.config(1, true);
    });
    (
        [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response()
}
