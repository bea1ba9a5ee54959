//! An issuer of the test's own: it has keys, publishes them, answers questions about
//! tokens, and can be out of order.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaEncoding,
        RsaKeyPair,
    },
};
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// For whom its tokens are meant.
pub const AUDIENCE: &str = "tools";
/// As whom it may be asked about tokens.
pub const ASKER: (&str, &str) = ("mux", "s3cret:/ü");

/// A key that tokens are signed with.
#[derive(Clone)]
pub struct Key {
    pub id: &'static str,
    pair: Arc<Pair>,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    /// For ES256.
    pub fn ec(id: &'static str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let pair = Arc::new(Pair::Ec(pair));
        Self { id, pair }
    }

    /// For RS256.
    pub fn rsa(id: &'static str) -> Self {
        let pair = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let pair = Arc::new(Pair::Rsa(pair));
        Self { id, pair }
    }

    /// The word for what it signs with.
    pub fn algorithm(&self) -> &'static str {
        match &*self.pair {
            Pair::Ec(_) => "ES256",
            Pair::Rsa(_) => "RS256",
        }
    }

    /// The public half.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &*self.pair {
            Pair::Ec(pair) => {
                // Uncompressed: 4, x, y.
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "x": encoded(&point[1..33]), "y": encoded(&point[33..])})
            }
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                let part = |bytes: &[u8]| encoded(bytes);
                json!({
                    "kty": "RSA",
                    "n": part(public.modulus().big_endian_without_leading_zero()),
                    "e": part(public.exponent().big_endian_without_leading_zero()),
                })
            }
        };
        jwk["kid"] = self.id.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// The public half as people keep it in files, which some take for a shared secret.
    pub fn public_der(&self) -> Vec<u8> {
        match &*self.pair {
            Pair::Ec(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    fn sign(&self, message: &str) -> Vec<u8> {
        let random = SystemRandom::new();
        match &*self.pair {
            Pair::Ec(pair) => {
                let signature = pair.sign(&random, message.as_bytes());
                signature.expect("a signature").as_ref().to_vec()
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding: &dyn RsaEncoding = &RSA_PKCS1_SHA256;
                pair.sign(padding, &random, message.as_bytes(), &mut signature)
                    .expect("a signature");
                signature
            }
        }
    }

    /// A token with this header and these claims, whatever they are.
    pub fn signed(&self, header: &Value, claims: &Value) -> String {
        self.signed_text(&header.to_string(), &claims.to_string())
    }

    /// The same of texts, which need not be JSON.
    pub fn signed_text(&self, header: &str, claims: &str) -> String {
        let message = format!(
            "{}.{}",
            encoded(header.as_bytes()),
            encoded(claims.as_bytes())
        );
        let signature = encoded(&self.sign(&message));
        format!("{message}.{signature}")
    }

    /// The header that its tokens have.
    pub fn header(&self) -> Value {
        json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.id})
    }
}

/// A token signed with a shared secret.
pub fn hmac_signed(secret: &[u8], header: &Value, claims: &Value) -> String {
    let part = |value: &Value| encoded(value.to_string().as_bytes());
    let message = format!("{}.{}", part(header), part(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let signature = hmac::sign(&key, message.as_bytes());
    format!("{message}.{}", encoded(signature.as_ref()))
}

/// Base64 as tokens have it.
pub fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since 1970.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("a clock").as_secs()
}

/// An issuer that runs for as long as this is held.
pub struct Issuer {
    office: Arc<Office>,
    port: u16,
    serving: JoinHandle<()>,
}

#[derive(Default)]
struct Office {
    state: Mutex<Desk>,
    /// Whether questions wait for their answers.
    thinking: watch::Sender<bool>,
}

#[derive(Default)]
struct Desk {
    keys: Vec<Key>,
    down: bool,
    key_fetches: usize,
    questions: usize,
    /// How long it thinks about a question, how many it thinks about, and the most there
    /// were at a time.
    slow: Duration,
    open: usize,
    most_open: usize,
    answers: HashMap<String, Value>,
    registrations: Vec<Value>,
}

impl Issuer {
    /// One that publishes these keys.
    pub async fn with<'k>(keys: impl IntoIterator<Item = &'k Key>) -> Self {
        let issuer = Self::silent().await;
        issuer.publish(keys);
        issuer.be_down(false);
        issuer
    }

    /// One that is out of order from the start.
    pub async fn silent() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let office = Arc::<Office>::default();
        office.desk().down = true;
        let routes = Router::new()
            .route("/.well-known/openid-configuration", get(introduce))
            .route("/jwks", get(hand_out_keys))
            .route("/introspect", post(judge))
            .route("/register", post(register))
            .with_state((office.clone(), port));
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("the issuer");
        });
        Self {
            office,
            port,
            serving,
        }
    }

    /// Its name, and where its documents are.
    pub fn name(&self) -> String {
        name(self.port)
    }

    /// One of its addresses.
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.name())
    }

    /// From now on these are its keys.
    pub fn publish<'k>(&self, keys: impl IntoIterator<Item = &'k Key>) {
        self.office.desk().keys = keys.into_iter().cloned().collect();
    }

    /// Whether it answers everything with 503.
    pub fn be_down(&self, down: bool) {
        self.office.desk().down = down;
    }

    /// What it says of this token when it is asked.
    pub fn says(&self, token: &str, answer: Value) {
        self.office.desk().answers.insert(token.to_owned(), answer);
    }

    /// How often its keys were fetched.
    pub fn key_fetches(&self) -> usize {
        self.office.desk().key_fetches
    }

    /// How often it was asked about tokens.
    pub fn questions(&self) -> usize {
        self.office.desk().questions
    }

    /// From now on it thinks so long about each question.
    pub fn be_slow(&self, slow: Duration) {
        self.office.desk().slow = slow;
    }

    /// Whether it thinks about each question until it no longer does.
    pub fn think(&self, thinking: bool) {
        self.office.thinking.send_replace(thinking);
    }

    /// The most questions that were open at a time.
    pub fn most_questions_open(&self) -> usize {
        self.office.desk().most_open
    }

    /// What was to be registered, with the headers it came with.
    pub fn registrations(&self) -> Vec<Value> {
        self.office.desk().registrations.clone()
    }

    /// Claims that are good for an hour.
    pub fn claims(&self) -> Value {
        json!({
            "iss": self.name(), "sub": "user", "azp": "client", "aud": AUDIENCE,
            "iat": now() - 60, "exp": now() + 3600, "scope": "openid mcp",
        })
    }

    /// A good token of this key.
    pub fn token(&self, key: &Key) -> String {
        key.signed(&key.header(), &self.claims())
    }

    /// The same with other claims; `null` takes one out.
    pub fn token_with(&self, key: &Key, changes: Value) -> String {
        key.signed(&key.header(), &changed(self.claims(), changes))
    }
}

