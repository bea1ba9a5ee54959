//! One exchange with the identity provider over HTTP: bounded in time and size,
//! never redirected, and its failures told apart.

use std::{
    error::Error,
    fs,
    path::Path,
    pin::Pin,
    time::{Duration, SystemTime},
};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER},
};
use oauth2::{AsyncHttpClient, HttpRequest, HttpResponse};
use reqwest::{Certificate, redirect};
use serde::Deserialize;
use url::Url;

use super::{
    error::{IdentityError, quoted},
    trust::platform_tls,
};
use crate::config::{ProviderTls, Reach};

/// For the connection, and for the whole exchange with it.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// A token answer is a few KiB; a token with hundreds of roles may reach 20.
const MAX_BODY: usize = 64 * 1024;

/// What went wrong on the way to a JSON answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProviderError {
    #[error("the identity provider cannot be reached: {cause}")]
    Unreachable { cause: String },
    #[error("the identity provider did not answer within {:?}", .after)]
    Timeout { after: Duration },
    #[error("the identity provider redirects ({status}); redirects are not followed")]
    Redirect { status: StatusCode },
    #[error("the identity provider answered {status}")]
    Status {
        status: StatusCode,
        retry_after: Option<Duration>,
    },
    #[error("the answer of the identity provider is `{content_type}`, not JSON")]
    NotJson { content_type: String },
    #[error("the answer of the identity provider is not a JSON object")]
    NotAnObject,
    #[error("the answer of the identity provider is over {} KiB", MAX_BODY / 1024)]
    TooLarge,
}

/// The identity provider, as seen from here.
pub(super) struct Provider {
    client: reqwest::Client,
    timeout: Duration,
}

impl Provider {
    /// `at` is any of its addresses.
    pub(super) fn new(
        at: &Url,
        tls: &ProviderTls,
        timeout: Duration,
    ) -> Result<Self, IdentityError> {
        let mut client = reqwest::Client::builder()
            // A redirect would take the client secret to whoever it names.
            .redirect(redirect::Policy::none())
            .timeout(timeout)
            .connect_timeout(timeout)
            // Mints are minutes apart: a kept connection would mostly be a dead one.
            .pool_max_idle_per_host(0)
            .user_agent(concat!("mcp-multiplexer/", env!("CARGO_PKG_VERSION")));
        if Reach::of(at) == Reach::Loopback {
            client = client.no_proxy();
        }
        if let Some(path) = &tls.ca_file {
            client = client.tls_certs_merge(certificates(path)?);
        } else if tls.verify {
            let mut tls = platform_tls().map_err(|error| IdentityError::Tls(error.to_string()))?;
            tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
            client = client.tls_backend_preconfigured(tls);
        }
        if !tls.verify {
            tracing::warn!(
                provider = at.host_str(),
                "TLS certificates of the identity provider are NOT checked: \
                 whoever is on the way there can take the client secret and the tokens"
            );
            client = client.tls_danger_accept_invalid_certs(true);
        }
        let client = client
            .build()
            .map_err(|error| IdentityError::Tls(root_cause(&error)))?;
        Ok(Self { client, timeout })
    }

    /// Fetches a document.
    pub(super) async fn get(&self, url: &Url) -> Result<HttpResponse, ProviderError> {
        self.send(request(url, Vec::new())?).await
    }

    /// Sends a JSON document in somebody's name, with the credentials they gave. The
    /// answer is a JSON object, also where it is a refusal: they are to read it.
    pub(super) async fn post(
        &self,
        url: &Url,
        document: Vec<u8>,
        credentials: Option<HeaderValue>,
    ) -> Result<HttpResponse, ProviderError> {
        let mut request = request(url, document)?;
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(mut credentials) = credentials {
            credentials.set_sensitive(true);
            headers.insert(AUTHORIZATION, credentials);
        }
        let answer = self.exchange(request).await;
        let (head, body) = self
            .read(answer.map_err(|error| self.explain(error))?)
            .await?;
        let status = head.status;
        if status.is_redirection() {
            return Err(ProviderError::Redirect { status });
        }
        if !(status.is_success() || status.is_client_error()) || !is_object(&body) {
            return Err(ProviderError::Status {
                status,
                retry_after: retry_after(&head.headers),
            });
        }
        let mut answer = HttpResponse::new(body);
        *answer.status_mut() = status;
        Ok(answer)
    }

