//! An authorization server whose document and registration are passed on to clients:
//! what it says of itself (RFC 8414), and how a client makes itself known to it (RFC 7591).

use http::{HeaderValue, StatusCode};
use oauth2::HttpResponse;
use serde_json::{Map, Value};
use url::{Origin, Url};

use super::{
    discovery::{openid_document, rfc8414_document},
    error::{IdentityError, quoted},
    provider::{self, Provider, ProviderError},
    status::shown,
};
use crate::config::ProviderTls;

/// The authorization server.
pub struct AuthorizationServer {
    provider: Provider,
    issuer: Url,
}

/// What it says of itself.
pub struct ServerDocument {
    /// The members, as they came.
    pub members: Map<String, Value>,
    /// Where clients are registered, if they are at all.
    pub registration: Option<Url>,
}

/// What it made of a registration.
pub struct Registered {
    /// 201, or why not.
    pub status: StatusCode,
    /// A JSON object, and for the client alone: there may be a secret in it.
    pub body: Vec<u8>,
}

/// Why it cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It gives no usable answer.
    #[error("{0}")]
    Provider(String),
    /// It says nothing of itself.
    #[error("there is no discovery document of the issuer `{0}`")]
    NoDocument(String),
    /// The document is somebody else's (RFC 8414, 3.3).
    #[error("the discovery document is of issuer `{found}`, not of `{configured}`")]
    IssuerMismatch {
        /// Who was asked.
        configured: String,
        /// Who answered.
        found: String,
    },
}

impl From<ProviderError> for ServerError {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error.to_string())
    }
}

impl AuthorizationServer {
    /// The one of this name.
    ///
    /// # Errors
    ///
    /// The TLS settings cannot be used.
    pub fn new(issuer: Url, tls: &ProviderTls) -> Result<Self, IdentityError> {
        Ok(Self {
            provider: Provider::new(&issuer, tls, provider::TIMEOUT)?,
            issuer,
        })
    }

    /// Asks what it says of itself.
    ///
    /// # Errors
    ///
    /// Nobody answers, or another than was asked.
    pub async fn document(&self) -> Result<ServerDocument, ServerError> {
        let mut failed = None;
        for url in [
            openid_document(&self.issuer),
            rfc8414_document(&self.issuer),
        ] {
            match self.provider.get(&url).await {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    if let Ok(members) = serde_json::from_slice(answer.body()) {
                        return self.read(members);
                    }
                }
                // The second document is at the same host: it would fail the same way.
                Err(
                    error @ (ProviderError::Unreachable { .. } | ProviderError::Timeout { .. }),
                ) => return Err(error.into()),
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        Err(failed.map_or_else(
            || ServerError::NoDocument(shown(&self.issuer)),
            ServerError::from,
        ))
    }

    fn read(&self, members: Map<String, Value>) -> Result<ServerDocument, ServerError> {
        let text = |name: &str| members.get(name).and_then(Value::as_str);
        let found = text("issuer").unwrap_or_default();
        if self.issuer.as_str().trim_end_matches('/') != found.trim_end_matches('/') {
            return Err(ServerError::IssuerMismatch {
                configured: shown(&self.issuer),
                found: quoted(found),
            });
        }
        // What is sent there is sent for others: it must not be sent anywhere else.
        let registration = text("registration_endpoint")
            .and_then(|text| Url::parse(text).ok())
            .filter(|url| same_server(url, &self.issuer));
        Ok(ServerDocument {
            members,
            registration,
        })
    }

    /// Passes a registration on, with the `Authorization` it came with.
    ///
    /// # Errors
    ///
    /// Nobody answers, or not with JSON.
    pub async fn register(
        &self,
        at: &Url,
        registration: Vec<u8>,
        authorization: Option<HeaderValue>,
    ) -> Result<Registered, ServerError> {
        let answer: HttpResponse = self.provider.post(at, registration, authorization).await?;
        Ok(Registered {
            status: answer.status(),
            body: answer.into_body(),
        })
    }
}

fn same_server(url: &Url, issuer: &Url) -> bool {
    let origin: Origin = url.origin();
    origin == issuer.origin() && url.username().is_empty() && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use axum::{Router, http::HeaderMap, response::IntoResponse, routing::post};
    use serde_json::json;

    use super::*;
    use crate::identity::testing::{json_answer, serve, serve_at, tls};

    fn server(issuer: &Url) -> AuthorizationServer {
        AuthorizationServer::new(issuer.clone(), &tls()).unwrap()
    }

    fn read(issuer: &str, members: Value) -> Result<ServerDocument, ServerError> {
        let Value::Object(members) = members else {
            panic!("an object");
        };
        server(&issuer.parse().unwrap()).read(members)
    }

    #[test]
    fn a_document_is_its_issuers_own_and_registers_nowhere_else() {
        let issuer = "http://127.0.0.1:9/realms/a";
        let at = |registration: &str| {
            let document = json!({"issuer": issuer, "registration_endpoint": registration});
            read(issuer, document).unwrap().registration
        };
        let own = "http://127.0.0.1:9/realms/a/register";
        assert_eq!(at(own).unwrap().as_str(), own);
        for other in [
            "http://127.0.0.1:10/register",
            "http://evil.example/register",
            "https://127.0.0.1:9/register",
            "http://user@127.0.0.1:9/register",
            "/register",
        ] {
            assert_eq!(at(other), None, "{other}");
        }
        let other = read(issuer, json!({"issuer": "http://127.0.0.1:9/realms/b"}));
        assert!(matches!(other, Err(ServerError::IssuerMismatch { .. })));
        assert!(read(issuer, json!({})).is_err());
    }

    #[tokio::test]
    async fn the_document_is_found_where_keycloak_has_it() {
        let base = serve_at(|base| {
            let document = json!({"issuer": format!("{base}/realms/a"), "x": 1});
            Router::new().route(
                "/realms/a/.well-known/openid-configuration",
                axum::routing::get(move || async move { json_answer(200, &document.to_string()) }),
            )
        })
        .await;
        let document = server(&base.join("realms/a").unwrap()).document().await;
        assert_eq!(document.unwrap().members["x"], 1);
        let nobody = server(&base.join("realms/b").unwrap()).document().await;
        assert!(nobody.is_err());
    }

    #[tokio::test]
    async fn a_registration_is_passed_on_and_so_is_what_comes_of_it() {
        let base = serve(
            Router::new()
                .route(
                    "/ok",
                    post(|headers: HeaderMap, body: String| async move {
                        let said =
                            json!({"sent": body, "by": headers["authorization"].to_str().unwrap()});
                        json_answer(201, &said.to_string())
                    }),
                )
                .route(
                    "/no",
                    post(|| async { json_answer(403, r#"{"error":"x"}"#) }),
                )
                .route(
                    "/moved",
                    post(|| async { axum::response::Redirect::temporary("/ok") }),
                )
                .route("/page", post(|| async { "<p>not JSON".into_response() })),
        )
        .await;
        let server = server(&base);
        let register = async |path: &str| {
            let token = Some(HeaderValue::from_static("Bearer t"));
            let at = base.join(path).unwrap();
            server.register(&at, b"{}".to_vec(), token).await
        };
        let ok = register("/ok").await.unwrap();
        let said: Value = serde_json::from_slice(&ok.body).unwrap();
        assert_eq!(
            (ok.status.as_u16(), said),
            (201, json!({"sent": "{}", "by": "Bearer t"}))
        );
        assert_eq!(register("/no").await.unwrap().status, 403);
        assert!(register("/moved").await.is_err());
        assert!(register("/page").await.is_err());
    }
}
