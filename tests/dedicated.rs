//! Dedicated children: each client session has a process, or a connection, of its own.

mod support;

use std::fs;

use ::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};
use support::{
    Child, Client, Door, Era, Fleet, Multiplexer,
    child::program,
    eventually,
    http::{Http, With as _, request},
    journal::Journal,
    process::{alive, until_gone},
};

fn dedicated(child: Child) -> Child {
    child.key("session", "dedicated")
}

async fn over_http(child: Child) -> Multiplexer {
    let mux = Fleet::new().stdio("child", child).over(Door::Http).await;
    mux.until_ready("child").await;
    mux
}

/// The process that answers this client.
async fn pid(client: &mut Client) -> u32 {
    let answer = client.call("child__identity", "{}").await;
    let pid = answer.content()["pid"].as_u64().expect("a process id");
    pid.try_into().expect("a process id")
}

/// The process that the entry's lists come from.
async fn own_pid(mux: &Multiplexer) -> u64 {
    let child = mux.until_ready("child").await;
    child["pid"].as_u64().expect("a process id")
}

async fn until_sessions(mux: &Multiplexer, count: u64) {
    let has = |child: &Value| child["dedicatedSessions"] == count;
    mux.until_child("child", "has its sessions", has).await;
}

/// Ends a client's session, as its protocol has it.
async fn end_session(mux: &Multiplexer, client: &Client) {
    let ended = request(Method::DELETE, &mux.url(), Bytes::new())
        .with("mcp-session-id", client.session().expect("a session"));
    let reply = Http::default().send(ended).await;
    assert_eq!(reply.status, 204);
}

#[tokio::test]
async fn each_session_has_a_process_and_callers_without_one_share_the_entrys_own() {
    let mut mux = over_http(dedicated(Child::legacy())).await;
    let [mut one, mut two] = [mux.client(Era::Legacy).await, mux.client(Era::Legacy).await];
    let mut stateless = mux.client(Era::Modern).await;
    assert_eq!(mux.child("child").await["dedicatedSessions"], 0);

    let (first, second) = tokio::join!(pid(&mut one), pid(&mut two));

    assert_ne!(first, second);
    for _ in 0..3 {
        assert_eq!(pid(&mut one).await, first);
        assert_eq!(pid(&mut two).await, second);
    }
    let own = own_pid(&mux).await;
    assert_eq!(u64::from(pid(&mut stateless).await), own);
    assert!(![first, second].map(u64::from).contains(&own));
    for client in [&mut one, &mut two, &mut stateless] {
        let answer = client.call("child__echo", "{}").await;
        assert_eq!(answer.content()["calls"], 1, "nobody sees another's calls");
    }
    let status = mux.child("child").await;
    assert_eq!(status["dedicatedSessions"], 2);
    assert_eq!(status["dedicatedNotReady"], 0);
    let calls = [("child", "child"), ("tool", "echo"), ("outcome", "ok")];
    let counted = mux.metrics().await.value("tool_calls_total", &calls);
    assert_eq!(counted, Some(3.0), "one child, whoever answered");
}

#[tokio::test]
async fn each_session_has_a_session_of_its_own_with_a_remote_child() {
    let fleet = Fleet::new().http("child", dedicated(Child::legacy()));
    let mut mux = fleet.over(Door::Http).await;
    mux.until_ready("child").await;
    let [mut one, mut two] = [mux.client(Era::Legacy).await, mux.client(Era::Legacy).await];
    let session = async |client: &mut Client| {
        let answer = client.call("child__received", "{}").await;
        let session = answer.content()["headers"]["mcp-session-id"].clone();
        session.as_str().expect("a session").to_owned()
    };

    let (first, second) = (session(&mut one).await, session(&mut two).await);

    assert_ne!(first, second);
    assert_eq!(session(&mut one).await, first);
    assert_eq!(session(&mut two).await, second);
    end_session(&mux, &one).await;
    until_sessions(&mux, 1).await;
    assert_eq!(session(&mut two).await, second);
}

