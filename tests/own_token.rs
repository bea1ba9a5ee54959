//! Who the multiplexer is to a child beyond the one token for all: another way to prove
//! itself, a token of an entry's own, a token or a password that somebody else keeps; and
//! what becomes of a child that takes none of it.

mod support;

use std::{collections::BTreeSet, fs, path::PathBuf, time::Instant};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use support::{
    Child, Client, Door, Era, Fleet, Multiplexer, Provider,
    child::Remote,
    eventually,
    provider::{Mood, fingerprint},
};

/// The hash of the `Authorization` with which a child of this prefix is called.
async fn seen_by(client: &mut Client, prefix: &str) -> Value {
    let answer = client.call(&format!("{prefix}__identity"), "{}").await;
    answer.content()["authorization"].clone()
}

fn bearer(token: &str) -> String {
    fingerprint(&format!("Bearer {token}"))
}

/// A child that lets nobody in but who bears the token in the file `bearer`.
fn strict(fleet: &Fleet, era: Era) -> Child {
    Child::of(era).option("--bearer-file", fleet.path("bearer").display())
}

/// A child that, once down, is not tried again by itself while a test runs.
fn patient(child: Child) -> Child {
    child.key("restart", json!({"backoff": "1h", "maxBackoff": "1h"}))
}

/// What stands in the requests for tokens, as pairs.
fn forms(provider: &Provider) -> Vec<BTreeSet<String>> {
    let form = |body: &str| body.split('&').map(str::to_owned).collect();
    let asked = provider.asked();
    asked.iter().map(|asked| form(&asked.body)).collect()
}

async fn until_unauthorized(mux: &Multiplexer, name: &str) -> Value {
    mux.until_child(name, "is down, unauthorized", |child| {
        child["state"] == "down" && child["cause"] == "unauthorized"
    })
    .await
}

// --- How tokens are asked for --------------------------------------------------

#[tokio::test]
async fn the_secret_may_travel_in_the_body() {
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .env("OIDC_CLIENT_AUTH_METHOD", "client_secret_post")
        .env("OIDC_CLIENT_SECRET", "s+%&é")
        .env("OIDC_RESOURCE", "https://tools.example/mcp")
        .http("child", Child::modern());
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;

    let asked = provider.asked();

    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].authorization, "", "not in the header too");
    let wanted = [
        "client_id=multiplexer",
        "client_secret=s%2B%25%26%C3%A9",
        "grant_type=client_credentials",
        "resource=https%3A%2F%2Ftools.example%2Fmcp",
    ];
    assert_eq!(forms(&provider)[0], wanted.map(str::to_owned).into());
}

// --- Tokens of entries' own ----------------------------------------------------

