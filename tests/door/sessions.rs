//! A session is its beginner's alone.

use ::http::Method;
use serde_json::json;

use crate::{
    issuer::{Issuer, Key},
    knock::{Knock, in_session, initialize, locked, open, page},
    support::{
        client::LEGACY_VERSION,
        http::{Http, With as _},
    },
};

const PING: &str = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;

#[tokio::test]
async fn a_session_of_one_is_unknown_to_another() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = open(locked(&issuer, json!({"mode": "optional"}))).await;
    let (http, url) = (Http::default(), mux.url());
    let own = issuer.token(&key);
    let renewed = issuer.token_with(&key, json!({"jti": "another", "scope": "less"}));
    let others = [
        issuer.token_with(&key, json!({"sub": "other"})),
        issuer.token_with(&key, json!({"azp": "other"})),
        issuer.token_with(&key, json!({"azp": null})),
        issuer.token_with(&key, json!({"sub": null})),
    ];
    let begun = Knock::bearing(&http, initialize(&url), &own).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    let session = begun.header("mcp-session-id");

    for token in &others {
        let post = Knock::bearing(&http, in_session(&url, session, PING), token).await;
        assert_eq!(post.status, 404, "{}", post.body);
        for (method, status) in [(Method::GET, 404), (Method::DELETE, 404)] {
            let request = page(method.clone(), &url)
                .with("accept", "text/event-stream")
                .with("mcp-session-id", session)
                .with("mcp-protocol-version", LEGACY_VERSION);
            let knock = Knock::bearing(&http, request, token).await;
            assert_eq!(knock.status, status, "{method}: {}", knock.body);
        }
    }
    let nobody = Knock::with(&http, in_session(&url, session, PING), &[]).await;
    assert_eq!(nobody.status, 404, "{}", nobody.body);
    // A token is checked at every request, in a session too.
    let expired = issuer.token_with(&key, json!({"exp": 1}));
    let knock = Knock::bearing(&http, in_session(&url, session, PING), &expired).await;
    assert_eq!(knock.status, 401);

    for token in [&own, &renewed] {
        let knock = Knock::bearing(&http, in_session(&url, session, PING), token).await;
        assert_eq!(knock.status, 200, "{}", knock.body);
    }
    // And what nobody began is nobody's.
    let begun = Knock::with(&http, initialize(&url), &[]).await;
    let session = begun.header("mcp-session-id");
    let knock = Knock::with(&http, in_session(&url, session, PING), &[]).await;
    assert_eq!(knock.status, 200);
    let knock = Knock::bearing(&http, in_session(&url, session, PING), &own).await;
    assert_eq!(knock.status, 404);
}