/// The session's own connection meets the exchange with its next call, long after the
/// entry's own has got over it.
#[tokio::test]
async fn a_session_whose_child_has_changed_its_era_does_not_notice() {
    for (before, after) in [(Era::Legacy, Era::Modern), (Era::Modern, Era::Legacy)] {
        let child = dedicated(Child::of(before))
            .key("keepAlive", 0)
            .key("restart", json!({"backoff": "1ms", "maxBackoff": "10ms"}));
        let mut mux = Fleet::new().http("child", child).over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;
        client.call("child__echo", "{}").await.content();
        mux.remote("child").stop().await;
        mux.remote("child").restart_as(after).await;
        mux.until_child("child", "speaks the other era", |child| {
            child["state"] == "ready" && child["era"] == after.as_str()
        })
        .await;

        let answer = client.call("child__echo", "{}").await;

        assert_eq!(answer.content()["calls"], 1, "{after:?}: {}", answer.frame);
    }
}

#[tokio::test]
async fn a_process_ends_with_its_session_and_no_other_does() {
    let mut mux = over_http(dedicated(Child::modern())).await;
    let [mut one, mut two] = [mux.client(Era::Legacy).await, mux.client(Era::Legacy).await];
    let (first, second) = (pid(&mut one).await, pid(&mut two).await);

    end_session(&mux, &one).await;

    until_gone(&[first]).await;
    until_sessions(&mux, 1).await;
    assert_eq!(pid(&mut two).await, second);
    assert!(alive(second));
}

