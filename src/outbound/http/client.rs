//! The one HTTP client of the process: a pool of connections to all children.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use thiserror::Error;

use super::challenge::Challenge;
use crate::{
    identity::{Identity, ServiceToken, platform_tls},
    outbound::{
        Challenged, Failure,
        credentials::{Credentials, Shown, UserTokens},
    },
    telemetry::ChildMetrics,
};

/// How long a TCP connect may take. A host that drops packets would otherwise hold
/// a call for the kernel's two minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Shorter than the idle timeout of common servers (Node and uvicorn: 5 s), so that
/// it is we who close first: a request that crosses a server's close fails, and may
/// not be repeated.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Makes a request: again where it has to be sent again.
pub(super) type Make<'a> = &'a (dyn Fn() -> Request<Full<Bytes>> + Send + Sync);

/// Sends requests to children; clones share one pool. It follows no redirects: a
/// token must never travel to another origin.
#[derive(Clone, Debug)]
pub struct HttpClient {
    pool: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    connector: HttpsConnector<HttpConnector>,
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
            .with_tls_config(platform_tls()?)
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(connector);
        Ok(Self::over(connector))
    }

    fn over(connector: HttpsConnector<HttpConnector>) -> Self {
        let pool = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_while_idle(true)
            .timer(TokioTimer::new())
            .build(connector.clone());
        Self { pool, connector }
    }

    /// The same with an empty pool: nothing is sent on a connection that was there.
    pub(in crate::outbound) fn afresh(&self) -> Self {
        Self::over(self.connector.clone())
    }

    /// Sends one request with these credentials; as a user with what it has `shown` for
    /// this request. A 401 is answered with one renewed token and one replay.
    ///
    /// # Errors
    ///
    /// When no response came, or a 401 that a new token did not change.
    pub(super) async fn send(
        &self,
        request: Make<'_>,
        credentials: &Credentials,
        shown: Option<&Shown>,
        metrics: &ChildMetrics,
    ) -> Result<Response<Incoming>, Failure> {
        match credentials {
            Credentials::Service(identity) => {
                self.send_as_service(request, identity, metrics).await
            }
            // By pointer: it would make every call twice as large.
            Credentials::User(user) => {
                Box::pin(self.send_as_user(request, user, shown, metrics)).await
            }
        }
    }

    async fn send_as_user(
        &self,
        request: Make<'_>,
        user: &UserTokens,
        shown: Option<&Shown>,
        metrics: &ChildMetrics,
    ) -> Result<Response<Incoming>, Failure> {
        let with = |header: Option<HeaderValue>| {
            let mut request = request();
            if let Some(header) = header {
                request.headers_mut().insert(AUTHORIZATION, header);
            }
            self.pool.request(request)
        };
        let mut given = user.given(shown).await?;
        let mut response = with(given.header.clone()).await.map_err(unreachable)?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(renewed) = user.renewed(&given).await?
        {
            refused(&response, metrics);
            // The connection is free for the replay once this is gone.
            drop(response);
            given = renewed;
            response = with(given.header.clone()).await.map_err(unreachable)?;
        }
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        let what = match given.header {
            None => "a request without a token: the user has shown none",
            Some(_) if user.passes_on() => "the user's own token",
            Some(_) => "the token that was given in exchange for the user's",
        };
        let challenged = Challenged::of(response.status(), response.headers());
        Err(Failure {
            blameless: true,
            challenged: user.passes_on().then_some(challenged),
            ..refused(&response, metrics).to(what)
        })
    }

    async fn send_as_service(
        &self,
        request: Make<'_>,
        identity: &Identity,
        metrics: &ChildMetrics,
    ) -> Result<Response<Incoming>, Failure> {
        if !identity.is_on() {
            let response = self.attempt(request(), None).await?;
            if response.status() != StatusCode::UNAUTHORIZED {
                return Ok(response);
            }
            let what = match request().headers().contains_key(AUTHORIZATION) {
                true => "the credentials of its entry",
                false => "a request without credentials, and it is to be given none",
            };
            return Err(refused(&response, metrics).to(what));
        }
        let token = identity.header().await;
        let response = self.attempt(request(), token.as_ref()).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(response);
        }
        // Counted before the renewal, which may take as long as the provider does.
        let first = refused(&response, metrics);
        let Some(renewed) = identity.renew(token.as_ref()).await else {
            return Err(match token {
                Some(_) => first.to("our token, and no newer one could be had"),
                None => Failure {
                    without_token: true,
                    ..first.to("a request without a token, and none could be had")
                },
            });
        };
        // The connection is free for the replay once this is gone.
        drop(response);
        let response = self.attempt(request(), Some(&renewed)).await?;
        match response.status() {
            StatusCode::UNAUTHORIZED => {
                let again = refused(&response, metrics);
                Err(again.to("our token, also when it was fresh"))
            }
            _ => Ok(response),
        }
    }

    async fn attempt(
        &self,
        mut request: Request<Full<Bytes>>,
        token: Option<&ServiceToken>,
    ) -> Result<Response<Incoming>, Failure> {
        if let Some(token) = token {
            request
                .headers_mut()
                .insert(AUTHORIZATION, token.header().clone());
        }
        self.pool.request(request).await.map_err(unreachable)
    }
}

/// A 401, and the child's own words for it.
struct Refused(String);

/// Takes note of a 401.
fn refused(response: &Response<Incoming>, metrics: &ChildMetrics) -> Refused {
    metrics.unauthorized();
    Refused(Challenge::of(response.headers()).words)
}

impl Refused {
    fn to(self, what: &str) -> Failure {
        Failure::unauthorized(format!("answered 401 to {what}")).with_detail(&self.0)
    }
}

fn unreachable(error: hyper_util::client::legacy::Error) -> Failure {
    // The innermost cause is the one that says something: "connection refused".
    let mut cause: &dyn std::error::Error = &error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let io = cause.downcast_ref::<std::io::Error>();
    if let Some(ours) = io.and_then(Failure::out_of_descriptors) {
        ours
    } else if error.is_connect() {
        Failure::not_sent(format!("cannot be reached: {cause}"))
    } else {
        Failure::transport(format!("broke the connection: {cause}"))
    }
}
