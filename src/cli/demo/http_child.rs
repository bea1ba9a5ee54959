//! A child over HTTP, on a port of its own on loopback.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Extension, Router,
    body::Bytes,
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use tokio::net::TcpListener;
use url::Url;

use super::{
    bearer::Claims,
    server::{self, Around, Toolbox},
};
use crate::{
    cli::CliError,
    protocol::{Frame, Kind},
};

/// The MCP endpoint of these tools: stateless, each request answered with JSON.
pub(super) fn endpoint<T: Toolbox>(toolbox: T) -> Router {
    Router::new()
        .route("/mcp", post(handle::<T>))
        .with_state(Arc::new(toolbox))
}

async fn handle<T: Toolbox>(
    State(toolbox): State<Arc<T>>,
    caller: Option<Extension<Claims>>,
    body: Bytes,
) -> Response {
    let request = match Frame::read(body) {
        Ok(request) => request,
        Err(error) => return (StatusCode::BAD_REQUEST, json(error.answer())).into_response(),
    };
    if request.kind() != Kind::Request {
        return StatusCode::ACCEPTED.into_response();
    }
    let around = Around {
        caller: caller.map(|Extension(claims)| claims),
        asides: None,
    };
    json(server::answer(&*toolbox, &request, &around).await)
}

fn json(answer: Frame) -> Response {
    ([(CONTENT_TYPE, "application/json")], answer.into_bytes()).into_response()
}

/// A switch that makes a server answer nothing but 503.
#[derive(Clone, Default)]
pub(super) struct Outage(Arc<AtomicBool>);

impl Outage {
    /// Begins the outage, or ends it.
    pub(super) fn set(&self, on: bool) {
        self.0.store(on, Ordering::Release);
    }

    /// The server, out of order while the switch is on.
    pub(super) fn over(&self, server: Router) -> Router {
        server.layer(middleware::from_fn_with_state(self.clone(), refuse))
    }
}

async fn refuse(State(outage): State<Outage>, request: Request, next: Next) -> Response {
    if outage.0.load(Ordering::Acquire) {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    } else {
        next.run(request).await
    }
}

/// Serves an [`endpoint`] as long as the process lives; gives its address.
pub(super) async fn serve_endpoint(server: Router) -> Result<Url, CliError> {
    let (listener, mut url) = listen().await?;
    serve(listener, server);
    url.set_path("/mcp");
    Ok(url)
}

/// A port of its own on loopback.
pub(super) async fn listen() -> Result<(TcpListener, Url), CliError> {
    let what = "a port on loopback for the demo";
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .map_err(CliError::io(what))?;
    let at = listener.local_addr().map_err(CliError::io(what))?;
    let url = Url::parse(&format!("http://{at}/"))
        .map_err(|error| CliError::io(what)(std::io::Error::other(error)))?;
    Ok((listener, url))
}

/// Serves as long as the process lives.
pub(super) fn serve(listener: TcpListener, server: Router) {
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, server).await {
            tracing::error!(%error, "a server of the demo has ended");
        }
    });
}