#[tokio::test]
async fn a_session_that_ends_takes_its_open_call_and_its_process_along() {
    let mut mux = over_http(dedicated(Child::legacy())).await;
    let mut client = mux.client(Era::Legacy).await;
    let process = pid(&mut client).await;
    let _call = client
        .begin_call("child__slow", r#"{"until":"/nowhere","key":"k"}"#)
        .await;
    mux.journal("child").until_keyed("slow", "k").await;

    end_session(&mux, &client).await;

    until_gone(&[process]).await;
    until_sessions(&mux, 0).await;
}

#[tokio::test]
async fn over_stdio_the_pipe_is_the_session() {
    for era in Era::ALL {
        let fleet = Fleet::new().stdio("child", dedicated(Child::of(era)));
        let mut mux = fleet.over(Door::Stdio).await;
        let mut client = mux.client(era).await;

        let process = pid(&mut client).await;

        assert_ne!(u64::from(process), own_pid(&mux).await, "{era:?}");
        assert_eq!(pid(&mut client).await, process);
        assert_eq!(mux.child("child").await["dedicatedSessions"], 1);
        client.leave();
        assert!(mux.ended().await.success());
        until_gone(&mux.journal("child").pids()).await;
    }
}

#[tokio::test]
async fn a_process_that_its_session_no_longer_uses_ends_and_the_next_call_makes_another() {
    let child = dedicated(Child::legacy()).key("idleTimeout", "200ms");
    let mut mux = over_http(child).await;
    let mut client = mux.client(Era::Legacy).await;
    let own = own_pid(&mux).await;

    let first = pid(&mut client).await;
    until_gone(&[first]).await;
    until_sessions(&mux, 0).await;
    let second = pid(&mut client).await;

    assert_ne!(first, second);
    until_gone(&[second]).await;
    assert_eq!(own_pid(&mux).await, own, "what lists come from stays");
}

#[tokio::test]
async fn a_call_in_the_very_moment_of_ending_is_not_lost() {
    let child = dedicated(Child::legacy()).key("idleTimeout", "1ms");
    let mut mux = over_http(child).await;
    let mut client = mux.client(Era::Legacy).await;

    for n in 0..100 {
        // Not to wait for anything: to come at ever another moment around the end.
        tokio::time::sleep(std::time::Duration::from_micros(25 * n)).await;
        let answer = client.call("child__echo", "{}").await;
        assert!(!answer.is_tool_error(), "{}", answer.frame);
    }
    let started = mux.journal("child").of("started").len();
    assert!(started > 3, "it was ended now and then");
}

#[tokio::test]
async fn the_first_calls_of_a_session_make_one_process() {
    let mut mux = over_http(dedicated(Child::legacy())).await;
    let mut client = mux.client(Era::Legacy).await;

    let mut calls = Vec::new();
    for _ in 0..20 {
        calls.push(client.begin_call("child__identity", "{}").await);
    }
    let mut pids = Vec::new();
    for call in calls {
        pids.push(client.finish(call).await.content()["pid"].clone());
    }

    pids.dedup();
    assert_eq!(pids.len(), 1, "{pids:?}");
    assert_eq!(mux.journal("child").of("started").len(), 2);
}

#[tokio::test]
async fn there_are_no_more_than_the_entry_allows() {
    let child = dedicated(Child::legacy()).key("maxSessions", 2);
    let mut mux = over_http(child).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(mux.client(Era::Legacy).await);
    }
    let [one, two, three] = clients.as_mut_slice() else {
        unreachable!("three clients")
    };
    let first = pid(one).await;
    pid(two).await;

    let refused = three.call("child__identity", "{}").await;

    assert_eq!(refused.failure_kind(), "busy", "{}", refused.frame);
    assert!(
        refused.content_text().contains("2 sessions"),
        "{}",
        refused.frame
    );
    assert_eq!(pid(one).await, first, "who has one keeps it");
    end_session(&mux, two).await;
    eventually("room for the third", async || {
        let answer = three.call("child__identity", "{}").await;
        (!answer.is_tool_error()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_one_session_breaks_is_whole_for_the_other() {
    let child = dedicated(Child::legacy()).key("breaker", json!({"failures": 1}));
    let mut mux = over_http(child).await;
    let [mut one, mut two] = [mux.client(Era::Legacy).await, mux.client(Era::Legacy).await];
    let (first, second) = (pid(&mut one).await, pid(&mut two).await);

    let broken = one.call("child__exit", "{}").await;

    assert_eq!(broken.failure_kind(), "transport", "{}", broken.frame);
    assert_eq!(pid(&mut two).await, second);
    eventually("another process", async || {
        let answer = one.call("child__identity", "{}").await;
        (!answer.is_tool_error()).then_some(())
    })
    .await;
    assert_ne!(pid(&mut one).await, first);
}

#[tokio::test]
async fn a_start_that_fails_is_told_and_is_not_tried_for_nobody() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let (broken, journal) = (folder.path().join("broken"), folder.path().join("journal"));
    let script = format!(
        "if [ -e {} ]; then exit 7; fi; exec {} --journal {}",
        broken.display(),
        program().display(),
        journal.display(),
    );
    let entry = json!({"command": "sh", "args": ["-c", script], "session": "dedicated"});
    let mut mux = Fleet::new().entry("child", entry).over(Door::Http).await;
    mux.until_ready("child").await;
    let mut client = mux.client(Era::Legacy).await;
    fs::write(&broken, "").expect("it breaks");

    let told = client.call("child__identity", "{}").await;

    assert_eq!(told.failure_kind(), "unavailable", "{}", told.frame);
    assert!(told.frame.contains("exit status 7"), "{}", told.frame);
    until_sessions(&mux, 0).await;
    assert_eq!(mux.child("child").await["state"], "ready");
    fs::remove_file(&broken).expect("it heals");
    pid(&mut client).await;
    assert_eq!(Journal::at(journal).of("started").len(), 2);
}

/// Each connection ends with its first failure: the next one knows of it all the same.
#[tokio::test]
async fn a_start_that_fails_again_and_again_is_a_crash_loop_until_it_heals() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let broken = folder.path().join("broken");
    let script = format!(
        "if [ -e {} ]; then exit 7; fi; exec {} --journal {}",
        broken.display(),
        program().display(),
        folder.path().join("journal").display(),
    );
    let entry = json!({
        "command": "sh", "args": ["-c", script], "session": "dedicated",
        "restart": {"backoff": "20ms"},
    });
    let mut mux = Fleet::new().entry("child", entry).over(Door::Http).await;
    mux.until_ready("child").await;
    let [mut one, mut two] = [mux.client(Era::Legacy).await, mux.client(Era::Legacy).await];
    pid(&mut two).await;
    fs::write(&broken, "").expect("it breaks");

    eventually("a crash loop", async || {
        until_sessions(&mux, 1).await;
        let told = one.call("child__identity", "{}").await;
        told.frame.contains("crash loop: 3 exits").then_some(())
    })
    .await;

    pid(&mut two).await;
    fs::remove_file(&broken).expect("it heals");
    until_sessions(&mux, 1).await;
    pid(&mut one).await;
}

#[tokio::test]
async fn what_is_logged_outside_of_a_call_reaches_its_session_alone() {
    let mut mux = over_http(dedicated(Child::legacy())).await;
    let release = mux.path("release");
    let mut clients = Vec::new();
    let mut open = Vec::new();
    for name in ["one", "two"] {
        let mut client = mux.client(Era::Legacy).await;
        client
            .request("logging/setLevel", r#"{"level":"debug"}"#)
            .await;
        client.subscribe().await;
        // With two calls in flight a message is nobody's: it goes to the session.
        let slow = json!({"until": release, "key": name}).to_string();
        open.push(client.begin_call("child__slow", &slow).await);
        mux.journal("child").until_keyed("slow", name).await;
        clients.push(client);
    }

    for (client, name) in clients.iter_mut().zip(["one", "two"]) {
        let data = json!({"data": name}).to_string();
        client.call("child__log", &data).await;
    }

    for (client, name) in clients.iter_mut().zip(["one", "two"]) {
        let message = client.news("notifications/message").await;
        let message: Value = serde_json::from_str(&message).expect("JSON");
        assert_eq!(message["params"]["data"], name);
    }
    fs::write(release, "").expect("the calls are released");
    for (client, call) in clients.iter_mut().zip(open) {
        client.finish(call).await;
    }
}

#[tokio::test]
async fn sigterm_ends_every_sessions_process() {
    let child = dedicated(
        Child::legacy()
            .flag("--grandchild")
            .flag("--ignore-sigterm"),
    );
    let mut mux = over_http(child).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = mux.client(Era::Legacy).await;
        pid(&mut client).await;
        clients.push(client);
    }
    let pids = mux.journal("child").pids();
    assert_eq!(
        pids.len(),
        8,
        "four processes and what they started: {pids:?}"
    );

    mux.terminate();

    assert!(mux.ended().await.success());
    until_gone(&pids).await;
}

#[tokio::test]
async fn the_entrys_own_connection_may_be_lazy() {
    let child = dedicated(Child::legacy())
        .key("lazy", true)
        .key("idleTimeout", "200ms");
    let fleet = Fleet::new().stdio("child", child);
    let mut mux = fleet.over(Door::Http).await;
    let mut client = mux.client(Era::Legacy).await;
    let is_idle = |child: &Value| child["state"] == "idle";
    mux.until_child("child", "is idle", is_idle).await;

    let process = pid(&mut client).await;

    assert_eq!(mux.child("child").await["state"], "idle");
    until_gone(&[process]).await;
    until_gone(&mux.journal("child").pids()).await;
}

#[tokio::test]
async fn a_changed_entry_ends_its_sessions_processes_once_their_calls_have_ended() {
    let mut mux = over_http(dedicated(Child::legacy())).await;
    let mut client = mux.client(Era::Legacy).await;
    let process = pid(&mut client).await;
    let release = mux.path("release");
    let slow = json!({"until": release, "key": "k"}).to_string();
    let call = client.begin_call("child__slow", &slow).await;
    mux.journal("child").until_keyed("slow", "k").await;

    let changed = mux.process("child", dedicated(Child::legacy().named("more")));
    mux.configure(&[changed]);
    eventually("another process for the session", async || {
        (pid(&mut client).await != process).then_some(())
    })
    .await;

    assert!(alive(process), "it works on a call");
    fs::write(release, "").expect("the call is released");
    assert_eq!(client.finish(call).await.content()["key"], "k");
    until_gone(&[process]).await;
    let answer = client.call("child__more", "{}").await;
    assert!(!answer.is_tool_error(), "{}", answer.frame);
}
