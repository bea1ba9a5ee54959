//! The service identity at a certified OpenID provider that is not Keycloak, in front
//! of servers that check every token.

mod peers;
mod support;

use std::{fs, path::PathBuf};

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use peers::oidc::{OidcProvider, with_key, with_secret};
use serde_json::{Value, json};
use support::{Client, Door, Era, Fleet, Multiplexer, eventually};
use tempfile::TempDir;

const RESOURCE: &str = "https://tools.example.org/mcp";

/// A form, a header and a shell would each make something else of it.
const SECRET: &str = "a secret: with + & = and %41";

/// Who called, as a child was told.
async fn whoami(client: &mut Client, prefix: &str) -> Value {
    let answer = client.call(&format!("{prefix}__whoami"), "{}").await;
    answer.content()
}

async fn mints(mux: &Multiplexer) -> f64 {
    let metrics = mux.metrics().await;
    metrics.sum("token_mints_total", &[("outcome", "ok")])
}

fn fleet(provider: &OidcProvider, client: &str) -> Fleet {
    Fleet::new()
        .env("MCP_CLIENT_AUTH", "oidc-client-credentials")
        .env("OIDC_ISSUER", provider.issuer())
        .env("OIDC_CLIENT_ID", client)
}

/// One fleet with the client `me`, which `settings` make to be who it is; what the child
/// was told, and what the provider was.
async fn admitted(client: Value, settings: &[(&str, &str)]) -> (Value, Value) {
    let provider = OidcProvider::start(&[client]).await;
    let server = provider.server(RESOURCE).await;
    let mut fleet = fleet(&provider, "me")
        .env("OIDC_RESOURCE", RESOURCE)
        .env("OIDC_SCOPE", "tools")
        .entry("guarded", json!({"url": server.mcp()}));
    for (name, value) in settings {
        fleet = fleet.env(name, value);
    }
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;

    let caller = whoami(&mut client, "guarded").await;

    assert_eq!(caller["iss"], provider.issuer());
    assert_eq!(provider.refused(), Vec::<Value>::new());
    let granted = provider.granted();
    (caller, granted.first().cloned().expect("a token"))
}

#[tokio::test]
async fn a_child_lets_the_fleet_in_that_proved_itself_by_a_secret() {
    for method in ["client_secret_basic", "client_secret_post"] {
        let settings = [
            ("OIDC_CLIENT_AUTH_METHOD", method),
            ("OIDC_CLIENT_SECRET", SECRET),
        ];
        let (caller, granted) = admitted(with_secret("me", SECRET, method), &settings).await;

        assert_eq!(caller["client_id"], "me", "{method}");
        assert_eq!(caller["sub"], "me", "{method}");
        assert_eq!(caller["aud"], RESOURCE, "{method}");
        assert_eq!(granted["method"], method);
        assert_eq!(granted["scope"], "tools", "{method}");
    }
}

#[tokio::test]
async fn a_child_lets_the_fleet_in_that_proved_itself_by_a_key() {
    let keys = Keys::new();
    for (key, algorithm) in [(keys.rsa(), "RS256"), (keys.ec(), "ES256")] {
        let path = key.to_string_lossy();
        let settings = [
            ("OIDC_CLIENT_AUTH_METHOD", "private_key_jwt"),
            ("OIDC_CLIENT_KEY_FILE", path.as_ref()),
            ("OIDC_CLIENT_KEY_ID", "the-clients-key"),
        ];
        let known = with_key("me", &key, Some("the-clients-key"), algorithm);
        let (caller, granted) = admitted(known, &settings).await;

        assert_eq!(caller["client_id"], "me", "{algorithm}");
        assert_eq!(caller["aud"], RESOURCE, "{algorithm}");
        assert_eq!(granted["method"], "private_key_jwt", "{algorithm}");
    }
}

