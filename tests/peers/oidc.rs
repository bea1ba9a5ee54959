//! The OpenID provider of npm, and servers that check its tokens.

use std::path::Path;

use serde_json::{Value, json};

use super::{Server, jwt_server, node::node};

/// How long its tokens live: as short as a token may be that is refreshed in time.
const SECONDS: u32 = 5;

/// The provider, which ends with this value.
pub struct OidcProvider(Server);

impl OidcProvider {
    /// One that knows these clients.
    pub async fn start(clients: &[Value]) -> Self {
        let mut provider = node("oidc_provider.mjs");
        provider.arg(SECONDS.to_string());
        provider.args(clients.iter().map(Value::to_string));
        Self(Server::start(&mut provider).await)
    }

    /// What stands in `OIDC_ISSUER`.
    pub fn issuer(&self) -> &str {
        &self.0.origin
    }

    /// A server that lets nobody in without a token of this provider for this resource.
    pub async fn server(&self, resource: &str) -> Server {
        let verifier = json!({
            "jwks_uri": format!("{}/jwks", self.issuer()),
            "issuer": self.issuer(),
            "audience": resource,
        });
        Server::start(&mut jwt_server(&verifier)).await
    }

    /// The tokens it has granted, in their order.
    pub fn granted(&self) -> Vec<Value> {
        self.told("granted")
    }

    /// The requests for a token that it has refused.
    pub fn refused(&self) -> Vec<Value> {
        self.told("refused")
    }

    fn told(&self, what: &str) -> Vec<Value> {
        let text = self.0.out.text();
        let told = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        told.filter(|told: &Value| told[what].is_string()).collect()
    }
}

/// A client that is known by its secret, which it proves by this method.
pub fn with_secret(id: &str, secret: &str, method: &str) -> Value {
    json!({
        "client_id": id,
        "client_secret": secret,
        "token_endpoint_auth_method": method,
        "scope": "tools",
    })
}

/// A client that is known by the public half of the key in this file.
pub fn with_key(id: &str, key: &Path, key_id: Option<&str>, algorithm: &str) -> Value {
    json!({
        "client_id": id,
        "key": key,
        "kid": key_id,
        "token_endpoint_auth_method": "private_key_jwt",
        "token_endpoint_auth_signing_alg": algorithm,
        "scope": "tools",
    })
}
