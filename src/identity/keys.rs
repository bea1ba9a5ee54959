//! The keys of an issuer (RFC 7517): where they are, and what they are now.

use std::time::{Duration, SystemTime};

use http::{StatusCode, header::ACCEPT};
use http_cache_semantics::CachePolicy;
use oauth2::HttpRequest;
use serde::Deserialize;
use url::Url;

use super::{
    discovery::{is_usable, openid_document, rfc8414_document},
    error::{IdentityError, quoted},
    provider::{self, Provider, ProviderError},
    status::shown,
};
use crate::config::{ProviderTls, Reach};

/// Where the keys of one issuer are had.
pub struct KeyServer {
    provider: Provider,
    place: Place,
}

enum Place {
    Here(Url),
    /// Where the issuer's own document says; asked anew each time, since keys move.
    Discovery(Url),
}

/// What a key server said.
pub struct KeyDocument {
    /// A JSON object.
    pub body: Vec<u8>,
    /// How long it is to be kept, if it says so (RFC 9111).
    pub fresh_for: Option<Duration>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The issuer, or its key server, gives no usable answer.
    #[error("{0}")]
    Provider(String),
    /// There is no discovery document that names any.
    #[error("no discovery document of the issuer `{0}` says where its keys are; set \"jwks\"")]
    NoDocument(String),
    /// The document is somebody else's (RFC 8414, 3.3).
    #[error("the discovery document is of issuer `{found}`, not of `{configured}`")]
    IssuerMismatch {
        /// Who was asked.
        configured: String,
        /// Who answered.
        found: String,
    },
    /// Others could exchange the keys on their way.
    #[error("the discovery document names keys at an address that is not safe: `{0}`")]
    Unsafe(String),
}

impl From<ProviderError> for KeyError {
    fn from(error: ProviderError) -> Self {
        Self::Provider(error.to_string())
    }
}

/// What is read of a discovery document, OpenID's and RFC 8414's alike.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
    jwks_uri: String,
}

impl KeyServer {
    /// At this address.
    ///
    /// # Errors
    ///
    /// The TLS settings cannot be used.
    pub fn at(url: Url, tls: &ProviderTls) -> Result<Self, IdentityError> {
        Ok(Self {
            provider: Provider::new(&url, tls, provider::TIMEOUT)?,
            place: Place::Here(url),
        })
    }

    /// Of this issuer.
    ///
    /// # Errors
    ///
    /// The TLS settings cannot be used.
    pub fn of(issuer: Url, tls: &ProviderTls) -> Result<Self, IdentityError> {
        Ok(Self {
            provider: Provider::new(&issuer, tls, provider::TIMEOUT)?,
            place: Place::Discovery(issuer),
        })
    }

    /// Asks for them.
    ///
    /// # Errors
    ///
    /// Nobody answers, or not with keys of this issuer.
    pub async fn fetch(&self) -> Result<KeyDocument, KeyError> {
        let url = match &self.place {
            Place::Here(url) => url.clone(),
            Place::Discovery(issuer) => self.find(issuer).await?,
        };
        let answer = self.provider.get(&url).await?;
        if answer.status() != StatusCode::OK {
            let status = answer.status();
            return Err(KeyError::Provider(format!(
                "the key server answered {status}"
            )));
        }
        let mut asked = HttpRequest::new(Vec::new());
        asked
            .headers_mut()
            .insert(ACCEPT, http::HeaderValue::from_static("application/json"));
        let fresh_for = CachePolicy::new(&asked, &answer).time_to_live(SystemTime::now());
        Ok(KeyDocument {
            fresh_for: (!fresh_for.is_zero()).then_some(fresh_for),
            body: answer.into_body(),
        })
    }

    async fn find(&self, issuer: &Url) -> Result<Url, KeyError> {
        let mut failed = None;
        for document in [openid_document(issuer), rfc8414_document(issuer)] {
            match self.provider.get(&document).await {
                Ok(answer) if answer.status() == StatusCode::OK => {
                    if let Ok(metadata) = serde_json::from_slice::<Metadata>(answer.body()) {
                        return trusted(issuer, &metadata);
                    }
                }
                // The second document is at the same host: it would fail the same way.
                Err(
                    error @ (ProviderError::Unreachable { .. } | ProviderError::Timeout { .. }),
                ) => {
                    return Err(error.into());
                }
                Ok(_) => {}
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        // A provider that is being restarted answers 5xx, which is not to be mended here.
        match failed {
            Some(error @ ProviderError::Status { status, .. }) if status.is_server_error() => {
                Err(error.into())
            }
            _ => Err(KeyError::NoDocument(shown(issuer))),
        }
    }
}

/// Where the keys are, if the document is the issuer's own and does not send us over a
/// weaker connection than the one it came by.
fn trusted(issuer: &Url, metadata: &Metadata) -> Result<Url, KeyError> {
    let (configured, found) = (issuer.as_str(), metadata.issuer.as_str());
    if configured.trim_end_matches('/') != found.trim_end_matches('/') {
        return Err(KeyError::IssuerMismatch {
            configured: shown(issuer),
            found: quoted(found),
        });
    }
    match Url::parse(&metadata.jwks_uri) {
        Ok(url)
            if is_usable(&url)
                && (url.scheme() == "https" || issuer.scheme() == "http")
                && !Reach::is_clear_text(&url) =>
        {
            Ok(url)
        }
        Ok(url) => Err(KeyError::Unsafe(quoted(&shown(&url)))),
        Err(_) => Err(KeyError::Unsafe("not a URL".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(issuer: &str, named: &str, jwks_uri: &str) -> Result<Url, KeyError> {
        let metadata = Metadata {
            issuer: named.to_owned(),
            jwks_uri: jwks_uri.to_owned(),
        };
        trusted(&issuer.parse().unwrap(), &metadata)
    }

    #[test]
    fn keys_come_from_where_the_issuers_own_document_says() {
        let issuer = "https://kc.example/realms/a";
        let keys = "https://kc.example/certs";
        assert_eq!(found(issuer, issuer, keys).unwrap().as_str(), keys);
        assert!(matches!(
            found(issuer, "https://evil.example", keys),
            Err(KeyError::IssuerMismatch { .. })
        ));
        for worse in [
            "http://kc.example/certs",
            "http://10.0.0.1/",
            "file:///x",
            "x",
        ] {
            let error = found(issuer, issuer, worse);
            assert!(matches!(error, Err(KeyError::Unsafe(_))), "{worse}");
        }
        let inside = "http://keycloak:8080/realms/a";
        assert!(found(inside, inside, "http://keycloak:8080/certs").is_ok());
        assert!(found(inside, inside, "http://kc.example/certs").is_err());
    }
}
