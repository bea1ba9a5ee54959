//! The authorization server as it is found at the door: what is passed on to it, and what
//! is not.

use ::http::{Method, Request};
use bytes::Bytes;
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    issuer::{Issuer, Key},
    knock::{Knock, locked, open, page},
    support::{
        Multiplexer,
        http::{Http, With as _, request},
    },
};

const DOCUMENT: &str = "/.well-known/oauth-authorization-server/mcp";

async fn at_its_origin(issuer: &Issuer) -> Multiplexer {
    open(locked(issuer, json!({"provider": "keycloak"}))).await
}

fn registration(mux: &Multiplexer, body: impl Into<Bytes>) -> Request<Bytes> {
    request(Method::POST, &mux.at("/register"), body).with("content-type", "application/json")
}

async fn sent(request: Request<Bytes>) -> Knock {
    Knock::with(&Http::default(), request, &[]).await
}

#[tokio::test]
async fn there_is_none_unless_it_is_asked_for() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = open(locked(&issuer, json!({}))).await;
    let document = sent(page(Method::GET, &mux.at(DOCUMENT))).await;
    assert_eq!(document.status, 404);
    assert_eq!(sent(registration(&mux, "{}")).await.status, 404);
    assert_eq!(issuer.registrations(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_registration_is_passed_on_as_it_is_and_its_answer_comes_back() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = at_its_origin(&issuer).await;
    let document = sent(page(Method::GET, &mux.at(DOCUMENT))).await;
    assert_eq!(document.body["issuer"], issuer.name().as_str());
    let register = mux.at("/register");
    assert_eq!(document.body["registration_endpoint"], register.as_str());

    let client = json!({"client_name": "ünknown", "big": 1e300, "redirect_uris": []});
    let request = registration(&mux, client.to_string())
        .with("authorization", "Bearer an-initial-one")
        .with("cookie", "a=b")
        .with("origin", "http://localhost:6274");
    let answer = sent(request).await;

    assert_eq!(
        (answer.status, &answer.body),
        (201, &json!({"client_id": "c"}))
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    let allowed = answer.header("access-control-allow-origin");
    assert_eq!(allowed, "http://localhost:6274");
    let passed_on = json!({
        "registration": client, "authorization": "Bearer an-initial-one", "cookie": null,
    });
    assert_eq!(issuer.registrations(), [passed_on]);
}

#[tokio::test]
async fn what_is_no_registration_or_of_no_page_that_is_allowed_goes_nowhere() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = at_its_origin(&issuer).await;
    let large = json!({"client_name": "x".repeat(64 * 1024)}).to_string();
    let form = registration(&mux, "{}").with("content-type", "application/x-www-form-urlencoded");
    for (request, status) in [
        (registration(&mux, large), 413),
        (registration(&mux, "[{}]"), 400),
        (registration(&mux, "{"), 400),
        (form, 415),
        (page(Method::GET, &mux.at("/register")), 405),
        (
            registration(&mux, "{}").with("origin", "https://evil.example"),
            403,
        ),
        (registration(&mux, "{}").with("host", "evil.example"), 403),
    ] {
        let what = format!("{request:?}");
        let what = &what[..what.len().min(300)];
        assert_eq!(sent(request).await.status, status, "{what}");
    }
    assert_eq!(issuer.registrations(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_flood_of_registrations_stops_at_the_door() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = at_its_origin(&issuer).await;
    let mut refused = 0;
    for _ in 0..10 {
        let burst = (0..8).map(|_| sent(registration(&mux, "{}")));
        for answer in join_all(burst).await {
            match answer.status {
                201 => {}
                429 => {
                    let wait = answer.header("retry-after").parse::<u64>();
                    assert!((1..=60).contains(&wait.expect("seconds")));
                    refused += 1;
                }
                other => panic!("{other}: {}", answer.body),
            }
        }
    }
    let passed_on = issuer.registrations().len();
    assert_eq!(passed_on + refused, 80);
    // A minute may end meanwhile.
    assert!(passed_on <= 60, "{passed_on}");
}

#[tokio::test]
async fn while_the_realm_is_down_clients_are_told_to_wait() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = at_its_origin(&issuer).await;
    issuer.be_down(true);
    for request in [
        page(Method::GET, &mux.at(DOCUMENT)),
        registration(&mux, "{}"),
    ] {
        let answer = sent(request).await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), "5");
    }
}
