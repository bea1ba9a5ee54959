//! A fleet's worth of calls whose token is taken by nobody any more, or runs out.

mod support;

use std::fs;

use serde_json::json;
use support::{Child, Door, Era, Fleet, Multiplexer, Provider, eventually, provider::Mood};

/// One at a time: a refused call waits five seconds for another token, and each of these
/// keeps a machine busy.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

const CHILDREN: usize = 57;
const CALLS: usize = 1000;

fn name(n: usize) -> String {
    format!("c{}", n % CHILDREN)
}

/// All of them are in flight and refused before the provider, which keeps the mint
/// waiting until then, hands out another token.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_to_57_children_that_are_refused_at_once_share_one_mint() {
    let _alone = ALONE.lock().await;
    let provider = Provider::start().await;
    let mut fleet = Fleet::new().identity(&provider);
    let accepted = fleet.path("bearer");
    fs::write(&accepted, provider.token(1)).expect("the token can be written");
    for n in 0..CHILDREN {
        let child = Child::modern().option("--bearer-file", accepted.display());
        fleet = fleet.http(&name(n), child);
    }
    let mut mux = fleet.over(Door::Stdio).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;
    let requests = |mux: &Multiplexer| -> usize {
        (0..CHILDREN)
            .map(|n| mux.journal(&name(n)).of("http").len())
            .sum()
    };
    let before = requests(&mux);
    provider.be(Mood::Silent);
    fs::write(&accepted, provider.token(2)).expect("the token can be written");

    let mut calls = Vec::new();
    for n in 0..CALLS {
        let tool = format!("{}__echo", name(n));
        calls.push(client.begin_call(&tool, &format!(r#"{{"n":{n}}}"#)).await);
    }
    eventually("a refusal for each call", async || {
        (requests(&mux) >= before + CALLS).then_some(())
    })
    .await;
    provider.be(Mood::Generous);

    for (n, call) in calls.into_iter().enumerate() {
        let answer = client.finish(call).await;
        assert!(!answer.is_tool_error(), "{}", answer.frame);
        assert_eq!(answer.content()["arguments"]["n"], n, "{}", answer.frame);
    }
    assert_eq!(
        provider.asked().len(),
        2,
        "one mint to begin with, one for all"
    );
    let executed: usize = (0..CHILDREN)
        .map(|n| mux.journal(&name(n)).calls("echo"))
        .sum();
    assert_eq!(executed, CALLS, "each once");
}

/// A thousand are with the children when the token runs out, and a thousand more begin
/// without one. The provider keeps the refresh waiting until then.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_with_a_thousand_calls_in_flight_is_refreshed_by_one_mint() {
    let _alone = ALONE.lock().await;
    let provider = Provider::with("token", 6).await;
    let mut fleet = Fleet::new().identity(&provider);
    for n in 0..CHILDREN {
        fleet = fleet.http(&name(n), Child::modern());
    }
    let mut mux = fleet.over(Door::Stdio).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;
    let gate = mux.path("gate");
    let mut held = Vec::new();
    for n in 0..CALLS {
        let arguments = json!({"until": gate, "key": n.to_string()}).to_string();
        let tool = format!("{}__slow", name(n));
        held.push(client.begin_call(&tool, &arguments).await);
    }
    eventually("every call is with its child", async || {
        let begun = (0..CHILDREN).map(|n| mux.journal(&name(n)).of("slow").len());
        (begun.sum::<usize>() == CALLS).then_some(())
    })
    .await;

    provider.be(Mood::Silent);
    eventually("the token has run out", async || {
        let identity = &mux.status().await["identity"];
        identity["expiresInSeconds"].is_null().then_some(())
    })
    .await;
    let asked = provider.asked().len();
    let mut begun = Vec::new();
    for n in 0..CALLS {
        let tool = format!("{}__echo", name(n));
        begun.push(client.begin_call(&tool, &format!(r#"{{"n":{n}}}"#)).await);
    }
    provider.live_for(3600);
    provider.be(Mood::Generous);

    for (n, call) in begun.into_iter().enumerate() {
        let answer = client.finish(call).await;
        assert_eq!(answer.content()["arguments"]["n"], n, "{}", answer.frame);
    }
    fs::write(&gate, "").expect("the gate opens");
    for (n, call) in held.into_iter().enumerate() {
        let answer = client.finish(call).await;
        assert_eq!(answer.content()["key"], n.to_string(), "{}", answer.frame);
    }
    let seen = client.call("c0__identity", "{}").await;
    let refreshed = provider.bearer(asked as u64);
    assert_eq!(seen.content()["authorization"], refreshed, "{}", seen.frame);
    // On a slow machine the one that was kept waiting is given up, and asked for again.
    assert_eq!(provider.minted(), asked, "one mint for all");
}
