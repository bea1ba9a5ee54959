//! A child that fails is left alone for a while: its calls fail at once and cost it
//! nothing, a probe of our own finds out when it is well again, and what a tool does
//! wrong by itself is no failure of the child.

mod support;

use serde_json::{Value, json};
use support::{
    Answer, Child, Client, Door, Era, Fleet, Multiplexer, eventually, http::ClosedPort,
    metrics::Metrics, process::until_gone,
};

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
            let answer = echo(&mut client).await;
            assert_eq!(answer.failure_kind(), "circuit_open");
            assert!(
                answer
                    .failure()
                    .get("retryAfterMs")
                    .is_none_or(|ms| *ms != 0)
            );
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

/// Never many in a row: only the rate can open it. At its probe the window holds
/// nothing any more, and the next rest is longer all the same.
#[tokio::test]
async fn a_rate_of_failures_opens_it_and_a_probe_that_fails_makes_it_rest_longer() {
    const FIRST_REST_MS: u64 = 1_500;
    let breaker = json!({
        "failures": 1000,
        "failureRate": 0.5,
        "window": "1s",
        "cooldown": format!("{FIRST_REST_MS}ms"),
    });
    let (mut mux, mut client) = guarded(Era::Modern, breaker).await;
    eventually("a breaker that opens", async || {
        mux.remote("child").behave("server-error").await;
        for _ in 0..3 {
            let answer = echo(&mut client).await;
            if answer.failure_kind() == "circuit_open" {
                return Some(());
            }
        }
        mux.remote("child").behave("healthy").await;
        echo(&mut client).await;
        None
    })
    .await;

    // The first rest is at most a tenth longer than it is set.
    eventually("a rest that is longer than the first one", async || {
        let failure = echo(&mut client).await.failure().clone();
        assert_eq!(failure["kind"], "circuit_open", "{failure}");
        (failure["retryAfterMs"].as_u64() > Some(FIRST_REST_MS * 11 / 10)).then_some(())
    })
    .await;

    assert!(transitions(&mux, "open").await >= 2.0);
    mux.remote("child").behave("healthy").await;
    mux.until_child("child", "is closed again", |child| {
        child["breaker"] == "closed"
    })
    .await;
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
async fn a_5xx_counts() {
    let (mut mux, mut client) = guarded(Era::Modern, breaker(2, NEVER)).await;
    mux.remote("child").behave("server-error").await;

    for _ in 0..2 {
        let answer = echo(&mut client).await;
        assert_eq!(answer.failure_kind(), "transport", "{}", answer.frame);
    }

    let third = echo(&mut client).await;
    assert_eq!(third.failure_kind(), "circuit_open", "{}", third.frame);
    let counted = [("child", "child"), ("outcome", "transport")];
    let metrics = mux.metrics().await;
    assert_eq!(metrics.value("requests_total", &counted), Some(2.0));
}

/// It is down at once; what fails from then on is that it is not let in again.
#[tokio::test]
async fn a_child_that_lets_us_in_no_more_is_down_and_its_breaker_opens() {
    let (mut mux, mut client) = guarded(Era::Modern, breaker(2, NEVER)).await;
    mux.remote("child").behave("unauthorized").await;

    let answer = echo(&mut client).await;

    assert_eq!(answer.failure_kind(), "unauthorized", "{}", answer.frame);
    let down = eventually("the open breaker of a child that is down", async || {
        let child = mux.status().await["children"][0].clone();
        let open = child["state"] == "down" && child["breaker"] == "open";
        open.then_some(child)
    })
    .await;
    assert_eq!(down["cause"], "unauthorized", "{down:#}");
    let after = echo(&mut client).await;
    assert_eq!(after.failure_kind(), "unavailable", "{}", after.frame);
}

/// The attempts to connect are what a dead child is asked by: its breaker counts them.
#[tokio::test]
async fn the_breaker_of_a_child_that_never_comes_up_opens_at_the_fifth_attempt() {
    let closed = ClosedPort::pick();
    let restart = json!({"backoff": "50ms", "maxBackoff": "200ms"});
    let mux = Fleet::new()
        .entry(
            "remote",
            json!({"url": closed.url("/mcp"), "restart": restart}),
        )
        .stdio(
            "process",
            Child::broken("exit-at-once").key("restart", restart),
        )
        .over(Door::Http)
        .await;
    let attempts =
        |metrics: &Metrics, child| metrics.sum("child_connect_attempts_total", &[("child", child)]);

    for child in ["remote", "process"] {
        mux.until_metrics("an open breaker", |metrics| {
            let state = metrics.value("child_breaker_state", &[("child", child)]);
            let attempts = attempts(metrics, child);
            assert!(attempts >= 5.0 || state == Some(0.0), "{child}: {attempts}");
            state == Some(2.0)
        })
        .await;
        let status = mux.child(child).await;
        assert_eq!(status["breaker"], "open", "{status:#}");
        assert_ne!(status["state"], "ready", "{status:#}");
    }

    // It is tried on and on all the same.
    mux.until_metrics("ten attempts", |metrics| {
        ["remote", "process"]
            .iter()
            .all(|child| attempts(metrics, child) >= 10.0)
    })
    .await;
}

/// The connection that fails is not the one to ask: a new one is made.
#[tokio::test]
async fn the_probe_goes_by_connections_of_its_own_and_they_take_over() {
    for era in Era::ALL {
        let (mut mux, mut client) = guarded(era, breaker(2, "100ms")).await;
        mux.remote("child").behave("server-error").await;
        for _ in 0..2 {
            echo(&mut client).await.failure();
        }
        let before = mux.journal("child").of("http");
        let shaken = handshakes(&mux).len();
        mux.remote("child").behave("healthy").await;

        mux.until_child("child", "is closed again", |child| {
            child["breaker"] == "closed"
        })
        .await;

        let probes = &handshakes(&mux)[shaken..];
        assert!(!probes.is_empty(), "{era:?}");
        for probe in probes {
            let reused = before.iter().any(|old| old["peer"] == probe["peer"]);
            assert!(!reused, "{era:?}: {probe}");
        }
        echo(&mut client).await.content();
        let restarts = [("child", "child"), ("reason", "breaker")];
        let metrics = mux.metrics().await;
        assert_eq!(metrics.sum("child_restarts_total", &restarts), 1.0);
    }
}

fn handshakes(mux: &Multiplexer) -> Vec<Value> {
    let requests = mux.journal("child").of("request");
    let shakes = |request: &Value| {
        request["method"] == "initialize" || request["method"] == "server/discover"
    };
    requests.into_iter().filter(shakes).collect()
}

/// What the child works on is not harmed by the connection that takes over.
#[tokio::test]
async fn calls_that_were_open_when_a_probe_took_over_are_answered() {
    for era in Era::ALL {
        let (mut mux, mut client) = guarded(era, breaker(1, "50ms")).await;
        let gate = mux.path("release");
        let arguments = format!(r#"{{"until":"{}","key":"k"}}"#, gate.display());
        let open = client.begin_call("child__slow", &arguments).await;
        mux.journal("child").until_keyed("slow", "k").await;

        mux.remote("child").behave("server-error").await;
        echo(&mut client).await.failure();
        mux.remote("child").behave("healthy").await;
        mux.until_child("child", "is another connection", |child| {
            child["restarts"] == 1 && child["breaker"] == "closed"
        })
        .await;
        std::fs::write(&gate, "").expect("the gate opens");

        let answer = client.finish(open).await;
        assert_eq!(answer.content()["key"], "k", "{era:?}: {}", answer.frame);
    }
}

/// A process that hangs has one pipe only: a fresh process is what heals it.
#[tokio::test]
async fn a_process_that_hangs_is_replaced_by_a_fresh_one() {
    for era in Era::ALL {
        let child = Child::of(era)
            .named("freeze")
            .key("breaker", breaker(2, "100ms"))
            .key("callTimeout", "200ms");
        let mut mux = Fleet::new().stdio("child", child).over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;
        let old = mux.child("child").await["pid"].clone();

        for tool in ["child__freeze", "child__echo"] {
            let answer = client.call(tool, "{}").await;
            assert_eq!(answer.failure_kind(), "timeout", "{}", answer.frame);
        }

        let child = mux
            .until_child("child", "is another process", |child| {
                child["state"] == "ready" && child["breaker"] == "closed" && child["pid"] != old
            })
            .await;
        assert_eq!(child["restarts"], 1, "{child:#}");
        let answer = client.call("child__echo", r#"{"a":1}"#).await;
        assert_eq!(answer.content()["calls"], 1, "{era:?}: {}", answer.frame);
        let old = old.as_u64().and_then(|pid| u32::try_from(pid).ok());
        until_gone(&[old.expect("a process id")]).await;
    }
}

/// A child that starts only as this shell line lets it.
fn guarded_start(line: &str) -> Child {
    let program = support::child::program().display().to_string();
    let line = line.replace("CHILD", &format!("{program} --era legacy --named freeze"));
    Child::legacy()
        .key("command", "sh")
        .key("args", json!(["-c", line]))
        .key("breaker", breaker(1, "50ms"))
        .key("callTimeout", "200ms")
        .key("timeout", "2s")
}

/// Half of a healing is none: who cannot be replaced, and lives, is left as it is.
#[tokio::test]
async fn a_process_is_left_alone_while_a_fresh_one_does_not_come_up() {
    let child = guarded_start("test ! -e blocker && exec CHILD");
    let mut mux = Fleet::new().stdio("child", child).over(Door::Http).await;
    mux.all_ready().await;
    let old = mux.child("child").await["pid"].clone();
    let mut client = mux.client(Era::Legacy).await;
    std::fs::write(mux.path("blocker"), "").expect("a file");
    let slow = client.call("child__slow", r#"{"until":"/nowhere"}"#).await;
    assert_eq!(slow.failure_kind(), "timeout", "{}", slow.frame);

    eventually("probes that fail", async || {
        (transitions(&mux, "open").await >= 3.0).then_some(())
    })
    .await;

    let child = mux.child("child").await;
    assert_eq!((&child["state"], &child["pid"]), (&json!("ready"), &old));
    std::fs::remove_file(mux.path("blocker")).expect("the file");
    mux.until_child("child", "is a fresh process", |child| {
        child["breaker"] == "closed" && child["pid"] != old
    })
    .await;
    echo(&mut client).await.content();
}

/// Two of them cannot live side by side: the one that hangs has to go first.
#[tokio::test]
async fn a_process_that_hangs_and_keeps_a_fresh_one_out_is_ended() {
    let child = guarded_start("exec flock --nonblock lock CHILD");
    let mut mux = Fleet::new().stdio("child", child).over(Door::Http).await;
    mux.all_ready().await;
    let old = mux.child("child").await["pid"].clone();
    let mut client = mux.client(Era::Legacy).await;

    let frozen = client.call("child__freeze", "{}").await;

    assert_eq!(frozen.failure_kind(), "timeout", "{}", frozen.frame);
    mux.until_child("child", "is a fresh process", |child| {
        child["state"] == "ready" && child["breaker"] == "closed" && child["pid"] != old
    })
    .await;
    assert_eq!(echo(&mut client).await.content()["calls"], 1);
}

/// An idle child is asked too: nobody has to call for its failing to be known.
#[tokio::test]
async fn an_idle_child_that_answers_no_more_opens_its_breaker_without_a_call() {
    for era in Era::ALL {
        let child = Child::of(era)
            .key("breaker", breaker(2, NEVER))
            .key("keepAlive", "100ms")
            .key("timeout", "300ms");
        let mut mux = Fleet::new().http("child", child).over(Door::Http).await;
        mux.all_ready().await;

        mux.remote("child").behave("black-hole").await;

        mux.until_child("child", "is open", |child| child["breaker"] == "open")
            .await;
    }
}

#[tokio::test]
async fn the_environment_sets_every_breaker() {
    let mut mux = Fleet::new()
        .env("MCP_CHILD_BREAKER_THRESHOLD", "1")
        .env("MCP_CHILD_BREAKER_COOLDOWN", "50ms")
        .env("MCP_CHILD_BREAKER_MAX_COOLDOWN", "60ms")
        .http("child", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    mux.remote("child").behave("server-error").await;

    assert_eq!(echo(&mut client).await.failure_kind(), "transport");

    // The longest cool-down is short: probe follows probe.
    eventually("five cool-downs", async || {
        (transitions(&mux, "open").await >= 5.0).then_some(())
    })
    .await;
}

/// What this program knows by itself is no sign of life.
#[tokio::test]
async fn what_the_child_is_not_asked_for_does_not_make_it_well() {
    for (era, tells) in [
        (Era::Legacy, true),
        (Era::Modern, true),
        (Era::Legacy, false),
    ] {
        let child = Child::of(era)
            .option("--resource", "test://a")
            .key("breaker", breaker(2, NEVER));
        let child = if tells {
            child.flag("--subscribe")
        } else {
            child
        };
        let mut mux = Fleet::new().http("child", child).over(Door::Http).await;
        mux.all_ready().await;
        mux.journal("child").until("listening", |_| true).await;
        let mut client = mux.client(Era::Legacy).await;
        let mut other = mux.client(Era::Legacy).await;
        let subscribe = r#"{"uri":"test://a"}"#;
        client.request("resources/subscribe", subscribe).await;
        mux.remote("child").behave("server-error").await;
        assert_eq!(echo(&mut client).await.failure_kind(), "transport");

        let answer = other.request("resources/subscribe", subscribe).await;

        assert_eq!(answer.frame.contains("error"), !tells, "{}", answer.frame);
        assert_eq!(state(&mux).await, Some(0.0), "{era:?}");
        assert_eq!(echo(&mut client).await.failure_kind(), "transport");
        assert_eq!(state(&mux).await, Some(2.0), "{era:?}, tells: {tells}");
    }
}
