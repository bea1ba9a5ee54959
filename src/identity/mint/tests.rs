//! Mints at a real endpoint on loopback, well and ill behaved.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Response, Uri, header::LOCATION},
    routing::post,
};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;
use url::Url;

use super::*;
use crate::{
    config::{IdentitySettings, SecretSource, ServiceSettings, TokenPlace},
    identity::{
        Identities, Identity,
        error::Outcome,
        testing::{SECRET, json_answer, serve, settings, temp_file, testing_key},
    },
};

const GOOD: &str = r#"{"access_token":"canary-token","token_type":"Bearer","expires_in":300}"#;

fn minter(settings: &TokenSettings) -> ClientCredentials {
    ClientCredentials::new(settings).unwrap()
}

/// For answers that never come.
fn impatient_minter(settings: &TokenSettings) -> ClientCredentials {
    ClientCredentials::with_timeout(settings, Duration::from_millis(300)).unwrap()
}

fn value(secret: &str) -> SecretSource {
    SecretSource::Value("OIDC_CLIENT_SECRET", SecretString::from(secret))
}

fn from_file(path: &Path) -> Credential {
    Credential::Basic(SecretSource::File(
        "OIDC_CLIENT_SECRET_FILE",
        path.to_owned(),
    ))
}

/// What reached the token endpoint.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<(HeaderMap, String)>>>);

impl Seen {
    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn note(&self, headers: HeaderMap, body: String) {
        self.0.lock().unwrap().push((headers, body));
    }
}

/// A token endpoint that answers the n-th request, from 1, as `answer(n)` says.
async fn endpoint(
    answer: impl Fn(usize) -> Response<Body> + Clone + Send + Sync + 'static,
) -> (Url, Seen) {
    let seen = Seen::default();
    let notes = seen.clone();
    let handler = move |headers: HeaderMap, body: String| async move {
        notes.note(headers, body);
        answer(notes.count())
    };
    let base = serve(Router::new().route("/token", post(handler))).await;
    (base.join("token").unwrap(), seen)
}

fn html(status: u16) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", "text/html")
        .body(Body::from("<html>canary-token</html>"))
        .unwrap()
}

#[tokio::test]
async fn the_request_is_as_rfc_6749_has_it() {
    let (url, seen) = endpoint(|_| json_answer(200, GOOD)).await;
    let mut settings = settings(url.as_str());
    settings.client_id = "my client".into();
    settings.credential = Credential::Basic(value("s3cr:et/ü+"));
    settings.scope = Some("read write".into());

    let minted = minter(&settings).mint().await.unwrap();

    assert_eq!(minted.header, "Bearer canary-token");
    assert_eq!(minted.life, Some(Duration::from_secs(300)));
    let (headers, body) = seen.0.lock().unwrap().remove(0);
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(headers["accept"], "application/json");
    assert_eq!(
        headers["authorization"],
        "Basic bXkrY2xpZW50OnMzY3IlM0FldCUyRiVDMyVCQyUyQg=="
    );
    assert_eq!(
        body,
        "grant_type=client_credentials&scope=read+write&audience=agent-services"
    );
}

#[tokio::test]
async fn what_is_not_set_is_not_sent() {
    let (url, seen) = endpoint(|_| json_answer(200, GOOD)).await;
    let mut settings = settings(url.as_str());
    settings.audience = None;
    minter(&settings).mint().await.unwrap();
    assert_eq!(seen.0.lock().unwrap()[0].1, "grant_type=client_credentials");
}

