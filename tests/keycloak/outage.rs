//! A Keycloak that is down for longer than a token is good.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use super::{
    house::{CHILDREN, Guarded, Load, heals, mints, ready, shows_unauthorized},
    realm::Realm,
    server::Keycloak,
};
use crate::support::{Child, eventually};

#[tokio::test]
async fn who_needs_no_token_is_served_while_keycloak_is_down_and_the_others_when_it_is_back() {
    let mut keycloak = Keycloak::start().await;
    let realm = Realm::imported(&keycloak).await;
    let guarded = Guarded::start(&realm).await;
    let own = json!({"Authorization": "Bearer their-own"});
    let fleet = guarded
        .fleet(&realm)
        .stdio("local", Child::modern())
        .http("own", Child::modern().key("headers", own));
    let mut mux = ready(fleet).await;
    let unharmed = Load::on(&mut mux, &[("local__echo", "{}"), ("own__echo", "{}")]).await;

    keycloak.stop();

    for prefix in CHILDREN {
        shows_unauthorized(&mut mux, prefix).await;
    }
    assert!(mints(&mux, "unreachable").await >= 1.0);
    // Keycloak counts whole seconds: its children may refuse a token a moment before.
    eventually("the end of the token in the metrics", async || {
        let metrics = mux.metrics().await;
        let expiry = metrics.value("token_expiry_timestamp_seconds", &[])?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        (expiry < now.expect("a clock").as_secs_f64()).then_some(())
    })
    .await;
    keycloak.restart().await;
    heals(&mut mux).await;
    unharmed.went_well().await;
    let identity = mux.status().await["identity"].clone();
    assert!(identity["expiresInSeconds"].is_u64(), "{identity:#}");
}
