//! Tokens that only their issuer can read.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    issuer::{ASKER, AUDIENCE, Issuer, now},
    knock::{Knock, discover, logged},
    support::{Door, Fleet, Multiplexer, http::Http},
};

async fn asking(issuer: &Issuer, cache: &str) -> Multiplexer {
    issuer.be_down(false);
    let fleet = Fleet::new();
    let file = fleet.path("secret");
    std::fs::write(&file, ASKER.1).expect("the secret can be written");
    let auth = json!({
        "audiences": [AUDIENCE],
        "introspection": {
            "endpoint": issuer.at("/introspect"), "clientId": ASKER.0,
            "clientSecretFile": file, "cache": cache,
        },
    });
    let fleet = fleet.top("auth", auth).flags(&["--log-level", "debug"]);
    fleet.over(Door::Http).await
}

async fn knock(mux: &Multiplexer, token: &str) -> Knock {
    Knock::bearing(&Http::default(), discover(&mux.url()), token).await
}

fn active() -> Value {
    json!({
        "active": true, "sub": "user", "client_id": "client", "aud": AUDIENCE,
        "exp": now() + 3600, "scope": "mcp", "username": "u", "token_type": "Bearer",
        "realm_access": {"roles": ["a"]},
    })
}

fn with(changes: Value) -> Value {
    crate::issuer::changed(active(), changes)
}

#[tokio::test]
async fn the_issuer_decides_and_the_audience_must_be_ours() {
    let issuer = Issuer::silent().await;
    let mux = asking(&issuer, "30s").await;
    let cases = [
        ("opaque.1", active(), 200, ""),
        ("list", with(json!({"aud": ["other", AUDIENCE]})), 200, ""),
        ("forever", with(json!({"exp": null})), 200, ""),
        ("inactive", json!({"active": false}), 401, "inactive"),
        ("revoked", with(json!({"active": false})), 401, "inactive"),
        ("other", with(json!({"aud": "other"})), 401, "audience"),
        ("others", with(json!({"aud": ["other"]})), 401, "audience"),
        ("nobody", with(json!({"aud": null})), 401, "audience"),
        ("expired", with(json!({"exp": now() - 40})), 401, "expired"),
        (
            "early",
            with(json!({"nbf": now() + 600})),
            401,
            "not_yet_valid",
        ),
        ("id", with(json!({"typ": "ID"})), 401, "claims"),
        ("odd", json!({"active": "yes"}), 503, "unavailable"),
        ("odd-list", json!([]), 503, "unavailable"),
        ("empty", json!({}), 503, "unavailable"),
    ];
    for (token, answer, status, reason) in cases {
        issuer.says(token, answer);
        let knock = knock(&mux, token).await;
        assert_eq!(knock.status, status, "{token}: {}", knock.body);
        if !reason.is_empty() {
            let line = logged(&mux, &knock).await;
            assert!(line.contains(&format!("reason=\"{reason}\"")), "{line}");
        }
    }
    let unknown = knock(&mux, "never-heard-of").await;
    assert_eq!(unknown.status, 401);
}

#[tokio::test]
async fn a_token_is_asked_about_once_for_all_who_bear_it() {
    let issuer = Issuer::silent().await;
    let mux = asking(&issuer, "1h").await;
    issuer.says("good", active());

    let many = (0..20).flat_map(|_| ["good", "bad"]);
    let knocks = join_all(many.map(|token| knock(&mux, token))).await;

    let statuses: Vec<_> = knocks.iter().map(|knock| knock.status).collect();
    assert_eq!(statuses, [200, 401].repeat(20));
    assert_eq!(issuer.questions(), 2);
    let metrics = mux.metrics().await;
    let asked = metrics.sum("auth_introspections_total", &[("outcome", "ok")]);
    assert!((asked - 2.0).abs() < f64::EPSILON, "{asked}");
}

#[tokio::test]
async fn a_revoked_token_is_out_as_soon_as_it_is_asked_about_again() {
    let issuer = Issuer::silent().await;
    let mux = asking(&issuer, "0").await;
    issuer.says("good", active());
    assert_eq!(knock(&mux, "good").await.status, 200);

    issuer.says("good", json!({"active": false}));

    assert_eq!(knock(&mux, "good").await.status, 401);
}

#[tokio::test]
async fn with_the_issuer_down_nobody_is_let_in_and_nobody_is_called_bad() {
    let issuer = Issuer::silent().await;
    let mux = asking(&issuer, "1h").await;
    issuer.says("known", active());
    issuer.says("new", active());
    assert_eq!(knock(&mux, "known").await.status, 200);
    issuer.be_down(true);

    let new = knock(&mux, "new").await;

    assert_eq!(new.status, 503, "{}", new.body);
    assert!(!new.header("retry-after").is_empty());
    assert_eq!(knock(&mux, "known").await.status, 200, "it was asked about");
    issuer.be_down(false);
    assert_eq!(
        knock(&mux, "new").await.status,
        200,
        "a failure is not kept"
    );
}
