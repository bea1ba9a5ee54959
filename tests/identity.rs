//! One token for the fleet: how it is asked for, to whom it goes and to whom never,
//! and what happens when it is refused, runs out, or cannot be had.

mod support;

use std::{
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderName, header},
    response::Redirect,
    routing::any,
};
use futures::future::join_all;
use serde_json::{Value, json};
use support::{
    Child, Client, Door, Era, Fleet, Multiplexer, Provider, eventually,
    http::ClosedPort,
    provider::{Mood, fingerprint},
    wait::{WITHOUT_TOKEN, within},
};
use tokio::{net::TcpListener, task::JoinHandle};

/// The hash of the `Authorization` with which a child of this prefix is called.
async fn seen_by(client: &mut Client, prefix: &str) -> Value {
    let answer = client.call(&format!("{prefix}__identity"), "{}").await;
    answer.content()["authorization"].clone()
}

/// A child that lets nobody in but who bears the token in the file `bearer`.
fn strict(fleet: &Fleet, era: Era) -> Child {
    let path = fleet.path("bearer");
    Child::of(era).option("--bearer-file", path.display())
}

fn accept(mux: &Multiplexer, token: &str) {
    fs::write(mux.path("bearer"), token).expect("the token can be written");
}

async fn mints(mux: &Multiplexer, outcome: &str) -> f64 {
    let metrics = mux.metrics().await;
    metrics.sum("token_mints_total", &[("outcome", outcome)])
}

/// The secret holds what a form has to encode, or it would mean something else.
#[tokio::test]
async fn the_token_is_asked_for_with_the_clients_own_id_and_secret() {
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .env("OIDC_CLIENT_ID", "mux-client-é")
        .env("OIDC_CLIENT_SECRET", "s+%:/=&é?")
        .env("OIDC_SCOPE", "tools other")
        .http("child", Child::modern());
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;

    let asked = provider.asked();

    assert_eq!(asked.len(), 1, "{asked:?}");
    // base64 of mux-client-%C3%A9:s%2B%25%3A%2F%3D%26%C3%A9%3F (RFC 6749, 2.3.1)
    let basic = "Basic bXV4LWNsaWVudC0lQzMlQTk6cyUyQiUyNSUzQSUyRiUzRCUyNiVDMyVBOSUzRg==";
    assert_eq!(asked[0].authorization, basic);
    assert_eq!(asked[0].content_type, "application/x-www-form-urlencoded");
    let mut form: Vec<&str> = asked[0].body.split('&').collect();
    form.sort_unstable();
    assert_eq!(
        form,
        [
            "audience=agent-services",
            "grant_type=client_credentials",
            "scope=tools+other"
        ]
    );
}

#[tokio::test]
async fn the_audience_is_a_setting() {
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .env("OIDC_AUDIENCE", "elsewhere")
        .http("child", Child::modern());
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;

    let body = provider.asked()[0].body.clone();

    assert!(
        body.split('&').any(|pair| pair == "audience=elsewhere"),
        "{body}"
    );
    assert!(!body.contains("scope"), "none was set: {body}");
}

#[tokio::test]
async fn a_secret_may_come_from_a_file() {
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .http("child", Child::modern());
    let path = fleet.path("secret");
    // Files end in newlines, secrets do not.
    fs::write(&path, "from-a-file\n").expect("the secret can be written");
    let fleet = fleet
        .env("OIDC_CLIENT_SECRET", "")
        .env("OIDC_CLIENT_SECRET_FILE", &path.display().to_string());
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;

    // base64 of multiplexer:from-a-file
    let basic = "Basic bXVsdGlwbGV4ZXI6ZnJvbS1hLWZpbGU=";
    assert_eq!(provider.asked()[0].authorization, basic);
}

