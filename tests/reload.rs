//! A changed configuration comes into force while the multiplexer serves: who does not
//! notice, who is exchanged and how, who goes, and what a bad file changes, which is
//! nothing.

mod support;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use support::{
    Child, Client, Door, Era, Fleet, Multiplexer,
    client::Pending,
    eventually,
    process::{alive, until_gone},
    wait::DEADLINE,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

const LIST_CHANGED: &str = "notifications/tools/list_changed";
/// A change that is announced by itself has been announced after this.
const GATHERED: Duration = Duration::from_millis(400);

/// A child with these tools and no others.
fn with_tools(tools: &[&str]) -> Child {
    let child = Child::legacy().bare();
    tools.iter().fold(child, |child, tool| child.named(tool))
}

fn pid(child: &Value) -> u32 {
    let pid = child["pid"].as_u64().expect("a pid");
    pid.try_into().expect("a process id")
}

/// A call that goes on until [`release`] says so.
async fn begin_slow(mux: &Multiplexer, client: &mut Client, child: &str) -> Pending {
    let arguments = json!({"until": mux.path("release"), "key": "k"}).to_string();
    let call = client
        .begin_call(&format!("{child}__slow"), &arguments)
        .await;
    mux.journal(child).until_keyed("slow", "k").await;
    call
}

fn release(mux: &Multiplexer) {
    fs::write(mux.path("release"), "").expect("the calls may end");
}

/// Calls a tool without a pause until it is told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    calls: JoinHandle<(usize, Vec<String>)>,
}

impl Load {
    async fn on(mux: &mut Multiplexer, tool: &'static str) -> Self {
        let mut client = mux.client(Era::Modern).await;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let calls = tokio::spawn(async move {
            let (mut good, mut bad) = (0, Vec::new());
            while !stopped.load(Ordering::Relaxed) {
                let answer = client.call(tool, "{}").await;
                if answer.frame.contains(r#""structuredContent":{"calls""#) {
                    good += 1;
                } else {
                    bad.push(answer.frame);
                }
            }
            (good, bad)
        });
        Self { stop, calls }
    }

    async fn has_not_failed(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (good, bad) = self.calls.await.expect("the calls");
        assert_eq!(bad, [""; 0], "of {}", good + bad.len());
        assert!(good > 0);
    }
}

#[tokio::test]
async fn a_file_of_variables_is_followed_too() {
    let fleet = Fleet::new();
    let variables = fleet.path("variables");
    fs::write(&variables, "OTHER=1\n").expect("a file");
    let path = variables.display().to_string();
    let child = Child::legacy().key("env", json!({"KEY": "${KEY}"}));
    let mux = fleet
        .stdio("keyed", child)
        .stdio("other", Child::legacy())
        .flags(&["--env-file", &path])
        .over(Door::Http)
        .await;
    let keyed = mux.child("keyed").await;
    assert_eq!(keyed["state"], "disabled", "{keyed}");
    let other = pid(&mux.until_ready("other").await);

    fs::write(&variables, "KEY=hunter2\n").expect("a file");
    let first = pid(&mux.until_ready("keyed").await);
    fs::write(&variables, "KEY=hunter3\n").expect("a file");
    mux.until_child("keyed", "has another process", |child| {
        child["pid"].is_u64() && pid(child) != first
    })
    .await;

    fs::write(&variables, "KEY=hunter4 hunter5\n").expect("a file");
    let error = eventually("the file is refused", async || {
        let status = mux.status().await;
        let error = status["config"]["lastReload"]["error"].as_str();
        error.map(str::to_owned)
    })
    .await;
    assert!(error.starts_with(&format!("{path}:1: ")), "{error}");
    assert!(!error.contains("hunter"), "{error}");
    mux.until_ready("keyed").await;
    assert_eq!(pid(&mux.child("other").await), other);
}

