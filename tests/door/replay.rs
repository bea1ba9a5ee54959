//! What is good in one place, shown in another.

use ::http::Method;
use serde_json::{Value, json};

use crate::{
    issuer::{Issuer, Key},
    knock::{Knock, discover, in_session, initialize, logged, open, page},
    support::{
        Child, Fleet, Multiplexer,
        client::LEGACY_VERSION,
        http::{Http, With as _},
    },
};

const WHOLE: &str = "https://mcp.example.org/mcp";
const PING: &str = r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#;

/// A door that is for its public address alone.
async fn public(issuer: &Issuer) -> Multiplexer {
    let fleet = Fleet::new()
        .top("publicUrl", WHOLE)
        .top("auth", json!({"issuer": issuer.name()}))
        .top("groups", json!({"all": ["clock", "watch"]}))
        .stdio("clock", Child::modern())
        .stdio("watch", Child::modern())
        .flags(&["--log-level", "debug"]);
    open(fleet).await
}

#[tokio::test]
async fn a_token_is_good_where_it_is_meant_to_be_and_nowhere_else() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = public(&issuer).await;
    let http = Http::default();
    let places = ["", "/clock", "/watch", "/group/all"];
    for meant in places {
        let token = issuer.token_with(&key, json!({"aud": format!("{WHOLE}{meant}")}));
        for shown in places {
            let knock = Knock::bearing(&http, discover(&mux.at(&format!("/mcp{shown}"))), &token);
            let knock = knock.await;
            let good = meant.is_empty() || meant == shown;
            let status = if good { 200 } else { 401 };
            assert_eq!(knock.status, status, "{meant} at {shown}: {}", knock.body);
            if !good {
                let line = logged(&mux, &knock).await;
                assert!(line.contains("reason=\"audience\""), "{line}");
            }
        }
    }
}

#[tokio::test]
async fn an_audience_that_looks_like_ours_is_another() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = public(&issuer).await;
    for aud in [
        "https://mcp.example.org",
        "https://mcp.example.org/",
        "https://mcp.example.org/mcp/",
        "https://mcp.example.org/mcp/watch/",
        "https://mcp.example.org/mcp?x",
        "https://mcp.example.org/mcp#x",
        "https://mcp.example.org:443/mcp",
        "https://mcp.example.org.evil.example/mcp",
        "https://user@mcp.example.org/mcp",
        "http://mcp.example.org/mcp",
        "HTTPS://MCP.EXAMPLE.ORG/mcp",
        "https://mcp.example.org/mcp/../mcp",
        "mcp.example.org/mcp",
        "/mcp",
        "*",
    ] {
        let token = issuer.token_with(&key, json!({"aud": aud}));
        let knock = Knock::bearing(&Http::default(), discover(&mux.url()), &token).await;
        assert_eq!(knock.status, 401, "{aud}: {}", knock.body);
        let line = logged(&mux, &knock).await;
        assert!(line.contains("reason=\"audience\""), "{aud}: {line}");
    }
}

/// Whether a view or a session is there is not for those to know who may not come in.
#[tokio::test]
async fn what_is_there_is_told_to_those_who_may_come_in() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = public(&issuer).await;
    let http = Http::default();
    let good = issuer.token_with(&key, json!({"aud": WHOLE}));
    for (path, there) in [("/clock", true), ("/nobody", false), ("/group/x", false)] {
        let url = mux.at(&format!("/mcp{path}"));
        let stranger = Knock::with(&http, discover(&url), &[]).await;
        assert_eq!(stranger.status, 401, "{path}");
        let known = Knock::bearing(&http, discover(&url), &good).await;
        assert_eq!(known.status == 200, there, "{path}: {}", known.body);
    }

    let begun = Knock::bearing(&http, initialize(&mux.url()), &good).await;
    let session = begun.header("mcp-session-id");
    assert!(!session.is_empty(), "{}", begun.body);
    let own = |url: &str, session: &str| in_session(url, session, PING);
    for session in [session, "0123456789abcdef0123456789abcdef"] {
        let stranger = Knock::with(&http, own(&mux.url(), session), &[]).await;
        assert_eq!((stranger.status, &stranger.body["id"]), (401, &Value::Null));
    }
    // One's own session is known where it was begun alone.
    for (path, status) in [("/mcp", 200), ("/mcp/clock", 404), ("/mcp/group/all", 404)] {
        let knock = Knock::bearing(&http, own(&mux.at(path), session), &good).await;
        assert_eq!(knock.status, status, "{path}: {}", knock.body);
    }
    for method in [Method::GET, Method::DELETE] {
        let asks = page(method.clone(), &mux.at("/mcp/clock"))
            .with("accept", "text/event-stream")
            .with("mcp-session-id", session)
            .with("mcp-protocol-version", LEGACY_VERSION);
        let knock = Knock::bearing(&http, asks, &good).await;
        assert_eq!(knock.status, 404, "{method}: {}", knock.body);
    }
}

/// All users of one client are not one.
#[tokio::test]
async fn users_whose_tokens_do_not_name_them_have_sessions_of_their_own() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = public(&issuer).await;
    let http = Http::default();
    let token = |sid: &str| {
        let changes = json!({"aud": WHOLE, "sub": null, "sid": sid});
        issuer.token_with(&key, changes)
    };
    let (one, other) = (token("first"), token("second"));
    let begun = Knock::bearing(&http, initialize(&mux.url()), &one).await;
    let session = begun.header("mcp-session-id");
    for (token, status) in [(&one, 200), (&other, 404)] {
        let knock = Knock::bearing(&http, in_session(&mux.url(), session, PING), token).await;
        assert_eq!(knock.status, status, "{}", knock.body);
    }
    // A client that acts for itself is the same with its next token.
    let token = |jti: &str| {
        let changes = json!({"aud": WHOLE, "sub": null, "jti": jti});
        issuer.token_with(&key, changes)
    };
    let begun = Knock::bearing(&http, initialize(&mux.url()), &token("a")).await;
    let session = begun.header("mcp-session-id");
    let asks = in_session(&mux.url(), session, PING);
    let next = Knock::bearing(&http, asks, &token("b")).await;
    assert_eq!(next.status, 200, "{}", next.body);
}
