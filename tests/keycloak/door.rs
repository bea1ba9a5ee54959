//! The locked door with a real Keycloak behind it.

use ::http::{Method, Request};
use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    realm::{CLIENT, Realm},
    server::{Keycloak, SECRET},
};
use crate::support::{
    Door, Fleet, Multiplexer,
    client::{modern_post, with_modern_meta},
    eventually,
    http::{Http, With as _, request},
};

/// What stands in the tokens of the client.
pub const AUDIENCE: &str = "agent-services";

/// A door that is locked with this realm, and these keys of `auth` more.
pub async fn locked(realm: &Realm, more: Value) -> Multiplexer {
    let mut auth = json!({"issuer": realm.issuer(), "audiences": [AUDIENCE]});
    for (name, value) in more.as_object().expect("an object") {
        auth[name] = value.clone();
    }
    let fleet = Fleet::new()
        .top("auth", auth)
        .flags(&["--log-level", "debug"]);
    let mux = fleet.over(Door::Http).await;
    mux.log
        .until("the keys", |line| {
            line.contains("the keys of an issuer are there")
        })
        .await;
    mux
}

/// A request that anybody may send who is let in.
fn discover(url: &str, token: &str) -> Request<Bytes> {
    let params = with_modern_meta("{}");
    let frame =
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{params}}}"#);
    modern_post(url, frame).with("authorization", &format!("Bearer {token}"))
}

/// How a request with this token is answered.
pub async fn status(mux: &Multiplexer, token: &str) -> u16 {
    let reply = Http::default().send(discover(&mux.url(), token)).await;
    reply.status.as_u16()
}

/// A token of the client.
pub async fn mint(realm: &Realm) -> String {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
    ];
    realm.mint(&form).await.expect("a token")
}

/// The last reason that the log has for a refusal.
pub async fn refused(mux: &Multiplexer, token: &str, reason: &str) {
    assert_eq!(status(mux, token).await, 401);
    mux.log
        .until(reason, |line| {
            line.contains(&format!("reason=\"{reason}\""))
        })
        .await;
}

#[tokio::test]
async fn a_client_finds_its_way_from_the_challenge_to_a_call() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;
    let mux = locked(&realm, json!({})).await;
    let http = Http::default();

    let challenge = http
        .send(discover(&mux.url(), "").without("authorization"))
        .await;
    assert_eq!(challenge.status, 401);
    let metadata = challenge
        .header("www-authenticate")
        .split("resource_metadata=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("where the metadata is")
        .to_owned();
    let told = http.get(&metadata).await.json().await;
    assert_eq!(told["resource"], mux.url().as_str());
    let issuer = told["authorization_servers"][0]
        .as_str()
        .expect("an issuer");
    let document = format!("{issuer}/.well-known/openid-configuration");
    let document = http.get(&document).await.json().await;
    assert_eq!(document["token_endpoint"], realm.token_url().as_str());

    assert_eq!(status(&mux, &mint(&realm).await).await, 200);
}

#[tokio::test]
async fn tokens_of_another_realm_for_others_and_of_yesterday_are_refused() {
    let keycloak = Keycloak::shared().await;
    let realm = Realm::with_life(keycloak, 300).await;
    let other = Realm::with_life(keycloak, 300).await;
    let mux = locked(&realm, json!({})).await;
    let good = mint(&realm).await;
    assert_eq!(status(&mux, &good).await, 200);

    refused(&mux, &mint(&other).await, "issuer").await;
    let mapper = realm.remove_audience().await;
    refused(&mux, &mint(&realm).await, "audience").await;
    realm.restore_audience(mapper).await;
    assert_eq!(status(&mux, &mint(&realm).await).await, 200);

    let short = Realm::with_life(keycloak, 3).await;
    let mux = locked(&short, json!({"leeway": 0})).await;
    let token = mint(&short).await;
    eventually("the token has expired", async || {
        (status(&mux, &token).await == 401).then_some(())
    })
    .await;
    refused(&mux, &token, "expired").await;
}

#[tokio::test]
async fn a_realm_that_changes_its_key_loses_nobody_and_disowns_the_old_one() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;
    let mux = locked(&realm, json!({})).await;
    let before = mint(&realm).await;
    assert_eq!(status(&mux, &before).await, 200);

    realm.rotate_keys().await;

    let after = mint(&realm).await;
    let callers = (0..10).map(|_| status(&mux, &after));
    assert_eq!(join_all(callers).await, [200; 10]);
    refused(&mux, &before, "key").await;
}

#[tokio::test]
async fn a_token_that_was_revoked_is_out_where_the_realm_is_asked() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;
    let auth = json!({
        "audiences": [AUDIENCE],
        "introspection": {
            "endpoint": format!("{}/introspect", realm.token_url()),
            "clientId": CLIENT, "clientSecret": SECRET, "cache": 0,
        },
    });
    let fleet = Fleet::new()
        .top("auth", auth)
        .flags(&["--log-level", "debug"]);
    let mux = fleet.over(Door::Http).await;
    let token = mint(&realm).await;
    assert_eq!(status(&mux, &token).await, 200);

    revoke(&realm, &token).await;

    refused(&mux, &token, "inactive").await;
    assert_eq!(status(&mux, &mint(&realm).await).await, 200);
}

async fn revoke(realm: &Realm, token: &str) {
    let form = [
        ("token", token),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
    ];
    let mut body = url::form_urlencoded::Serializer::new(String::new());
    let body = body.extend_pairs(form).finish();
    let url = realm.token_url().replace("/token", "/revoke");
    let request =
        request(Method::POST, &url, body).with("content-type", "application/x-www-form-urlencoded");
    assert_eq!(Http::default().send(request).await.status, 200);
}
