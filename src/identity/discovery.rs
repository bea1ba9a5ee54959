//! Where the token endpoint is.

use http::StatusCode;
use serde::Deserialize;
use url::Url;

use super::{
    error::{MintError, quoted},
    provider::{Provider, ProviderError},
    status::shown,
};
use crate::config::{Reach, TokenPlace};

/// The token endpoint: told, or found by asking the issuer.
#[derive(Debug)]
pub(super) enum Endpoint {
    Configured(Place),
    Issuer {
        issuer: Url,
        /// Kept until a mint there fails, so that a provider that moved is found.
        found: Option<Found>,
    },
}

/// Where to ask, and who is asked.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) token_url: Url,
    /// What an assertion is to name as its audience (RFC 7523, 3): the issuer, exactly
    /// as it names itself; else, as far as we know, the token endpoint.
    pub(super) audience: String,
}

#[derive(Clone, Debug)]
pub(super) struct Found {
    place: Place,
    guessed: bool,
}

/// What is read of a discovery document, OpenID's and RFC 8414's alike.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    token_endpoint: String,
}

impl Endpoint {
    /// As configured.
    pub(super) fn of(place: &TokenPlace) -> Self {
        match place {
            TokenPlace::Endpoint { token_url, issuer } => Self::Configured(Place {
                token_url: token_url.clone(),
                audience: issuer.as_ref().map_or_else(|| token_url.to_string(), named),
            }),
            TokenPlace::Issuer(issuer) => Self::Issuer {
                issuer: issuer.clone(),
                found: None,
            },
        }
    }

    /// An address at the provider.
    pub(super) fn host(&self) -> &Url {
        match self {
            Self::Configured(place) => &place.token_url,
            Self::Issuer { issuer, .. } => issuer,
        }
    }

    /// Its address, as far as it is known.
    pub(super) fn known(&self) -> Option<&Url> {
        match self {
            Self::Configured(place) => Some(&place.token_url),
            Self::Issuer { found, .. } => found.as_ref().map(|found| &found.place.token_url),
        }
    }

    /// Its address, asked for if need be.
    pub(super) async fn locate(&mut self, provider: &Provider) -> Result<Place, MintError> {
        match self {
            Self::Configured(place) => Ok(place.clone()),
            Self::Issuer {
                found: Some(found), ..
            } => Ok(found.place.clone()),
            Self::Issuer { issuer, found } => {
                let found = found.insert(find(issuer, provider).await?);
                Ok(found.place.clone())
            }
        }
    }

    /// Takes note that a mint failed there, and says more of why if it can.
    pub(super) fn failed(&mut self, error: MintError) -> MintError {
        let Self::Issuer { issuer, found } = self else {
            return error;
        };
        match (found.take(), &error) {
            (
                Some(Found { guessed: true, .. }),
                MintError::Provider(ProviderError::Status { status, .. }),
            ) if status.is_client_error() => MintError::NoEndpoint(shown(issuer)),
            _ => error,
        }
    }
}

async fn find(issuer: &Url, provider: &Provider) -> Result<Found, MintError> {
    for document in [openid_document(issuer), rfc8414_document(issuer)] {
        match provider.get(&document).await {
            Ok(answer) if answer.status() == StatusCode::OK => {
                if let Ok(metadata) = serde_json::from_slice::<Metadata>(answer.body()) {
                    return trusted(issuer, &metadata);
                }
            }
            // The second document is at the same host: it would fail the same way.
            Err(ProviderError::Unreachable { .. } | ProviderError::Timeout { .. }) => break,
            Ok(_) | Err(_) => {}
        }
    }
    Ok(Found {
        place: Place {
            token_url: keycloak_endpoint(issuer),
            audience: named(issuer),
        },
        guessed: true,
    })
}

/// The endpoint a document names, if the document is the issuer's own (RFC
/// 8414, 3.3) and does not send the secret over a weaker connection.
fn trusted(issuer: &Url, metadata: &Metadata) -> Result<Found, MintError> {
    let (configured, found) = (issuer.as_str(), metadata.issuer.as_str());
    if configured.trim_end_matches('/') != found.trim_end_matches('/') {
        return Err(MintError::IssuerMismatch {
            configured: shown(issuer),
            found: quoted(found),
        });
    }
    match Url::parse(&metadata.token_endpoint) {
        Ok(token_url)
            if is_usable(&token_url)
                && (token_url.scheme() == "https" || issuer.scheme() == "http")
                && (!Reach::is_clear_text(&token_url) || Reach::is_clear_text(issuer)) =>
        {
            Ok(Found {
                place: Place {
                    token_url,
                    audience: metadata.issuer.clone(),
                },
                guessed: false,
            })
        }
        Ok(unsafe_url) => Err(MintError::UnsafeEndpoint(quoted(&shown(&unsafe_url)))),
        Err(_) => Err(MintError::UnsafeEndpoint("not a URL".into())),
    }
}

/// An address the client secret may be sent to.
pub(super) fn is_usable(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
}

/// An issuer as it most likely names itself: a URL type adds a slash to a bare host.
fn named(issuer: &Url) -> String {
    match issuer.path() {
        "/" => issuer.as_str().trim_end_matches('/').to_owned(),
        _ => issuer.to_string(),
    }
}

pub(super) fn openid_document(issuer: &Url) -> Url {
    below(issuer, "/.well-known/openid-configuration")
}

pub(super) fn rfc8414_document(issuer: &Url) -> Url {
    let path = format!("/.well-known/oauth-authorization-server{}", path_of(issuer));
    at(issuer, &path)
}

fn keycloak_endpoint(issuer: &Url) -> Url {
    below(issuer, "/protocol/openid-connect/token")
}

