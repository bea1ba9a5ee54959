//! What the settings mean at the door.

use std::{fs, net::SocketAddr};

use ::http::Method;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::{
    issuer::{AUDIENCE, Issuer, Key},
    knock::{Knock, discover, lets_in, locked, logged, open, page},
    support::{
        Child, Door, Fleet, Multiplexer,
        client::{modern_post, with_modern_meta},
        eventually,
        http::Http,
    },
};

async fn knock(mux: &Multiplexer, headers: &[&str]) -> Knock {
    let headers: Vec<_> = headers.iter().map(|header| header.as_bytes()).collect();
    Knock::with(&Http::default(), discover(&mux.url()), &headers).await
}

#[tokio::test]
async fn the_mode_says_what_becomes_of_those_without_a_good_token() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let good = format!("Bearer {}", issuer.token(&key));
    let bad = format!("Bearer {}", issuer.token_with(&key, json!({"exp": 1})));
    for (mode, without, with_bad) in [
        ("strict", 401, 401),
        ("optional", 200, 401),
        ("permissive", 200, 200),
    ] {
        let mux = open(locked(&issuer, json!({"mode": mode}))).await;
        assert_eq!(knock(&mux, &[&good]).await.status, 200, "{mode}");
        assert_eq!(knock(&mux, &[]).await.status, without, "{mode}");
        assert_eq!(knock(&mux, &[&bad]).await.status, with_bad, "{mode}");
        assert_eq!(
            knock(&mux, &["Basic eDp4"]).await.status,
            with_bad,
            "{mode}"
        );
        let warned = mux.log.find(|line| line.contains("EVERYBODY"));
        assert_eq!(warned.is_some(), mode == "permissive");
        let metrics = mux.metrics().await;
        let anonymous = metrics.sum("auth_requests_total", &[("outcome", "anonymous")]);
        assert_eq!(anonymous > 0.0, mode != "strict", "{mode}");
    }
}

#[tokio::test]
async fn the_variables_of_fastmcp_lock_the_door() {
    let key = Key::rsa("one");
    let issuer = Issuer::with([&key]).await;
    let mux = open(
        Fleet::new()
            .env("AUTH_TYPE", "jwt")
            .env("FASTMCP_SERVER_AUTH_JWT_ISSUER", &issuer.name())
            .env("FASTMCP_SERVER_AUTH_JWT_JWKS_URI", &issuer.at("/jwks"))
            .env("FASTMCP_SERVER_AUTH_JWT_AUDIENCE", AUDIENCE)
            .env("FASTMCP_SERVER_AUTH_JWT_REQUIRED_SCOPES", "mcp"),
    )
    .await;
    assert!(lets_in(&mux, &issuer.token(&key)).await);
    assert_eq!(knock(&mux, &[]).await.status, 401);
}

#[tokio::test]
async fn one_key_in_a_variable_or_its_file_locks_the_door() {
    let (key, other) = (Key::rsa("one"), Key::rsa("one"));
    let issuer = Issuer::silent().await;
    let pem = format!(
        "-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n",
        BASE64_STANDARD.encode(key.public_der())
    );
    let fleet = Fleet::new();
    let file = fleet.path("key.pem");
    fs::write(&file, &pem).expect("a file");
    let file = file.display().to_string();
    let by_key = |fleet: Fleet, key: &str| {
        let fleet = fleet
            .env("AUTH_TYPE", "jwt")
            .env("FASTMCP_SERVER_AUTH_JWT_ISSUER", &issuer.name())
            .env("FASTMCP_SERVER_AUTH_JWT_PUBLIC_KEY", key)
            .env("FASTMCP_SERVER_AUTH_JWT_BASE_URL", "https://mcp.example");
        fleet.over(Door::Http)
    };
    let resource = json!({"aud": "https://mcp.example/mcp"});
    for mux in [
        by_key(fleet, &file).await,
        by_key(Fleet::new(), &pem.replace('\n', "\\n")).await,
    ] {
        let token = issuer.token_with(&key, resource.clone());
        // A file is read after the start.
        eventually("the key is there", async || {
            let headers = [format!("Bearer {token}")];
            (knock(&mux, &[&headers[0]]).await.status == 200).then_some(())
        })
        .await;
        assert!(
            !lets_in(&mux, &issuer.token(&key)).await,
            "another audience"
        );
        let forged = issuer.token_with(&other, resource.clone());
        assert!(!lets_in(&mux, &forged).await, "another key of the same id");
    }
    assert_eq!(issuer.key_fetches(), 0);
}

#[tokio::test]
async fn a_claim_is_required_if_the_settings_say_so_and_checked_if_it_is_there() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let requiring = |claims: Value| {
        let options = json!({"jwtValidationOptions": {"requiredClaims": claims}});
        open(locked(&issuer, options))
    };
    let token = |changes: Value| issuer.token_with(&key, changes);
    let mux = requiring(json!([])).await;
    assert!(lets_in(&mux, &token(json!({"exp": null}))).await);
    assert!(!lets_in(&mux, &token(json!({"exp": 1}))).await);
    assert!(!lets_in(&mux, &token(json!({"aud": null}))).await);
    let mux = requiring(json!(["nbf", "sub"])).await;
    assert!(!lets_in(&mux, &token(json!({}))).await);
    assert!(lets_in(&mux, &token(json!({"nbf": 1, "exp": null}))).await);
    assert!(!lets_in(&mux, &token(json!({"nbf": 1, "sub": null}))).await);
}

