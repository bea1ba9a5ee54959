//! What a realm needs for people and the clients they use; and a browser for them.

use std::collections::BTreeMap;

use regex::Regex;
use reqwest::{Client, Method, RequestBuilder, Response, redirect};
use serde_json::{Value, json};
use url::{Url, form_urlencoded::Serializer};

use super::realm::{CLIENT, Realm};

/// Whoever logs in.
pub const PERSON: (&str, &str) = ("ann", "a pass+word % of hers");
/// The scope that puts the audience into tokens.
pub const SCOPE: &str = "mcp";
/// A client that the realm knows already, and that has no secret.
pub const DESKTOP: &str = "desktop";

/// Where clients are sent back to, and where nobody listens: the browser stops there.
const REDIRECT: &str = "http://localhost:9/callback";
/// The path of it, which the conformance suite has too.
const CALLBACK: &str = "/callback";

impl Realm {
    /// Adds a person, a scope that brings this audience, and a client; and lets those of
    /// this machine register more.
    pub async fn open_to_people(&self, audience: &str) {
        let scope = json!({
            "name": SCOPE, "protocol": "openid-connect",
            "attributes": {"include.in.token.scope": "true"},
            "protocolMappers": [mapper("oidc-audience-mapper", json!({
                "included.custom.audience": audience,
                "access.token.claim": "true",
                "introspection.token.claim": "true",
            }))],
        });
        self.admin(Method::POST, "/client-scopes", scope).await;
        let scopes = self.admin(Method::GET, "/client-scopes", Value::Null).await;
        let id = id_where(&scopes, |scope| scope["name"] == SCOPE);
        let default = format!("/default-default-client-scopes/{id}");
        self.admin(Method::PUT, &default, json!({})).await;
        // That is for clients to come.
        let there = format!(
            "/clients/{}/default-client-scopes/{id}",
            self.id_of(CLIENT).await
        );
        self.admin(Method::PUT, &there, json!({})).await;
        let person = json!({
            "username": PERSON.0, "enabled": true, "emailVerified": true,
            "email": "ann@example.org", "firstName": "Ann", "lastName": "Example",
            "credentials": [{"type": "password", "value": PERSON.1, "temporary": false}],
        });
        self.admin(Method::POST, "/users", person).await;
        self.add_client(DESKTOP, REDIRECT).await;
        self.trust_this_machine().await;
    }

    /// Adds a client without a secret, that people are sent back to here.
    pub async fn add_client(&self, id: &str, redirect: &str) {
        let client = json!({
            "clientId": id, "publicClient": true, "redirectUris": [redirect],
            "directAccessGrantsEnabled": true,
            "attributes": {"pkce.code.challenge.method": "S256"},
        });
        self.admin(Method::POST, "/clients", client).await;
    }

    async fn trust_this_machine(&self) {
        let policies = "/components?type=org.keycloak.services.clientregistration.policy.ClientRegistrationPolicy";
        let policies = self.admin(Method::GET, policies, Value::Null).await;
        let is_it =
            |one: &Value| one["providerId"] == "trusted-hosts" && one["subType"] == "anonymous";
        let path = format!("/components/{}", id_where(&policies, is_it));
        let mut policy = self.admin(Method::GET, &path, Value::Null).await;
        policy["config"] = json!({
            "host-sending-registration-request-must-match": ["true"],
            "client-uris-must-match": ["true"],
            "trusted-hosts": ["127.0.0.1", "localhost"],
        });
        self.admin(Method::PUT, &path, policy).await;
    }

    /// Puts a claim into the tokens of a client that no issuer would.
    pub async fn add_claim(&self, client: &str, claim: &str, value: &str, kind: &str) {
        let mapper = mapper(
            "oidc-hardcoded-claim-mapper",
            json!({
                "claim.name": claim, "claim.value": value, "jsonType.label": kind,
                "access.token.claim": "true",
            }),
        );
        let path = format!(
            "/clients/{}/protocol-mappers/models",
            self.id_of(client).await
        );
        self.admin(Method::POST, &path, mapper).await;
    }

