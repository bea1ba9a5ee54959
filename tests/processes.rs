//! Processes come and go in an orderly way: what the multiplexer starts it ends,
//! also when it is not asked politely, and what dies comes back.

mod support;

use nix::sys::signal::Signal;
use support::{
    Child, Door, Era, Fleet, Multiplexer, eventually,
    process::{alive, signal, until_gone},
};

/// Children of every kind that is hard to get rid of.
async fn stubborn(door: Door) -> (Multiplexer, Vec<u32>) {
    let mux = Fleet::new()
        .stdio("plain", Child::legacy())
        .stdio("deaf", Child::legacy().flag("--ignore-sigterm"))
        .stdio("parent", Child::legacy().flag("--grandchild"))
        .stdio(
            "both",
            Child::modern()
                .flag("--grandchild")
                .flag("--ignore-sigterm"),
        )
        .over(door)
        .await;
    mux.all_ready().await;
    let mut pids = Vec::new();
    for name in ["plain", "deaf", "parent", "both"] {
        pids.extend(mux.journal(name).pids());
    }
    assert_eq!(
        pids.len(),
        6,
        "four children and two grandchildren: {pids:?}"
    );
    assert!(pids.iter().all(|pid| alive(*pid)));
    (mux, pids)
}

#[tokio::test]
async fn sigterm_ends_the_multiplexer_and_every_process_below_it() {
    for door in Door::ALL {
        let (mut mux, pids) = stubborn(door).await;

        mux.terminate();

        assert!(mux.ended().await.success(), "{door:?}");
        until_gone(&pids).await;
    }
}

#[tokio::test]
async fn ctrl_c_ends_the_multiplexer_and_every_process_below_it() {
    let (mut mux, pids) = stubborn(Door::Http).await;

    signal(mux.pid(), Signal::SIGINT);

    assert!(mux.ended().await.success());
    until_gone(&pids).await;
}

#[tokio::test]
async fn nothing_is_left_when_the_multiplexer_is_killed() {
    let (mut mux, pids) = stubborn(Door::Http).await;

    mux.kill();

    assert!(!mux.ended().await.success());
    until_gone(&pids).await;
}

#[tokio::test]
async fn the_end_of_stdin_ends_a_stdio_server_and_every_process_below_it() {
    let (mut mux, pids) = stubborn(Door::Stdio).await;
    let client = mux.client(Era::Legacy).await;

    client.leave();

    assert!(mux.ended().await.success());
    until_gone(&pids).await;
}