    /// Sends a request. The answer is a JSON object with status 200, or
    /// an OAuth error.
    async fn send(&self, mut request: HttpRequest) -> Result<HttpResponse, ProviderError> {
        if let Some(credentials) = request.headers_mut().get_mut(AUTHORIZATION) {
            credentials.set_sensitive(true);
        }
        let answer = self
            .exchange(request)
            .await
            .map_err(|error| self.explain(error))?;
        let (head, body) = self.read(answer).await?;
        check(&head, &body)?;
        let mut answer = HttpResponse::new(body);
        *answer.status_mut() = head.status;
        *answer.headers_mut() = head.headers;
        Ok(answer)
    }

    async fn exchange(&self, request: HttpRequest) -> reqwest::Result<reqwest::Response> {
        self.client.execute(request.try_into()?).await
    }

    async fn read(&self, mut answer: reqwest::Response) -> Result<(Head, Vec<u8>), ProviderError> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.explain(error))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(ProviderError::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        let head = Head {
            status: answer.status(),
            headers: std::mem::take(answer.headers_mut()),
        };
        Ok((head, body))
    }

    fn explain(&self, error: reqwest::Error) -> ProviderError {
        if error.is_timeout() {
            return ProviderError::Timeout {
                after: self.timeout,
            };
        }
        ProviderError::Unreachable {
            cause: root_cause(&error.without_url()),
        }
    }
}

impl<'c> AsyncHttpClient<'c> for Provider {
    type Error = ProviderError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, ProviderError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

fn request(url: &Url, body: Vec<u8>) -> Result<HttpRequest, ProviderError> {
    let mut request = HttpRequest::new(body);
    let uri = url.as_str().parse();
    *request.uri_mut() = uri.map_err(|_| ProviderError::Unreachable {
        cause: "its address is not one".into(),
    })?;
    Ok(request)
}

/// The certificates in a PEM file.
fn certificates(path: &Path) -> Result<Vec<Certificate>, IdentityError> {
    let pem = fs::read(path).map_err(|error| IdentityError::CaFile(error.to_string()))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(none) if none.is_empty() => Err(IdentityError::CaFile("it holds none".into())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(IdentityError::CaFile(root_cause(&error))),
    }
}

struct Head {
    status: StatusCode,
    headers: HeaderMap,
}

fn check(head: &Head, body: &[u8]) -> Result<(), ProviderError> {
    let status = head.status;
    if status.is_redirection() {
        return Err(ProviderError::Redirect { status });
    }
    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS && is_oauth_error(body) {
        return Ok(());
    }
    if status != StatusCode::OK {
        return Err(ProviderError::Status {
            status,
            retry_after: retry_after(&head.headers),
        });
    }
    match head.headers.get(CONTENT_TYPE) {
        Some(content_type) if !is_json(content_type.as_bytes()) => Err(ProviderError::NotJson {
            content_type: quoted(&String::from_utf8_lossy(content_type.as_bytes())),
        }),
        _ if !is_object(body) => Err(ProviderError::NotAnObject),
        _ => Ok(()),
    }
}

/// Whether it can be one. Asked here, since serde takes a list for a struct.
fn is_object(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
}

fn is_json(content_type: &[u8]) -> bool {
    // Keys have a type of their own (RFC 7517, 8.5.2).
    const JSON: [&[u8]; 2] = [b"application/json", b"application/jwk-set+json"];
    JSON.iter().any(|json| {
        content_type
            .get(..json.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(json))
    })
}

fn is_oauth_error(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct OAuthError {
        #[serde(rename = "error")]
        _code: String,
    }
    is_object(body) && serde_json::from_slice::<OAuthError>(body).is_ok()
}

/// Seconds or a date (RFC 9110, 10.2.3). A date in the past is no pause.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let until = httpdate::parse_http_date(text).ok()?;
            Some(until.duration_since(SystemTime::now()).unwrap_or_default())
        }
    }
}

fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    quoted(&cause.to_string())
}
