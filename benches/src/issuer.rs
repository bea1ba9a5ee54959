//! An issuer of tokens: one key, good tokens and bad ones of several kinds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::web::{self, Error};

/// For whom tokens are meant.
pub const AUDIENCE: &str = "benches";

/// An issuer that runs until the end of the program.
pub struct Issuer {
    url: String,
    key: EcdsaKeyPair,
    fetches: Arc<AtomicUsize>,
}

impl Issuer {
    /// Starts one.
    pub async fn start() -> Result<Self, Error> {
        let key = new_key()?;
        let point = key.public_key().as_ref();
        let (x, y) = (encoded(&point[1..33]), encoded(&point[33..]));
        let key_of = json!({"kty": "EC", "crv": "P-256", "kid": "one", "x": x, "y": y});
        let keys = json!({"keys": [key_of]}).to_string();
        let fetches = Arc::<AtomicUsize>::default();
        let (listener, at) = web::listen().await?;
        let counted = Arc::clone(&fetches);
        tokio::spawn(web::serve(listener, move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            let keys = keys.clone();
            async move { Ok(web::json(keys.into())) }
        }));
        let url = format!("http://{at}");
        Ok(Self { url, key, fetches })
    }

    /// What locks a door for its tokens.
    pub fn lock(&self) -> Value {
        let keys = format!("{}/keys", self.url);
        json!({"issuer": self.url, "audiences": [AUDIENCE], "jwks": keys})
    }

    /// How often its keys were fetched.
    pub fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }

    /// A token that is good for an hour.
    pub fn good(&self) -> Result<String, Error> {
        signed(&self.key, &header("one"), &self.claims(3600)?)
    }

    /// Tokens that are not, a third of them made with some care.
    pub fn bad(&self) -> Result<Vec<String>, Error> {
        let forger = new_key()?;
        let claims = self.claims(3600)?;
        let mut tokens = Vec::new();
        for n in 0..20 {
            let id = json!({"n": n});
            let unsigned = encoded(json!({"alg": "none"}).to_string().as_bytes());
            tokens.extend([
                format!("opaque-{n}"),
                format!("a.b.{n}"),
                encoded(&[n; 600]),
                format!("{unsigned}.{}.", encoded(claims.to_string().as_bytes())),
                signed(&self.key, &header("one"), &self.claims(-3600)?)?,
                signed(&forger, &header("one"), &claims)?,
                signed(&forger, &header(&format!("key {n}")), &claims)?,
                signed(&forger, &header("one"), &id)?,
            ]);
        }
        Ok(tokens)
    }

    fn claims(&self, life: i64) -> Result<Value, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let end = i64::try_from(now)? + life;
        Ok(json!({
            "iss": self.url, "sub": "user", "azp": "client", "aud": AUDIENCE, "exp": end,
            "scope": "openid mcp", "realm_access": {"roles": ["a", "b", "c"]},
        }))
    }
}

fn header(key: &str) -> Value {
    json!({"alg": "ES256", "typ": "JWT", "kid": key})
}

fn new_key() -> Result<EcdsaKeyPair, Error> {
    Ok(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?)
}

fn signed(key: &EcdsaKeyPair, header: &Value, claims: &Value) -> Result<String, Error> {
    let part = |value: &Value| encoded(value.to_string().as_bytes());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = key.sign(&SystemRandom::new(), message.as_bytes())?;
    Ok(format!("{message}.{}", encoded(signature.as_ref())))
}

fn encoded(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
