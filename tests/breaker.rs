//! A child that fails is left alone for a while: its calls fail at once and cost it
//! nothing, a probe of our own finds out when it is well again, and what a tool does
//! wrong by itself is no failure of the child.

mod support;

use serde_json::{Value, json};
use support::{Answer, Child, Client, Door, Era, Fleet, Multiplexer, eventually};

/// Longer than any test: what happens meanwhile is not the cool-down's end.
const NEVER: &str = "1h";

fn breaker(failures: u32, cooldown: &str) -> Value {
    json!({"failures": failures, "cooldown": cooldown})
}

/// A connected HTTP child behind this breaker, and a client.
async fn guarded(era: Era, breaker: Value) -> (Multiplexer, Client) {
    let child = Child::of(era).key("breaker", breaker).key("timeout", "5s");
    let mut mux = Fleet::new()
        .http("child", child)
        .http("neighbour", Child::of(era))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    // Streams for news are open by then, and ask for nothing more.
    mux.journal("child").until("listening", |_| true).await;
    let client = mux.client(Era::Legacy).await;
    (mux, client)
}

async fn echo(client: &mut Client) -> Answer {
    client.call("child__echo", r#"{"a":1}"#).await
}

async fn state(mux: &Multiplexer) -> Option<f64> {
    let metrics = mux.metrics().await;
    metrics.value("child_breaker_state", &[("child", "child")])
}

async fn transitions(mux: &Multiplexer, to: &str) -> f64 {
    let labels = [("child", "child"), ("to", to)];
    let metrics = mux.metrics().await;
    metrics.sum("child_breaker_transitions_total", &labels)
}

/// How many HTTP requests of any kind have reached the child.
fn reached(mux: &Multiplexer) -> usize {
    mux.journal("child").of("http").len()
}

#[tokio::test]
async fn it_opens_at_the_last_of_n_failures_in_a_row_and_not_before() {
    for era in Era::ALL {
        let (mut mux, mut client) = guarded(era, breaker(3, NEVER)).await;
        mux.remote("child").behave("server-error").await;
        for _ in 0..2 {
            assert_eq!(echo(&mut client).await.failure_kind(), "transport");
            assert_eq!(state(&mux).await, Some(0.0), "{era:?}");
        }

        assert_eq!(echo(&mut client).await.failure_kind(), "transport");

        assert_eq!(state(&mux).await, Some(2.0), "{era:?}");
        assert_eq!(transitions(&mux, "open").await, 1.0);
        let child = mux.child("child").await;
        assert_eq!(child["breaker"], "open");
        assert_eq!(child["state"], "ready", "connected, and failing");
        assert!(child["nextRetryMs"].as_u64() > Some(1_000), "{child:#}");
        mux.log
            .until("a line about it", |line| {
                line.contains("child=child") && line.contains("open")
            })
            .await;
    }
}

#[tokio::test]
async fn an_open_breaker_fails_calls_at_once_and_the_child_hears_nothing() {
    let (mut mux, mut client) = guarded(Era::Modern, breaker(1, NEVER)).await;
    mux.remote("child").behave("server-error").await;
    echo(&mut client).await.failure();
    let before = reached(&mux);
    // From now on only the breaker stands between a call and an answer.
    mux.remote("child").behave("healthy").await;

    for _ in 0..10 {
        let answer = echo(&mut client).await;

        let failure = answer.failure();
        assert_eq!(failure["kind"], "circuit_open", "{}", answer.frame);
        assert_eq!(failure["child"], "child");
        assert!(failure["retryAfterMs"].as_u64() > Some(1_000), "{failure}");
        let said = answer.result();
        assert!(said.contains("was not executed"), "{said}");
    }

    assert_eq!(reached(&mux), before);
    let refused = [("child", "child"), ("outcome", "circuit_open")];
    let metrics = mux.metrics().await;
    assert_eq!(metrics.value("requests_total", &refused), Some(10.0));
    let names = client.tool_names().await;
    assert!(names.contains(&"child__echo".to_owned()), "stays listed");
    let beside = client.call("neighbour__echo", "{}").await;
    assert_eq!(beside.content()["calls"], 1, "others are not affected");
}

#[tokio::test]
async fn a_success_starts_the_count_again() {
    let (mut mux, mut client) = guarded(Era::Legacy, breaker(3, NEVER)).await;
    for _ in 0..3 {
        mux.remote("child").behave("server-error").await;
        for _ in 0..2 {
            echo(&mut client).await.failure();
        }
        mux.remote("child").behave("healthy").await;
        echo(&mut client).await.content();
    }

    assert_eq!(state(&mux).await, Some(0.0));
    assert_eq!(transitions(&mux, "open").await, 0.0);
}

/// Nobody calls: what closes the breaker can only have been a probe of our own.
#[tokio::test]
async fn it_closes_again_by_a_probe_that_is_never_a_clients_call() {
    for era in Era::ALL {
        let (mut mux, mut client) = guarded(era, breaker(2, "100ms")).await;
        mux.remote("child").behave("server-error").await;
        for _ in 0..2 {
            echo(&mut client).await.failure();
        }
        eventually("a probe that fails", async || {
            (transitions(&mux, "open").await >= 2.0).then_some(())
        })
        .await;

        mux.remote("child").behave("healthy").await;

        mux.until_metrics("a closed breaker", |metrics| {
            metrics.value("child_breaker_state", &[("child", "child")]) == Some(0.0)
        })
        .await;
        assert!(transitions(&mux, "half_open").await >= 1.0, "{era:?}");
        assert_eq!(transitions(&mux, "closed").await, 1.0, "{era:?}");
        assert_eq!(mux.child("child").await["breaker"], "closed");
        assert_eq!(mux.journal("child").calls("echo"), 0, "{era:?}");
        assert_eq!(echo(&mut client).await.content()["calls"], 1, "{era:?}");
    }
}

/// The probe is on its way and hangs; meanwhile the child is as closed to calls as
/// it was before.
#[tokio::test]
async fn while_half_open_calls_still_fail_at_once() {
    for era in Era::ALL {
        let (mut mux, mut client) = guarded(era, breaker(1, "100ms")).await;
        mux.remote("child").behave("server-error").await;
        echo(&mut client).await.failure();
        mux.remote("child").behave("black-hole").await;
        mux.until_metrics("a half-open breaker", |metrics| {
            metrics.value("child_breaker_state", &[("child", "child")]) == Some(1.0)
        })
        .await;
        assert_eq!(mux.child("child").await["breaker"], "half_open");

        // A black hole answers nothing: what is answered was not sent.
        for _ in 0..5 {
            assert_eq!(echo(&mut client).await.failure_kind(), "circuit_open");
        }

        mux.remote("child").behave("healthy").await;
        eventually("an answer of the child that is well again", async || {
            let answer = echo(&mut client).await;
            (!answer.is_tool_error()).then_some(())
        })
        .await;
        assert_eq!(mux.journal("child").calls("echo"), 1, "{era:?}");
    }
}

#[tokio::test]
async fn what_a_tool_or_a_caller_does_wrong_never_opens_it() {
    for era in Era::ALL {
        let (mut mux, mut client) = guarded(era, breaker(2, NEVER)).await;
        for _ in 0..5 {
            assert!(client.call("child__fail", "{}").await.is_tool_error());
            let code = client.call("child__rpc_error", "{}").await.error_code();
            assert_eq!(code, 4711);
            client.call("child__no_such_tool", "{}").await.error();
        }
        for n in 0..5 {
            let arguments = format!(r#"{{"until":"/nowhere","key":"{n}"}}"#);
            let call = client.begin_call("child__slow", &arguments).await;
            let key = n.to_string();
            mux.journal("child").until_keyed("slow", &key).await;
            client.cancel(call).await;
            mux.journal("child").until_keyed("cancelled", &key).await;
        }

        assert_eq!(state(&mux).await, Some(0.0), "{era:?}");
        let metrics = mux.metrics().await;
        let any = [("child", "child")];
        assert_eq!(metrics.sum("child_breaker_transitions_total", &any), 0.0);
        let outcome = |outcome| metrics.sum("requests_total", &[any[0], ("outcome", outcome)]);
        assert_eq!(outcome("tool_error"), 5.0, "{era:?}");
        assert_eq!(outcome("rpc_error"), 5.0, "{era:?}");
        assert_eq!(outcome("cancelled"), 5.0, "{era:?}");
        mux.remote("child").behave("healthy").await;
        echo(&mut client).await.content();
    }
}

/// Both show that the child lives: it says no, or says when.
#[tokio::test]
async fn a_403_and_a_429_that_says_when_do_not_count() {
    for (behaviour, kind) in [("forbidden", "denied"), ("too-many", "transport")] {
        let (mut mux, mut client) = guarded(Era::Modern, breaker(2, NEVER)).await;
        mux.remote("child").behave(behaviour).await;

        for _ in 0..5 {
            let answer = echo(&mut client).await;
            assert_eq!(answer.failure_kind(), kind, "{}", answer.frame);
            if behaviour == "too-many" {
                assert_eq!(answer.failure()["retryAfterMs"], 7_000);
            }
        }

        assert_eq!(state(&mux).await, Some(0.0), "{behaviour}");
    }
}

#[tokio::test]
async fn what_speaks_against_the_child_counts_each_in_its_own_word() {
    for (behaviour, kind) in [
        ("server-error", "transport"),
        ("unauthorized", "unauthorized"),
    ] {
        let (mut mux, mut client) = guarded(Era::Modern, breaker(2, NEVER)).await;
        mux.remote("child").behave(behaviour).await;

        for _ in 0..2 {
            let answer = echo(&mut client).await;
            assert_eq!(answer.failure_kind(), kind, "{behaviour}: {}", answer.frame);
        }

        let third = echo(&mut client).await;
        assert_eq!(
            third.failure_kind(),
            "circuit_open",
            "{behaviour}: {}",
            third.frame
        );
        let counted = [("child", "child"), ("outcome", kind)];
        let metrics = mux.metrics().await;
        assert_eq!(
            metrics.value("requests_total", &counted),
            Some(2.0),
            "{behaviour}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_is_none_has_its_own_word() {
    for behaviour in ["html", "garbage", "not-json-rpc"] {
        let (mut mux, mut client) = guarded(Era::Modern, breaker(5, NEVER)).await;
        mux.remote("child").behave(behaviour).await;

        let answer = echo(&mut client).await;

        assert_eq!(
            answer.failure_kind(),
            "protocol",
            "{behaviour}: {}",
            answer.frame
        );
        assert_eq!(answer.failure()["child"], "child");
    }
}

#[tokio::test]
async fn calls_that_take_too_long_count_whatever_the_transport() {
    for door in Door::ALL {
        let child = Child::legacy()
            .key("breaker", breaker(2, NEVER))
            .key("callTimeout", "200ms");
        let mut mux = Fleet::new()
            .with(door, "child", child)
            .over(Door::Http)
            .await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;
        let slow = r#"{"until":"/nowhere","key":"k"}"#;

        for _ in 0..2 {
            let answer = client.call("child__slow", slow).await;
            assert_eq!(answer.failure_kind(), "timeout", "{}", answer.frame);
        }

        assert_eq!(state(&mux).await, Some(2.0), "{door:?}");
        assert_eq!(echo(&mut client).await.failure_kind(), "circuit_open");
        mux.journal("child").until_keyed("cancelled", "k").await;
    }
}

/// A breaker is for a child that is there: while it is not, the reason is that.
#[tokio::test]
async fn a_child_that_is_gone_is_unavailable_whatever_its_breaker_says() {
    let (mut mux, mut client) = guarded(Era::Legacy, breaker(1, NEVER)).await;
    mux.remote("child").stop().await;
    echo(&mut client).await.failure();
    mux.until_child("child", "is down", |child| child["state"] == "down")
        .await;

    let answer = echo(&mut client).await;

    assert_eq!(answer.failure_kind(), "unavailable", "{}", answer.frame);
    assert!(answer.result().contains("refused"), "{}", answer.frame);
    mux.remote("child").restart().await;
    let back = mux.until_ready("child").await;
    assert_eq!(back["breaker"], "closed", "a new connection begins anew");
    assert_eq!(echo(&mut client).await.content()["calls"], 1);
}

#[tokio::test]
async fn it_opens_at_a_rate_of_failures_too_where_one_is_set() {
    let rate = json!({"failures": 1000, "cooldown": NEVER, "failureRate": 0.4, "window": "1s"});
    let (mut mux, mut client) = guarded(Era::Modern, rate).await;
    let mut n = 0;

    // Two of three fail, for as long as it takes to fill the window.
    eventually("a call that is refused", async || {
        n += 1;
        let behaviour = if n % 3 == 0 {
            "healthy"
        } else {
            "server-error"
        };
        mux.remote("child").behave(behaviour).await;
        let answer = echo(&mut client).await;
        let refused = answer.is_tool_error() && answer.failure_kind() == "circuit_open";
        refused.then_some(())
    })
    .await;

    assert_eq!(state(&mux).await, Some(2.0));
}
