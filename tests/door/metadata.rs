//! What the resource tells of itself to whoever asks.

use ::http::Method;
use serde_json::{Value, json};

use crate::{
    issuer::{Issuer, Key},
    knock::{Knock, discover, open, page},
    support::{
        Door, Fleet, Multiplexer,
        http::{Http, With as _},
    },
};

const ROOT: &str = "/.well-known/oauth-protected-resource";

async fn told(mux: &Multiplexer, path: &str) -> Knock {
    Knock::with(&Http::default(), page(Method::GET, &mux.at(path)), &[]).await
}

async fn public(issuer: &Issuer) -> Multiplexer {
    let auth = json!({
        "issuer": issuer.name(), "requiredScopes": ["mcp"],
        "resourceMetadata": {
            "resourceName": "Tools", "resourceDocumentation": "https://docs.example/",
            "resourcePolicyUri": "https://docs.example/policy",
        },
    });
    open(
        Fleet::new()
            .top("publicUrl", "https://mcp.example")
            .top("auth", auth),
    )
    .await
}

#[tokio::test]
async fn the_document_stands_at_the_root_and_at_each_path() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = public(&issuer).await;
    let document = |resource: &str| {
        json!({
            "resource": resource,
            "resource_name": "Tools",
            "authorization_servers": [issuer.name()],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["mcp"],
            "resource_documentation": "https://docs.example/",
            "resource_policy_uri": "https://docs.example/policy",
        })
    };
    for (path, resource) in [
        (ROOT.to_owned(), "https://mcp.example/mcp"),
        (format!("{ROOT}/mcp"), "https://mcp.example/mcp"),
        (
            format!("{ROOT}/mcp/github"),
            "https://mcp.example/mcp/github",
        ),
    ] {
        let knock = told(&mux, &path).await;
        assert_eq!(knock.status, 200, "{path}");
        assert_eq!(knock.body, document(resource), "{path}");
        assert_eq!(knock.header("access-control-allow-origin"), "*");
        assert!(knock.header("cache-control").contains("max-age="));
    }
    let nowhere = told(&mux, &format!("{ROOT}/other")).await;
    assert_eq!(nowhere.status, 404);
    assert_eq!(nowhere.header("access-control-allow-origin"), "*");

    // The challenge leads there.
    let knock = Knock::with(&Http::default(), discover(&mux.url()), &[]).await;
    assert_eq!(knock.status, 401);
    assert_eq!(
        knock.header("www-authenticate"),
        r#"Bearer realm="mcp", resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp", scope="mcp""#
    );
    assert_eq!(knock.header("access-control-allow-origin"), "*");
    assert!(
        knock
            .header("access-control-expose-headers")
            .contains("WWW-Authenticate")
    );

    // A token for the public address is let in, and one for another is not.
    let http = Http::default();
    for (aud, status) in [
        ("https://mcp.example/mcp", 200),
        ("https://mcp.example", 401),
    ] {
        let token = issuer.token_with(&key, json!({"aud": aud}));
        let knock = Knock::bearing(&http, discover(&mux.url()), &token).await;
        assert_eq!(knock.status, status, "{aud}: {}", knock.body);
    }
}

#[tokio::test]
async fn browsers_may_ask_with_the_headers_of_mcp() {
    let issuer = Issuer::with([&Key::ec("one")]).await;
    let mux = public(&issuer).await;
    let asks = page(Method::OPTIONS, &mux.at(ROOT))
        .with("origin", "https://inspector.example")
        .with("access-control-request-method", "GET")
        .with("access-control-request-headers", "mcp-protocol-version");
    let knock = Knock::with(&Http::default(), asks, &[]).await;
    assert_eq!(knock.status, 204);
    assert_eq!(knock.header("access-control-allow-origin"), "*");
    assert!(knock.header("access-control-allow-headers").contains('*'));
    let posted = Knock::with(&Http::default(), page(Method::POST, &mux.at(ROOT)), &[]).await;
    assert_eq!(posted.status, 405);
}

#[tokio::test]
async fn forwarded_headers_are_believed_of_trusted_proxies_only() {
    let issuer = Issuer::with([&Key::ec("one")]).await;
    let auth = json!({"issuer": issuer.name(), "audiences": ["a"]});
    let fleet = |proxies: Value| {
        Fleet::new()
            .top("auth", auth.clone())
            .top("trustedProxies", proxies)
    };
    for (proxies, believed) in [
        (json!(["127.0.0.0/8"]), true),
        (json!(["10.0.0.0/8"]), false),
    ] {
        let mux = open(fleet(proxies)).await;
        let asks = page(Method::GET, &mux.at(ROOT))
            .with("x-forwarded-host", "outer.example")
            .with("x-forwarded-proto", "https");
        let knock = Knock::with(&Http::default(), asks, &[]).await;
        let resource = match believed {
            true => "https://outer.example/mcp".to_owned(),
            false => mux.url(),
        };
        assert_eq!(knock.body["resource"], resource.as_str());
    }
    // Nor is a host that may not come in.
    let mux = open(fleet(json!([]))).await;
    let asks = page(Method::GET, &mux.at(ROOT)).with("host", "evil.example");
    let knock = Knock::with(&Http::default(), asks, &[]).await;
    assert_eq!(knock.status, 403);
}

#[tokio::test]
async fn with_somebody_else_at_the_door_the_variables_say_what_is_told() {
    let mux = Fleet::new()
        .env("OAUTH_RESOURCE", "https://mcp.example/mcp")
        .env("OAUTH_RESOURCE_NAME", "Tools")
        .env(
            "OAUTH_AUTHORIZATION_SERVERS",
            "https://a.example, https://b.example",
        )
        .env("OAUTH_SCOPES_SUPPORTED", "openid,groups")
        .over(Door::Http)
        .await;
    let knock = told(&mux, ROOT).await;
    assert_eq!(
        knock.body,
        json!({
            "resource": "https://mcp.example/mcp",
            "resource_name": "Tools",
            "authorization_servers": ["https://a.example", "https://b.example"],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["openid", "groups"],
        })
    );
    let open = Knock::with(&Http::default(), discover(&mux.url()), &[]).await;
    assert_eq!(open.status, 200);
}

#[tokio::test]
async fn an_open_door_has_nothing_to_tell() {
    let mux = Fleet::new().over(Door::Http).await;
    let knock = told(&mux, ROOT).await;
    assert_eq!(knock.status, 404);
    assert_eq!(knock.header("access-control-allow-origin"), "*");
}