#[tokio::test]
async fn every_remote_child_without_a_header_of_its_own_gets_the_token() {
    for era in Era::ALL {
        let provider = Provider::start().await;
        let own = |header: &str| {
            let mut headers = json!({});
            headers[header] = "Bearer their-own".into();
            Child::of(era).key("headers", headers)
        };
        let fleet = Fleet::new()
            .identity(&provider)
            .http("plain", Child::of(era))
            .http(
                "other",
                Child::of(era).key("headers", json!({"X-Other": "1"})),
            )
            .http("usual", own("Authorization"))
            .http("lower", own("authorization"))
            .http("upper", own("AUTHORIZATION"))
            .http("mixed", own("aUtHoRiZaTiOn"))
            .stdio("local", Child::of(era));
        let mut mux = fleet.over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(era).await;

        for prefix in ["plain", "other"] {
            assert_eq!(
                seen_by(&mut client, prefix).await,
                provider.bearer(1),
                "{prefix}"
            );
        }
        let own = fingerprint("Bearer their-own");
        for prefix in ["usual", "lower", "upper", "mixed"] {
            assert_eq!(seen_by(&mut client, prefix).await, own, "{prefix}");
            let journal = mux.journal(prefix).of("http");
            let all = journal.iter().all(|http| http["authorization"] == own);
            assert!(all, "{prefix}, on every request: {journal:?}");
        }
        let journal = mux.journal("plain").of("http");
        let token = provider.bearer(1);
        let all = journal.iter().all(|http| http["authorization"] == token);
        assert!(all, "the handshake's too: {journal:?}");
        assert_eq!(provider.asked().len(), 1, "one token for all");
    }
}

