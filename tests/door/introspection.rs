//! Tokens that only their issuer can read.

use std::{net::Ipv4Addr, path::Path, time::Duration};

use futures::future::join_all;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{
    issuer::{ASKER, AUDIENCE, Issuer, Key, now},
    knock::{Knock, discover, logged},
    support::{
        Door, Fleet, Multiplexer,
        client::{modern_post, with_modern_meta},
        http::{Http, With as _},
        wait::eventually,
    },
};

async fn asking(issuer: &Issuer, cache: &str) -> Multiplexer {
    issuer.be_down(false);
    let fleet = Fleet::new();
    let file = fleet.path("secret");
    std::fs::write(&file, ASKER.1).expect("the secret can be written");
    let auth = auth(issuer, &file, cache);
    let fleet = fleet.top("auth", auth).flags(&["--log-level", "debug"]);
    fleet.over(Door::Http).await
}

fn auth(issuer: &Issuer, secret: &Path, cache: &str) -> Value {
    json!({
        "audiences": [AUDIENCE],
        "introspection": {
            "endpoint": issuer.at("/introspect"), "clientId": ASKER.0,
            "clientSecretFile": secret, "cache": cache,
        },
    })
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

#[tokio::test]
async fn a_reload_forgets_nothing_of_tokens_while_the_issuer_stays() {
    let issuer = Issuer::silent().await;
    let mux = asking(&issuer, "1h").await;
    issuer.says("good", active());
    assert_eq!(knock(&mux, "good").await.status, 200);
    let reload = async |generation, scopes: &[&str], cache| {
        let mut auth = auth(&issuer, &mux.path("secret"), cache);
        auth["requiredScopes"] = json!(scopes);
        mux.write_config(&json!({"mcpServers": {}, "auth": auth}).to_string());
        mux.until_generation(generation).await;
    };

    reload(2, &["mcp"], "1h").await;

    assert_eq!(knock(&mux, "good").await.status, 200);
    assert_eq!(issuer.questions(), 1);
    reload(3, &["admin"], "1h").await;
    assert_eq!(knock(&mux, "good").await.status, 403);
    assert_eq!(issuer.questions(), 1);
    reload(4, &["mcp"], "2h").await;
    assert_eq!(knock(&mux, "good").await.status, 200);
    assert_eq!(issuer.questions(), 2);
}

#[tokio::test]
async fn what_is_let_in_while_the_lock_is_exchanged_opens_nothing_that_stays() {
    let issuer = Issuer::silent().await;
    let mux = asking(&issuer, "1h").await;
    let listening = r#"{"notifications":{"toolsListChanged":true}}"#;
    let frame = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"subscriptions/listen","params":{}}}"#,
        with_modern_meta(listening)
    );
    let http = Http::default();
    let mut generation = 1;
    // On a slow machine the answer of the issuer comes too late, now and then.
    let reply = eventually("it is let in", async || {
        let token = format!("listener-{generation}");
        issuer.says(&token, active());
        let asked = issuer.questions();
        issuer.think(true);
        let request = modern_post(&mux.url(), frame.clone());
        let request = request.with("authorization", &format!("Bearer {token}"));
        let exchanged = async {
            eventually("the question", async || {
                (issuer.questions() > asked).then_some(())
            })
            .await;
            generation += 1;
            let mut auth = auth(&issuer, &mux.path("secret"), "1h");
            auth["requiredScopes"] = json!(if generation % 2 == 0 {
                ["mcp"]
            } else {
                ["other"]
            });
            mux.write_config(&json!({"mcpServers": {}, "auth": auth}).to_string());
            mux.until_generation(generation).await;
            issuer.think(false);
        };
        let (reply, ()) = tokio::join!(http.send(request), exchanged);
        (reply.status == 200).then_some(reply)
    })
    .await;

    // The answer is what ends it.
    assert!(reply.answer().await.frame.contains("complete"));
}

/// What reads as a JWT and cannot be good costs the issuer nothing.
#[tokio::test]
async fn what_cannot_be_good_is_not_asked_about() {
    let issuer = Issuer::silent().await;
    let mux = asking(&issuer, "30s").await;
    let key = Key::ec("one");
    let none = key.signed(&json!({"alg": "none"}), &issuer.claims());
    for (token, reason) in [
        (issuer.token_with(&key, json!({"exp": 1})), "expired"),
        (none, "algorithm"),
        (key.signed_text(r#"{"alg":"ES256"}"#, "no"), "malformed"),
    ] {
        let knock = knock(&mux, &token).await;
        assert_eq!(knock.status, 401, "{}", knock.body);
        let line = logged(&mux, &knock).await;
        assert!(line.contains(&format!("reason=\"{reason}\"")), "{line}");
    }
    assert_eq!(issuer.questions(), 0);
    assert_eq!(knock(&mux, &issuer.token(&key)).await.status, 401);
    assert_eq!(issuer.questions(), 1);
}

/// More strangers than the issuer can be asked about, and it is slow.
#[tokio::test]
async fn a_flood_of_tokens_nobody_knows_refuses_nobody_who_was_good_or_comes_from_elsewhere() {
    const SENDERS: usize = 300;
    let issuer = Issuer::silent().await;
    let mux = asking(&issuer, "100ms").await;
    issuer.says("good", active());
    issuer.says("new", active());
    assert_eq!(knock(&mux, "good").await.status, 200);
    issuer.be_slow(Duration::from_secs(1));
    let (over, crowded) = (CancellationToken::new(), CancellationToken::new());
    let flood = (0..SENDERS).map(async |sender| {
        let http = Http::default();
        for n in 0.. {
            let token = format!("garbage-{sender}-{n}");
            let asks = Knock::bearing(&http, discover(&mux.url()), &token);
            let Some(knock) = over.run_until_cancelled(asks).await else {
                return;
            };
            assert!([401, 503].contains(&knock.status), "{}", knock.body);
            if knock.status == 503 {
                assert!(!knock.header("retry-after").is_empty());
                crowded.cancel();
            }
        }
    });
    let valid = async {
        crowded.cancelled().await;
        let before = issuer.questions();
        for _ in 0..4 {
            let knock = knock(&mux, "good").await;
            assert_eq!(knock.status, 200, "{}", knock.body);
            // What was said of it is no longer good then.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        assert!(issuer.questions() > before);
        let elsewhere = Http::coming_from(Ipv4Addr::new(127, 0, 0, 2).into());
        let knock = Knock::bearing(&elsewhere, discover(&mux.url()), "new").await;
        assert_eq!(knock.status, 200, "{}", knock.body);
        over.cancel();
    };
    tokio::join!(join_all(flood), valid);

    assert!(issuer.most_questions_open() <= 32);
}
