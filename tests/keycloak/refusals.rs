//! A realm that refuses, and what heals it.

use std::fs;

use serde_json::json;

use super::{
    house::{ADDING, CHILDREN, Guarded, Load, heals, mints, more_mints, ready, shows_unauthorized},
    realm::{CLIENT, Realm},
    server::Keycloak,
};

/// The token of the old secret serves until there is one of the new: with its life, at
/// least 3 s are left for that after the first refusal.
#[tokio::test]
async fn a_new_secret_in_the_file_heals_without_a_restart_and_no_call_fails() {
    let realm = Realm::with_life(Keycloak::shared().await, 60).await;
    let guarded = Guarded::start(&realm).await;
    let mut mux = ready(guarded.fleet(&realm)).await;
    let load = Load::on(&mut mux, &ADDING).await;

    let secret = realm.new_secret().await;

    more_mints(&mux, "refused", 1).await;
    fs::write(mux.path("secret"), secret + "\n").expect("the secret can be written");
    heals(&mut mux).await;
    load.went_well().await;
    let identity = mux.status().await["identity"].clone();
    assert_eq!(identity["lastError"], json!(null), "{identity:#}");
}

#[tokio::test]
async fn a_client_that_was_disabled_is_refused_until_it_is_enabled_again() {
    let realm = Realm::create(Keycloak::shared().await).await;
    let guarded = Guarded::start(&realm).await;
    let mut mux = ready(guarded.fleet(&realm)).await;

    realm.change(CLIENT, json!({"enabled": false})).await;

    more_mints(&mux, "refused", 1).await;
    let identity = mux.status().await["identity"].clone();
    let error = identity["lastError"].as_str().unwrap_or_default();
    assert!(error.contains("invalid_client"), "{identity:#}");
    for prefix in CHILDREN {
        shows_unauthorized(&mut mux, prefix).await;
    }
    realm.change(CLIENT, json!({"enabled": true})).await;
    heals(&mut mux).await;
}

#[tokio::test]
async fn tokens_for_nobody_are_refused_by_the_children_until_they_have_their_audience() {
    let realm = Realm::create(Keycloak::shared().await).await;
    let guarded = Guarded::start(&realm).await;
    let mut mux = ready(guarded.fleet(&realm)).await;

    let mapper = realm.remove_audience().await;

    for prefix in CHILDREN {
        shows_unauthorized(&mut mux, prefix).await;
    }
    assert_eq!(
        mints(&mux, "refused").await,
        0.0,
        "the realm mints as before"
    );
    realm.restore_audience(mapper).await;
    heals(&mut mux).await;
}

#[tokio::test]
async fn a_realm_that_is_gone_refuses_until_it_is_there_again() {
    let realm = Realm::create(Keycloak::shared().await).await;
    let guarded = Guarded::start(&realm).await;
    let mut mux = ready(guarded.fleet(&realm)).await;

    realm.delete().await;

    more_mints(&mux, "refused", 1).await;
    for prefix in CHILDREN {
        shows_unauthorized(&mut mux, prefix).await;
    }
    realm.create_again().await;
    heals(&mut mux).await;
}