/// Every way in which an endpoint can misbehave, by path.
async fn misbehave(uri: Uri) -> Response<Body> {
    match uri.path() {
        "/html" => html(200),
        "/html-as-json" => json_answer(200, "<html>canary-token</html>"),
        "/empty" => json_answer(200, ""),
        "/list" => json_answer(200, r#"["canary-token"]"#),
        "/truncated" => json_answer(200, &GOOD[..GOOD.len() - 1]),
        "/wrong-type" => json_answer(200, r#"{"access_token":{"is":"canary-token"}}"#),
        "/no-token" => json_answer(200, r#"{"token_type":"Bearer","expires_in":300}"#),
        "/mac" => json_answer(200, r#"{"access_token":"canary-token","token_type":"mac"}"#),
        "/newline" => json_answer(
            200,
            r#"{"access_token":"canary-token\r\nX-Evil: 1","token_type":"Bearer"}"#,
        ),
        "/oversized" => json_answer(200, &" ".repeat(10 * 1024 * 1024)),
        "/never" => std::future::pending().await,
        "/drip" => drip(),
        "/cut" => cut(),
        "/redirect" => Response::builder()
            .status(302)
            .header(LOCATION, "/elsewhere")
            .body(Body::empty())
            .unwrap(),
        "/204" => json_answer(204, ""),
        "/404" => html(404),
        "/403" => html(403),
        "/500" => html(500),
        "/503" => json_answer(503, r#"{"error":"temporarily_unavailable"}"#),
        "/429" => Response::builder()
            .status(429)
            .header("retry-after", "17")
            .body(Body::from(r#"{"error":"slow_down"}"#))
            .unwrap(),
        "/invalid-client" => json_answer(
            401,
            r#"{"error":"invalid_client","error_description":"Invalid client credentials"}"#,
        ),
        "/unauthorized-client" => json_answer(400, r#"{"error":"unauthorized_client"}"#),
        "/telltale" => json_answer(
            401,
            &format!(
                r#"{{"error":"invalid_client","error_description":"secret {SECRET}\nis wrong {}"}}"#,
                "x".repeat(9999)
            ),
        ),
        // Somewhere no secret may ever arrive.
        other => json_answer(418, other),
    }
}

fn drip() -> Response<Body> {
    let bytes = futures::stream::unfold((), |()| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((io::Result::Ok(Bytes::from_static(b" ")), ()))
    });
    json_answer(200, "").map(|_| Body::from_stream(bytes))
}

fn cut() -> Response<Body> {
    let bytes = futures::stream::iter([
        Ok(Bytes::from_static(b"{\"access_token\":\"canary-")),
        Err(io::Error::other("gone")),
    ]);
    json_answer(200, "").map(|_| Body::from_stream(bytes))
}

#[tokio::test]
async fn every_bad_answer_has_its_reason_and_shows_no_secret() {
    let base = serve(Router::new().fallback(misbehave)).await;
    for (path, outcome, reason) in [
        ("html", Outcome::InvalidAnswer, "`text/html`, not JSON"),
        ("html-as-json", Outcome::InvalidAnswer, "not a JSON object"),
        ("empty", Outcome::InvalidAnswer, "not a JSON object"),
        ("list", Outcome::InvalidAnswer, "not a JSON object"),
        ("truncated", Outcome::InvalidAnswer, "not a token answer"),
        ("wrong-type", Outcome::InvalidAnswer, "not a token answer"),
        ("no-token", Outcome::InvalidAnswer, "no access_token"),
        ("mac", Outcome::InvalidAnswer, "type `mac`, not Bearer"),
        ("newline", Outcome::InvalidAnswer, "characters"),
        ("oversized", Outcome::InvalidAnswer, "over 64 KiB"),
        ("never", Outcome::Timeout, "did not answer within 300ms"),
        ("drip", Outcome::Timeout, "did not answer within 300ms"),
        ("cut", Outcome::Unreachable, "cannot be reached"),
        ("redirect", Outcome::InvalidAnswer, "redirects (302 Found)"),
        ("204", Outcome::InvalidAnswer, "answered 204"),
        ("404", Outcome::InvalidAnswer, "answered 404"),
        ("403", Outcome::Refused, "answered 403"),
        ("500", Outcome::Unreachable, "answered 500"),
        ("503", Outcome::Unreachable, "answered 503"),
        ("429", Outcome::Refused, "answered 429"),
        (
            "invalid-client",
            Outcome::Refused,
            "refused: invalid_client (Invalid client credentials)",
        ),
        (
            "unauthorized-client",
            Outcome::Refused,
            "refused: unauthorized_client",
        ),
        (
            "telltale",
            Outcome::Refused,
            "invalid_client (secret [secret]is wrong xxx",
        ),
    ] {
        let settings = settings(base.join(path).unwrap().as_str());
        let mut minter = match outcome {
            Outcome::Timeout => impatient_minter(&settings),
            _ => minter(&settings),
        };
        let Err(error) = minter.mint().await else {
            panic!("{path} gave a token");
        };
        assert_eq!(error.outcome(), outcome, "{path}: {error}");
        assert!(error.to_string().contains(reason), "{path}: {error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("canary"), "{path}: {shown}");
        assert!(shown.len() < 1000, "{path}: {shown}");
        let pause = (path == "429").then_some(Duration::from_secs(17));
        assert_eq!(error.retry_after(), pause, "{path}");
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_there_is_unreachable() {
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let settings = settings(&format!("http://{free}/token"));
    let error = minter(&settings).mint().await.err().unwrap();
    assert_eq!(error.outcome(), Outcome::Unreachable);
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_secret_rotated_between_reading_and_asking_is_healed_in_the_same_mint() {
    // The second is Keycloak's.
    for code in ["invalid_client", "unauthorized_client"] {
        let file = temp_file("old-secret\n");
        let path = file.to_path_buf();
        let (url, seen) = endpoint(move |n| {
            if n == 1 {
                std::fs::write(&path, "new-secret\n").unwrap();
                json_answer(401, &format!(r#"{{"error":"{code}"}}"#))
            } else {
                json_answer(200, GOOD)
            }
        })
        .await;
        let mut settings = settings(url.as_str());
        settings.credential = from_file(&file);

        assert!(minter(&settings).mint().await.is_ok());

        let seen = seen.0.lock().unwrap();
        assert_eq!(seen.len(), 2);
        assert_ne!(seen[0].0["authorization"], seen[1].0["authorization"]);
    }
}

#[tokio::test]
async fn a_refused_secret_that_did_not_change_is_not_tried_twice() {
    let file = temp_file("old-secret");
    let (url, seen) = endpoint(|_| json_answer(401, r#"{"error":"invalid_client"}"#)).await;
    let mut settings = settings(url.as_str());
    settings.credential = from_file(&file);
    let mut minter = minter(&settings);

    assert!(minter.mint().await.is_err());
    assert_eq!(seen.count(), 1);

    std::fs::write(&*file, "new-secret").unwrap();
    assert!(minter.mint().await.is_err());
    let seen = seen.0.lock().unwrap();
    assert_ne!(seen[0].0["authorization"], seen[1].0["authorization"]);
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_a_failed_mint_and_nobody_is_asked() {
    let (url, seen) = endpoint(|_| json_answer(200, GOOD)).await;
    let mut settings = settings(url.as_str());
    settings.credential = from_file(Path::new("/nowhere/at/all"));
    let error = minter(&settings).mint().await.err().unwrap();
    assert!(error.to_string().contains("OIDC_CLIENT_SECRET_FILE"));
    assert_eq!(seen.count(), 0);
}

#[tokio::test]
async fn a_secret_may_go_into_the_body() {
    let (url, seen) = endpoint(|_| json_answer(200, GOOD)).await;
    let mut settings = settings(url.as_str());
    settings.credential = Credential::Post(value("s3cr:et/+"));
    settings.resource = Some("https://agents/mcp?a=1".into());

    minter(&settings).mint().await.unwrap();

    let (headers, body) = seen.0.lock().unwrap().remove(0);
    assert!(!headers.contains_key("authorization"));
    let sent: Vec<(String, String)> = url::form_urlencoded::parse(body.as_bytes())
        .into_owned()
        .collect();
    for (name, value) in [
        ("grant_type", "client_credentials"),
        ("client_id", "mcp-multiplexer"),
        ("client_secret", "s3cr:et/+"),
        ("audience", "agent-services"),
        ("resource", "https://agents/mcp?a=1"),
    ] {
        assert!(sent.contains(&(name.into(), value.into())), "{name}");
    }
}

#[tokio::test]
async fn a_key_signs_an_assertion_for_the_issuer_and_is_never_sent() {
    let key = temp_file(&testing_key());
    let (url, seen) = endpoint(|n| match n {
        1 => json_answer(200, GOOD),
        // As an indiscreet provider would: with what it was sent.
        _ => json_answer(
            400,
            r#"{"error":"invalid_client","error_description":"ey"}"#,
        ),
    })
    .await;
    let mut settings = settings(url.as_str());
    settings.place = TokenPlace::Endpoint {
        token_url: url.clone(),
        issuer: Some("https://id.example/".parse().unwrap()),
    };
    settings.credential = Credential::Key {
        file: key.to_path_buf(),
        id: Some("k1".into()),
    };

    minter(&settings).mint().await.unwrap();

    let (headers, body) = seen.0.lock().unwrap().remove(0);
    assert!(!headers.contains_key("authorization"));
    let sent: std::collections::HashMap<String, String> =
        url::form_urlencoded::parse(body.as_bytes())
            .into_owned()
            .collect();
    assert_eq!(sent["client_assertion_type"], JWT_BEARER);
    assert_eq!(sent["client_id"], "mcp-multiplexer");
    let claims = jsonwebtoken::dangerous::insecure_decode::<serde_json::Value>(
        sent["client_assertion"].as_bytes(),
    )
    .unwrap()
    .claims;
    assert_eq!(claims["aud"], "https://id.example");
    assert_eq!(claims["iss"], "mcp-multiplexer");
    assert_eq!(claims["sub"], "mcp-multiplexer");
}

#[test]
fn an_assertion_that_a_provider_repeats_is_not_shown() {
    let shown = proof::without("me", "s3cr3t", Some("ey.Jh.bG"), "no: ey.Jh.bG of s3cr3t");
    assert_eq!(shown, "no: [secret] of [secret]");
}

#[test]
fn a_file_that_holds_no_certificates_stops_the_start() {
    let none = temp_file("canary");
    let mut settings = settings("https://127.0.0.1:1/token");
    for file in [none.to_path_buf(), "/nowhere/at/all".into()] {
        settings.tls.ca_file = Some(file);
        let error = ClientCredentials::new(&settings).err().unwrap();
        assert!(error.to_string().contains("OIDC_CA_FILE"), "{error}");
        assert!(!error.to_string().contains("canary"), "{error}");
    }
}

fn identity(settings: &TokenSettings) -> Identity {
    let settings = IdentitySettings {
        service: ServiceSettings::ClientCredentials(Box::new(settings.clone())),
        hosts: None,
    };
    let identities = Identities::start(&settings, CancellationToken::new()).unwrap();
    let auth = crate::config::AuthSettings::Service;
    let url = "https://child/mcp".parse().unwrap();
    identities.of(&"child".into(), &auth, &url).unwrap()
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_secret_nor_token_is_logged_at_any_level_or_shown_in_the_status() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (url, _) = endpoint(|n| match n {
        1 => json_answer(
            400,
            &format!(r#"{{"error":"invalid_request","error_description":"{SECRET}"}}"#),
        ),
        _ => json_answer(200, GOOD),
    })
    .await;

    let mut url = url;
    url.set_query(Some("key=canary-query"));
    let settings = settings(url.as_str());
    let identity = identity(&settings);
    assert!(identity.header().await.is_none());
    let failed = format!("{identity:?}");
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let token = identity.header().await.unwrap();

    assert_eq!(token.header(), "Bearer canary-token");
    let status = serde_json::to_string(&identity.status()).unwrap();
    let logged = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("service token not minted"), "{logged}");
    assert!(logged.contains("service token minted"), "{logged}");
    for shown in [logged, failed, status, format!("{token:?}")] {
        assert!(!shown.contains("canary"), "{shown}");
        assert!(!shown.contains("Y2FuYXJ5"), "{shown}");
    }
}
