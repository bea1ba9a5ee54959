//! Clients of the official SDKs that find their way to a tool by their own OAuth code,
//! with nothing but the address of the multiplexer.

use std::net::TcpListener;

use ::http::Method;
use serde_json::{Map, Value, json};

use super::{
    people::{DESKTOP, SCOPE, log_in},
    realm::{CLIENT, Realm},
    server::Keycloak,
};
use crate::{
    peers::{
        conformance::Suite,
        oauth::{OAuthClient, Walked},
    },
    support::{
        Child, Door, Fleet, Multiplexer,
        http::{Http, With as _, request},
    },
};

/// For whom the tokens of the realm are meant.
const AUDIENCE: &str = "agent-services";
/// A page that may come in.
const PAGE: &str = "http://localhost:6274";

async fn realm() -> Realm {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;
    realm.open_to_people(AUDIENCE).await;
    realm
}

fn auth(realm: &Realm) -> Value {
    json!({
        "issuer": realm.issuer(), "audiences": [AUDIENCE], "requiredScopes": [SCOPE],
        "provider": "keycloak",
    })
}

/// A door that is locked with this realm, and a tool behind it.
async fn locked(realm: &Realm) -> Multiplexer {
    let fleet = Fleet::new()
        .top("auth", auth(realm))
        .stdio("child", Child::legacy())
        .flags(&["--log-level", "debug"]);
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let keys = |line: &str| line.contains("the keys of an issuer are there");
    mux.log.until("the keys", keys).await;
    mux
}

/// A walk to the tool, as whom and how `more` says.
async fn walk(client: OAuthClient, mux: &Multiplexer, more: Value) -> Walked {
    let mut task = json!({
        "url": mux.url(), "tool": "child__echo", "arguments": {"who": "Ann"},
    });
    for (name, value) in more.as_object().expect("an object") {
        task[name] = value.clone();
    }
    let walked = client.walk(task, log_in).await;
    for text in &walked.called {
        assert!(text.contains("Ann"), "{client:?}: {walked:?}");
    }
    // The first, and the one in place of that which had expired.
    assert_eq!(walked.tokens, 2, "{client:?}: {walked:?}");
    walked
}

/// What the person was asked to open: one page, with PKCE and for this resource.
fn asked(walked: &Walked, mux: &Multiplexer) -> Map<String, Value> {
    assert_eq!(walked.opened.len(), 1, "a refresh needs nobody: {walked:?}");
    let page: url::Url = walked.opened[0].parse().expect("a page");
    let asked: Map<_, _> = page
        .query_pairs()
        .map(|(name, value)| (name.into_owned(), Value::from(value.into_owned())))
        .collect();
    assert_eq!(asked["code_challenge_method"], "S256");
    assert_eq!(asked["resource"], mux.url().as_str());
    asked
}

#[tokio::test]
async fn clients_that_nobody_knows_register_and_a_person_logs_in() {
    let realm = realm().await;
    let mux = locked(&realm).await;
    for client in OAuthClient::STRICT {
        let walked = walk(client, &mux, json!({"grant": "code"})).await;
        let asked = asked(&walked, &mux);
        assert_ne!(asked["client_id"], DESKTOP);
        let scopes = asked["scope"].as_str().expect("scopes").split(' ');
        assert!(scopes.into_iter().any(|scope| scope == SCOPE), "{asked:?}");
    }
}

#[tokio::test]
async fn clients_that_the_realm_knows_need_not_register() {
    let realm = realm().await;
    let mux = locked(&realm).await;
    for client in OAuthClient::STRICT {
        let known = json!({"grant": "code", "clientId": DESKTOP});
        let walked = walk(client, &mux, known).await;
        assert_eq!(asked(&walked, &mux)["client_id"], DESKTOP);
    }
}

#[tokio::test]
async fn clients_act_for_themselves_where_they_have_a_secret() {
    let realm = realm().await;
    // The SDK for TypeScript sends a secret as it is, where RFC 6749, 2.3.1 wants it coded.
    let secret = "of-letters-and-1-number";
    realm.change(CLIENT, json!({"secret": secret})).await;
    let mux = locked(&realm).await;
    let known = json!({
        "grant": "credentials", "clientId": CLIENT, "clientSecret": secret,
        "issuer": realm.issuer(),
    });
    for client in OAuthClient::STRICT {
        let walked = walk(client, &mux, known.clone()).await;
        assert!(walked.opened.is_empty(), "{walked:?}");
    }
}

