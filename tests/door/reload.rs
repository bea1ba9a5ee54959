//! A lock that is changed while it is in use.

use serde_json::{Value, json};

use crate::{
    issuer::{AUDIENCE, Issuer, Key},
    knock::{Knock, discover, lets_in, open},
    support::{
        Door, Fleet, Multiplexer,
        client::{modern_post, with_modern_meta},
        http::Http,
    },
};

fn config(auth: &Value) -> String {
    json!({"mcpServers": {}, "auth": auth}).to_string()
}

fn auth(issuer: &Issuer, scopes: &[&str]) -> Value {
    json!({"issuer": issuer.name(), "audiences": [AUDIENCE], "requiredScopes": scopes})
}

async fn status(mux: &Multiplexer, token: &str) -> u16 {
    let knock = Knock::bearing(&Http::default(), discover(&mux.url()), token).await;
    knock.status
}

#[tokio::test]
async fn a_changed_lock_is_in_force_at_once_and_keeps_its_keys() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = open(Fleet::new().config_text(&config(&auth(&issuer, &["mcp"])))).await;
    let token = issuer.token(&key);
    assert!(lets_in(&mux, &token).await);
    issuer.be_down(true);

    mux.write_config(&config(&auth(&issuer, &["admin"])));
    mux.until_generation(2).await;

    assert_eq!(status(&mux, &token).await, 403);
    let admin = issuer.token_with(&key, json!({"scope": "admin"}));
    assert_eq!(status(&mux, &admin).await, 200);
    assert_eq!(issuer.key_fetches(), 1);
    let restart = mux.log.find(|line| line.contains("restart for them"));
    assert_eq!(restart, None);
}

#[tokio::test]
async fn a_file_that_is_wrong_or_says_nothing_does_not_open_the_door() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = open(Fleet::new().config_text(&config(&auth(&issuer, &[])))).await;

    mux.write_config(&config(&json!({"mode": "strict"})));
    mux.log
        .until("a refusal", |line| line.contains("stays in force"))
        .await;
    assert_eq!(status(&mux, "x").await, 401);
    mux.write_config(&config(&Value::Null));
    mux.until_generation(2).await;
    let mut optional = auth(&issuer, &[]);
    optional["mode"] = "optional".into();
    mux.write_config(&config(&optional));
    mux.until_generation(3).await;

    let nobody = Knock::with(&Http::default(), discover(&mux.url()), &[]).await;
    assert_eq!(nobody.status, 401);
    assert!(lets_in(&mux, &issuer.token(&key)).await);
    assert!(mux.log.find(|line| line.contains("stays locked")).is_some());
}

#[tokio::test]
async fn an_open_door_can_be_locked() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = Fleet::new()
        .config_text(&config(&Value::Null))
        .over(Door::Http)
        .await;
    assert_eq!(status(&mux, "x").await, 200);

    mux.write_config(&config(&auth(&issuer, &[])));

    mux.log
        .until("the keys", |line| {
            line.contains("the keys of an issuer are there")
        })
        .await;
    assert_eq!(status(&mux, "x").await, 401);
    assert!(lets_in(&mux, &issuer.token(&key)).await);
}

/// Clients were told the other one.
#[tokio::test]
async fn another_public_address_waits_for_a_restart_and_that_is_said() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let config = |url: &str| {
        let auth = json!({"issuer": issuer.name()});
        json!({"mcpServers": {}, "publicUrl": url, "auth": auth}).to_string()
    };
    let (here, there) = ("https://here.example/mcp", "https://there.example/mcp");
    let mux = open(Fleet::new().config_text(&config(here))).await;

    mux.write_config(&config(there));
    mux.until_generation(2).await;

    let said = mux
        .log
        .until("what waits", |line| line.contains("restart for them"))
        .await;
    assert!(said.contains("publicUrl"), "{said}");
    for (aud, good) in [(here, true), (there, false)] {
        let token = issuer.token_with(&key, json!({"aud": aud}));
        assert_eq!(lets_in(&mux, &token).await, good, "{aud}");
    }
    let nobody = Knock::with(&Http::default(), discover(&mux.url()), &[]).await;
    assert!(nobody.header("www-authenticate").contains("here.example"));
}

#[tokio::test]
async fn what_a_stranger_has_opened_ends_when_the_door_is_locked() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = Fleet::new()
        .config_text(&config(&Value::Null))
        .over(Door::Http)
        .await;
    let params = with_modern_meta(r#"{"notifications":{"toolsListChanged":true}}"#);
    let listen =
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen","params":{params}}}"#);
    let http = Http::default();
    let mut events = http.send(modern_post(&mux.url(), listen)).await.events();
    let begun = events.next().await.expect("it is heard");
    assert!(begun.contains("acknowledged"), "{begun}");

    mux.write_config(&config(&auth(&issuer, &[])));
    mux.until_generation(2).await;

    // To its end, which a test that fails never sees.
    while events.next().await.is_some() {}
}
