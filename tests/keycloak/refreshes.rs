//! Tokens that follow each other: while calls go on, and while keys change.

use std::iter::zip;

use super::{
    house::{ADDING, CHILDREN, Guarded, Load, mints, more_mints, ready},
    realm::Realm,
    server::Keycloak,
};
use crate::support::{Client, Era, eventually};

const REFRESHES: u32 = 60;
/// They take two minutes and a half: of a token that is good for more than this less a
/// second, at least 0.45 s are left when its successor is minted.
const LIFE_SECONDS: u64 = 4;

#[tokio::test]
async fn a_token_is_refreshed_again_and_again_and_no_call_fails() {
    let realm = Realm::with_life(Keycloak::shared().await, LIFE_SECONDS).await;
    let guarded = Guarded::start(&realm).await;
    let mut mux = ready(guarded.fleet(&realm)).await;
    let load = Load::on(&mut mux, &ADDING).await;

    more_mints(&mux, "ok", REFRESHES).await;

    let calls = load.went_well().await;
    assert!(calls > 20 * REFRESHES as usize, "{calls} calls is no load");
    // A refresh that comes too late costs a 401 and a replay: a machine that is slow may
    // cause some of them, but not one for each token.
    let metrics = mux.metrics().await;
    let refused = metrics.sum("child_unauthorized_total", &[]);
    assert!(refused < f64::from(REFRESHES), "{refused} times too late");
    let minted = mints(&mux, "ok").await;
    for outcome in ["refused", "unreachable", "timeout", "invalid_answer"] {
        assert_eq!(mints(&mux, outcome).await, 0.0, "{outcome}");
    }
    let (logins, refusals) = realm.logins().await;
    assert!(
        logins as f64 >= minted,
        "{logins} at Keycloak, {minted} here"
    );
    assert!(
        logins as f64 <= minted + 1.0,
        "{logins} at Keycloak, {minted} here"
    );
    assert_eq!(refusals, 0);
}

#[tokio::test]
async fn calls_go_on_when_the_realm_signs_with_a_new_key() {
    let realm = Realm::create(Keycloak::shared().await).await;
    let guarded = Guarded::start(&realm).await;
    let mut mux = ready(guarded.fleet(&realm)).await;
    let mut client = mux.client(Era::Modern).await;
    let old = [
        key_seen_by(&mut client, CHILDREN[0]).await,
        key_seen_by(&mut client, CHILDREN[1]).await,
    ];
    let load = Load::on(&mut mux, &ADDING).await;

    realm.rotate_keys().await;

    for (prefix, old) in zip(CHILDREN, old) {
        eventually(
            &format!("a token that {prefix} knows by the new key"),
            async || (key_seen_by(&mut client, prefix).await != old).then_some(()),
        )
        .await;
    }
    load.went_well().await;
}

/// The key with which the token was signed that this child was shown.
async fn key_seen_by(client: &mut Client, prefix: &str) -> String {
    let caller = client.call(&format!("{prefix}__whoami"), "{}").await;
    let key = caller.content()["kid"].as_str().map(str::to_owned);
    key.expect("a key id")
}