/// These members with others in their place.
pub fn changed(mut value: Value, changes: Value) -> Value {
    for (name, change) in changes.as_object().expect("an object") {
        if change.is_null() {
            value.as_object_mut().expect("an object").remove(name);
        } else {
            value[name] = change.clone();
        }
    }
    value
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Office {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Shared = State<(Arc<Office>, u16)>;

fn name(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn out_of_order() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, "out of order").into_response()
}

async fn introduce(State((office, port)): Shared) -> Response {
    if office.desk().down {
        return out_of_order();
    }
    let name = name(port);
    let document = json!({
        "issuer": name,
        "jwks_uri": format!("{name}/jwks"),
        "registration_endpoint": format!("{name}/register"),
    });
    axum::Json(document).into_response()
}

async fn register(State((office, _)): Shared, headers: HeaderMap, body: String) -> Response {
    let mut desk = office.desk();
    if desk.down {
        return out_of_order();
    }
    let header = |name: &str| headers.get(name).map(|value| value.to_str().expect("text"));
    desk.registrations.push(json!({
        "registration": serde_json::from_str::<Value>(&body).expect("JSON"),
        "authorization": header("authorization"),
        "cookie": header("cookie"),
    }));
    (StatusCode::CREATED, axum::Json(json!({"client_id": "c"}))).into_response()
}

async fn hand_out_keys(State((office, _)): Shared) -> Response {
    let mut desk = office.desk();
    desk.key_fetches += 1;
    if desk.down {
        return out_of_order();
    }
    let keys: Vec<_> = desk.keys.iter().map(Key::jwk).collect();
    let head = [(header::CACHE_CONTROL, "no-cache")];
    (head, axum::Json(json!({"keys": keys}))).into_response()
}

async fn judge(State((office, _)): Shared, headers: HeaderMap, form: String) -> Response {
    let slow = {
        let mut desk = office.desk();
        desk.questions += 1;
        desk.open += 1;
        desk.most_open = desk.most_open.max(desk.open);
        desk.slow
    };
    if !slow.is_zero() {
        tokio::time::sleep(slow).await;
    }
    let mut thinking = office.thinking.subscribe();
    let thought = thinking.wait_for(|thinking| !thinking).await;
    drop(thought.expect("the office is there"));
    let mut desk = office.desk();
    desk.open -= 1;
    if desk.down {
        return out_of_order();
    }
    let coded = |text| url::form_urlencoded::byte_serialize(text).collect::<String>();
    let pair = format!(
        "{}:{}",
        coded(ASKER.0.as_bytes()),
        coded(ASKER.1.as_bytes())
    );
    let wanted = format!("Basic {}", BASE64_STANDARD.encode(pair));
    let given = headers.get(header::AUTHORIZATION);
    if given.is_none_or(|given| given != wanted.as_str()) {
        let error = json!({"error": "invalid_client"});
        return (StatusCode::UNAUTHORIZED, axum::Json(error)).into_response();
    }
    let token = url::form_urlencoded::parse(form.as_bytes())
        .find_map(|(name, value)| (name == "token").then(|| value.into_owned()));
    let known = token.and_then(|token| desk.answers.get(&token).cloned());
    axum::Json(known.unwrap_or_else(|| json!({"active": false}))).into_response()
}
