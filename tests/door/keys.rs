//! The keys of issuers: late, rotated, disowned, out of reach.

use std::{fs, time::Instant};

use futures::future::join_all;
use serde_json::json;

use crate::{
    issuer::{AUDIENCE, Issuer, Key, changed, now},
    knock::{Knock, discover, lets_in, locked, logged, open},
    support::{Door, Fleet, eventually, http::Http},
};

#[tokio::test]
async fn until_the_keys_come_callers_are_told_to_come_back() {
    let key = Key::ec("one");
    let issuer = Issuer::silent().await;
    let mux = locked(&issuer, json!({})).over(Door::Http).await;
    let token = issuer.token(&key);

    let early = Knock::bearing(&Http::default(), discover(&mux.url()), &token).await;

    assert_eq!(early.status, 503, "{}", early.body);
    assert!(early.header("retry-after").parse::<u64>().expect("seconds") >= 1);
    assert_eq!(early.header("www-authenticate"), "");
    assert!(logged(&mux, &early).await.contains("not there yet"));
    issuer.publish([&key]);
    issuer.be_down(false);
    eventually("the token is let in", async || {
        let knock = Knock::bearing(&Http::default(), discover(&mux.url()), &token).await;
        (knock.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_rotation_under_load_refuses_nobody_and_the_old_key_is_out() {
    let (old, new) = (Key::ec("old"), Key::ec("new"));
    let issuer = Issuer::with([&old]).await;
    let mux = open(locked(&issuer, json!({}))).await;
    let before = issuer.token(&old);
    assert!(lets_in(&mux, &before).await);

    issuer.publish([&new]);
    let url = mux.url();
    let callers = (0..8).map(|_| {
        let (url, token) = (url.clone(), issuer.token(&new));
        async move {
            let http = Http::default();
            let mut statuses = Vec::new();
            for _ in 0..20 {
                let knock = Knock::bearing(&http, discover(&url), &token).await;
                statuses.push(knock.status);
            }
            statuses
        }
    });
    let statuses: Vec<_> = join_all(callers).await.concat();

    assert_eq!(statuses, vec![200; 160]);
    assert_eq!(issuer.key_fetches(), 2, "all of them asked once");
    // What was disowned is out from then on.
    assert!(!lets_in(&mux, &before).await);
}

#[tokio::test]
async fn strangers_make_us_ask_for_keys_once_in_ten_seconds() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = open(locked(&issuer, json!({}))).await;
    let began = Instant::now();
    let url = mux.url();

    let strangers = (0..8).map(|stranger| {
        let url = url.clone();
        let key = &key;
        let issuer = &issuer;
        async move {
            let http = Http::default();
            for n in 0..40 {
                let header = changed(key.header(), json!({"kid": format!("{stranger}-{n}")}));
                let token = key.signed(&header, &issuer.claims());
                let knock = Knock::bearing(&http, discover(&url), &token).await;
                assert_eq!(knock.status, 401, "{}", knock.body);
            }
        }
    });
    join_all(strangers).await;

    let tens = began.elapsed().as_secs() / 10;
    let most = 2 + usize::try_from(tens).expect("a number");
    assert!(issuer.key_fetches() <= most, "{}", issuer.key_fetches());
    assert!(lets_in(&mux, &issuer.token(&key)).await);
}

/// It may be good: the keys may be older than it is.
#[tokio::test]
async fn a_token_that_is_newer_than_the_keys_is_not_called_bad() {
    let (one, two, three) = (Key::ec("one"), Key::ec("two"), Key::ec("three"));
    let issuer = Issuer::with([&one]).await;
    let mux = open(locked(&issuer, json!({}))).await;
    // The first wish of these ten seconds.
    issuer.publish([&two]);
    assert!(lets_in(&mux, &issuer.token(&two)).await);
    issuer.publish([&two, &three]);

    let fresh = issuer.token_with(&three, json!({"iat": now() + 1}));
    let knock = Knock::bearing(&Http::default(), discover(&mux.url()), &fresh).await;

    // On a slow machine the ten seconds may be over.
    assert!([200, 503].contains(&knock.status), "{}", knock.body);
    eventually("it is let in", async || {
        let knock = Knock::bearing(&Http::default(), discover(&mux.url()), &fresh).await;
        assert_ne!(knock.status, 401, "{}", knock.body);
        (knock.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_the_issuer_down_its_keys_stay_good() {
    let (key, other) = (Key::ec("one"), Key::ec("two"));
    let issuer = Issuer::with([&key]).await;
    let mux = open(locked(&issuer, json!({}))).await;
    issuer.be_down(true);

    // This one makes us ask.
    let unknown = Knock::bearing(
        &Http::default(),
        discover(&mux.url()),
        &issuer.token(&other),
    )
    .await;

    assert_eq!(unknown.status, 503, "{}", unknown.body);
    assert!(lets_in(&mux, &issuer.token(&key)).await);
    let line = mux
        .log
        .until("the failure", |line| line.contains("cannot be had"))
        .await;
    assert!(line.contains("stale=true"), "{line}");
    let metrics = mux.metrics().await;
    assert!(metrics.sum("auth_key_fetches_total", &[("outcome", "failed")]) >= 1.0);
}

#[tokio::test]
async fn keys_in_a_file_follow_the_file() {
    let (old, new) = (Key::ec("old"), Key::rsa("new"));
    let issuer = Issuer::silent().await;
    let fleet = Fleet::new();
    let file = fleet.path("jwks.json");
    let write = |key: &Key| {
        let text = json!({"keys": [key.jwk()]}).to_string();
        fs::write(&file, text).expect("the keys can be written");
    };
    write(&old);
    let auth = json!({
        "audiences": [AUDIENCE],
        "issuer": {"issuer": issuer.name(), "jwks": {"file": file}},
    });
    let mux = open(fleet.top("auth", auth)).await;
    assert!(lets_in(&mux, &issuer.token(&old)).await);

    write(&new);

    eventually("the new key is good", async || {
        lets_in(&mux, &issuer.token(&new)).await.then_some(())
    })
    .await;
    assert!(!lets_in(&mux, &issuer.token(&old)).await);
    assert_eq!(issuer.key_fetches(), 0);
}

#[tokio::test]
async fn each_issuer_is_checked_by_its_own_keys_and_audiences() {
    let (a, b) = (Key::ec("key"), Key::ec("key"));
    let one = Issuer::with([&a]).await;
    let keys = json!({"keys": [b.jwk()]});
    let auth = json!({"issuer": [
        {"issuer": one.name(), "audiences": ["one"], "jwks": one.at("/jwks")},
        {"issuer": "urn:two", "audiences": ["two"], "jwks": {"inline": keys}},
    ]});
    let mux = open(Fleet::new().top("auth", auth)).await;
    let token = |key: &Key, iss: &str, aud: &str| {
        key.signed(
            &key.header(),
            &changed(one.claims(), json!({"iss": iss, "aud": aud})),
        )
    };

    assert!(lets_in(&mux, &token(&a, &one.name(), "one")).await);
    assert!(lets_in(&mux, &token(&b, "urn:two", "two")).await);
    for (key, iss, aud) in [
        (&b, one.name().as_str(), "one"),
        (&a, "urn:two", "two"),
        (&a, one.name().as_str(), "two"),
        (&b, "urn:two", "one"),
    ] {
        assert!(!lets_in(&mux, &token(key, iss, aud)).await, "{iss} {aud}");
    }
}
