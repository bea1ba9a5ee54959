//! Clients that are pages in a browser, at a door that is locked.

use ::http::{Method, Request};
use bytes::Bytes;
use serde_json::json;

use crate::{
    issuer::{Issuer, Key},
    knock::{Knock, discover, locked, open, page},
    support::{
        Multiplexer,
        http::{Http, With as _},
    },
};

const ALLOWED: &str = "https://app.example";

async fn sent(request: Request<Bytes>, token: Option<&str>) -> Knock {
    let http = Http::default();
    match token {
        Some(token) => Knock::bearing(&http, request, token).await,
        None => Knock::with(&http, request, &[]).await,
    }
}

async fn knowing_a_page(issuer: &Issuer) -> Multiplexer {
    let fleet = locked(issuer, json!({}));
    open(fleet.flags(&["--allowed-origin", ALLOWED])).await
}

#[tokio::test]
async fn a_browser_asks_without_a_token_and_is_told_what_its_page_may_send() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = knowing_a_page(&issuer).await;
    let asks = |origin: &str| {
        page(Method::OPTIONS, &mux.url())
            .with("origin", origin)
            .with("access-control-request-method", "POST")
            .with("access-control-request-headers", "authorization,mcp-method")
    };
    let told = sent(asks(ALLOWED), None).await;
    assert_eq!(told.status, 204);
    assert_eq!(told.header("access-control-allow-origin"), ALLOWED);
    assert_eq!(told.header("vary"), "Origin");
    let methods = told.header("access-control-allow-methods");
    assert!(
        methods.contains("POST") && methods.contains("DELETE"),
        "{methods}"
    );
    let headers = told.header("access-control-allow-headers");
    assert_eq!(headers, "*, Authorization");
    assert_eq!(told.header("access-control-allow-credentials"), "");

    let other = sent(asks("https://evil.example"), None).await;
    assert_eq!(other.status, 403);
    assert_eq!(other.header("access-control-allow-origin"), "");
    // Not a browser's question: as any other request without a token.
    let plain = sent(page(Method::OPTIONS, &mux.url()), None).await;
    assert_eq!(plain.status, 401);
}

#[tokio::test]
async fn a_page_may_read_its_answers_and_why_it_was_refused() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = knowing_a_page(&issuer).await;
    let request = || discover(&mux.url()).with("origin", ALLOWED);
    let token = issuer.token(&key);
    for (token, status) in [(Some(token.as_str()), 200), (None, 401), (Some("x"), 401)] {
        let answer = sent(request(), token).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), ALLOWED);
        let readable = answer.header("access-control-expose-headers");
        for header in ["WWW-Authenticate", "Mcp-Session-Id"] {
            assert!(readable.contains(header), "{readable}");
        }
    }
    let no_page = sent(discover(&mux.url()), Some(&token)).await;
    assert_eq!(no_page.header("access-control-allow-origin"), "");
}