#[tokio::test]
async fn a_scope_that_is_missing_is_named() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = open(locked(&issuer, json!({"requiredScopes": ["mcp", "admin"]}))).await;
    let poor = knock(&mux, &[&format!("Bearer {}", issuer.token(&key))]).await;
    assert_eq!(poor.status, 403);
    let challenge = poor.header("www-authenticate");
    assert!(
        challenge.contains(r#"error="insufficient_scope""#),
        "{challenge}"
    );
    assert!(challenge.contains(r#"scope="mcp admin""#), "{challenge}");
    assert!(logged(&mux, &poor).await.contains("admin"));
    let rich = issuer.token_with(&key, json!({"scope": "admin mcp"}));
    assert!(lets_in(&mux, &rich).await);
}

#[tokio::test]
async fn strangers_are_told_no_reasons_and_probes_are_not_asked() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let fleet = locked(&issuer, json!({})).entry("gone", json!({"url": "http://127.0.0.1:1/mcp"}));
    let mux = open(fleet).await;
    mux.until_child("gone", "is down", |child| child["state"] == "down")
        .await;
    let http = Http::default();
    let status = async |token: Option<&str>| {
        let request = page(Method::GET, &mux.at("/status"));
        match token {
            Some(token) => Knock::bearing(&http, request, token).await,
            None => Knock::with(&http, request, &[]).await,
        }
    };

    let stranger = status(None).await;
    let known = status(Some(&issuer.token(&key))).await;
    let bad = status(Some("x.y.z")).await;

    assert_eq!(known.status, 200);
    assert!(
        known.body["children"][0]["reason"].is_string(),
        "{}",
        known.body
    );
    assert!(
        known.body["config"]["path"]
            .as_str()
            .is_some_and(|path| !path.is_empty())
    );
    for knock in [stranger, bad] {
        assert_eq!(knock.status, 200);
        let child = &knock.body["children"][0];
        assert_eq!(child["name"], "gone");
        assert_eq!(child["state"], "down");
        assert_eq!(child["reason"], Value::Null);
        assert_eq!(child["cause"], Value::Null);
        assert_eq!(knock.body["config"]["path"], "");
    }
    for path in ["/health", "/metrics"] {
        let knock = Knock::with(&http, page(Method::GET, &mux.at(path)), &[]).await;
        assert_eq!(knock.status, 200, "{path}");
    }
}

/// A tool of ours says no more than the page does.
#[tokio::test]
async fn strangers_who_may_call_are_told_no_reasons_either() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let fleet = locked(&issuer, json!({"mode": "optional"}))
        .top("metaTools", true)
        .entry("gone", json!({"url": "http://127.0.0.1:1/mcp"}));
    let mux = open(fleet).await;
    mux.until_child("gone", "is down", |child| child["state"] == "down")
        .await;
    let good = format!("Bearer {}", issuer.token(&key));
    for (headers, told) in [(&[good.as_bytes()][..], true), (&[], false)] {
        let params = with_modern_meta(r#"{"name":"multiplexer_status","arguments":{}}"#);
        let frame =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let call = modern_post(&mux.url(), frame);
        let knock = Knock::with(&Http::default(), call, headers).await;
        let child = &knock.body["result"]["structuredContent"]["children"][0];
        assert_eq!(child["name"], "gone", "{}", knock.body);
        assert_eq!(child["state"], "down");
        assert_eq!(child["reason"].is_string(), told, "{child}");
    }
}

#[tokio::test]
async fn an_address_for_operators_takes_their_pages_away_from_clients() {
    let issuer = Issuer::with([&Key::ec("one")]).await;
    let fleet = locked(&issuer, json!({}))
        .stdio("clock", Child::modern())
        .flags(&["--admin-addr", "127.0.0.1:0"]);
    let mux = open(fleet).await;
    let line = mux
        .log
        .until("its address", |line| line.contains("admin listening"))
        .await;
    let admin = line.split("http://").nth(1).expect("a URL");
    let admin: SocketAddr = admin.trim_end_matches('/').parse().expect("an address");
    let http = Http::default();
    let get = async |url: String| {
        let knock = Knock::with(&http, page(Method::GET, &url), &[]).await;
        (knock.status, knock.body)
    };
    for (path, here) in [("/health", 200), ("/status", 404), ("/metrics", 404)] {
        assert_eq!(get(mux.at(path)).await.0, here, "{path}");
        assert_eq!(get(format!("http://{admin}{path}")).await.0, 200, "{path}");
    }
    // What it is told in full there.
    let (_, status) = get(format!("http://{admin}/status")).await;
    assert_ne!(status["config"]["path"], "");
}

#[tokio::test]
async fn a_locked_door_may_stand_beyond_loopback_and_a_half_locked_one_may_not() {
    let issuer = Issuer::with([&Key::ec("one")]).await;
    let beyond = |mode: &str| locked(&issuer, json!({"mode": mode})).flags(&["--host", "0.0.0.0"]);
    let mux = beyond("strict").over(Door::Http).await;
    assert!(
        mux.log
            .find(|line| line.contains("not authenticated"))
            .is_none()
    );
    for mode in ["optional", "permissive"] {
        let words = ["serve", "--transport", "http", "--port", "0"];
        let output = beyond(mode).run(&words).await;
        assert!(!output.status.success(), "{mode}");
        assert!(
            output.stderr.contains("--insecure-no-auth"),
            "{}",
            output.stderr
        );
    }
}

#[tokio::test]
async fn over_stdio_nobody_is_asked() {
    let issuer = Issuer::silent().await;
    let fleet = locked(&issuer, json!({})).stdio("clock", Child::modern());
    let mut mux = fleet.over(Door::Stdio).await;
    let mut client = mux.client(crate::support::Era::Modern).await;
    assert!(!client.tool_names().await.is_empty());
    assert_eq!(issuer.key_fetches(), 0);
}
