//! An identity provider of the test's own: it hands out tokens and notes who asked.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use super::wait::eventually;

/// What the provider does with whoever asks it for a token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Hands one out.
    Generous,
    /// Keeps them waiting until the mood changes.
    Silent,
    /// Refuses, and repeats in its answer what it was asked, as some do.
    Indiscreet,
    /// Answers with this status, and this JSON.
    Says(u16, &'static str),
}

/// One request for a token.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The header, as it came.
    pub authorization: String,
    /// The header, as it came.
    pub content_type: String,
    /// The form, as it came.
    pub body: String,
}

/// A token endpoint that runs for as long as this is held.
pub struct Provider {
    desk: Arc<Desk>,
    port: u16,
    serving: JoinHandle<()>,
}

struct Desk {
    /// What every token begins with.
    stem: String,
    expires_in: AtomicU64,
    /// As what it shows itself in its discovery document.
    issuer: Mutex<String>,
    /// Its token endpoint.
    token_url: String,
    mood: watch::Sender<Mood>,
    asked: Mutex<Vec<Asked>>,
    minted: AtomicU64,
}

impl Provider {
    /// One whose tokens live for an hour: none is refreshed while a test runs.
    pub async fn start() -> Self {
        Self::with("token", 3600).await
    }

    /// One whose tokens begin with `stem` and live for this many seconds.
    pub async fn with(stem: &str, expires_in: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let desk = Arc::new(Desk {
            stem: stem.to_owned(),
            expires_in: AtomicU64::new(expires_in),
            issuer: Mutex::new(issuer(port)),
            token_url: token_url(port),
            mood: watch::Sender::new(Mood::Generous),
            asked: Mutex::default(),
            minted: AtomicU64::new(0),
        });
        let routes = Router::new()
            .route("/token", post(hand_out))
            .route(
                "/realms/main/.well-known/openid-configuration",
                get(introduce),
            )
            // As Keycloak has it.
            .fallback(async || {
                let error = json!({"error": "Realm does not exist"});
                (StatusCode::NOT_FOUND, axum::Json(error))
            })
            .with_state(desk.clone());
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("the provider");
        });
        Self {
            desk,
            port,
            serving,
        }
    }

    /// What stands in `OIDC_TOKEN_URL`.
    pub fn token_url(&self) -> String {
        token_url(self.port)
    }

    /// What stands in `OIDC_ISSUER`.
    pub fn issuer(&self) -> String {
        issuer(self.port)
    }

    /// From now on its discovery document has this for the issuer.
    pub fn call_itself(&self, issuer: &str) {
        let mut own = self.desk.issuer.lock();
        issuer.clone_into(own.as_mut().expect("nobody has panicked"));
    }

    /// How many tokens it has given.
    pub fn minted(&self) -> usize {
        usize::try_from(self.desk.minted.load(Ordering::Relaxed)).expect("a few")
    }

    /// From now on its tokens live for this many seconds.
    pub fn live_for(&self, seconds: u64) {
        self.desk.expires_in.store(seconds, Ordering::Relaxed);
    }

    /// What it does from now on, also with those who are waiting.
    pub fn be(&self, mood: Mood) {
        self.desk.mood.send_replace(mood);
    }

    /// Everybody who has asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        let asked = self.desk.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has been asked this often.
    pub async fn until_asked(&self, times: usize) {
        eventually(&format!("request {times} for a token"), async || {
            (self.asked().len() >= times).then_some(())
        })
        .await;
    }

    /// The `n`th token it hands out, from 1.
    pub fn token(&self, n: u64) -> String {
        self.desk.token(n)
    }

    /// The hash of the header that bears its `n`th token.
    pub fn bearer(&self, n: u64) -> String {
        fingerprint(&format!("Bearer {}", self.token(n)))
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Desk {
    fn token(&self, n: u64) -> String {
        format!("{}-{n}", self.stem)
    }
}

fn token_url(port: u16) -> String {
    format!("http://127.0.0.1:{port}/token")
}

fn issuer(port: u16) -> String {
    format!("http://127.0.0.1:{port}/realms/main")
}

/// A JWT that says this, but for the end of its signature: what tokens may begin with.
pub fn jwt(claims: &Value) -> String {
    let part = |json: &Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    format!("{}.{}.sig", part(&json!({"alg": "RS256"})), part(claims))
}

async fn introduce(State(desk): State<Arc<Desk>>) -> axum::Json<Value> {
    let issuer = desk.issuer.lock().expect("nobody has panicked").clone();
    axum::Json(json!({"issuer": issuer, "token_endpoint": desk.token_url}))
}

async fn hand_out(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: String) -> Response {
    let text = |name: header::HeaderName| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let asked = Asked {
        authorization: text(header::AUTHORIZATION),
        content_type: text(header::CONTENT_TYPE),
        body,
    };
    let repeated = format!("{asked:?}");
    desk.asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(asked);
    let mut moods = desk.mood.subscribe();
    let mood = *moods
        .wait_for(|mood| *mood != Mood::Silent)
        .await
        .expect("the desk holds the sender");
    let (status, answer) = match mood {
        Mood::Indiscreet => {
            let error = json!({"error": "invalid_client", "error_description": repeated});
            (StatusCode::UNAUTHORIZED, error.to_string())
        }
        Mood::Says(status, answer) => {
            let status = StatusCode::from_u16(status).expect("a status");
            (status, answer.to_owned())
        }
        Mood::Generous | Mood::Silent => {
            let number = desk.minted.fetch_add(1, Ordering::Relaxed) + 1;
            let token = json!({
                "access_token": desk.token(number),
                "token_type": "Bearer",
                "expires_in": desk.expires_in.load(Ordering::Relaxed),
            });
            (StatusCode::OK, token.to_string())
        }
    };
    let json = [(header::CONTENT_TYPE, "application/json")];
    (status, json, answer).into_response()
}

/// The SHA-256 of a header's value in hex, as the tool `identity` and the journal of
/// a child have it.
pub fn fingerprint(value: &str) -> String {
    let digest = Sha256::digest(value);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
