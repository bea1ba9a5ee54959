//! The one HTTP client of the process: a pool of connections to all children.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use thiserror::Error;
use tracing::warn;

use crate::{identity::Identity, outbound::Failure, telemetry::ChildMetrics};

/// How long a TCP connect may take. A host that drops packets would otherwise hold
/// a call for the kernel's two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the idle timeout of common servers (Node and uvicorn: 5 s), so that
/// it is we who close first: a request that crosses a server's close fails, and may
/// not be repeated.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Sends requests to children; clones share one pool. It follows no redirects: a
/// token must never travel to another origin.
#[derive(Clone, Debug)]
pub struct HttpClient {
    pool: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// Why there is no client.
#[derive(Debug, Error)]
#[error("TLS cannot be set up: {0}")]
pub struct TlsError(#[from] rustls::Error);

impl HttpClient {
    /// A client that trusts what the platform trusts.
    ///
    /// # Errors
    ///
    /// When TLS cannot be set up at all.
    pub fn new() -> Result<Self, TlsError> {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_keepalive(Some(KEEP_ALIVE));
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls()?)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(connector);
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_while_idle(true)
            .timer(TokioTimer::new())
            .build(connector);
        Ok(Self { pool })
    }

    /// Sends one request, with the service token where `identity` is given. A 401
    /// is answered with one renewed token and one replay.
    ///
    /// # Errors
    ///
    /// When no response came, or a second 401.
    pub(super) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        identity: Option<&Identity>,
        metrics: &ChildMetrics,
    ) -> Result<Response<Incoming>, Failure> {
        let Some(identity) = identity else {
            let response = self.pool.request(request).await.map_err(unreachable)?;
            return no_401(response, metrics, "our credentials");
        };
        let token = identity.header().await;
        let again = request.clone();
        let response = self.attempt(request, token.as_ref()).await?;
        if response.status() != http::StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let Some(renewed) = identity.renew(token.as_ref()).await else {
            let what = match token {
                Some(_) => "the service token",
                None => "a request without a token, and none could be had",
            };
            return no_401(response, metrics, what);
        };
        metrics.unauthorized();
        // The connection is free for the replay once this is gone.
        drop(response);
        let response = self.attempt(again, Some(&renewed)).await?;
        no_401(
            response,
            metrics,
            "the service token, also when it was fresh",
        )
    }

    async fn attempt(
        &self,
        mut request: Request<Full<Bytes>>,
        token: Option<&crate::identity::ServiceToken>,
    ) -> Result<Response<Incoming>, Failure> {
        if let Some(token) = token {
            request
                .headers_mut()
                .insert(AUTHORIZATION, token.header().clone());
        }
        self.pool.request(request).await.map_err(unreachable)
    }
}

fn no_401(
    response: Response<Incoming>,
    metrics: &ChildMetrics,
    refused: &str,
) -> Result<Response<Incoming>, Failure> {
    if response.status() != http::StatusCode::UNAUTHORIZED {
        return Ok(response);
    }
    metrics.unauthorized();
    Err(Failure::unauthorized(format!("answered 401 to {refused}")))
}

fn unreachable(error: hyper_util::client::legacy::Error) -> Failure {
    // The innermost cause is the one that says something: "connection refused".
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.is_connect() {
        Failure::not_sent(format!("cannot be reached: {cause}"))
    } else {
        Failure::transport(format!("broke the connection: {cause}"))
    }
}

/// What the platform trusts. A machine without certificates (a container made of one
/// file, say) can still talk to children over plain HTTP.
fn tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
    };
    match builder()?.with_platform_verifier() {
        Ok(trusting) => Ok(trusting.with_no_client_auth()),
        Err(error) => {
            warn!(%error, "no certificates to trust: children with https URLs cannot be reached");
            Ok(builder()?
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth())
        }
    }
}
