//! What the tests of this folder share.

use std::{fs, ops::Deref, path::PathBuf};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::{
    Router,
    body::Body,
    http::{Response, header::CONTENT_TYPE},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::net::TcpListener;
use url::Url;

use crate::config::{Credential, ProviderTls, SecretSource, TokenPlace, TokenSettings};

/// A secret that must be seen nowhere but at the token endpoint.
pub(super) const SECRET: &str = "canary-secret";

pub(super) fn settings(token_url: &str) -> TokenSettings {
    TokenSettings {
        place: TokenPlace::Endpoint {
            token_url: token_url.parse().unwrap(),
            issuer: None,
        },
        client_id: "mcp-multiplexer".into(),
        credential: Credential::Basic(SecretSource::Value("OIDC_CLIENT_SECRET", SECRET.into())),
        audience: Some("agent-services".into()),
        scope: None,
        resource: None,
        tls: tls(),
    }
}

pub(super) fn tls() -> ProviderTls {
    ProviderTls {
        verify: true,
        ca_file: None,
    }
}

/// A private key in PEM.
pub(super) fn testing_key() -> String {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let der = key.to_pkcs8v1().unwrap();
    let body = BASE64_STANDARD.encode(der.as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

/// Serves `router` on a free port for as long as the test runs.
pub(super) async fn serve(router: Router) -> Url {
    serve_at(|_| router).await
}

/// The same, for a router that must know where it is served (without a slash at the end).
pub(super) async fn serve_at(router: impl FnOnce(&str) -> Router) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let router = router(&base);
    tokio::spawn(async move { axum::serve(listener, router).await });
    base.parse().unwrap()
}

pub(super) fn json_answer(status: u16, body: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header(CONTENT_TYPE, "application/json; charset=utf-8")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

/// A file that goes with its value.
pub(super) struct TempFile(PathBuf);

pub(super) fn temp_file(content: &str) -> TempFile {
    let path = std::env::temp_dir().join(format!("identity-{}", uuid::Uuid::new_v4()));
    fs::write(&path, content).unwrap();
    TempFile(path)
}

impl Deref for TempFile {
    type Target = PathBuf;

    fn deref(&self) -> &PathBuf {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