/// The provider takes the issuer as audience of an assertion, and so do all that follow
/// the newest drafts: it has to be known even where the token URL is set.
#[tokio::test]
async fn an_assertion_names_the_issuer_though_the_token_url_is_set() {
    let keys = Keys::new();
    let key = keys.ec();
    let provider = OidcProvider::start(&[with_key("me", &key, None, "ES256")]).await;
    let server = provider.server(RESOURCE).await;
    let mux = fleet(&provider, "me")
        .env("OIDC_TOKEN_URL", &format!("{}/token", provider.issuer()))
        .env("OIDC_CLIENT_AUTH_METHOD", "private_key_jwt")
        .env("OIDC_CLIENT_KEY_FILE", &key.to_string_lossy())
        .env("OIDC_RESOURCE", RESOURCE)
        .entry("guarded", json!({"url": server.mcp()}))
        .over(Door::Http)
        .await;

    mux.all_ready().await;

    assert_eq!(provider.refused(), Vec::<Value>::new());
}

/// Else the tests above might pass with any key and any secret.
#[tokio::test]
async fn what_proves_nothing_gets_no_token() {
    let keys = Keys::new();
    let known = [
        with_key("keyed", &keys.ec(), None, "ES256"),
        with_secret("secret", SECRET, "client_secret_basic"),
    ];
    let provider = OidcProvider::start(&known).await;
    let server = provider.server(RESOURCE).await;
    let stranger = keys.ec();
    let stranger = stranger.to_string_lossy();
    let wrong = [
        ("keyed", "OIDC_CLIENT_KEY_FILE", stranger.as_ref()),
        ("secret", "OIDC_CLIENT_SECRET", "canary-secret"),
    ];
    for (id, setting, value) in wrong {
        let mux = fleet(&provider, id)
            .env(setting, value)
            .env("OIDC_RESOURCE", RESOURCE)
            .entry("guarded", json!({"url": server.mcp()}))
            .over(Door::Http)
            .await;

        mux.until_child("guarded", "is down", |child| child["state"] == "down")
            .await;

        let identity = mux.status().await["identity"].clone();
        let said = identity["lastError"].as_str().unwrap_or_default();
        assert!(said.contains("invalid_client"), "{id}: {said}");
        let refused = provider.refused();
        let known = refused.iter().filter(|refused| refused["client"] == id);
        assert!(known.count() > 0, "{id}: {refused:?}");
        assert!(!mux.log.text().contains("canary"), "{id}");
    }
    assert_eq!(provider.granted(), Vec::<Value>::new());
}

/// A token for one of them is refused by the other.
#[tokio::test]
async fn children_with_resources_of_their_own_get_tokens_of_their_own() {
    let one = "https://one.example.org/mcp";
    let two = "https://two.example.org/mcp";
    let provider = OidcProvider::start(&[with_secret("me", SECRET, "client_secret_basic")]).await;
    let (first, second, third) = tokio::join!(
        provider.server(one),
        provider.server(two),
        provider.server(RESOURCE)
    );
    let mut mux = fleet(&provider, "me")
        .env("OIDC_CLIENT_SECRET", SECRET)
        .env("OIDC_RESOURCE", RESOURCE)
        .entry(
            "one",
            json!({"url": first.mcp(), "auth": {"resource": one}}),
        )
        .entry(
            "two",
            json!({"url": second.mcp(), "auth": {"resource": two}}),
        )
        .entry("plain", json!({"url": third.mcp()}))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    for (prefix, resource) in [("one", one), ("two", two), ("plain", RESOURCE)] {
        let caller = whoami(&mut client, prefix).await;
        assert_eq!(caller["aud"], resource, "{prefix}");
    }
    let identity = mux.status().await["identity"].clone();
    assert_eq!(identity["resource"], RESOURCE);
    let own = identity["own"].as_array().expect("others").iter();
    let own: Vec<_> = own
        .map(|own| (own["name"].clone(), own["resource"].clone()))
        .collect();
    assert_eq!(own.len(), 2, "{identity:#}");
    for named in [("one", one), ("two", two)] {
        assert!(own.contains(&(json!(named.0), json!(named.1))), "{own:?}");
    }
}

