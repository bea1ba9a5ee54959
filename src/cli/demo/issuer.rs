//! A little token issuer on loopback: the client-credentials grant (RFC 6749, 4.4)
//! for one client, and the keys to check its tokens with (RFC 7517).

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jsonwebtoken::{
    Algorithm, EncodingKey, Header,
    jwk::{Jwk, JwkSet},
};
use serde_json::json;
use url::{Url, form_urlencoded};
use uuid::Uuid;

use super::{bearer::Claims, http_child};
use crate::cli::CliError;

/// The one client that gets tokens.
pub(super) const CLIENT: &str = "mcp-multiplexer";
/// Short, so that who watches sees tokens being renewed.
const TOKEN_LIFE: Duration = Duration::from_secs(60);
/// What tokens are signed with.
const ALGORITHM: Algorithm = Algorithm::ES256;

/// The issuer, as its one client knows it.
pub(super) struct Issuer {
    /// Its address, and its name in tokens.
    pub(super) url: Url,
    /// The secret of [`CLIENT`], of this process alone.
    pub(super) client_secret: String,
}

struct Signer {
    issuer: String,
    /// What `Authorization` must be.
    credentials: String,
    header: Header,
    key: EncodingKey,
    keys: JwkSet,
}

impl Issuer {
    /// Makes a key and a secret, and serves as long as the process lives.
    pub(super) async fn start() -> Result<Self, CliError> {
        let (listener, url) = http_child::listen().await?;
        let issuer = Self {
            url,
            client_secret: Uuid::new_v4().simple().to_string(),
        };
        let signer = Signer::new(&issuer).map_err(CliError::io("a signing key"))?;
        http_child::serve(listener, signer.router());
        Ok(issuer)
    }

    /// Where tokens are asked for.
    pub(super) fn token_url(&self) -> String {
        format!("{}token", self.url)
    }

    /// Where the keys are.
    pub(super) fn jwks_url(&self) -> String {
        format!("{}jwks", self.url)
    }
}

impl Signer {
    fn new(issuer: &Issuer) -> std::io::Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
            .and_then(|pair| pair.to_pkcs8v1())
            .map_err(std::io::Error::other)?;
        let key = EncodingKey::from_ec_der(pair.as_ref());
        let mut public = Jwk::from_encoding_key(&key, ALGORITHM).map_err(std::io::Error::other)?;
        let id = Uuid::new_v4().to_string();
        public.common.key_id = Some(id.clone());
        let credentials = format!("{CLIENT}:{}", issuer.client_secret);
        Ok(Self {
            issuer: issuer.url.to_string(),
            credentials: format!("Basic {}", BASE64_STANDARD.encode(credentials)),
            header: Header {
                kid: Some(id),
                ..Header::new(ALGORITHM)
            },
            key,
            keys: JwkSet { keys: vec![public] },
        })
    }

    fn router(self) -> Router {
        Router::new()
            .route("/token", post(token))
            .route("/jwks", get(jwks))
            .with_state(Arc::new(self))
    }

    fn sign(&self, audience: String) -> jsonwebtoken::errors::Result<String> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        let claims = Claims {
            iss: self.issuer.clone(),
            sub: CLIENT.to_owned(),
            aud: audience,
            iat: now,
            exp: now + TOKEN_LIFE.as_secs(),
        };
        jsonwebtoken::encode(&self.header, &claims, &self.key)
    }
}

/// The token endpoint: whoever knows the secret gets a token for any audience.
async fn token(State(signer): State<Arc<Signer>>, headers: HeaderMap, form: Bytes) -> Response {
    let credentials = headers.get(header::AUTHORIZATION);
    if credentials.is_none_or(|given| given != signer.credentials.as_str()) {
        return refused(StatusCode::UNAUTHORIZED, "invalid_client");
    }
    let asked = |key| {
        let mut pairs = form_urlencoded::parse(&form);
        pairs.find_map(|(name, value)| (name == key).then(|| value.into_owned()))
    };
    if asked("grant_type").as_deref() != Some("client_credentials") {
        return refused(StatusCode::BAD_REQUEST, "unsupported_grant_type");
    }
    let Some(audience) = asked("audience") else {
        return refused(StatusCode::BAD_REQUEST, "invalid_request");
    };
    match signer.sign(audience) {
        Ok(token) => Json(json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFE.as_secs(),
        }))
        .into_response(),
        Err(_) => refused(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
    }
}

fn refused(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({"error": error}))).into_response()
}

async fn jwks(State(signer): State<Arc<Signer>>) -> Json<JwkSet> {
    Json(signer.keys.clone())
}
