//! One realm, and what its administrator does with it.

use std::{
    fs,
    sync::atomic::{AtomicU32, Ordering},
};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use super::server::{Keycloak, SECRET, admin_password, realm_file};

/// The client of the realm that the multiplexer is.
pub const CLIENT: &str = "mcp-multiplexer";

/// How long a token is good: Keycloak writes `exp` in whole seconds, so that a token
/// is good for up to one second less, and it is renewed at up to 85 % of this.
const LIFE_SECONDS: u64 = 7;

/// A realm of one test.
pub struct Realm {
    http: Client,
    origin: String,
    name: String,
    life_seconds: u64,
}

impl Realm {
    /// One like that of `deploy/keycloak`, but for its name and the life of its tokens.
    pub async fn create(keycloak: &Keycloak) -> Self {
        Self::with_life(keycloak, LIFE_SECONDS).await
    }

    /// The same with tokens that are good for so long.
    pub async fn with_life(keycloak: &Keycloak, life_seconds: u64) -> Self {
        static CREATED: AtomicU32 = AtomicU32::new(0);
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        let mut realm = Self::named(keycloak, &format!("agents-{number}"));
        realm.life_seconds = life_seconds;
        realm.create_again().await;
        realm
    }

    /// The one that the server has imported when it started.
    pub async fn imported(keycloak: &Keycloak) -> Self {
        let realm = Self::named(keycloak, "agents");
        let short = json!({"accessTokenLifespan": LIFE_SECONDS});
        realm.admin(Method::PUT, "", short).await;
        realm
    }

    /// One that somebody else makes.
    pub fn named(keycloak: &Keycloak, name: &str) -> Self {
        Self {
            http: Client::new(),
            origin: keycloak.origin(),
            name: name.to_owned(),
            life_seconds: LIFE_SECONDS,
        }
    }

    /// Creates it, also when it was deleted.
    pub async fn create_again(&self) {
        let text = fs::read_to_string(realm_file()).expect("the realm's file");
        let mut realm: Value = serde_json::from_str(&text).expect("the realm's file is JSON");
        realm["realm"] = self.name.as_str().into();
        realm["accessTokenLifespan"] = self.life_seconds.into();
        // Placeholders are for imports when the server starts.
        realm["clients"][0]["secret"] = SECRET.into();
        self.ask(Method::POST, "/admin/realms", realm).await;
    }

