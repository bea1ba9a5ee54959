//! An identity provider that answers anything but a token: what is said of it, that it
//! holds up nobody and gives nothing away, and that all is well when it is again.

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod lifetimes;
mod pauses;
mod teller;
mod tls;

use serde_json::Value;
use support::{
    Child, Client, Door, Era, Fleet, Multiplexer, eventually,
    provider::fingerprint,
    wait::{WITHOUT_TOKEN, within},
};
use teller::{Deed, GOOD_TOKEN, Teller};

/// In whatever must be shown nowhere: the secret, and tokens that are of no use.
const CANARY: &str = "canary";

/// A child that anybody may call, and an identity at this endpoint.
fn fleet(teller: &Teller) -> Fleet {
    Fleet::new()
        .env("MCP_CLIENT_AUTH", "oidc-client-credentials")
        .env("OIDC_CLIENT_ID", "multiplexer")
        .env("OIDC_CLIENT_SECRET", "canary: in this+form")
        .env("OIDC_TOKEN_URL", &teller.token_url())
        .http("open", Child::modern())
}

/// The hash of the `Authorization` with which the child is called, or null.
async fn seen(client: &mut Client) -> Value {
    let answer = client.call("open__identity", "{}").await;
    assert!(!answer.frame.contains(CANARY), "{}", answer.frame);
    answer.content()["authorization"].clone()
}

async fn mints(mux: &Multiplexer, outcome: &str) -> f64 {
    let metrics = mux.metrics().await;
    metrics.sum("token_mints_total", &[("outcome", outcome)])
}

async fn identity(mux: &Multiplexer) -> Value {
    mux.status().await["identity"].clone()
}

/// The whole of what is promised while the endpoint does `deed`, and after: the failed
/// mint counts as `outcome`, and log and status give the reason in these words.
async fn is_told_and_survived(deed: Deed, outcome: &str, words: &str) {
    let teller = Teller::start(deed).await;
    let mut mux = fleet(&teller).over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;

    assert_eq!(seen(&mut client).await, Value::Null, "no token, no header");
    mux.until_metrics(&format!("a mint that ended as {outcome}"), |metrics| {
        metrics.sum("token_mints_total", &[("outcome", outcome)]) >= 1.0
    })
    .await;

    told(&mux, outcome, words).await;
    assert_eq!(mints(&mux, "ok").await, 0.0);
    teller.change(Deed::good());
    heals(&mux, &mut client).await;
    keeps_its_secrets(&mux).await;
}

/// A call that comes while a mint has just begun, which will take all of its 10 s, goes
/// without a token soon.
async fn holds_up_nobody(deed: Deed) {
    let teller = Teller::start(deed).await;
    let mut mux = fleet(&teller).over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;
    teller.until_asked(teller.asked().len() + 1).await;

    let call = within(WITHOUT_TOKEN, "a call without a token", seen(&mut client));

    assert_eq!(call.await, Value::Null);
}

/// Log and status say the same, and the log says what follows from it.
async fn told(mux: &Multiplexer, outcome: &str, words: &str) {
    let status = identity(mux).await;
    let reason = status["lastError"].as_str().unwrap_or_default();
    assert!(reason.contains(words), "{words:?} is not in {reason:?}");
    assert!(status["failures"].as_u64() >= Some(1), "{status:#}");
    let outcome = format!("outcome=\"{outcome}\"");
    let line = mux
        .log
        .until("a line on the mint", |line| line.contains("not minted"))
        .await;
    for part in [&*outcome, words, "has_valid_token=false", "retry_in="] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
}

async fn heals(mux: &Multiplexer, client: &mut Client) {
    let bearer = fingerprint(&format!("Bearer {GOOD_TOKEN}"));
    eventually("a call with the token", async || {
        (seen(client).await == bearer).then_some(())
    })
    .await;
    assert_eq!(identity(mux).await["lastError"], Value::Null);
    assert!(mints(mux, "ok").await >= 1.0);
}

async fn keeps_its_secrets(mux: &Multiplexer) {
    let shown = [
        ("log", mux.log.text()),
        ("status", mux.status().await.to_string()),
        ("metrics", mux.metrics().await.0),
    ];
    for (place, shown) in shown {
        for secret in [CANARY, GOOD_TOKEN] {
            assert!(!shown.contains(secret), "{secret} in the {place}: {shown}");
        }
        assert!(!shown.contains("panicked"), "{place}: {shown}");
    }
}