/// A call that would never end is cut off; without a limit this test would not end.
#[tokio::test]
async fn draining_does_not_wait_for_a_call_that_never_ends() {
    for era in Era::ALL {
        let fleet = Fleet::new().stdio("child", Child::of(era).flag("--ignore-sigterm"));
        let mut mux = fleet.over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(era).await;
        let _call = client
            .begin_call("child__slow", r#"{"until":"/nowhere","key":"k"}"#)
            .await;
        mux.journal("child").until_keyed("slow", "k").await;

        mux.terminate();

        assert!(mux.ended().await.success(), "{era:?}");
        until_gone(&mux.journal("child").pids()).await;
    }
}

#[tokio::test]
async fn a_call_that_ends_while_the_multiplexer_drains_is_answered() {
    let mut mux = Fleet::new()
        .stdio("child", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let gate = mux.path("release");
    let arguments = format!(r#"{{"until":"{}","key":"k"}}"#, gate.display());
    let call = client.begin_call("child__slow", &arguments).await;
    mux.journal("child").until_keyed("slow", "k").await;

    mux.terminate();
    mux.log
        .until("a line that says it drains", |line| line.contains("drain"))
        .await;
    std::fs::write(gate, "").expect("the gate opens");

    assert_eq!(client.finish(call).await.content()["key"], "k");
    assert!(mux.ended().await.success());
}

#[tokio::test]
async fn a_child_sees_only_the_variables_it_is_meant_to_see() {
    let allowed = [
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "TZ",
        "TMPDIR",
        "SSL_CERT_FILE",
        "XDG_CACHE_HOME",
    ];
    let mut mux = Fleet::new()
        .env("LANG", "C.UTF-8")
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env("TMPDIR", "/tmp")
        .env("SSL_CERT_FILE", "/nowhere")
        .env("XDG_CACHE_HOME", "/nowhere")
        .env("GITHUB_TOKEN", "x")
        .env("OIDC_CLIENT_SECRET", "x")
        .env("MCP_ALLOWED_HOSTS", "x")
        .stdio("bare", Child::legacy())
        .stdio(
            "given",
            Child::legacy().key("env", serde_json::json!({"API_KEY": "${GITHUB_TOKEN}"})),
        )
        .stdio("heir", Child::legacy().key("inheritEnv", true))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let mut sees = async |child: &str| -> Vec<String> {
        let answer = client.call(&format!("{child}__env"), "{}").await;
        serde_json::from_value(answer.content()["names"].clone()).expect("names")
    };

    let bare = sees("bare").await;
    let given = sees("given").await;
    let heir = sees("heir").await;

    for name in allowed {
        assert!(
            bare.iter().any(|seen| seen == name),
            "{name} is missing: {bare:?}"
        );
    }
    assert_eq!(bare.len(), allowed.len(), "{bare:?}");
    assert!(given.contains(&"API_KEY".to_owned()), "{given:?}");
    assert!(!given.contains(&"GITHUB_TOKEN".to_owned()), "{given:?}");
    assert!(heir.contains(&"GITHUB_TOKEN".to_owned()), "{heir:?}");
}

#[tokio::test]
async fn a_child_that_dies_mid_call_fails_only_that_call_and_comes_back() {
    let mut mux = Fleet::new()
        .stdio("mortal", Child::legacy())
        .stdio("steady", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let gate = mux.path("release");
    let arguments = format!(r#"{{"until":"{}","key":"k"}}"#, gate.display());
    let elsewhere = client.begin_call("steady__slow", &arguments).await;
    mux.journal("steady").until_keyed("slow", "k").await;
    let pid_before = mux.child("mortal").await["pid"].clone();

    let died = client.call("mortal__exit", "{}").await;

    assert_eq!(died.failure()["child"], "mortal", "{}", died.frame);
    assert_eq!(died.failure_kind(), "transport");
    std::fs::write(gate, "").expect("the gate opens");
    assert_eq!(client.finish(elsewhere).await.content()["key"], "k");
    let back = mux
        .until_child("mortal", "is ready again", |child| {
            child["state"] == "ready" && child["pid"] != pid_before
        })
        .await;
    assert!(back["restarts"].as_u64() >= Some(1), "{back}");
    assert_eq!(
        client.call("mortal__echo", "{}").await.content()["calls"],
        1
    );
    assert_eq!(
        mux.journal("mortal").calls("exit"),
        1,
        "a call is sent once"
    );
}

#[tokio::test]
async fn an_http_child_that_goes_away_comes_back() {
    for era in Era::ALL {
        let mut mux = Fleet::new()
            .http("remote", Child::of(era))
            .over(Door::Http)
            .await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;

        mux.remote("remote").stop().await;
        let failed = client.call("remote__echo", "{}").await;
        mux.remote("remote").restart().await;

        assert_eq!(failed.failure()["child"], "remote", "{era:?}");
        let answer = eventually("an answer from the child that came back", async || {
            let answer = client.call("remote__echo", r#"{"a":1}"#).await;
            (!answer.is_tool_error()).then_some(answer)
        })
        .await;
        assert!(answer.structured().contains(r#"{"a":1}"#), "{era:?}");
    }
}

/// The 404 says that the call was not carried out, so the caller never learns of it.
#[tokio::test]
async fn a_session_the_child_has_forgotten_is_renewed_within_the_call() {
    let mut mux = Fleet::new()
        .http("remote", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    mux.remote("remote").forget_sessions().await;

    let answer = client.call("remote__echo", "{}").await;

    assert_eq!(answer.content()["calls"], 1, "{}", answer.frame);
}

/// Whoever calls while the session is being renewed waits for it too.
#[tokio::test]
async fn fifty_calls_that_meet_a_forgotten_session_cost_one_renewal() {
    let mut mux = Fleet::new()
        .http("remote", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(mux.client(Era::Legacy).await);
    }
    mux.remote("remote").forget_sessions().await;

    let calls = clients
        .iter_mut()
        .enumerate()
        .map(|(n, client)| async move {
            let arguments = format!(r#"{{"n":{n}}}"#);
            client.call("remote__echo", &arguments).await
        });
    let answers = futures::future::join_all(calls).await;

    for (n, answer) in answers.iter().enumerate() {
        let own = format!(r#"{{"n":{n}}}"#);
        assert!(answer.structured().contains(&own), "{n}: {}", answer.frame);
    }
    let journal = mux.journal("remote");
    assert_eq!(journal.calls("echo"), 50);
    let handshakes = journal.of("request");
    let handshakes = handshakes.iter().filter(|it| it["method"] == "initialize");
    assert_eq!(handshakes.count(), 2, "the first and the renewal");
    let renewals = mux
        .metrics()
        .await
        .value("child_session_renewals_total", &[("child", "remote")]);
    assert_eq!(renewals, Some(1.0));
}

/// A second outage with the same reason is news all the same.
#[tokio::test]
async fn every_loss_of_a_child_is_in_the_log() {
    let mux = Fleet::new()
        .stdio("child", Child::modern())
        .over(Door::Http)
        .await;
    for losses in 1..=2 {
        let ready = mux.until_ready("child").await;
        let pid = ready["pid"].as_u64().expect("a pid");
        signal(u32::try_from(pid).expect("a process id"), Signal::SIGKILL);
        mux.until_child("child", "is another process", |child| {
            child["state"] == "ready" && child["pid"] != pid
        })
        .await;

        let told = mux.log.text();
        let told = told
            .lines()
            .filter(|line| line.contains("child=child") && line.contains(r#"state="down""#));
        assert_eq!(told.count(), losses, "{}", mux.log.text());
    }
}

/// Somebody who asks twice does not want to wait.
#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let fleet = Fleet::new().stdio("child", Child::legacy().flag("--ignore-sigterm"));
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let _call = client
        .begin_call("child__slow", r#"{"until":"/nowhere","key":"k"}"#)
        .await;
    mux.journal("child").until_keyed("slow", "k").await;

    mux.terminate();
    eventually("it drains", async || {
        mux.log.text().contains("draining").then_some(())
    })
    .await;
    mux.terminate();

    mux.ended().await;
    assert!(
        mux.log.text().contains("second signal"),
        "{}",
        mux.log.text()
    );
    until_gone(&mux.journal("child").pids()).await;
}

#[tokio::test]
async fn a_killed_child_is_started_again() {
    let mut mux = Fleet::new()
        .stdio("child", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let pid = mux.child("child").await["pid"].as_u64().expect("a pid");

    signal(u32::try_from(pid).expect("a process id"), Signal::SIGKILL);

    mux.until_child("child", "is ready again", |child| {
        child["state"] == "ready" && child["pid"] != pid
    })
    .await;
    let mut client = mux.client(Era::Modern).await;
    assert_eq!(client.call("child__echo", "{}").await.content()["calls"], 1);
}

#[tokio::test]
async fn what_a_child_writes_to_stderr_is_in_the_log_with_its_name() {
    let fleet = Fleet::new().stdio("loud", Child::legacy().option("--flood-stderr", 3));
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;

    let line = mux
        .log
        .until("the last line", |line| line.contains("flood 2: "))
        .await;

    assert!(line.contains("child=loud"), "{line}");
}

/// More than any pipe holds: a reader that stops reading stops the child.
#[tokio::test]
async fn a_child_that_floods_stderr_or_its_stdout_still_works() {
    let mut mux = Fleet::new()
        .stdio("loud", Child::legacy().option("--flood-stderr", 20_000))
        .stdio(
            "chatty",
            Child::legacy().option("--flood-notifications", 50_000),
        )
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    for child in ["loud", "chatty"] {
        let answer = client.call(&format!("{child}__echo"), "{}").await;
        assert_eq!(answer.content()["calls"], 1, "{child}");
    }

    // What is in the log and what is said to be left out is all of it.
    eventually("every line, or how many there were", async || {
        let (mut logged, mut left_out) = (0, 0);
        let log = mux.log.text();
        for line in log.lines().filter(|line| line.contains("child=loud")) {
            logged += usize::from(line.contains("flood "));
            let lines = line.split_once("stderr left out").map(|(_, rest)| rest);
            let lines = lines.and_then(|rest| rest.split_once("lines="));
            left_out += lines.map_or(0, |(_, number)| number.parse().expect("a number"));
        }
        assert!(logged < 5_000, "{logged} lines in the log");
        (logged + left_out == 20_000).then_some(())
    })
    .await;
}