    /// Removes it, its keys and its clients.
    pub async fn delete(&self) {
        self.admin(Method::DELETE, "", Value::Null).await;
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What stands in `OIDC_ISSUER`, and in tokens as `iss`.
    pub fn issuer(&self) -> String {
        format!("{}/realms/{}", self.origin, self.name)
    }

    /// Where its keys are.
    pub fn keys_url(&self) -> String {
        format!("{}/protocol/openid-connect/certs", self.issuer())
    }

    /// Where tokens are minted.
    pub fn token_url(&self) -> String {
        format!("{}/protocol/openid-connect/token", self.issuer())
    }

    /// Asks for a token with this form.
    pub async fn mint(&self, form: &[(&str, &str)]) -> Result<String, Value> {
        let answer: Value = self.form(&self.token_url(), form).await;
        let token = answer["access_token"].as_str().map(str::to_owned);
        token.ok_or(answer)
    }

    /// Who the client is as a user: the `sub` of its tokens.
    pub async fn subject(&self) -> String {
        let path = format!("/clients/{}/service-account-user", self.id_of(CLIENT).await);
        let user = self.admin(Method::GET, &path, Value::Null).await;
        user["id"].as_str().expect("a user's id").to_owned()
    }

    /// Removes a client.
    pub async fn remove(&self, client: &str) {
        let path = format!("/clients/{}", self.id_of(client).await);
        self.admin(Method::DELETE, &path, Value::Null).await;
    }

    /// Changes some of what is known of a client.
    pub async fn change(&self, client: &str, changes: Value) {
        let path = format!("/clients/{}", self.id_of(client).await);
        let mut known = self.admin(Method::GET, &path, Value::Null).await;
        merge(&mut known, changes);
        self.admin(Method::PUT, &path, known).await;
    }

    /// Gives the client a new secret, which is told here only.
    pub async fn new_secret(&self) -> String {
        let path = format!("/clients/{}/client-secret", self.id_of(CLIENT).await);
        let secret = self.admin(Method::POST, &path, Value::Null).await;
        secret["value"].as_str().expect("a secret").to_owned()
    }

    /// Takes the audience out of the tokens to come; gives what puts it back.
    pub async fn remove_audience(&self) -> Value {
        let path = self.mappers().await;
        let mappers = self.admin(Method::GET, &path, Value::Null).await;
        let mut mapper = mappers[0].clone();
        assert_eq!(mapper["protocolMapper"], "oidc-audience-mapper");
        let id = mapper["id"].take();
        let path = format!("{path}/{}", id.as_str().expect("an id"));
        self.admin(Method::DELETE, &path, Value::Null).await;
        mapper
    }

    /// Puts the audience back.
    pub async fn restore_audience(&self, mapper: Value) {
        let path = self.mappers().await;
        self.admin(Method::POST, &path, mapper).await;
    }

    /// Has the client's tokens tell its roles in the realm, as most clients' do.
    pub async fn tell_roles(&self) {
        let all = json!({"fullScopeAllowed": true});
        self.change(CLIENT, all).await;
        let path = self.mappers().await;
        let mapper = json!({
            "name": "roles", "protocol": "openid-connect",
            "protocolMapper": "oidc-usermodel-realm-role-mapper",
            "config": {
                "claim.name": "realm_access.roles", "jsonType.label": "String",
                "multivalued": "true", "access.token.claim": "true",
            },
        });
        self.admin(Method::POST, &path, mapper).await;
    }

    async fn mappers(&self) -> String {
        format!(
            "/clients/{}/protocol-mappers/models",
            self.id_of(CLIENT).await
        )
    }

    /// Signs with a new key from now on, and disowns the one it signed with before.
    pub async fn rotate_keys(&self) {
        let provider = "org.keycloak.keys.KeyProvider";
        let of_keys = format!("/components?type={provider}");
        let components = self.admin(Method::GET, &of_keys, Value::Null).await;
        let mut old = components
            .as_array()
            .and_then(|all| all.iter().find(|one| one["providerId"] == "rsa-generated"))
            .expect("a key to sign with")
            .clone();
        let new = json!({
            "name": "the next key",
            "providerId": "rsa-generated",
            "providerType": provider,
            "config": {"priority": ["200"], "enabled": ["true"], "active": ["true"]},
        });
        self.admin(Method::POST, "/components", new).await;
        old["config"]["enabled"] = json!(["false"]);
        old["config"]["active"] = json!(["false"]);
        let path = format!("/components/{}", old["id"].as_str().expect("an id"));
        self.admin(Method::PUT, &path, old).await;
    }

    /// How many tokens it has minted, and how many it has refused, as its events tell.
    pub async fn logins(&self) -> (usize, usize) {
        let count = async |kind: &str| {
            let path = format!("/events?type={kind}&max=10000");
            let events = self.admin(Method::GET, &path, Value::Null).await;
            events.as_array().map_or(0, Vec::len)
        };
        (
            count("CLIENT_LOGIN").await,
            count("CLIENT_LOGIN_ERROR").await,
        )
    }

    /// Lets the client mint for users who say their password, and exchange their tokens.
    pub async fn works_for_users(&self) {
        let attributes = json!({"standard.token.exchange.enabled": "true"});
        let changes = json!({"directAccessGrantsEnabled": true, "attributes": attributes});
        self.change(CLIENT, changes).await;
    }

    /// Adds a user; gives what stands in its tokens as `sub`.
    pub async fn add_user(&self, name: &str, password: &str) -> String {
        let user = json!({
            "username": name, "enabled": true, "emailVerified": true,
            "email": format!("{name}@example.org"), "firstName": name, "lastName": name,
            "credentials": [{"type": "password", "value": password, "temporary": false}],
        });
        self.admin(Method::POST, "/users", user).await;
        let path = format!("/users?username={name}&exact=true");
        let found = self.admin(Method::GET, &path, Value::Null).await;
        found[0]["id"].as_str().expect("an id").to_owned()
    }

    /// Adds a client of this name, and a scope of this name with which the
    /// multiplexer's client may ask for tokens in its audience.
    pub async fn add_audience(&self, name: &str) {
        let client = json!({
            "clientId": name, "enabled": true, "publicClient": false, "standardFlowEnabled": false,
        });
        self.admin(Method::POST, "/clients", client).await;
        let scope = json!({
            "name": name, "protocol": "openid-connect",
            "attributes": {"include.in.token.scope": "true"},
            "protocolMappers": [{
                "name": "audience", "protocol": "openid-connect",
                "protocolMapper": "oidc-audience-mapper",
                "config": {"included.client.audience": name, "access.token.claim": "true"},
            }],
        });
        self.admin(Method::POST, "/client-scopes", scope).await;
        let scopes = self.admin(Method::GET, "/client-scopes", Value::Null).await;
        let mut scopes = scopes.as_array().into_iter().flatten();
        let scope = scopes.find(|scope| scope["name"] == name);
        let scope = scope.and_then(|scope| scope["id"].as_str());
        let path = format!(
            "/clients/{}/optional-client-scopes/{}",
            self.id_of(CLIENT).await,
            scope.expect("the scope")
        );
        self.admin(Method::PUT, &path, Value::Null).await;
    }

    pub(super) async fn id_of(&self, client: &str) -> String {
        let path = format!("/clients?clientId={client}");
        let found = self.admin(Method::GET, &path, Value::Null).await;
        found[0]["id"].as_str().expect("a client's id").to_owned()
    }

    /// Asks the admin API about this realm.
    pub async fn admin(&self, method: Method, path: &str, body: Value) -> Value {
        let path = format!("/admin/realms/{}{path}", self.name);
        self.ask(method, &path, body).await
    }

    async fn ask(&self, method: Method, path: &str, body: Value) -> Value {
        let token_url = format!(
            "{}/realms/master/protocol/openid-connect/token",
            self.origin
        );
        let form = [
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", "admin"),
            ("password", &admin_password()),
        ];
        let admin = self.form(&token_url, &form).await;
        let token = admin["access_token"]
            .as_str()
            .expect("an administrator's token");
        let what = format!("{method} {path}");
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.origin))
            .bearer_auth(token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("Keycloak answers");
        let status = answer.status();
        let text = answer.text().await.expect("an answer");
        assert!(status.is_success(), "{what}: {status} {text}");
        if status == StatusCode::CREATED || text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what}: {error}: {text}"))
    }

    pub(super) async fn form(&self, url: &str, form: &[(&str, &str)]) -> Value {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        let body = body.extend_pairs(form).finish();
        let request = self
            .http
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let answer = request.send().await.expect("Keycloak answers");
        answer.json().await.expect("JSON")
    }
}

/// Puts the members of `changes` into `known`, those of its objects one by one.
fn merge(known: &mut Value, changes: Value) {
    match (known, changes) {
        (Value::Object(known), Value::Object(changes)) => {
            for (key, value) in changes {
                merge(known.entry(key).or_insert(Value::Null), value);
            }
        }
        (known, changes) => *known = changes,
    }
}
