//! Lazy children: listed all the time, running only while somebody needs them.

mod support;

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use support::{
    Child, Client, Door, Era, Fleet, Multiplexer, child::program, eventually, journal::Journal,
    process::until_gone,
};
use tempfile::TempDir;

const SOON: &str = "200ms";

fn lazy(child: Child) -> Child {
    child.key("lazy", true).key("idleTimeout", SOON)
}

async fn until_idle(mux: &Multiplexer, name: &str) -> Value {
    let is_idle = |child: &Value| child["state"] == "idle";
    mux.until_child(name, "is idle", is_idle).await
}

#[tokio::test]
async fn a_lazy_child_is_stopped_when_idle_and_started_by_the_next_call() {
    for era in Era::ALL {
        let mut mux = Fleet::new()
            .stdio("child", lazy(Child::of(era)))
            .over(Door::Http)
            .await;
        let mut client = mux.client(era).await;
        let listed = client.tool_names().await;
        let idle = until_idle(&mux, "child").await;
        assert_eq!(idle["pid"], Value::Null);
        assert_eq!(idle["reason"], Value::Null);
        assert_eq!(idle["restarts"], 0);
        until_gone(&mux.journal("child").pids()).await;
        assert_eq!(client.tool_names().await, listed);

        let answer = client.call("child__echo", r#"{"exact":1.10}"#).await;

        assert_eq!(
            answer.structured(),
            r#"{"calls":1,"arguments":{"exact":1.10}}"#
        );
        assert_eq!(mux.journal("child").of("started").len(), 2, "{era:?}");
        until_idle(&mux, "child").await;
        until_gone(&mux.journal("child").pids()).await;
    }
}

#[tokio::test]
async fn a_remote_lazy_child_is_disconnected_when_idle() {
    for era in Era::ALL {
        let mut mux = Fleet::new()
            .http("child", lazy(Child::of(era)))
            .over(Door::Http)
            .await;
        let mut client = mux.client(era).await;
        for calls in 1..=2 {
            until_idle(&mux, "child").await;
            let answer = client.call("child__echo", "{}").await;
            assert_eq!(answer.content()["calls"], calls, "{era:?}");
        }
        let attempts = mux.metrics().await;
        let outcomes = [("child", "child"), ("outcome", "ok")];
        assert_eq!(
            attempts.value("child_connect_attempts_total", &outcomes),
            Some(3.0)
        );
    }
}

#[tokio::test]
async fn an_idle_child_raises_no_alarm() {
    let mux = Fleet::new()
        .stdio("child", lazy(Child::legacy()))
        .stdio("eager", Child::legacy().key("idleTimeout", SOON))
        .over(Door::Http)
        .await;
    until_idle(&mux, "child").await;
    mux.until_ready("eager").await;

    let metrics = mux.metrics().await;

    let of = |series, child| metrics.value(series, &[("child", child)]);
    assert_eq!(of("child_up", "child"), Some(0.0));
    assert_eq!(of("child_idle", "child"), Some(1.0));
    assert_eq!(of("child_up", "eager"), Some(1.0));
    assert_eq!(of("child_idle", "eager"), Some(0.0));
    assert_eq!(of("child_breaker_state", "child"), Some(0.0));
    assert_eq!(of("child_restarts_total", "child"), None);
    assert_eq!(of("child_next_retry_timestamp_seconds", "child"), None);
}

#[tokio::test]
async fn many_calls_at_once_start_an_idle_child_once() {
    let mut mux = Fleet::new()
        .stdio("child", lazy(Child::legacy()))
        .over(Door::Stdio)
        .await;
    let mut client = mux.client(Era::Legacy).await;
    until_idle(&mux, "child").await;

    let mut calls = Vec::new();
    for _ in 0..50 {
        calls.push(client.begin_call("child__echo", "{}").await);
    }
    for call in calls {
        assert!(!client.finish(call).await.is_tool_error());
    }

    assert_eq!(mux.journal("child").of("started").len(), 2);
    assert_eq!(mux.journal("child").calls("echo"), 50);
}

#[tokio::test]
async fn a_call_in_flight_keeps_its_child_running() {
    let mut mux = Fleet::new()
        .stdio("busy", lazy(Child::legacy()))
        .stdio("idle", lazy(Child::legacy()))
        .over(Door::Http)
        .await;
    let mut client = mux.client(Era::Legacy).await;
    let release = mux.path("release");
    let arguments = json!({"until": release, "key": "k"}).to_string();
    let call = client.begin_call("busy__slow", &arguments).await;
    mux.journal("busy").until_keyed("slow", "k").await;
    let started = mux.journal("busy").of("started").len();

    // Again and again the other one is called later than this one, and idle sooner.
    for _ in 0..3 {
        client.call("idle__echo", "{}").await;
        until_idle(&mux, "idle").await;
    }

    assert_eq!(mux.child("busy").await["state"], "ready");
    fs::write(release, "").expect("the call is released");
    assert_eq!(client.finish(call).await.content()["key"], "k");
    assert_eq!(mux.journal("busy").of("started").len(), started);
    until_idle(&mux, "busy").await;
}

#[tokio::test]
async fn a_call_in_the_very_moment_of_stopping_is_not_lost() {
    let child = Child::legacy().key("lazy", true).key("idleTimeout", "1ms");
    let mut mux = Fleet::new().stdio("child", child).over(Door::Http).await;
    let mut client = mux.client(Era::Legacy).await;

    for n in 0..100 {
        // Not to wait for anything: to come at ever another moment around the end.
        tokio::time::sleep(Duration::from_micros(25 * n)).await;
        let answer = client.call("child__echo", "{}").await;
        assert!(!answer.is_tool_error(), "{}", answer.frame);
    }
    let started = mux.journal("child").of("started").len();
    assert!(started > 2, "it was stopped now and then");
}

/// An entry whose child starts by a script, which a test may break.
fn scripted(folder: &Path, before: &str) -> Value {
    let child = program().display();
    let journal = folder.join("child.journal");
    let script = format!("{before}; exec {child} --journal {}", journal.display());
    json!({"command": "sh", "args": ["-c", script], "lazy": true, "idleTimeout": SOON})
}

#[tokio::test]
async fn a_start_that_fails_is_told_to_the_call_and_tried_again() {
    let folder = TempDir::new().expect("a folder");
    let broken = folder.path().join("broken");
    let entry = scripted(
        folder.path(),
        &format!("if [ -e {} ]; then exit 7; fi", broken.display()),
    );
    let mut mux = Fleet::new().entry("child", entry).over(Door::Http).await;
    let mut client = mux.client(Era::Legacy).await;
    until_idle(&mux, "child").await;
    fs::write(&broken, "").expect("it breaks");

    let told = client.call("child__echo", "{}").await;

    assert!(told.is_tool_error(), "{}", told.frame);
    assert!(told.frame.contains("exit status 7"), "{}", told.frame);
    assert!(told.frame.contains("unavailable"), "{}", told.frame);
    let down = mux.child("child").await;
    assert_ne!(down["state"], "idle", "{down:#}");
    fs::remove_file(&broken).expect("it heals");
    until_idle(&mux, "child").await;
    assert!(!client.call("child__echo", "{}").await.is_tool_error());
}

#[tokio::test]
async fn a_call_waits_for_a_start_no_longer_than_its_own_limit() {
    let folder = TempDir::new().expect("a folder");
    let broken = folder.path().join("broken");
    let mut entry = scripted(
        folder.path(),
        &format!("if [ -e {} ]; then exec sleep 600; fi", broken.display()),
    );
    entry["callTimeout"] = "1s".into();
    entry["timeout"] = "10m".into();
    let mut mux = Fleet::new().entry("child", entry).over(Door::Http).await;
    let mut client = mux.client(Era::Legacy).await;
    until_idle(&mux, "child").await;
    fs::write(&broken, "").expect("it breaks");

    let told = client.call("child__echo", "{}").await;

    assert!(told.frame.contains("unavailable"), "{}", told.frame);
    assert!(
        told.frame.contains("still being connected"),
        "{}",
        told.frame
    );
}

#[tokio::test]
async fn a_lazy_childs_changed_list_is_followed_while_it_runs() {
    let mut mux = Fleet::new()
        .stdio("child", lazy(Child::modern().named("first")))
        .over(Door::Http)
        .await;
    let mut client = mux.client(Era::Modern).await;
    until_idle(&mux, "child").await;

    client.call("child__add_tool", r#"{"name":"later"}"#).await;

    until_listed(&mut client, "child__later").await;
    until_idle(&mux, "child").await;
    until_listed(&mut client, "child__later").await;
}

#[tokio::test]
async fn a_lazy_child_whose_changed_list_cannot_be_had_falls_idle_all_the_same() {
    let child = Child::legacy().key("lazy", true).key("idleTimeout", "1s");
    let mut mux = Fleet::new().http("child", child).over(Door::Http).await;
    let mut client = mux.client(Era::Legacy).await;

    // Two in a row: the second list is not fetched at once.
    for name in ["one", "two"] {
        let arguments = json!({"name": name}).to_string();
        client.call("child__add_tool", &arguments).await.content();
    }
    mux.remote("child").behave("forbidden").await;

    until_idle(&mux, "child").await;
}

async fn until_listed(client: &mut Client, tool: &str) {
    eventually(tool, async || {
        let names = client.tool_names().await;
        names.iter().any(|name| name == tool).then_some(())
    })
    .await;
}

/// A fleet of lazy children whose settings are the same in every run, so that their
/// catalogs can be kept from one to the next.
struct Kept {
    folder: TempDir,
    children: usize,
}

impl Kept {
    fn new(children: usize) -> Self {
        let folder = TempDir::new().expect("a folder");
        Self { folder, children }
    }

    fn name(n: usize) -> String {
        format!("child-{n}")
    }

    fn journal(&self, n: usize) -> Journal {
        Journal::at(self.folder.path().join(format!("{n}.journal")))
    }

    fn started(&self) -> usize {
        let all = 0..self.children;
        all.map(|n| self.journal(n).of("started").len()).sum()
    }

    fn cache(&self) -> std::path::PathBuf {
        self.folder.path().join("cache")
    }

    /// The fleet, with this key in every entry.
    fn fleet(&self, key: &str, value: Value) -> Fleet {
        let cache = self.cache();
        let mut fleet = Fleet::new().flags(&["--cache-dir", &cache.to_string_lossy()]);
        for n in 0..self.children {
            let journal = self.folder.path().join(format!("{n}.journal"));
            let args = json!(["--journal", journal, "--named", format!("own_{n}")]);
            let mut entry = json!({"command": program(), "args": args});
            entry["lazy"] = true.into();
            entry["idleTimeout"] = SOON.into();
            entry[key] = value.clone();
            fleet = fleet.entry(&Self::name(n), entry);
        }
        fleet
    }

    /// Runs it until every child is idle; gives the list.
    async fn learn(&self) -> Vec<String> {
        let mut mux = self.fleet("disabled", json!(false)).over(Door::Http).await;
        let mut client = mux.client(Era::Legacy).await;
        for n in 0..self.children {
            until_idle(&mux, &Self::name(n)).await;
        }
        let listed = entries(client.tools().await);
        mux.terminate();
        assert!(mux.ended().await.success());
        listed
    }
}

fn entries(listed: Vec<support::client::Listed>) -> Vec<String> {
    listed.into_iter().map(|tool| tool.entry).collect()
}

/// The command lines of the processes this one has started and that are still there.
fn processes_of(pid: u32) -> Vec<String> {
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").expect("/proc").flatten() {
        let status = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
        let after_name = status.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let parent = after_name.split(' ').nth(1);
        if parent == Some(pid.to_string().as_str()) {
            let line = fs::read_to_string(process.path().join("cmdline"));
            found.push(line.unwrap_or_default().replace('\0', " "));
        }
    }
    found
}

#[tokio::test]
async fn with_kept_catalogs_57_children_are_listed_at_once_and_cost_no_process() {
    let kept = Kept::new(57);
    let learnt = kept.learn().await;
    let started = kept.started();
    assert_eq!(started, 57);

    let mut mux = kept.fleet("disabled", json!(false)).over(Door::Http).await;
    let mut client = mux.client(Era::Legacy).await;
    assert_eq!(entries(client.tools().await), learnt);
    for child in mux.status().await["children"].as_array().expect("children") {
        assert_eq!(child["state"], "idle", "{child:#}");
        assert_eq!(child["era"], "modern", "{child:#}");
    }
    let others: Vec<_> = processes_of(mux.pid())
        .into_iter()
        .filter(|line| !line.contains(" watchdog "))
        .collect();
    assert_eq!(others, [""; 0]);

    let answer = client.call("child_41__own_41", "{}").await;
    assert!(!answer.is_tool_error(), "{}", answer.frame);
    assert_eq!(kept.started(), started + 1, "the one that was called");
}

#[tokio::test]
async fn a_kept_catalog_is_that_of_the_settings_and_is_filtered_by_todays() {
    let kept = Kept::new(1);
    kept.learn().await;

    let fleet = kept.fleet("enabledTools", json!(["echo", "own_*"]));
    let mut mux = fleet.over(Door::Http).await;
    let mut client = mux.client(Era::Legacy).await;
    assert_eq!(
        client.tool_names().await,
        ["child_0__echo", "child_0__own_0"]
    );
    assert_eq!(kept.started(), 1);
    drop(mux);

    // Elsewhere it may be another server.
    let fleet = kept.fleet("cwd", json!(kept.folder.path()));
    let mux = fleet.over(Door::Http).await;
    eventually("a start to learn anew", async || {
        (kept.started() == 2).then_some(())
    })
    .await;
    until_idle(&mux, "child-0").await;
}

#[tokio::test]
async fn what_a_running_child_adds_is_kept_too() {
    let kept = Kept::new(1);
    let mut mux = kept.fleet("disabled", json!(false)).over(Door::Http).await;
    let mut client = mux.client(Era::Modern).await;
    client
        .call("child_0__add_tool", r#"{"name":"later"}"#)
        .await;
    until_listed(&mut client, "child_0__later").await;
    mux.terminate();
    mux.ended().await;

    let mut mux = kept.fleet("disabled", json!(false)).over(Door::Http).await;
    let mut client = mux.client(Era::Modern).await;
    let names = client.tool_names().await;
    assert_eq!(names.last().map(String::as_str), Some("child_0__later"));
    assert_eq!(mux.child("child-0").await["state"], "idle");
}

#[tokio::test]
async fn a_kept_catalog_that_is_broken_is_ignored_and_made_anew() {
    let kept = Kept::new(1);
    let learnt = kept.learn().await;
    let files: Vec<_> = fs::read_dir(kept.cache())
        .expect("the cache")
        .flatten()
        .collect();
    assert_eq!(files.len(), 1);
    let file = files[0].path();
    let text = fs::read_to_string(&file).expect("a kept catalog");
    fs::write(&file, &text[..text.len() / 2]).expect("it is cut");

    let mut mux = kept.fleet("disabled", json!(false)).over(Door::Http).await;
    let mut client = mux.client(Era::Legacy).await;
    assert_eq!(entries(client.tools().await), learnt);
    let told = |line: &str| line.contains("a kept catalog is ignored");
    mux.log.until("a line that says so", told).await;
    assert_eq!(kept.started(), 2);
    eventually("the file is whole again", async || {
        (fs::read_to_string(&file).ok()? == text).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cache_that_cannot_be_used_stops_nothing() {
    let fleet = Fleet::new().stdio("child", lazy(Child::legacy()));
    let file = fleet.path("mcp_config.json");
    let mut mux = fleet
        .flags(&["--cache-dir", &file.to_string_lossy()])
        .over(Door::Http)
        .await;
    let mut client = mux.client(Era::Legacy).await;
    assert!(!client.call("child__echo", "{}").await.is_tool_error());
    assert!(
        mux.log
            .find(|line| line.contains("catalogs cannot be kept"))
            .is_some()
    );
}

#[tokio::test]
async fn an_idle_child_whose_entry_changes_fails_no_call() {
    let fleet = Fleet::new().stdio("child", lazy(Child::legacy()));
    let mut mux = fleet.over(Door::Http).await;
    let mut client = mux.client(Era::Legacy).await;
    until_idle(&mux, "child").await;

    let changed = mux.process("child", lazy(Child::legacy().named("more")));
    mux.configure(&[changed]);

    eventually("a list of the changed child", async || {
        let answer = client.call("child__echo", "{}").await;
        assert!(!answer.is_tool_error(), "{}", answer.frame);
        let names = client.tool_names().await;
        names.iter().any(|name| name == "child__more").then_some(())
    })
    .await;
    let answer = client.call("child__more", "{}").await;
    assert!(!answer.is_tool_error(), "{}", answer.frame);
    until_idle(&mux, "child").await;
    until_gone(&mux.journal("child").pids()).await;
}