#[tokio::test]
async fn a_client_that_is_led_here_registers_through_the_door() {
    let realm = realm().await;
    let mux = locked(&realm).await;
    // The address is known from here on.
    let mut auth = auth(&realm);
    let origin = mux.at("");
    auth["resourceMetadata"] = json!({"authorizationServers": [origin]});
    let mut top = Map::new();
    top.insert("auth".to_owned(), auth);
    mux.configure_with(&[mux.process("child", Child::legacy())], &top);
    mux.until_generation(2).await;
    mux.all_ready().await;

    let walked = walk(OAuthClient::OldTypeScript, &mux, json!({"grant": "code"})).await;

    asked(&walked, &mux);
    let registered = |line: &str| line.contains("to be registered") && line.contains("201");
    mux.log.until("a registration", registered).await;
}

/// The suite has no scenario for a resource that is guarded, but for the authorization
/// server that it names, and for a walk there with this resource in mind.
#[tokio::test]
async fn the_authorization_server_that_clients_are_led_to_conforms() {
    let realm = realm().await;
    let mux = locked(&realm).await;
    let metadata = mux.at("/.well-known/oauth-protected-resource/mcp");
    let told = Http::default().get(&metadata).await.json().await;
    let issuer = told["authorization_servers"][0]
        .as_str()
        .expect("an issuer");
    let port = free_port();
    let redirect = format!("http://127.0.0.1:{port}/callback");
    realm.add_client("suite", &redirect).await;

    let suite = Suite::Next;
    let client = ("suite", port);
    let results = suite
        .authorization_server(issuer, client, &mux.url(), log_in)
        .await;

    assert_eq!(results.len(), 2, "{results:?}");
    for (scenario, checks) in &results {
        assert!(checks.passed() > 0, "{scenario}: {checks}");
        // This Keycloak knows of no client ID metadata documents.
        let known = "authorization-server-metadata-cimd";
        let mut failed = checks.0.iter().filter(|(_, counts)| counts.failed > 0);
        assert!(
            failed.all(|(check, _)| check == known),
            "{scenario}: {checks}"
        );
    }
}

/// A port that nobody has at the moment. The suite has to be told one.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[tokio::test]
async fn the_realm_is_found_where_the_first_specification_looks_for_it() {
    let realm = realm().await;
    let mux = locked(&realm).await;
    let http = Http::default();
    let own = format!("{}/.well-known/openid-configuration", realm.issuer());
    let mut own = http.get(&own).await.json().await;
    assert_ne!(own["scopes_supported"], json!([SCOPE]));
    own["scopes_supported"] = json!([SCOPE]);
    own["registration_endpoint"] = mux.at("/register").into();
    for path in ["", "/mcp", "/mcp/child"] {
        let here = mux.at(&format!("/.well-known/oauth-authorization-server{path}"));
        let here = http.get(&here).await;
        assert_eq!(here.header("access-control-allow-origin"), "*", "{path}");
        assert!(here.header("cache-control").contains("max-age"), "{path}");
        assert_eq!(here.json().await, own, "{path}");
    }

    let client = json!({
        "client_name": "a page", "redirect_uris": [format!("{PAGE}/callback")],
        "grant_types": ["authorization_code"], "token_endpoint_auth_method": "none",
    });
    let register = |client: &Value| {
        request(Method::POST, &mux.at("/register"), client.to_string())
            .with("content-type", "application/json")
            .with("origin", PAGE)
    };
    let registered = http.send(register(&client)).await;
    assert_eq!(registered.status, 201);
    assert_eq!(registered.header("access-control-allow-origin"), PAGE);
    assert_eq!(registered.header("cache-control"), "no-store");
    assert!(registered.json().await["client_id"].is_string());

    // What the realm refuses, the client is told in the realm's words.
    let elsewhere = json!({"redirect_uris": ["https://evil.example/callback"]});
    let refused = http.send(register(&elsewhere)).await;
    assert_eq!(refused.status, 403);
    let why = refused.json().await;
    let why = why["error_description"].as_str().expect("why");
    assert!(why.contains("Trusted Hosts"), "{why}");
}
