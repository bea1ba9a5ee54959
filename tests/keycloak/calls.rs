//! What a child learns of its caller, and who else may mint.

use std::fs;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use super::{
    house::{CHILDREN, Guarded, add, added, more_mints, ready},
    realm::{CLIENT, Realm},
    server::{Keycloak, SECRET},
};
use crate::support::{
    Answer, Door, Era,
    client::{LEGACY_VERSION, call_params},
    eventually,
    http::{Http, With as _, post},
};

#[tokio::test]
async fn a_child_is_called_by_the_client_of_the_realm() {
    let realm = Realm::create(Keycloak::shared().await).await;
    let guarded = Guarded::start(&realm).await;
    let mut mux = ready(guarded.fleet(&realm)).await;
    let mut client = mux.client(Era::Modern).await;

    for prefix in CHILDREN {
        let caller = client.call(&format!("{prefix}__whoami"), "{}").await;
        let mut caller: Value = caller.content();
        let key = caller["kid"].take();

        assert!(key.is_string(), "{prefix}");
        let expected = json!({
            "iss": realm.issuer(),
            "sub": realm.subject().await,
            "azp": CLIENT,
            "client_id": CLIENT,
            "aud": "agent-services",
            "kid": null,
        });
        assert_eq!(caller, expected, "{prefix}");
        let sum = add(&mut client, prefix).await;
        assert!(added(&sum), "{}", sum.frame);
    }
}

#[tokio::test]
async fn what_a_policy_denies_is_told_as_the_child_tells_it() {
    let realm = Realm::create(Keycloak::shared().await).await;
    let guarded = Guarded::start(&realm).await;
    let mut mux = ready(guarded.fleet(&realm)).await;
    let mut client = mux.client(Era::Legacy).await;

    let denied = client.call("ruled__fail", r#"{"why":"denied"}"#).await;

    assert!(denied.is_tool_error());
    assert!(
        denied.content_text().starts_with("Access denied:"),
        "{}",
        denied.frame
    );
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
    ];
    let token = realm.mint(&form).await.expect("a token");
    let direct = directly(&guarded.ruled(), &token, "fail", r#"{"why":"denied"}"#).await;
    assert_eq!(denied.result(), direct.result(), "byte for byte");
}

/// Calls a legacy child as the bearer of this token.
async fn directly(url: &str, token: &str, tool: &str, arguments: &str) -> Answer {
    let http = Http::default();
    let bearer = format!("Bearer {token}");
    let frame = |frame: &str| post(url, frame.to_owned()).with("authorization", &bearer);
    let hello = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{LEGACY_VERSION}","capabilities":{{}},"clientInfo":{{"name":"tests","version":"1"}}}}}}"#
    );
    let reply = http.send(frame(&hello)).await;
    let session = reply.header("mcp-session-id").to_owned();
    reply.answer().await;
    let within = |request: Request<Bytes>| {
        request
            .with("mcp-session-id", &session)
            .with("mcp-protocol-version", LEGACY_VERSION)
    };
    let begun = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    assert_eq!(http.send(within(frame(begun))).await.status, 202);
    let params = call_params(tool, arguments);
    let call = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{params}}}"#);
    http.send(within(frame(&call))).await.answer().await
}

/// The second client of the realm, which has no secret: it proves itself by a JWT that
/// it signs with a key of its own (RFC 7523).
#[tokio::test]
async fn the_multiplexer_may_prove_itself_by_a_signed_jwt() {
    const SIGNER: &str = "mcp-multiplexer-jwt";
    const KEY_ID: &str = "the key of a test";
    let realm = Realm::create(Keycloak::shared().await).await;
    let guarded = Guarded::start(&realm).await;
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let fleet = guarded.fleet(&realm);
    let file = fleet.path("key.pem");
    fs::write(&file, pem(&key)).expect("the key can be written");
    let mut mux = fleet
        .env("OIDC_CLIENT_ID", SIGNER)
        .env("OIDC_CLIENT_AUTH_METHOD", "private_key_jwt")
        .env("OIDC_CLIENT_KEY_FILE", &file.display().to_string())
        .env("OIDC_CLIENT_KEY_ID", KEY_ID)
        .over(Door::Http)
        .await;
    more_mints(&mux, "refused", 1).await;

    let (x, y) = key.public_key().as_ref()[1..].split_at(32);
    let part = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let jwks = json!({"keys": [{
        "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": KEY_ID,
        "x": part(x), "y": part(y),
    }]});
    let keys = json!({"use.jwks.string": "true", "jwks.string": jwks.to_string()});
    realm
        .change(SIGNER, json!({"enabled": true, "attributes": keys}))
        .await;

    let mut client = mux.client(Era::Modern).await;
    let caller = eventually("a call by the one who signs", async || {
        let answer = client.call(&format!("{}__whoami", CHILDREN[0]), "{}").await;
        (!answer.is_tool_error()).then(|| answer.content())
    })
    .await;
    assert_eq!(caller["azp"], SIGNER);
    assert_eq!(caller["aud"], "agent-services");
}

/// The private key, as tools write it.
fn pem(key: &EcdsaKeyPair) -> String {
    let key = key.to_pkcs8v1().expect("a private key");
    let body = BASE64_STANDARD.encode(key.as_ref());
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}