    /// Signs with a new key from now on. The ones before stay good.
    pub async fn add_key(&self, priority: u32) {
        let key = json!({
            "name": format!("key {priority}"),
            "providerId": "rsa-generated",
            "providerType": "org.keycloak.keys.KeyProvider",
            "config": {"priority": [priority.to_string()], "enabled": ["true"], "active": ["true"]},
        });
        self.admin(Method::POST, "/components", key).await;
    }

    /// All tokens that the person is given without a browser: access, refresh and ID.
    pub async fn tokens(&self) -> Value {
        let form = [
            ("grant_type", "password"),
            ("client_id", DESKTOP),
            ("username", PERSON.0),
            ("password", PERSON.1),
            ("scope", "openid"),
        ];
        self.form(&self.token_url(), &form).await
    }
}

fn mapper(kind: &str, config: Value) -> Value {
    json!({
        "name": kind, "protocol": "openid-connect", "protocolMapper": kind, "config": config,
    })
}

fn id_where(all: &Value, is_it: impl Fn(&Value) -> bool) -> String {
    let found = all.as_array().into_iter().flatten().find(|one| is_it(one));
    let id = found.and_then(|one| one["id"].as_str());
    id.expect("it is there").to_owned()
}

/// The person, in front of a browser that knows forms and cookies: opens a page of the
/// realm, logs in and allows what is asked. Gives where the browser is sent in the end.
pub async fn log_in(page: &str) -> String {
    let client = Client::builder().redirect(redirect::Policy::none());
    let mut browser = Browser {
        client: client.build().expect("a client"),
        cookies: BTreeMap::new(),
    };
    let mut shown = browser.open(page).await;
    for _ in 0..10 {
        let at = shown.url().clone();
        if shown.status().is_redirection() {
            let next = shown.headers()["location"].to_str().expect("an address");
            let next = at.join(next).expect("an address");
            if next.path() == CALLBACK {
                return next.into();
            }
            shown = browser.open(next.as_str()).await;
            continue;
        }
        let html = shown.text().await.expect("a page");
        let (form, fields) = filled(&html).unwrap_or_else(|| panic!("no form:\n{html}"));
        shown = browser
            .submit(&at.join(&form).expect("an address"), fields)
            .await;
    }
    panic!("the realm does not let go");
}

/// Where the form of a page goes, and what the person writes in it: who they are, or that
/// they allow it.
fn filled(html: &str) -> Option<(String, Vec<(String, String)>)> {
    let first = |pattern: &str| {
        let found = Regex::new(pattern).expect("a pattern").captures(html)?;
        Some(found[1].replace("&amp;", "&"))
    };
    let form = first(r#"<form[^>]*action="([^"]+)""#)?;
    let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let fields = match html.contains(r#"name="password""#) {
        true => vec![field("username", PERSON.0), field("password", PERSON.1)],
        false => {
            let code = first(r#"name="code" value="([^"]*)""#).unwrap_or_default();
            vec![field("accept", "Yes"), field("code", &code)]
        }
    };
    Some((form, fields))
}

struct Browser {
    client: Client,
    cookies: BTreeMap<String, String>,
}

impl Browser {
    async fn open(&mut self, url: &str) -> Response {
        self.send(self.client.get(url)).await
    }

    async fn submit(&mut self, url: &Url, fields: Vec<(String, String)>) -> Response {
        let body = Serializer::new(String::new()).extend_pairs(fields).finish();
        let form = "application/x-www-form-urlencoded";
        let request = self.client.post(url.as_str()).header("content-type", form);
        self.send(request.body(body)).await
    }

    async fn send(&mut self, request: RequestBuilder) -> Response {
        let cookies: Vec<_> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = request.header("cookie", cookies.join("; "));
        let answer = request.send().await.expect("Keycloak answers");
        for cookie in answer.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().expect("text");
            let pair = cookie.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').expect("a cookie");
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}
