//! `token`: an operator sees who the multiplexer is to its children, or why it is nobody
//! and what to do; and never a secret.

mod support;

use std::{
    fs,
    net::TcpListener,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use support::{
    Fleet, Output, Provider,
    http::ClosedPort,
    provider::{Mood, jwt},
};
use tempfile::TempDir;

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("a clock").as_secs()
}

/// The claims of a token that every child of ours would accept.
fn sound(issuer: &str) -> Value {
    json!({
        "iss": issuer, "aud": ["account", "agent-services"], "azp": "multiplexer",
        "sub": "service-account-multiplexer", "scope": "email tools", "exp": now() + 300,
    })
}

/// An operator's shell at this provider, without a configuration.
fn shell(provider: &Provider) -> Fleet {
    Fleet::new().without_config().identity(provider)
}

fn with_issuer(provider: &Provider) -> Fleet {
    shell(provider)
        .env("OIDC_TOKEN_URL", "")
        .env("OIDC_ISSUER", &provider.issuer())
}

/// The value of a row of the text.
fn row<'a>(output: &'a Output, name: &str) -> Option<&'a str> {
    let mut rows = output.stdout.lines().map(str::trim_start);
    let value = rows.find_map(|row| row.strip_prefix(name)?.strip_prefix(' '))?;
    Some(value.trim_start())
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {}\n{}", output.stdout, output.stderr);
    })
}

