//! `token`: what an operator is told to do fits what Keycloak really says.

use serde_json::json;

use super::{
    realm::{CLIENT, Realm},
    server::{Keycloak, SECRET},
};
use crate::support::{Fleet, Output};

/// An operator's shell at this realm.
async fn token(issuer: &str, secret: &str) -> Output {
    let shell = Fleet::new()
        .without_config()
        .env("MCP_CLIENT_AUTH", "oidc-client-credentials")
        .env("OIDC_ISSUER", issuer)
        .env("OIDC_CLIENT_ID", CLIENT)
        .env("OIDC_CLIENT_SECRET", secret);
    shell.run(&["token"]).await
}

/// Whether it was refused, and just these hints were given, each by a part of it.
#[track_caller]
fn refused(output: &Output, hints: &[&str]) {
    let said = &output.stderr;
    assert_eq!(output.status.code(), Some(1), "{said}");
    let told: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("hint: "))
        .collect();
    assert_eq!(told.len(), hints.len(), "{said}");
    for (told, hint) in told.iter().zip(hints) {
        assert!(told.contains(hint), "{hint}: {said}");
    }
}

#[tokio::test]
async fn a_token_of_the_realm_as_deployed_raises_no_doubt() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;

    let output = token(&realm.issuer(), SECRET).await;

    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(output.stderr, "");
    for shown in [&realm.issuer(), &realm.token_url(), "agent-services"] {
        assert!(output.stdout.contains(shown), "{}", output.stdout);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_told_as_one() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;

    let output = token(&realm.issuer(), "another").await;

    refused(&output, &["compare OIDC_CLIENT_SECRET with Keycloak's"]);
}

#[tokio::test]
async fn a_client_that_is_disabled_or_unknown_is_told_as_one() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;
    realm.change(CLIENT, json!({"enabled": false})).await;

    let output = token(&realm.issuer(), SECRET).await;

    refused(&output, &["or it is disabled", "the secret may be wrong"]);
}

#[tokio::test]
async fn service_accounts_that_are_off_are_told_with_the_switch() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;
    let off = json!({"serviceAccountsEnabled": false});
    realm.change(CLIENT, off).await;

    let output = token(&realm.issuer(), SECRET).await;

    refused(&output, &["\"Service accounts roles\" on"]);
}

#[tokio::test]
async fn a_missing_audience_is_told_with_the_mapper_that_adds_it() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;
    realm.remove_audience().await;

    let output = token(&realm.issuer(), SECRET).await;

    assert!(output.status.success(), "{}", output.stderr);
    let said = &output.stderr;
    assert_eq!(said.matches("warning: ").count(), 1, "{said}");
    assert!(said.contains("an audience mapper is missing"), "{said}");
}

#[tokio::test]
async fn a_realm_that_is_not_there_is_told_as_one() {
    let realm = Realm::with_life(Keycloak::shared().await, 300).await;

    let output = token(&(realm.issuer() + "-not"), SECRET).await;

    refused(&output, &["there is no such realm"]);
}