#[tokio::test]
async fn a_stdio_child_learns_nothing_of_the_token_or_the_secret() {
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .http("remote", Child::modern())
        .stdio("legacy", Child::legacy())
        .stdio("modern", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;
    assert_eq!(seen_by(&mut client, "remote").await, provider.bearer(1));
    for prefix in ["legacy", "modern"] {
        let received = client.call(&format!("{prefix}__received"), "{}").await;
        let environment = client.call(&format!("{prefix}__env"), "{}").await;

        for told in [received.structured(), environment.structured()] {
            for secret in ["token-1", "s3cret", "OIDC_", "MCP_CLIENT_AUTH"] {
                assert!(!told.contains(secret), "{prefix}: {told}");
            }
        }
        assert!(seen_by(&mut client, prefix).await.is_null());
    }
}

#[tokio::test]
async fn an_entry_can_do_without_the_token() {
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .http("bare", Child::modern().key("auth", "none"))
        .http("plain", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    assert!(seen_by(&mut client, "bare").await.is_null());
    assert_eq!(seen_by(&mut client, "plain").await, provider.bearer(1));
}

#[tokio::test]
async fn without_the_switch_nobody_is_asked_and_nothing_is_sent() {
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .env("MCP_CLIENT_AUTH", "none")
        .http("child", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    assert!(seen_by(&mut client, "child").await.is_null());
    assert!(provider.asked().is_empty());
    assert_eq!(mux.status().await["identity"]["mode"], "none");
}

#[tokio::test]
async fn the_token_is_renewed_before_it_runs_out_though_nobody_calls() {
    let provider = Provider::with("short", 2).await;
    let fleet = Fleet::new()
        .identity(&provider)
        .http("child", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;

    provider.until_asked(3).await;

    let mut client = mux.client(Era::Legacy).await;
    let old = [provider.bearer(1), provider.bearer(2)];
    eventually("a call with a later token", async || {
        let seen = seen_by(&mut client, "child").await;
        assert!(!seen.is_null(), "there always is a token");
        (!old.iter().any(|old| seen == *old)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_is_kept_while_it_is_good_though_the_provider_is_not() {
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .http("child", Child::modern())
        .http("doubter", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    provider.be(Mood::Indiscreet);
    // One child's 401 makes a mint that fails, and takes nothing from the other.
    mux.remote("doubter").behave("unauthorized").await;
    let mut client = mux.client(Era::Legacy).await;
    let refused = client.call("doubter__echo", "{}").await;
    assert_eq!(refused.failure_kind(), "unauthorized", "{}", refused.frame);
    provider.until_asked(2).await;

    assert_eq!(seen_by(&mut client, "child").await, provider.bearer(1));
    assert_eq!(mints(&mux, "ok").await, 1.0);
}

#[tokio::test]
async fn a_401_is_answered_with_one_new_token_and_one_replay() {
    for era in Era::ALL {
        let provider = Provider::start().await;
        let fleet = Fleet::new().identity(&provider);
        let child = strict(&fleet, era);
        fs::write(fleet.path("bearer"), provider.token(1)).expect("a token");
        let mut mux = fleet.http("child", child).over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;

        accept(&mux, &provider.token(2));
        let answer = client.call("child__echo", "{}").await;

        assert_eq!(answer.content()["calls"], 1, "{}", answer.frame);
        assert_eq!(mux.journal("child").calls("echo"), 1, "{era:?}");
        assert_eq!(provider.asked().len(), 2, "{era:?}");
        assert_eq!(mints(&mux, "ok").await, 2.0);
        let metrics = mux.metrics().await;
        let child = [("child", "child")];
        assert_eq!(metrics.value("child_unauthorized_total", &child), Some(1.0));
    }
}

/// The provider keeps them all waiting until the last of them has been refused.
#[tokio::test(flavor = "multi_thread")]
async fn many_calls_that_are_refused_together_share_one_new_token() {
    const CALLS: usize = 20;
    let provider = Provider::start().await;
    let fleet = Fleet::new().identity(&provider);
    let child = strict(&fleet, Era::Modern);
    fs::write(fleet.path("bearer"), provider.token(1)).expect("a token");
    let mut mux = fleet.http("child", child).over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;
    accept(&mux, &provider.token(2));
    provider.be(Mood::Silent);
    let before = mux.journal("child").of("http").len();
    let mut calls = Vec::new();
    for n in 0..CALLS {
        let arguments = format!(r#"{{"n":{n}}}"#);
        calls.push(client.begin_call("child__echo", &arguments).await);
    }
    eventually("a refusal for each of them", async || {
        (mux.journal("child").of("http").len() >= before + CALLS).then_some(())
    })
    .await;

    provider.be(Mood::Generous);

    for (n, call) in calls.into_iter().enumerate() {
        let answer = client.finish(call).await;
        assert_eq!(answer.content()["arguments"]["n"], n, "{}", answer.frame);
    }
    assert_eq!(provider.asked().len(), 2, "one mint for all");
    assert_eq!(mux.journal("child").calls("echo"), CALLS, "one replay each");
    assert_eq!(mints(&mux, "ok").await, 2.0);
}

/// A child that refuses every token is told so once more, and no more.
#[tokio::test]
async fn a_second_401_is_the_answer() {
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .http("child", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    mux.journal("child").until("listening", |_| true).await;
    let mut client = mux.client(Era::Legacy).await;
    mux.remote("child").behave("unauthorized").await;
    let before = mux.journal("child").of("http").len();

    let answer = client.call("child__echo", "{}").await;

    assert_eq!(answer.failure_kind(), "unauthorized", "{}", answer.frame);
    assert_eq!(provider.asked().len(), 2);
    let sent: Vec<Value> = mux.journal("child").of("http").split_off(before);
    let seen: Vec<&Value> = sent.iter().map(|http| &http["authorization"]).collect();
    assert_eq!(seen, [&provider.bearer(1), &provider.bearer(2)]);
    let metrics = mux.metrics().await;
    let child = [("child", "child")];
    assert_eq!(metrics.value("child_unauthorized_total", &child), Some(2.0));
    let unauthorized = [child[0], ("outcome", "unauthorized")];
    assert_eq!(metrics.value("requests_total", &unauthorized), Some(1.0));
}

/// An explicit header is the operator's word: a 401 to it is no reason to try ours.
#[tokio::test]
async fn a_401_to_a_childs_own_header_is_not_answered_with_the_token() {
    let provider = Provider::start().await;
    let own = json!({"authorization": "Bearer their-own"});
    let fleet = Fleet::new()
        .identity(&provider)
        .http("child", Child::modern().key("headers", own));
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    mux.remote("child").behave("unauthorized").await;

    let answer = client.call("child__echo", "{}").await;

    assert_eq!(answer.failure_kind(), "unauthorized", "{}", answer.frame);
    let own = fingerprint("Bearer their-own");
    let journal = mux.journal("child").of("http");
    assert!(
        journal.iter().all(|http| http["authorization"] == own),
        "{journal:?}"
    );
}

#[tokio::test]
async fn without_a_provider_requests_go_without_a_header_and_nothing_hangs() {
    let closed = ClosedPort::pick();
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .env("OIDC_TOKEN_URL", &closed.url("/token"))
        .http("open", Child::modern())
        .http("old", Child::legacy());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    for prefix in ["open", "old"] {
        assert!(seen_by(&mut client, prefix).await.is_null());
    }
    assert!(mints(&mux, "unreachable").await >= 1.0);
    assert_eq!(mints(&mux, "ok").await, 0.0);
    let identity = mux.status().await["identity"].clone();
    assert!(identity.to_string().contains("refused"), "{identity:#}");
}

/// It takes the request and says nothing, for longer than any test.
#[tokio::test]
async fn a_provider_that_never_answers_holds_up_no_call_for_ever() {
    let provider = Provider::start().await;
    provider.be(Mood::Silent);
    let fleet = Fleet::new()
        .identity(&provider)
        .http("open", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    for _ in 0..2 {
        // It has just begun to keep another mint waiting.
        provider.until_asked(provider.asked().len() + 1).await;
        let seen = seen_by(&mut client, "open");
        let seen = within(WITHOUT_TOKEN, "a call without a token", seen).await;
        assert!(seen.is_null());
    }
}

#[tokio::test]
async fn a_child_that_wants_the_token_is_down_until_there_is_one_and_then_ready() {
    let provider = Provider::start().await;
    provider.be(Mood::Indiscreet);
    let fleet = Fleet::new().identity(&provider);
    let child = strict(&fleet, Era::Modern);
    fs::write(fleet.path("bearer"), provider.token(1)).expect("a token");
    let mux = fleet.http("child", child).over(Door::Http).await;
    let down = mux
        .until_child("child", "is down", |child| child["state"] == "down")
        .await;
    let reason = down["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("401"), "{reason}");
    assert!(mints(&mux, "refused").await >= 1.0);
    let metrics = mux.metrics().await;
    assert!(metrics.sum("child_unauthorized_total", &[("child", "child")]) >= 1.0);

    provider.be(Mood::Generous);

    mux.until_ready("child").await;
    assert_eq!(mints(&mux, "ok").await, 1.0);
}

#[tokio::test]
async fn operators_see_mints_and_when_the_token_runs_out() {
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .http("child", Child::modern());
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;

    let identity = mux.status().await["identity"].clone();

    assert_eq!(identity["mode"], "oidc-client-credentials");
    assert_eq!(identity["clientId"], "multiplexer");
    assert_eq!(identity["audience"], "agent-services");
    assert_eq!(identity["tokenUrl"], provider.token_url());
    let left = identity["expiresInSeconds"].as_u64();
    assert!(left > Some(3000) && left <= Some(3600), "{identity:#}");
    assert_eq!(mints(&mux, "ok").await, 1.0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("a clock").as_secs_f64();
    let expiry = mux
        .metrics()
        .await
        .value("token_expiry_timestamp_seconds", &[]);
    let expiry = expiry.expect("an expiry");
    assert!(
        expiry > now + 3000.0 && expiry < now + 3700.0,
        "{expiry} at {now}"
    );
}

/// The place a child redirects to gets neither the token nor anything else.
#[tokio::test]
async fn a_redirect_does_not_carry_the_token_to_another_origin() {
    let provider = Provider::start().await;
    let elsewhere = Origin::start(None).await;
    let redirecting = Origin::start(Some(elsewhere.url())).await;
    let fleet = Fleet::new()
        .identity(&provider)
        .entry("child", json!({"url": redirecting.url()}));
    let mux = fleet.over(Door::Http).await;
    let down = mux
        .until_child("child", "is down", |child| child["state"] == "down")
        .await;

    let reason = down["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("307"), "{reason}");
    assert_eq!(elsewhere.requests(), Vec::<String>::new());
    let bearer = format!("Bearer {}", provider.token(1));
    assert!(redirecting.requests().contains(&bearer));
}

/// A server that answers everything with a redirect, or with 404, and notes the
/// `Authorization` of each request.
struct Origin {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

type Noting = (Arc<Mutex<Vec<String>>>, Option<String>);

impl Origin {
    async fn start(redirect_to: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Mutex::default());
        let routes = Router::new()
            .fallback(any(note))
            .with_state((Arc::clone(&seen), redirect_to));
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("the origin");
        });
        Self {
            port,
            seen,
            serving,
        }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    fn requests(&self) -> Vec<String> {
        let seen = self.seen.lock();
        seen.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn note(
    State((seen, redirect_to)): State<Noting>,
    request: Request,
) -> Result<Redirect, axum::http::StatusCode> {
    let name: HeaderName = header::AUTHORIZATION;
    let value = request.headers().get(name);
    let value = value
        .and_then(|value| value.to_str().ok())
        .unwrap_or("none");
    seen.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(value.to_owned());
    let place = redirect_to.ok_or(axum::http::StatusCode::NOT_FOUND)?;
    Ok(Redirect::temporary(&place))
}

/// One mint for everyone who waits for the first token.
#[tokio::test]
async fn a_fleet_that_starts_together_mints_once() {
    let provider = Provider::start().await;
    let fleet = (0..10).fold(Fleet::new().identity(&provider), |fleet, n| {
        fleet.http(&format!("child-{n}"), Child::modern())
    });
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;

    let journals = (0..10).map(|n| mux.journal(&format!("child-{n}")));
    let all = join_all(journals.map(async |journal| journal.of("http"))).await;

    assert_eq!(provider.asked().len(), 1);
    let bearer = provider.bearer(1);
    for http in all.into_iter().flatten() {
        assert_eq!(http["authorization"], bearer, "{http}");
    }
}
