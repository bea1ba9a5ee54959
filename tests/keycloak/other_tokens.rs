//! Tokens of a real Keycloak that are good for something, and not for the door; and keys
//! that change while callers come in.

use serde_json::{Value, json};
use tokio::sync::watch;

use super::{
    door::{AUDIENCE, locked, mint, refused, status},
    people::DESKTOP,
    realm::{CLIENT, Realm},
    server::{Keycloak, SECRET},
};
use crate::support::{Door, Fleet, Multiplexer};

/// A door that asks the realm about tokens, and takes those of this issuer.
async fn asking(realm: &Realm, issuer: &str) -> Multiplexer {
    let auth = json!({
        "issuer": issuer,
        "audiences": [AUDIENCE, DESKTOP, realm.issuer()],
        "introspection": {
            "endpoint": format!("{}/introspect", realm.token_url()),
            "clientId": CLIENT, "clientSecret": SECRET, "cache": 0,
        },
    });
    let fleet = Fleet::new()
        .top("auth", auth)
        .flags(&["--log-level", "debug"]);
    fleet.over(Door::Http).await
}

fn named<'a>(tokens: &'a Value, name: &str) -> &'a str {
    let token = tokens[name].as_str();
    token.unwrap_or_else(|| panic!("no {name}: {tokens}"))
}

#[tokio::test]
async fn what_a_realm_gives_beside_access_tokens_opens_nothing() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;
    realm.open_to_people(AUDIENCE).await;
    let tokens = realm.tokens().await;

    // As wide as can be: what is left is that they are no access tokens.
    let audiences = json!([AUDIENCE, DESKTOP, realm.issuer()]);
    let mux = locked(&realm, json!({"audiences": audiences})).await;
    assert_eq!(status(&mux, named(&tokens, "access_token")).await, 200);
    refused(&mux, named(&tokens, "id_token"), "claims").await;
    refused(&mux, named(&tokens, "refresh_token"), "algorithm").await;

    // The realm says of a refresh token that it is active.
    let mux = asking(&realm, &realm.issuer()).await;
    assert_eq!(status(&mux, named(&tokens, "access_token")).await, 200);
    refused(&mux, named(&tokens, "refresh_token"), "claims").await;
}

#[tokio::test]
async fn what_a_realm_says_of_a_token_of_another_issuer_counts_for_nothing() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;
    let token = mint(&realm).await;
    let mux = asking(&realm, &realm.issuer()).await;
    assert_eq!(status(&mux, &token).await, 200);

    let mux = asking(&realm, "https://id.example/realms/other").await;

    refused(&mux, &token, "issuer").await;
}

#[tokio::test]
async fn a_token_that_is_not_valid_yet_waits_outside() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;
    let mux = locked(&realm, json!({})).await;
    assert_eq!(status(&mux, &mint(&realm).await).await, 200);

    // The year 2100.
    realm.add_claim(CLIENT, "nbf", "4102444800", "long").await;

    refused(&mux, &mint(&realm).await, "not_yet_valid").await;
}

#[tokio::test]
async fn callers_do_not_notice_that_a_realm_changes_its_keys() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;
    let mux = locked(&realm, json!({})).await;
    let old = mint(&realm).await;
    let (called, mut calls) = watch::channel(0);
    let calling = async {
        let (mut seen, mut by_new) = (Vec::new(), 0);
        // Until the new key has been in use for some calls.
        while by_new < 20 {
            let new = mint(&realm).await;
            by_new += usize::from(key_of(&new) != key_of(&old));
            for token in [&new, &old] {
                seen.push(status(&mux, token).await);
            }
            called.send_replace(seen.len());
        }
        seen
    };
    let changing = async {
        let warm = calls.wait_for(|calls| *calls >= 10).await;
        drop(warm.expect("somebody calls"));
        realm.add_key(200).await;
    };

    let (seen, ()) = tokio::join!(calling, changing);

    assert!(seen.iter().all(|status| *status == 200), "{seen:?}");
}

/// The key that a token names: the part of its header that differs.
fn key_of(token: &str) -> String {
    token.split('.').next().unwrap_or_default().to_owned()
}