#[tokio::test]
async fn an_unchanged_child_keeps_its_process_its_session_and_its_calls() {
    let mut mux = Fleet::new()
        .stdio("local", Child::legacy())
        .http("remote", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let before = pid(&mux.child("local").await);
    let mut client = mux.client(Era::Legacy).await;
    let local = begin_slow(&mux, &mut client, "local").await;
    let remote = begin_slow(&mux, &mut client, "remote").await;

    let entries = [
        mux.process("new", with_tools(&["tool"])),
        mux.connection("remote"),
        mux.process("local", Child::legacy()),
    ];
    mux.configure(&entries);
    mux.until_generation(2).await;
    mux.until_ready("new").await;

    let status = mux.status().await;
    let children = status["children"].as_array().expect("children");
    let names: Vec<&Value> = children.iter().map(|child| &child["name"]).collect();
    assert_eq!(names, ["new", "remote", "local"], "in the file's order");
    assert_eq!(pid(&mux.child("local").await), before);
    assert_eq!(mux.child("remote").await["inFlight"], 1);
    release(&mux);
    for call in [local, remote] {
        assert_eq!(client.finish(call).await.content()["key"], "k");
    }
    let handshakes = mux.journal("remote").of("request");
    let handshakes = handshakes.iter().filter(|it| it["method"] == "initialize");
    assert_eq!(handshakes.count(), 1);
    assert_eq!(client.call("new__tool", "{}").await.content()["calls"], 1);
    assert_eq!(client.tool_names().await[0], "new__tool");
}

/// Its successor is made before it is broken, and nobody's call fails.
#[tokio::test]
async fn a_changed_process_serves_until_its_successor_is_ready() {
    let mut mux = Fleet::new()
        .stdio("child", Child::legacy())
        .stdio("other", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let old = pid(&mux.child("child").await);
    let loads = [
        Load::on(&mut mux, "other__echo").await,
        Load::on(&mut mux, "child__echo").await,
    ];
    let mut client = mux.client(Era::Legacy).await;
    let call = begin_slow(&mux, &mut client, "child").await;

    let entries = [
        mux.process("child", Child::legacy().named("more").gated()),
        mux.process("other", Child::modern()),
    ];
    mux.configure(&entries);
    mux.until_generation(2).await;
    let starts = || mux.journal("child").of("started");
    eventually("the successor starts", async || {
        (starts().len() == 2).then_some(())
    })
    .await;
    assert_eq!(pid(&mux.child("child").await), old, "the old one serves");
    assert_eq!(client.call("child__env", "{}").await.before, [""; 0]);

    mux.open_gate("child");
    mux.until_child("child", "is another process", |child| {
        child["state"] == "ready" && child["pid"] != old
    })
    .await;
    client.call("child__more", "{}").await.content();
    assert!(alive(old), "it still works on a call");
    for load in loads {
        load.has_not_failed().await;
    }
    release(&mux);
    assert_eq!(client.finish(call).await.content()["key"], "k");
    until_gone(&[old]).await;
}

/// Not even one that has just looked up whose it is.
#[tokio::test]
async fn no_call_fails_however_often_its_child_is_exchanged() {
    let mut mux = Fleet::new()
        .stdio("child", Child::legacy().key("maxConcurrency", 2))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut loads = Vec::new();
    for _ in 0..6 {
        loads.push(Load::on(&mut mux, "child__echo").await);
    }

    for n in 0..10 {
        let old = pid(&mux.child("child").await);
        let child = Child::legacy()
            .key("maxConcurrency", 2)
            .key("env", json!({"N": n.to_string()}));
        mux.configure(&[mux.process("child", child)]);
        mux.until_child("child", "is another process", |it| {
            it["state"] == "ready" && it["pid"] != old
        })
        .await;
        until_gone(&[old]).await;
    }

    for load in loads {
        load.has_not_failed().await;
    }
}

/// The old child works on a call without end, so that nothing else ever comes to it.
#[tokio::test]
async fn a_call_that_still_waits_for_its_turn_when_its_child_goes_is_its_successors() {
    let narrow = || {
        Child::legacy()
            .key("maxConcurrency", 1)
            .key("callTimeout", 0)
            .key("maxCallTimeout", "500ms")
    };
    let mut mux = Fleet::new().stdio("child", narrow()).over(Door::Http).await;
    mux.all_ready().await;
    let old = pid(&mux.child("child").await);
    let mut client = mux.client(Era::Legacy).await;
    let endless = begin_slow(&mux, &mut client, "child").await;
    let waiting = client.begin_call("child__identity", "{}").await;
    mux.until_child("child", "has a call waiting", |it| it["queued"] == 1)
        .await;

    mux.configure(&[mux.process("child", narrow().named("changed"))]);

    let answer = client.finish(waiting).await;
    let served_by = answer.content()["pid"].as_u64();
    assert_eq!(served_by, Some(pid(&mux.child("child").await).into()));
    assert_ne!(served_by, Some(old.into()));
    assert_eq!(client.finish(endless).await.failure_kind(), "transport");
    mux.log
        .until("a call was cut", |line| {
            line.contains("ended with calls open")
        })
        .await;
    until_gone(&[old]).await;
}

#[tokio::test]
async fn a_changed_remote_child_is_given_another_session_and_ends_the_calls_of_the_old() {
    let mut mux = Fleet::new()
        .http("child", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let load = Load::on(&mut mux, "child__echo").await;
    let mut client = mux.client(Era::Legacy).await;
    let call = begin_slow(&mux, &mut client, "child").await;

    let (name, mut entry) = mux.connection("child");
    entry["headers"] = json!({"X-Changed": "yes"});
    mux.configure(&[(name, entry)]);

    eventually("calls carry the new header", async || {
        let received = client.call("child__received", "{}").await;
        (received.content()["headers"]["x-changed"] == "yes").then_some(())
    })
    .await;
    load.has_not_failed().await;
    release(&mux);
    assert_eq!(client.finish(call).await.content()["key"], "k");
}

#[tokio::test]
async fn a_removed_child_is_unknown_at_once_and_ends_the_calls_it_has() {
    let mut mux = Fleet::new()
        .stdio("gone", Child::legacy())
        .stdio("stays", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let old = pid(&mux.child("gone").await);
    let mut client = mux.client(Era::Legacy).await;
    let call = begin_slow(&mux, &mut client, "gone").await;

    mux.configure(&[mux.process("stays", Child::legacy())]);
    mux.until_generation(2).await;

    assert_eq!(client.call("gone__echo", "{}").await.error_code(), -32602);
    let status = mux.status().await;
    assert_eq!(status["children"].as_array().map(Vec::len), Some(1));
    let metrics = mux.metrics().await;
    for series in ["child_up", "child_in_flight", "child_breaker_state"] {
        assert_eq!(
            metrics.value(series, &[("child", "gone")]),
            None,
            "{series}"
        );
        assert!(metrics.value(series, &[("child", "stays")]).is_some());
    }
    // Reloads go on meanwhile.
    let entries = ["stays", "new"].map(|name| mux.process(name, Child::legacy()));
    mux.configure(&entries);
    mux.until_generation(3).await;
    mux.until_ready("new").await;
    assert_eq!(mux.journal("gone").of("stdin ended"), [""; 0]);
    assert!(alive(old), "it still works on a call");
    release(&mux);
    assert_eq!(client.finish(call).await.content()["key"], "k");
    until_gone(&[old]).await;
}

/// However much a reload changes, whoever listens, and although what it adds takes longer
/// than changes are gathered for.
#[tokio::test]
async fn a_reload_is_announced_once() {
    for (door, era) in [(Door::Stdio, Era::Legacy), (Door::Http, Era::Modern)] {
        let mut mux = Fleet::new()
            .stdio("removed", with_tools(&["tool"]))
            .stdio("changed", with_tools(&["old"]))
            .over(door)
            .await;
        mux.all_ready().await;
        let mut client = mux.client(era).await;
        let names = async |client: &mut Client| client.tool_names().await;
        assert_eq!(names(&mut client).await.len(), 2);
        client.subscribe().await;

        mux.configure(&[
            mux.process("changed", with_tools(&["new"])),
            mux.process("added", with_tools(&["tool"]).gated()),
        ]);
        eventually("one is removed and one is changed", async || {
            (names(&mut client).await == ["changed__new"]).then_some(())
        })
        .await;
        tokio::time::sleep(GATHERED).await;
        mux.open_gate("added");
        client.news(LIST_CHANGED).await;
        assert_eq!(names(&mut client).await, ["changed__new", "added__tool"]);

        mux.configure(&[mux.process("changed", with_tools(&["newer", "newest"]))]);
        client.news(LIST_CHANGED).await;
        let last = ["changed__newer", "changed__newest"];
        assert_eq!(names(&mut client).await, last);

        mux.terminate();
        assert_eq!(client.unread_news(LIST_CHANGED).await, 0, "{door:?}");
    }
}

#[tokio::test]
async fn a_changed_prefix_filter_or_length_renames_and_drops_no_call() {
    let mut mux = Fleet::new()
        .stdio("child", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let call = begin_slow(&mux, &mut client, "child").await;

    let filtered = Child::legacy()
        .key("prefix", "other")
        .key("enabledTools", json!(["echo", "slow"]));
    let entry = mux.process("child", filtered);
    mux.configure(std::slice::from_ref(&entry));
    let renamed = async |client: &mut Client, wanted: [&str; 2]| {
        eventually("the tools are renamed", async || {
            let mut names = client.tool_names().await;
            names.sort();
            (names == wanted).then_some(())
        })
        .await;
    };
    renamed(&mut client, ["other__echo", "other__slow"]).await;
    let text = json!({"mcpServers": {"child": entry.1}, "maxNameLength": 10}).to_string();
    mux.write_config(&text);
    mux.until_generation(3).await;
    let names = client.tool_names().await;
    assert!(names.iter().all(|name| name.len() <= 10), "{names:?}");

    release(&mux);
    assert_eq!(client.finish(call).await.content()["key"], "k");
}

#[tokio::test]
async fn a_child_can_be_disabled_and_enabled_again() {
    let mut mux = Fleet::new()
        .stdio("child", with_tools(&["tool"]))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;
    let old = pid(&mux.child("child").await);

    mux.configure(&[mux.process("child", with_tools(&["tool"]).key("disabled", true))]);
    mux.until_child("child", "is disabled", |it| it["state"] == "disabled")
        .await;
    assert_eq!(client.tool_names().await, [""; 0]);
    until_gone(&[old]).await;

    mux.configure(&[mux.process("child", with_tools(&["tool"]))]);
    mux.until_ready("child").await;
    assert_eq!(client.tool_names().await, ["child__tool"]);
}

/// Whoever is right, the old one works.
#[tokio::test]
async fn a_child_whose_successor_cannot_be_started_serves_a_while_and_then_gives_way() {
    let mut mux = Fleet::new()
        .stdio("child", with_tools(&["tool"]))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;

    let text = r#"{"mcpServers": {"child": {"command": "/nowhere/at/all"}}}"#;
    mux.write_config(text);
    mux.log
        .until("the successor cannot be started", |line| {
            line.contains("child=child") && line.contains(r#"state="down""#)
        })
        .await;
    client.call("child__tool", "{}").await.content();

    mux.until_child("child", "is down", |child| child["state"] == "down")
        .await;
    assert_eq!(client.tool_names().await, ["child__tool"], "still listed");
    let answer = client.call("child__tool", "{}").await;
    assert_eq!(answer.failure_kind(), "unavailable");
}

#[tokio::test]
async fn a_change_that_is_taken_back_in_time_leaves_the_child_alone() {
    let mux = Fleet::new()
        .stdio("child", with_tools(&["tool"]))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let old = pid(&mux.child("child").await);
    mux.configure(&[mux.process("child", with_tools(&["other"]).gated())]);
    mux.until_generation(2).await;
    eventually("the successor starts", async || {
        (mux.journal("child").of("started").len() == 2).then_some(())
    })
    .await;

    mux.configure(&[mux.process("child", with_tools(&["tool"]))]);
    mux.until_generation(3).await;

    let mut successors = mux.journal("child").pids();
    successors.retain(|pid| *pid != old);
    until_gone(&successors).await;
    let child = mux.child("child").await;
    assert_eq!((&child["state"], pid(&child)), (&json!("ready"), old));
}

#[tokio::test]
async fn a_call_for_which_a_child_is_being_started_is_its_successors() {
    is_its_successors(Era::Modern, "tools/call", r#"{"name":"child__tool"}"#).await;
}

#[tokio::test]
async fn a_subscription_for_which_a_child_is_being_started_is_its_successors() {
    is_its_successors(Era::Legacy, "resources/subscribe", r#"{"uri":"test://a"}"#).await;
}

/// What waits for a child that is being started is not turned away for its sake.
async fn is_its_successors(era: Era, method: &str, params: &str) {
    let lazy = |child: Child| {
        let child = child.option("--resource", "test://a").flag("--subscribe");
        child.key("lazy", true).key("idleTimeout", "200ms")
    };
    let mut mux = Fleet::new()
        .stdio("child", lazy(with_tools(&["tool"]).gated()))
        .over(Door::Http)
        .await;
    mux.open_gate("child");
    mux.until_child("child", "is idle", |child| child["state"] == "idle")
        .await;
    fs::remove_file(mux.path("child.gate")).expect("the gate is closed");
    let mut client = mux.client(era).await;
    let call = client.begin(method, params).await;
    let started = async |count| {
        eventually("a process starts", async || {
            (mux.journal("child").of("started").len() == count).then_some(())
        })
        .await;
    };
    started(2).await;

    let gate = mux.path("other.gate");
    let next = lazy(with_tools(&["tool", "more"])).option("--gate", gate.display());
    mux.configure(&[mux.process("child", next)]);
    mux.until_generation(2).await;
    started(3).await;
    mux.open_gate("other");

    let answer = client.finish(call).await;
    assert!(!answer.result().contains("failure"), "{}", answer.frame);
}

/// It has nothing to lose, and what it was listed with stays listed.
#[tokio::test]
async fn a_child_that_is_down_is_exchanged_at_once() {
    let mut mux = Fleet::new()
        .http("child", with_tools(&["old"]))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    mux.remote("child").stop().await;
    let mut client = mux.client(Era::Modern).await;
    client.call("child__old", "{}").await.failure();
    mux.until_child("child", "is down", |child| child["state"] == "down")
        .await;

    let entry = mux.process("child", with_tools(&["new"]).gated());
    mux.configure(&[entry]);

    mux.until_child("child", "is a process now", |child| {
        child["transport"] == "stdio"
    })
    .await;
    assert_eq!(client.tool_names().await, ["child__old"]);
    mux.open_gate("child");
    eventually("its own list", async || {
        (client.tool_names().await == ["child__new"]).then_some(())
    })
    .await;
    client.call("child__new", "{}").await.content();
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_shown_until_a_good_one_comes() {
    let mut mux = Fleet::new()
        .stdio("child", with_tools(&["tool"]))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let old = pid(&mux.child("child").await);
    let successful = "config_last_reload_successful";
    assert_eq!(mux.metrics().await.value(successful, &[]), Some(1.0));
    let until_told = async |part: &str| {
        eventually(part, async || {
            let status = mux.status().await;
            let reload = &status["config"]["lastReload"];
            let told = reload["error"].as_str().is_some_and(|it| it.contains(part));
            told.then(|| assert_eq!(reload["ok"], false))
        })
        .await;
    };

    mux.write_config("{\"mcpServers\": {\n,}}");
    until_told("mcp_config.json:2:1: not valid JSON").await;
    assert_eq!(mux.metrics().await.value(successful, &[]), Some(0.0));
    fs::remove_file(mux.path("mcp_config.json")).expect("it was there");
    until_told("cannot read").await;
    mux.write_config(r#"{"mcpServers": {}, "auth": {}}"#);
    until_told("introspection").await;
    // Read again, and not told again.
    mux.hang_up();
    mux.log
        .until("SIGHUP", |line| line.contains("SIGHUP"))
        .await;
    mux.write_config(r#"{"mcpServers": {}, "maxNameLength": 1}"#);
    until_told("maxNameLength").await;

    let refused = mux.log.text();
    let refused = refused
        .lines()
        .filter(|line| line.contains("stays in force"));
    assert_eq!(refused.count(), 4, "{}", mux.log.text());
    let status = mux.status().await;
    assert_eq!(status["config"]["generation"], 1);
    assert_eq!(pid(&status["children"][0]), old);
    let mut client = mux.client(Era::Modern).await;
    client.call("child__tool", "{}").await.content();

    mux.configure(&[
        mux.process("child", with_tools(&["tool"])),
        mux.process("new", with_tools(&["tool"])),
    ]);
    mux.until_generation(2).await;
    assert_eq!(mux.metrics().await.value(successful, &[]), Some(1.0));
    let generation = mux.metrics().await.value("config_generation", &[]);
    assert_eq!(generation, Some(2.0));
    assert_eq!(mux.status().await["config"]["lastReload"]["ok"], true);
    assert_eq!(pid(&mux.child("child").await), old);
}

/// As Kubernetes does it: the file is a link through `..data`, which is exchanged.
#[tokio::test]
async fn a_swapped_link_is_a_changed_file() {
    let folder = TempDir::new().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let version = |name: &str, tool: &str| {
        let entry =
            json!({"command": support::child::program(), "args": ["--bare", "--named", tool]});
        fs::create_dir(at(name)).expect("a folder");
        let config = json!({"mcpServers": {"child": entry}}).to_string();
        fs::write(at(name).join("config.json"), config).expect("a config");
    };
    let swap = |to: &str| {
        symlink(to, at("..tmp")).expect("a link");
        fs::rename(at("..tmp"), at("..data")).expect("a swap");
    };
    version("..1", "one");
    swap("..1");
    symlink("..data/config.json", at("config.json")).expect("a link");
    let config = at("config.json");
    let flags = ["--config", config.to_str().expect("text")];
    let fleet = Fleet::new().without_config().flags(&flags);
    let mut mux = fleet.over(Door::Http).await;
    mux.until_ready("child").await;
    let mut client = mux.client(Era::Modern).await;

    for (old, new, tool) in [("..1", "..2", "two"), ("..2", "..3", "three")] {
        version(new, tool);
        swap(new);
        fs::remove_dir_all(at(old)).expect("it was there");
        let wanted = [format!("child__{tool}")];
        eventually("the new tool", async || {
            (client.tool_names().await == wanted).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn many_changes_in_a_row_end_with_the_last_one() {
    let mut mux = Fleet::new()
        .stdio("child", with_tools(&["tool"]))
        .stdio("kept", with_tools(&["tool"]))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let kept = pid(&mux.child("kept").await);
    for n in 1..=20 {
        let tool = format!("tool_{n}");
        mux.configure(&[
            mux.process("child", with_tools(&[&tool])),
            mux.process("kept", with_tools(&["tool"])),
        ]);
        if n % 7 == 0 {
            // Not only what one look takes in.
            mux.hang_up();
        }
    }
    let mut client = mux.client(Era::Modern).await;
    eventually("the last tool", async || {
        (client.tool_names().await == ["child__tool_20", "kept__tool"]).then_some(())
    })
    .await;
    assert_eq!(pid(&mux.child("kept").await), kept);
    let serving = pid(&mux.child("child").await);
    let mut others = mux.journal("child").pids();
    others.retain(|pid| *pid != serving);
    until_gone(&others).await;
}

#[tokio::test]
async fn a_hangup_without_a_change_changes_nothing() {
    for door in Door::ALL {
        let mut mux = Fleet::new()
            .stdio("child", with_tools(&["tool"]))
            .flags(&["--log-level", "debug"])
            .over(door)
            .await;
        mux.all_ready().await;
        let before = mux.child("child").await;

        mux.hang_up();
        mux.log
            .until("nothing has changed", |line| {
                line.contains("is what it was")
            })
            .await;

        let status = mux.status().await;
        assert_eq!(status["config"]["generation"], 1);
        assert_eq!(status["config"]["lastReload"]["ok"], true);
        assert_eq!(status["children"][0]["pid"], before["pid"]);
        let mut client = mux.client(Era::Legacy).await;
        client.call("child__tool", "{}").await.content();
    }
}

/// The file says the same, and means another thing: a link that it names leads to the
/// multiplexer itself now. No watch sees that.
#[tokio::test]
async fn a_hangup_reads_a_file_that_nobody_has_touched() {
    let fleet = Fleet::new();
    let link = fleet.path("program");
    let point = |to: &Path| {
        let _ = fs::remove_file(&link);
        symlink(to, &link).expect("a link");
    };
    point(support::child::program());
    let entry = json!({"command": link, "args": ["--bare"]});
    let mux = fleet.entry("child", entry).over(Door::Http).await;
    mux.until_ready("child").await;

    point(Path::new(env!("CARGO_BIN_EXE_mcp-multiplexer")));
    mux.hang_up();

    let child = mux
        .until_child("child", "is disabled", |it| it["state"] == "disabled")
        .await;
    let reason = child["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("inside itself"), "{reason}");
}

/// What is being exchanged ends with the multiplexer, and in time.
#[tokio::test]
async fn the_multiplexer_ends_in_the_middle_of_a_reload() {
    let mut mux = Fleet::new()
        .stdio("changed", Child::legacy())
        .stdio("removed", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let _call = begin_slow(&mux, &mut client, "removed").await;
    mux.configure(&[mux.process("changed", Child::legacy().gated())]);
    mux.until_generation(2).await;
    eventually("the successor starts", async || {
        (mux.journal("changed").of("started").len() == 2).then_some(())
    })
    .await;

    mux.terminate();

    let ended = tokio::time::timeout(DEADLINE, mux.ended()).await;
    assert!(ended.expect("an end").success());
    assert!(!mux.log.text().contains("not every child"));
    for child in ["changed", "removed"] {
        until_gone(&mux.journal(child).pids()).await;
    }
}