#[track_caller]
fn ended(output: &Output, status: i32) {
    let said = format!("{}\n---\n{}", output.stdout, output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
}

#[track_caller]
fn told(output: &Output, parts: &[&str]) {
    for part in parts {
        assert!(output.stderr.contains(part), "{part}: {}", output.stderr);
    }
}

#[tokio::test]
async fn a_mint_is_shown_with_where_as_whom_with_what_and_what_came_of_it() {
    let issuer = "https://sso.example/realms/main";
    let provider = Provider::with(&jwt(&sound(issuer)), 300).await;
    let output = shell(&provider)
        .env("OIDC_ISSUER", issuer)
        .env("OIDC_SCOPE", "tools")
        .env("OIDC_AUDIENCE", "agent-services")
        .env("OIDC_RESOURCE", "https://tools.example")
        .run(&["token"])
        .await;

    ended(&output, 0);
    for (name, value) in [
        ("mode", "oidc-client-credentials"),
        ("issuer", issuer),
        ("token URL", provider.token_url().as_str()),
        ("client", "multiplexer"),
        ("method", "client_secret_basic"),
        ("audience", "agent-services"),
        ("resource", "https://tools.example"),
        ("used for", "5 min 0 s"),
        ("iss", issuer),
        ("aud", "account, agent-services"),
        ("azp", "multiplexer"),
        ("sub", "service-account-multiplexer"),
    ] {
        assert_eq!(row(&output, name), Some(value), "{}", output.stdout);
    }
    assert!(row(&output, "took").is_some_and(|took| took.ends_with(" ms")));
    let exp = row(&output, "exp").unwrap_or_default();
    assert!(exp.starts_with("in ") && exp.ends_with(" UTC)"), "{exp}");
    assert!(output.stdout.contains("email tools"), "{}", output.stdout);
    assert_eq!(output.stderr, "", "nothing to warn of");
    assert_eq!(provider.asked().len(), 1);
}

#[tokio::test]
async fn the_token_url_is_shown_as_the_issuer_names_it() {
    let provider = Provider::start().await;
    let output = with_issuer(&provider)
        .run(&["token", "--format", "json"])
        .await;

    ended(&output, 0);
    let shown = json_of(&output);
    assert_eq!(shown["issuer"], provider.issuer());
    assert_eq!(shown["tokenUrl"], provider.token_url());
    assert_eq!(shown["kind"], "opaque");
    assert_eq!(shown["outcome"], "ok");
    assert_eq!(shown["lifeSeconds"], 3600);
    assert_eq!(shown["claims"], Value::Null);
    assert_eq!(shown["token"], Value::Null);
}

#[tokio::test]
async fn an_opaque_token_is_said_to_be_one() {
    let provider = Provider::start().await;
    let output = shell(&provider).run(&["token"]).await;

    ended(&output, 0);
    assert!(output.stdout.contains("opaque"), "{}", output.stdout);
    assert_eq!(row(&output, "iss"), None);
}

#[tokio::test]
async fn the_token_is_shown_when_asked_for_alone_on_the_last_line() {
    let provider = Provider::start().await;
    let text = shell(&provider).run(&["token", "--reveal"]).await;
    let json = shell(&provider)
        .run(&["token", "--reveal", "--format", "json"])
        .await;
    let neither = shell(&provider).run(&["token"]).await;

    assert_eq!(text.stdout.lines().last(), Some(provider.token(1).as_str()));
    assert_eq!(json_of(&json)["token"], provider.token(2));
    assert!(
        !neither.stdout.contains(&provider.token(3)),
        "{}",
        neither.stdout
    );
}

#[tokio::test]
async fn what_children_would_refuse_is_warned_of() {
    let other =
        json!({"iss": "http://inside:8080/realms/main", "aud": "account", "exp": now() + 20});
    let provider = Provider::with(&jwt(&other), 20).await;
    let output = with_issuer(&provider).run(&["token"]).await;

    ended(&output, 0);
    told(
        &output,
        &[
            "warning: the audience \"agent-services\" is not in `aud`",
            "Clients > multiplexer > Client scopes > multiplexer-dedicated",
            "http://inside:8080/realms/main",
            &provider.issuer(),
            "s only",
        ],
    );
    assert_eq!(output.stderr.matches("warning: ").count(), 3);

    let old = json!({"iss": provider.issuer(), "aud": "agent-services", "exp": 1_700_000_000});
    let provider = Provider::with(&jwt(&old), 20).await;
    let output = shell(&provider).run(&["token", "--format", "json"]).await;
    let warnings = json_of(&output)["warnings"].to_string();
    assert!(warnings.contains("expired already"), "{warnings}");
}

#[tokio::test]
async fn a_refusal_of_keycloaks_is_told_with_what_to_change_there() {
    for (status, answer, hint) in [
        (
            401,
            r#"{"error":"unauthorized_client","error_description":"Client not enabled to retrieve service account"}"#,
            "Service accounts roles",
        ),
        (
            401,
            r#"{"error":"unauthorized_client","error_description":"Invalid client or Invalid client credentials"}"#,
            "Credentials > Client Secret",
        ),
        (
            401,
            r#"{"error":"invalid_client","error_description":"Invalid client or Invalid client credentials"}"#,
            "knows no client \"multiplexer\", or it is disabled",
        ),
        (
            404,
            r#"{"error":"Realm does not exist"}"#,
            "there is no such realm",
        ),
        (
            400,
            r#"{"error":"invalid_scope","error_description":"Invalid scopes: tools"}"#,
            "the scope \"tools\"",
        ),
        (302, "{}", "where it finally leads"),
        (503, "{}", "the fault is the provider's"),
        (200, "<html>", "does not look like a token endpoint"),
    ] {
        let provider = Provider::start().await;
        provider.be(Mood::Says(status, answer));
        let output = shell(&provider)
            .env("OIDC_SCOPE", "tools")
            .run(&["token"])
            .await;

        ended(&output, 1);
        told(&output, &["error: ", "hint: ", hint]);
        let url = provider.token_url();
        assert_eq!(row(&output, "token URL"), Some(url.as_str()), "{answer}");
    }
}

#[tokio::test]
async fn an_issuer_that_is_not_as_configured_is_told_by_what_is_wrong_with_it() {
    let provider = Provider::start().await;
    let nobody = provider.issuer().replace("main", "nobody");
    let output = with_issuer(&provider)
        .env("OIDC_ISSUER", &nobody)
        .run(&["token"])
        .await;
    ended(&output, 1);
    told(&output, &["there is no such realm"]);
    let asked = row(&output, "token URL").unwrap_or_default();
    assert!(asked.contains("/realms/nobody/"), "{}", output.stdout);

    provider.call_itself("https://sso.example/realms/main");
    let output = with_issuer(&provider).run(&["token"]).await;
    ended(&output, 1);
    told(
        &output,
        &[
            "https://sso.example/realms/main",
            &provider.issuer(),
            "OIDC_ISSUER",
        ],
    );
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_told_by_why() {
    let provider = Provider::start().await;
    let closed = ClosedPort::pick();
    let with_tls = provider.token_url().replace("http:", "https:");
    for (url, hint) in [
        (closed.url("/token"), "nothing listens there"),
        (
            "http://no-such-host.invalid/token".into(),
            "cannot be resolved",
        ),
        (with_tls, "speaks plain http"),
    ] {
        let output = shell(&provider)
            .env("OIDC_TOKEN_URL", &url)
            .run(&["token", "--format", "json"])
            .await;

        ended(&output, 1);
        told(&output, &[hint]);
        let shown = json_of(&output);
        assert_eq!(shown["outcome"], "unreachable", "{shown}");
        assert!(shown["advice"].to_string().contains(hint), "{shown}");
        assert_eq!(shown["tokenUrl"], url);
    }
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_no_failed_mint() {
    let provider = Provider::start().await;
    let bare = || Fleet::new().without_config();
    for (fleet, words, part) in [
        (bare(), &["token"][..], "MCP_CLIENT_AUTH"),
        (
            bare().env("MCP_CLIENT_AUTH", "oidc-client-credentials"),
            &["token"],
            "OIDC_CLIENT_ID",
        ),
        (
            shell(&provider).env("OIDC_CA_FILE", "/nowhere/ca.pem"),
            &["token"],
            "OIDC_CA_FILE",
        ),
        (
            shell(&provider),
            &["token", "--child", "billing"],
            "mcp_config.json",
        ),
        (
            shell(&provider),
            &["token", "--no-such-flag"],
            "--no-such-flag",
        ),
        (
            shell(&provider),
            &["token", "--config", "x.json"],
            "--child",
        ),
    ] {
        let output = fleet.run(words).await;
        ended(&output, 2);
        told(&output, &[part]);
        assert_eq!(output.stdout, "");
    }
    assert!(provider.asked().is_empty());
}

/// One child with each kind of `auth`.
fn children(provider: &Provider) -> Fleet {
    let remote = |auth: Value| json!({"url": "http://127.0.0.1:1/mcp", "auth": auth});
    Fleet::new()
        .identity(provider)
        .entry(
            "billing",
            remote(json!({"audience": "billing", "scope": "invoices:read", "resource": "https://b.example"})),
        )
        .entry("plain", remote(json!("service")))
        .entry("bare", remote(json!("none")))
        .entry("local", json!({"command": "true"}))
        .entry("broken", remote(json!({"clientId": "other"})))
        .entry(
            "headed",
            json!({"url": "http://127.0.0.1:1/mcp", "headers": {"authorization": "Bearer x"}}),
        )
        .entry("user", json!({"url": "http://me:x@127.0.0.1:1/mcp"}))
        .entry("sse", json!({"url": "http://127.0.0.1:1/sse"}))
        .entry("through", remote(json!("passthrough")))
}

#[tokio::test]
async fn a_childs_own_token_is_minted_as_its_entry_says() {
    let provider = Provider::start().await;
    let output = children(&provider)
        .env("MCP_CLIENT_AUTH", "none")
        .run(&["token", "--child", "billing"])
        .await;

    ended(&output, 0);
    assert_eq!(row(&output, "audience"), Some("billing"));
    assert_eq!(row(&output, "scope"), Some("invoices:read"));
    assert_eq!(row(&output, "resource"), Some("https://b.example"));
    let body = provider.asked()[0].body.clone();
    assert!(body.contains("audience=billing"), "{body}");
}

#[tokio::test]
async fn a_child_is_shown_what_it_would_be_sent() {
    let provider = Provider::start().await;
    let of = async |child: &str| children(&provider).run(&["token", "--child", child]).await;

    let plain = of("plain").await;
    ended(&plain, 0);
    assert_eq!(row(&plain, "audience"), Some("agent-services"));

    for (child, part) in [
        ("headed", "\"headed\" is not sent this token"),
        ("user", "\"user\" is not sent this token"),
    ] {
        let output = of(child).await;
        ended(&output, 0);
        told(&output, &[part]);
    }

    for (child, part) in [
        ("bare", "\"auth\" is \"none\""),
        ("local", "a process"),
        ("through", "it gets those of its users"),
        ("broken", "clientSecretFile"),
        ("nobody", "\"billing\", \"plain\""),
    ] {
        let output = of(child).await;
        ended(&output, 2);
        told(&output, &[part]);
    }

    let elsewhere = children(&provider)
        .env("MCP_CLIENT_AUTH_HOSTS", "*.corp.example")
        .run(&["token", "--child", "plain"])
        .await;
    told(
        &elsewhere,
        &["MCP_CLIENT_AUTH_HOSTS does not name its host"],
    );
}

#[tokio::test]
async fn a_token_in_a_file_and_a_password_are_shown_as_they_are() {
    let bare = || Fleet::new().without_config();
    let fleet = bare();
    let path = fleet.path("token");
    let claims = json!({"iss": "https://id.example", "exp": now() - 90});
    fs::write(&path, format!("{}\n", jwt(&claims))).expect("a token");
    let file = path.display().to_string();
    let output = fleet
        .env("MCP_CLIENT_AUTH", "bearer-file")
        .env("MCP_CLIENT_BEARER_FILE", &file)
        .run(&["token", "--reveal"])
        .await;
    ended(&output, 0);
    assert_eq!(row(&output, "mode"), Some("bearer-file"));
    assert_eq!(row(&output, "file"), Some(file.as_str()));
    assert_eq!(row(&output, "iss"), Some("https://id.example"));
    let exp = row(&output, "exp").unwrap_or_default();
    assert!(exp.starts_with("1 min 3"), "{exp}");
    assert_eq!(output.stdout.lines().last(), Some(jwt(&claims).as_str()));
    told(&output, &["warning: the token has expired already"]);

    let missing = bare()
        .env("MCP_CLIENT_AUTH", "bearer-file")
        .env("MCP_CLIENT_BEARER_FILE", "/nowhere/token")
        .run(&["token"])
        .await;
    ended(&missing, 1);
    told(&missing, &["MCP_CLIENT_BEARER_FILE", "hint: "]);

    let basic = || {
        bare()
            .env("MCP_CLIENT_AUTH", "basic")
            .env("MCP_CLIENT_BASIC_USERNAME", "me")
            .env("MCP_CLIENT_BASIC_PASSWORD", "canary-password")
    };
    let output = basic().run(&["token"]).await;
    ended(&output, 0);
    assert_eq!(row(&output, "user name"), Some("me"));
    assert!(!output.stdout.contains("canary"), "{}", output.stdout);
    ended(&basic().run(&["token", "--reveal"]).await, 2);
}

/// Whatever comes of it, and however much is logged.
#[tokio::test]
async fn no_secret_and_no_token_is_shown() {
    let key = private_key();
    for mood in [
        Mood::Generous,
        Mood::Indiscreet,
        Mood::Says(200, r#"{"access_token":"canary token"}"#),
        Mood::Says(200, r#"["canary-token"]"#),
    ] {
        for method in [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ] {
            for format in ["text", "json"] {
                let provider = Provider::with("canary-token", 300).await;
                provider.be(mood);
                let fleet = shell(&provider);
                let path = fleet.path("key");
                fs::write(&path, &key).expect("a key");
                let output = fleet
                    .env("OIDC_CLIENT_SECRET", "canary-secret")
                    .env("OIDC_CLIENT_AUTH_METHOD", method)
                    .env("OIDC_CLIENT_KEY_FILE", &path.display().to_string())
                    .env("RUST_LOG", "trace,mcp_multiplexer=trace")
                    .run(&["token", "--format", format])
                    .await;

                assert_eq!(provider.asked().len(), 1, "{method}");
                assert!(output.stderr.contains("TRACE"), "{}", output.stderr);
                let said = format!("{}{}", output.stdout, output.stderr).to_lowercase();
                // The last is how the assertion begins, and the key.
                for trace in ["canary", "y2fuyxj5", "nhbmfye", "jyw5hcn", "eyj", "migha"] {
                    assert!(!said.contains(trace), "{trace} with {method}: {said}");
                }
            }
        }
    }
}

/// A new P-256 key in PEM.
fn private_key() -> String {
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let der = key.to_pkcs8v1().expect("PKCS#8");
    let body = BASE64_STANDARD.encode(der.as_ref());
    assert!(body.starts_with("MIGHA"), "as it is searched for: {body}");
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

#[tokio::test]
async fn no_child_is_started_or_asked() {
    let provider = Provider::start().await;
    let remote = TcpListener::bind("127.0.0.1:0").expect("a port");
    remote.set_nonblocking(true).expect("a listener");
    let url = format!("http://{}/mcp", remote.local_addr().expect("an address"));
    let folder = TempDir::new().expect("a folder");
    let trace = folder.path().join("started");
    let output = Fleet::new()
        .identity(&provider)
        .entry("remote", json!({"url": url}))
        .entry("local", json!({"command": "touch", "args": [trace]}))
        .run(&["token", "--child", "remote"])
        .await;

    ended(&output, 0);
    assert!(remote.accept().is_err(), "nobody has knocked");
    assert!(!trace.exists());
}