#[tokio::test]
async fn children_that_ask_for_the_same_token_share_it_and_others_get_their_own() {
    let provider = Provider::start().await;
    let asking = |auth: Value| Child::modern().key("auth", auth);
    let fleet = Fleet::new()
        .identity(&provider)
        .http(
            "one",
            asking(json!({"audience": "billing", "scope": "read"})),
        )
        .http(
            "two",
            asking(json!({"scope": "read", "audience": "billing"})),
        )
        .http("other", asking(json!({"audience": "stock"})))
        .http("plain", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    let [one, two, other, plain] = [
        seen_by(&mut client, "one").await,
        seen_by(&mut client, "two").await,
        seen_by(&mut client, "other").await,
        seen_by(&mut client, "plain").await,
    ];

    assert_eq!(one, two);
    let distinct: BTreeSet<_> = [&one, &other, &plain].map(Value::to_string).into();
    assert_eq!(distinct.len(), 3);
    let audiences: BTreeSet<_> = forms(&provider)
        .into_iter()
        .flatten()
        .filter(|pair| pair.starts_with("audience="))
        .collect();
    let wanted = [
        "audience=agent-services",
        "audience=billing",
        "audience=stock",
    ];
    assert_eq!(audiences, wanted.map(str::to_owned).into());
    assert_eq!(provider.asked().len(), 3, "one mint each");
}

#[tokio::test]
async fn operators_see_each_token_by_its_name() {
    let provider = Provider::start().await;
    let own = json!({"audience": "billing", "scope": "read", "resource": "https://b.example"});
    let fleet = Fleet::new()
        .identity(&provider)
        .http("billing", Child::modern().key("auth", own))
        .http("plain", Child::modern());
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;

    let identity = mux.status().await["identity"].clone();
    let metrics = mux.metrics().await;

    assert_eq!(identity["name"], "service");
    assert_eq!(identity["own"].as_array().map(Vec::len), Some(1));
    let own = &identity["own"][0];
    for (key, value) in [
        ("name", "billing"),
        ("audience", "billing"),
        ("scope", "read"),
        ("resource", "https://b.example"),
        ("clientId", "multiplexer"),
    ] {
        assert_eq!(own[key], value, "{identity:#}");
    }
    assert_eq!(own["mints"], 1);
    for name in ["service", "billing"] {
        let labels = [("identity", name)];
        let mints = metrics.value("token_mints_total", &[labels[0], ("outcome", "ok")]);
        assert_eq!(mints, Some(1.0), "{name}");
        let minted = metrics.value("token_minted_timestamp_seconds", &labels);
        let expires = metrics.value("token_expiry_timestamp_seconds", &labels);
        assert!(minted < expires, "{name}: {minted:?} {expires:?}");
    }
}

#[tokio::test]
async fn an_entrys_own_token_needs_no_service_identity() {
    let provider = Provider::start().await;
    let own = json!({"audience": "billing"});
    let fleet = Fleet::new()
        .identity(&provider)
        .env("MCP_CLIENT_AUTH", "none")
        .http("billing", Child::modern().key("auth", own))
        .http("plain", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    assert_eq!(seen_by(&mut client, "billing").await, provider.bearer(1));
    assert!(seen_by(&mut client, "plain").await.is_null());
    assert_eq!(provider.asked().len(), 1);
    assert_eq!(mux.status().await["identity"]["mode"], "none");
}

/// A 401 to one token is no reason to mint another.
#[tokio::test]
async fn a_refused_token_is_renewed_alone() {
    let provider = Provider::start().await;
    let own = json!({"audience": "billing"});
    let fleet = Fleet::new()
        .identity(&provider)
        .http("billing", Child::modern().key("auth", own))
        .http("plain", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    mux.remote("billing").behave("unauthorized").await;
    let mut client = mux.client(Era::Legacy).await;
    let before = seen_by(&mut client, "plain").await;

    let refused = client.call("billing__echo", "{}").await;

    assert_eq!(refused.failure_kind(), "unauthorized", "{}", refused.frame);
    let mints = async |identity| {
        let metrics = mux.metrics().await;
        metrics.sum("token_mints_total", &[("identity", identity)])
    };
    assert!(mints("billing").await >= 2.0);
    assert_eq!(mints("service").await, 1.0);
    assert_eq!(seen_by(&mut client, "plain").await, before);
}

#[tokio::test]
async fn a_token_that_no_entry_asks_for_any_more_is_gone() {
    let provider = Provider::start().await;
    let own = json!({"audience": "billing"});
    let fleet = Fleet::new()
        .identity(&provider)
        .http("billing", Child::modern().key("auth", own.clone()))
        .http("plain", Child::modern());
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let of_billing = [("identity", "billing")];
    let gauges = async || {
        let metrics = mux.metrics().await;
        let expiry = metrics.value("token_expiry_timestamp_seconds", &of_billing);
        let minted = metrics.value("token_minted_timestamp_seconds", &of_billing);
        [expiry, minted].into_iter().flatten().count()
    };
    assert_eq!(gauges().await, 2);
    let plain = mux.connection("plain");
    let mut billing = mux.connection("billing");
    billing.1["auth"] = own;

    mux.configure(std::slice::from_ref(&plain));

    eventually("a status without it", async || {
        let identity = mux.status().await["identity"].clone();
        identity["own"].is_null().then_some(())
    })
    .await;
    assert_eq!(gauges().await, 0);
    assert_eq!(mux.status().await["identity"]["mints"], 1, "the service's");

    mux.configure(&[plain, billing]);

    mux.until_metrics("its series again", |metrics| {
        metrics
            .value("token_expiry_timestamp_seconds", &of_billing)
            .is_some()
    })
    .await;
    assert_eq!(provider.asked().len(), 3, "it is minted anew");
}

// --- A token or a password that somebody else keeps ----------------------------

fn with_bearer_file(token: &str) -> (Fleet, PathBuf) {
    let fleet = Fleet::new();
    let path = fleet.path("token");
    fs::write(&path, format!("{token}\n")).expect("a token");
    let fleet = fleet
        .env("MCP_CLIENT_AUTH", "bearer-file")
        .env("MCP_CLIENT_BEARER_FILE", &path.display().to_string());
    (fleet, path)
}

#[tokio::test]
async fn a_token_that_changes_in_its_file_is_used_without_a_restart() {
    let (fleet, path) = with_bearer_file("first");
    let fleet = fleet.http("child", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    assert_eq!(seen_by(&mut client, "child").await, bearer("first"));

    // As tools do that keep tokens: no reader sees half of one.
    let next = mux.path("next");
    fs::write(&next, "second\n").expect("a token");
    fs::rename(&next, &path).expect("a new file");

    eventually("a call with the new token", async || {
        (seen_by(&mut client, "child").await == bearer("second")).then_some(())
    })
    .await;
    let identity = mux.status().await["identity"].clone();
    assert_eq!(identity["mode"], "bearer-file");
    assert_eq!(identity["expiresInSeconds"], Value::Null, "{identity:#}");
}

/// Also where nothing tells of the change: it is read again when it is refused.
#[tokio::test]
async fn a_token_that_is_refused_is_read_anew_before_the_request_is_repeated() {
    let (fleet, path) = with_bearer_file("first");
    let child = strict(&fleet, Era::Legacy);
    fs::write(fleet.path("bearer"), "first").expect("a token");
    let mut mux = fleet.http("child", child).over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    fs::write(&path, "second").expect("a token");
    fs::write(mux.path("bearer"), "second").expect("a token");
    let answer = client.call("child__echo", "{}").await;

    assert_eq!(answer.content()["calls"], 1, "{}", answer.frame);
    assert_eq!(mux.child("child").await["restarts"], 0);
}

#[tokio::test]
async fn a_token_whose_file_vanishes_is_used_on() {
    let (fleet, path) = with_bearer_file("first");
    let fleet = fleet
        .http("child", Child::modern())
        .http("doubter", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    mux.remote("doubter").behave("unauthorized").await;
    let mut client = mux.client(Era::Legacy).await;

    fs::remove_file(&path).expect("the file goes");
    // Whoever refuses the token has it looked for again.
    let refused = client.call("doubter__echo", "{}").await;
    assert_eq!(refused.failure_kind(), "unauthorized", "{}", refused.frame);
    let identity = eventually("a look for the file in vain", async || {
        let identity = mux.status().await["identity"].clone();
        (identity["failures"].as_u64() >= Some(1)).then_some(identity)
    })
    .await;

    let error = identity["lastError"].as_str().unwrap_or_default();
    assert!(error.contains("MCP_CLIENT_BEARER_FILE"), "{identity:#}");
    assert_eq!(seen_by(&mut client, "child").await, bearer("first"));
}

#[tokio::test]
async fn user_name_and_password_can_stand_for_a_token() {
    let fleet = Fleet::new();
    let path = fleet.path("password");
    fs::write(&path, "open sesame\n").expect("a password");
    let own = json!({"Authorization": "Bearer their-own"});
    let fleet = fleet
        .env("MCP_CLIENT_AUTH", "basic")
        .env("MCP_CLIENT_BASIC_USERNAME", "Aladdin")
        .env(
            "MCP_CLIENT_BASIC_PASSWORD_FILE",
            &path.display().to_string(),
        )
        .http("child", Child::modern())
        .http("headed", Child::modern().key("headers", own))
        .http("bare", Child::modern().key("auth", "none"));
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    let basic = |pair: &str| fingerprint(&format!("Basic {}", BASE64_STANDARD.encode(pair)));
    assert_eq!(
        seen_by(&mut client, "child").await,
        basic("Aladdin:open sesame")
    );
    assert_eq!(seen_by(&mut client, "headed").await, bearer("their-own"));
    assert!(seen_by(&mut client, "bare").await.is_null());

    fs::write(&path, "changed").expect("a password");
    eventually("a call with the new password", async || {
        (seen_by(&mut client, "child").await == basic("Aladdin:changed")).then_some(())
    })
    .await;
}

// --- To whom a token goes --------------------------------------------------------

#[tokio::test]
async fn a_child_on_a_host_that_is_not_named_gets_no_token_and_the_start_says_so() {
    let provider = Provider::start().await;
    let elsewhere = Remote::start(Vec::new()).await;
    let url = elsewhere.url().replace("127.0.0.1", "localhost");
    let own = json!({"audience": "billing"});
    let fleet = Fleet::new()
        .identity(&provider)
        .env("MCP_CLIENT_AUTH_HOSTS", "*.corp.example, 127.0.0.*")
        .http("here", Child::modern())
        .entry("elsewhere", json!({"url": url}))
        .entry("billing", json!({"url": url, "auth": own}));
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    assert_eq!(seen_by(&mut client, "here").await, provider.bearer(1));
    for prefix in ["elsewhere", "billing"] {
        assert!(seen_by(&mut client, prefix).await.is_null(), "{prefix}");
        let warned = mux.log.find(|line| {
            line.contains("WARN") && line.contains(prefix) && line.contains("gets no token")
        });
        assert!(warned.is_some(), "{prefix}: {}", mux.log.text());
    }
    assert!(mux.log.find(|line| line.contains("\"here\"")).is_none());
    assert_eq!(provider.asked().len(), 1, "none is minted in vain");
}

#[tokio::test]
async fn a_token_in_clear_text_beyond_a_private_network_is_warned_of_at_the_start() {
    let provider = Provider::start().await;
    let remote = |url: &str| json!({"url": url});
    let fleet = Fleet::new()
        .identity(&provider)
        .entry("plain", remote("http://agents.example.invalid/mcp"))
        .entry("safe", remote("https://agents.example.invalid/mcp"))
        .entry("near", remote("http://127.0.0.1:1/mcp"));
    let mux = fleet.over(Door::Http).await;

    let warned = |name: &str| {
        let name = format!("entry \"{name}\"");
        mux.log.find(|line| {
            let line = line.replace('\\', "");
            line.contains("WARN") && line.contains(&name) && line.contains("clear text")
        })
    };
    let line = warned("plain").unwrap_or_else(|| panic!("{}", mux.log.text()));
    assert!(line.contains("agents.example.invalid"), "{line}");
    assert_eq!((warned("safe"), warned("near")), (None, None));
}

// --- When it is refused ----------------------------------------------------------

const CHALLENGE: &str = r#"Bearer error="insufficient_scope", scope="read:x write:y", error_description="ask the owner""#;

#[tokio::test]
async fn a_403_is_denied_with_the_scope_that_is_missing() {
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .flags(&["--log-level", "debug"])
        .http("child", Child::modern().option("--challenge", CHALLENGE));
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    mux.remote("child").behave("forbidden").await;

    let answer = client.call("child__echo", "{}").await;

    assert_eq!(answer.failure_kind(), "denied", "{}", answer.frame);
    let text = answer.content_text();
    assert!(text.contains("read:x write:y"), "{text}");
    assert!(!answer.frame.contains("owner"), "the child's own words");
    assert_eq!(provider.asked().len(), 1, "no new token helps");
    mux.log
        .until("the child's words in the log", |line| {
            line.contains("denied") && line.contains("insufficient_scope: ask the owner")
        })
        .await;
    mux.remote("child").behave("healthy").await;
    let healed = client.call("child__echo", "{}").await;
    assert_eq!(healed.content()["calls"], 1, "it was there all the time");
}

/// A token that does not look like one is known all the same, since we sent it.
#[tokio::test]
async fn a_token_that_a_child_repeats_is_shown_nowhere() {
    let provider = Provider::with("opaque", 3600).await;
    let tell_tale =
        r#"Bearer error="invalid_token", error_description="not token=opaque-1, not opaque-2""#;
    let fleet = Fleet::new()
        .identity(&provider)
        .flags(&["--log-level", "debug"])
        .http("child", Child::modern().option("--challenge", tell_tale));
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    mux.remote("child").behave("unauthorized").await;

    let answer = client.call("child__echo", "{}").await;

    let child = eventually("the child's words in the status", async || {
        let child = mux.child("child").await;
        child.to_string().contains("not token=").then_some(child)
    })
    .await;
    for shown in [answer.frame, child.to_string(), mux.log.text()] {
        assert!(!shown.contains("opaque-"), "{shown}");
    }
}

#[tokio::test]
async fn operators_see_why_a_child_lets_nobody_in() {
    for (behaviour, cause) in [("forbidden", "denied"), ("unauthorized", "unauthorized")] {
        let provider = Provider::start().await;
        let fleet = Fleet::new().identity(&provider).http(
            "child",
            Child::broken(behaviour).option("--challenge", CHALLENGE),
        );
        let mux = fleet.over(Door::Http).await;

        let down = mux
            .until_child("child", "is down", |child| child["state"] == "down")
            .await;

        assert_eq!(down["cause"], cause, "{down:#}");
        let reason = down["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("ask the owner"), "{behaviour}: {reason}");
        mux.log
            .until("the child's words in the log", |line| {
                line.contains("state=\"down\"") && line.contains("ask the owner")
            })
            .await;
    }
}

#[tokio::test]
async fn a_child_that_refuses_the_new_token_too_is_down_unauthorized() {
    for era in Era::ALL {
        let provider = Provider::start().await;
        let fleet = Fleet::new()
            .identity(&provider)
            .http("child", patient(Child::of(era)));
        let mut mux = fleet.over(Door::Http).await;
        mux.all_ready().await;
        mux.journal("child").until("listening", |_| true).await;
        let mut client = mux.client(Era::Legacy).await;
        mux.remote("child").behave("unauthorized").await;

        let first = client.call("child__echo", "{}").await;
        let down = until_unauthorized(&mux, "child").await;
        let sent = mux.journal("child").of("http").len();
        let second = client.call("child__echo", "{}").await;

        assert_eq!(first.failure_kind(), "unauthorized", "{}", first.frame);
        let reason = down["reason"].as_str().unwrap_or_default();
        assert!(reason.contains("401"), "{down:#}");
        assert_eq!(second.failure_kind(), "unavailable", "{}", second.frame);
        assert!(second.content_text().contains("401"), "{}", second.frame);
        let after = mux.journal("child").of("http").len();
        assert_eq!(after, sent, "{era:?}: it is left alone");
    }
}

/// Nothing but the token can wake this child in the time that a test has.
#[tokio::test]
async fn a_child_that_was_asked_without_a_token_is_tried_as_soon_as_there_is_one() {
    let provider = Provider::with("short", 2).await;
    let fleet = Fleet::new().identity(&provider);
    let child = patient(strict(&fleet, Era::Modern));
    fs::write(fleet.path("bearer"), "*").expect("any token");
    let mut mux = fleet.http("child", child).over(Door::Http).await;
    mux.all_ready().await;
    provider.be(Mood::Says(503, "{}"));
    let mut client = mux.client(Era::Legacy).await;
    eventually("a call after the token has run out", async || {
        let answer = client.call("child__echo", "{}").await;
        (answer.is_tool_error() && answer.failure_kind() == "unauthorized").then_some(())
    })
    .await;
    let down = until_unauthorized(&mux, "child").await;
    let reason = down["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("without a token"), "{reason}");
    assert!(down["nextRetryMs"].as_u64() > Some(600_000), "{down:#}");

    provider.be(Mood::Generous);

    mux.until_ready("child").await;
}

/// The stream on which a child tells of changes is opened anew with a new token.
#[tokio::test]
async fn a_stream_that_is_refused_after_a_change_of_tokens_heals() {
    for era in Era::ALL {
        let provider = Provider::start().await;
        let fleet = Fleet::new().identity(&provider);
        let child = strict(&fleet, era);
        fs::write(fleet.path("bearer"), provider.token(1)).expect("a token");
        let mut mux = fleet.http("child", child).over(Door::Http).await;
        mux.all_ready().await;
        let journal = mux.journal("child");
        journal.until("listening", |_| true).await;

        fs::write(mux.path("bearer"), provider.token(2)).expect("a token");
        mux.remote("child").end_streams().await;

        eventually("a second stream", async || {
            (journal.of("listening").len() >= 2).then_some(())
        })
        .await;
        assert_eq!(provider.asked().len(), 2, "{era:?}");
        let child = mux.child("child").await;
        assert_eq!(child["state"], "ready", "{era:?}: {child:#}");
        assert_eq!(child["restarts"], 0, "{era:?}");
        let metrics = mux.metrics().await;
        let refused = metrics.value("child_unauthorized_total", &[("child", "child")]);
        assert_eq!(refused, Some(1.0), "{era:?}: by the stream alone");
    }
}

/// Neither the child nor the provider, however often clients call.
#[tokio::test]
async fn a_child_that_refuses_everything_makes_nobody_hammer() {
    let provider = Provider::start().await;
    let fleet = Fleet::new()
        .identity(&provider)
        .http("child", Child::modern());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    mux.journal("child").until("listening", |_| true).await;
    let mut client = mux.client(Era::Legacy).await;
    mux.remote("child").behave("unauthorized").await;
    let began = Instant::now();
    let before = mux.journal("child").of("http").len();
    let mut calls = 0;

    let down = eventually("a fourth attempt", async || {
        client.call("child__echo", "{}").await;
        calls += 1;
        let child = mux.child("child").await;
        (child["attempt"].as_u64() >= Some(4) && child["state"] == "down").then_some(child)
    })
    .await;

    let attempts = usize::try_from(down["attempt"].as_u64().expect("a number")).expect("few");
    let sent = mux.journal("child").of("http").len() - before;
    // Each with the token there is, and with a new one if there is one; and the call
    // that found it out.
    assert!(sent <= 2 * (attempts + 2), "{sent} in {attempts} attempts");
    assert!(calls > sent, "{calls} calls, and {sent} requests");
    // The first, one at once, and one more in each 5 s.
    let allowed = 2 + usize::try_from(began.elapsed().as_secs() / 5).expect("few");
    let asked = provider.asked().len();
    assert!(asked <= allowed, "{asked}, and {allowed} are allowed");
}