/// Both refresh on their own clock, so what is counted is who asked: the first mints for
/// the two that want the same, and one of the two leaves the other its token.
#[tokio::test]
async fn children_that_ask_for_the_same_share_one_token() {
    let provider = OidcProvider::start(&[with_secret("me", SECRET, "client_secret_basic")]).await;
    let (first, second) = tokio::join!(provider.server(RESOURCE), provider.server(RESOURCE));
    let same = |url: String| json!({"url": url, "auth": {"resource": RESOURCE, "scope": "tools"}});
    let mut mux = fleet(&provider, "me")
        .env("OIDC_CLIENT_SECRET", SECRET)
        .entry("first", same(first.mcp()))
        .entry("second", same(second.mcp()))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;

    for prefix in ["first", "second"] {
        assert_eq!(whoami(&mut client, prefix).await["aud"], RESOURCE);
    }
    let identity = mux.status().await["identity"].clone();
    let own = identity["own"].as_array().expect("others");
    assert_eq!(own.len(), 1, "{identity:#}");
    // What the provider granted is what the two identities say they got, no more.
    eventually("a count that holds still", async || {
        let before = mints(&mux).await;
        let granted = provider.granted().len();
        let after = mints(&mux).await;
        (before == after && before == granted as f64).then_some(())
    })
    .await;
}

/// The child checks every request against the clock. The provider counts in whole
/// seconds, so a token may end before it says: that costs a replay, and no call.
#[tokio::test(flavor = "multi_thread")]
async fn no_call_fails_while_short_tokens_come_and_go() {
    const REFRESHES: usize = 10;
    const CALLERS: usize = 4;
    let provider = OidcProvider::start(&[with_secret("me", SECRET, "client_secret_basic")]).await;
    let server = provider.server(RESOURCE).await;
    let mux = fleet(&provider, "me")
        .env("OIDC_CLIENT_SECRET", SECRET)
        .env("OIDC_RESOURCE", RESOURCE)
        .entry("guarded", json!({"url": server.mcp()}))
        .over(Door::Http)
        .await;
    mux.all_ready().await;

    let done = || provider.granted().len() > REFRESHES;
    let call_on = async || {
        let mut client = Client::over_http(mux.url(), Era::Modern).await;
        let mut calls = 0_u32;
        while !done() {
            let caller = whoami(&mut client, "guarded").await;
            assert_eq!(caller["aud"], RESOURCE);
            calls += 1;
        }
        calls
    };
    let calls = futures::future::join_all((0..CALLERS).map(|_| call_on())).await;

    assert!(calls.iter().all(|calls| *calls > 0), "{calls:?}");
    let metrics = mux.metrics().await;
    let child = ("child", "guarded");
    let all = metrics.sum("requests_total", &[child, ("method", "tools/call")]);
    let ok = metrics.sum(
        "requests_total",
        &[child, ("method", "tools/call"), ("outcome", "ok")],
    );
    assert_eq!(all, f64::from(calls.iter().sum::<u32>()));
    assert_eq!(ok, all);
}

/// Private keys in files, for as long as the test runs.
struct Keys {
    folder: TempDir,
}

impl Keys {
    fn new() -> Self {
        let folder = TempDir::with_prefix("keys-").expect("a folder");
        Self { folder }
    }

    fn rsa(&self) -> PathBuf {
        let key = KeyPair::generate(KeySize::Rsa2048).expect("a key");
        let der: Pkcs8V1Der<'_> = key.as_der().expect("its encoding");
        self.written(der.as_ref())
    }

    fn ec(&self) -> PathBuf {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        self.written(key.to_pkcs8v1().expect("its encoding").as_ref())
    }

    fn written(&self, der: &[u8]) -> PathBuf {
        let number = fs::read_dir(self.folder.path()).expect("a folder").count();
        let path = self.folder.path().join(format!("{number}.pem"));
        let body = BASE64_STANDARD.encode(der);
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
        fs::write(&path, pem).expect("a key can be written");
        path
    }
}
