//! Our own commands, at a door that is locked.

use serde_json::json;

use crate::{
    issuer::{Issuer, Key},
    knock::{locked, open},
    support::{Fleet, Output},
};

#[tokio::test]
async fn an_operator_who_has_a_token_is_told_reasons_and_lists() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let fleet = locked(&issuer, json!({})).entry("gone", json!({"command": "/no/such/program"}));
    let mux = open(fleet).await;
    mux.until_child("gone", "is down", |child| child["state"] == "down")
        .await;
    let status = ["status", "--url", &mux.at("")];
    let stranger = run(&status, None).await;
    assert_eq!(stranger.status.code(), Some(0), "{}", stranger.stderr);
    assert!(!stranger.stdout.contains("could not be started"));
    let withheld = "reasons are withheld";
    for part in [withheld, "--token-file"] {
        assert!(stranger.stderr.contains(part), "{}", stranger.stderr);
    }
    let unknown = run(&status, Some("hunter2")).await;
    assert!(unknown.stderr.contains("the token shown does not open"));
    let tools = ["tools", "--url", &mux.at("")];
    let refused = run(&tools, None).await;
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stdout);
    assert!(refused.stderr.contains("pass --token-file"));

    let token = issuer.token(&key);
    let told = run(&status, Some(&token)).await;
    let why = "gone: could not be started";
    assert!(
        told.stdout.contains(why),
        "{}\n{}",
        told.stdout,
        told.stderr
    );
    assert!(!told.stderr.contains(withheld), "{}", told.stderr);
    let listed = run(&tools, Some(&token)).await;
    assert_eq!(listed.status.code(), Some(0), "{}", listed.stderr);
}

async fn run(words: &[&str], token: Option<&str>) -> Output {
    let fleet = Fleet::new().without_config();
    let file = fleet.path("token");
    let file = file.to_str().expect("a path");
    let Some(token) = token else {
        return fleet.run(words).await;
    };
    std::fs::write(file, token).expect("a token");
    let words = [words, &["--token-file", file]].concat();
    fleet.run(&words).await
}