fn below(issuer: &Url, suffix: &str) -> Url {
    at(issuer, &format!("{}{suffix}", path_of(issuer)))
}

fn path_of(issuer: &Url) -> &str {
    issuer.path().trim_end_matches('/')
}

fn at(issuer: &Url, path: &str) -> Url {
    let mut url = issuer.clone();
    url.set_path(path);
    url.set_query(None);
    url.set_fragment(None);
    url
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        time::Duration,
    };

    use axum::{Router, http::Uri};
    use serde_json::json;

    use super::*;
    use crate::identity::testing::{json_answer, serve, serve_at, tls};

    fn issuer(text: &str) -> Url {
        text.parse().unwrap()
    }

    fn endpoint(issuer: &Url) -> Endpoint {
        Endpoint::Issuer {
            issuer: issuer.clone(),
            found: None,
        }
    }

    fn provider(at: &Url) -> Provider {
        Provider::new(at, &tls(), Duration::from_secs(5)).unwrap()
    }

    /// A provider whose only document is at `path`, and says `issuer`.
    async fn provider_with_document(path: &'static str, issuer_path: &'static str) -> Url {
        serve_at(move |base| {
            let document = json!({
                "issuer": format!("{base}{issuer_path}"),
                "token_endpoint": format!("{base}/token"),
            });
            Router::new().fallback(move |uri: Uri| async move {
                if uri.path() == path {
                    json_answer(200, &document.to_string())
                } else {
                    json_answer(404, r#"{"error":"not here"}"#)
                }
            })
        })
        .await
    }

    #[test]
    fn documents_are_where_their_specifications_put_them() {
        for (text, openid, rfc8414, keycloak) in [
            (
                "https://kc/realms/a/",
                "https://kc/realms/a/.well-known/openid-configuration",
                "https://kc/.well-known/oauth-authorization-server/realms/a",
                "https://kc/realms/a/protocol/openid-connect/token",
            ),
            (
                "https://idp",
                "https://idp/.well-known/openid-configuration",
                "https://idp/.well-known/oauth-authorization-server",
                "https://idp/protocol/openid-connect/token",
            ),
        ] {
            let issuer = issuer(text);
            assert_eq!(openid_document(&issuer).as_str(), openid);
            assert_eq!(rfc8414_document(&issuer).as_str(), rfc8414);
            assert_eq!(keycloak_endpoint(&issuer).as_str(), keycloak);
        }
    }

    #[tokio::test]
    async fn the_openid_document_names_the_endpoint_whatever_its_trailing_slash() {
        for said in ["/realms/a", "/realms/a/"] {
            let base =
                provider_with_document("/realms/a/.well-known/openid-configuration", said).await;
            let issuer = base.join("realms/a").unwrap();
            let found = endpoint(&issuer).locate(&provider(&issuer)).await.unwrap();
            assert_eq!(found.token_url, base.join("token").unwrap());
        }
    }

    #[tokio::test]
    async fn the_rfc_8414_document_is_asked_next() {
        let path = "/.well-known/oauth-authorization-server/realms/a";
        let base = provider_with_document(path, "/realms/a").await;
        let issuer = base.join("realms/a").unwrap();
        let found = endpoint(&issuer).locate(&provider(&issuer)).await.unwrap();
        assert_eq!(found.token_url, base.join("token").unwrap());
    }

    #[tokio::test]
    async fn a_document_of_another_issuer_is_refused() {
        let base = provider_with_document(
            "/realms/a/.well-known/openid-configuration",
            "/realms/other",
        )
        .await;
        let issuer = base.join("realms/a").unwrap();
        let error = endpoint(&issuer)
            .locate(&provider(&issuer))
            .await
            .unwrap_err();
        assert!(matches!(error, MintError::IssuerMismatch { .. }), "{error}");
    }

    #[test]
    fn a_document_may_not_weaken_the_connection() {
        let issuer = issuer("https://kc/realms/a");
        for token_endpoint in [
            "http://kc/token",
            "https://user:pw@kc/token",
            "ftp://kc/t",
            "?",
        ] {
            let error = trusted(
                &issuer,
                &Metadata {
                    issuer: issuer.to_string(),
                    token_endpoint: token_endpoint.into(),
                },
            )
            .unwrap_err();
            assert!(matches!(error, MintError::UnsafeEndpoint(_)));
            assert!(!error.to_string().contains("pw"));
        }
    }

    #[tokio::test]
    async fn without_a_document_the_place_keycloak_uses_is_tried_and_named_as_a_guess() {
        let unreachable = issuer("http://127.0.0.1:9/realms/a");
        let mut endpoint = endpoint(&unreachable);
        let guess = endpoint.locate(&provider(&unreachable)).await.unwrap();
        assert_eq!(guess.token_url, keycloak_endpoint(&unreachable));

        let error = endpoint.failed(MintError::Provider(ProviderError::Status {
            status: StatusCode::NOT_FOUND,
            retry_after: None,
        }));
        assert!(error.to_string().contains("OIDC_TOKEN_URL"), "{error}");
        assert!(endpoint.known().is_none());
    }

    #[tokio::test]
    async fn the_document_is_asked_for_once_until_a_mint_fails() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let base = serve(Router::new().fallback(move |_: Uri| async move {
            counter.fetch_add(1, Ordering::SeqCst);
            json_answer(404, "{}")
        }))
        .await;
        let (mut endpoint, provider) = (endpoint(&base), provider(&base));
        endpoint.locate(&provider).await.unwrap();
        endpoint.locate(&provider).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2, "two documents, once each");
        endpoint.failed(MintError::NoToken);
        endpoint.locate(&provider).await.unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 4);
    }
}
