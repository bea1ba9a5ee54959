//! Subscriptions to resources and their updates, in every combination of eras and
//! transports; log messages that name their child.

mod peers;
mod support;

use ::http::Method;
use bytes::Bytes;
use peers::server_everything;
use serde_json::{Value, json};
use support::{
    Child, Client, Door, Era, Fleet, Multiplexer,
    client::LEGACY_VERSION,
    eventually,
    http::{ClosedPort, Http, With as _, request},
    journal::Journal,
    wire::{member, method},
};

const UPDATED: &str = "notifications/resources/updated";

/// A child with resources that tells of their updates.
fn child(era: Era) -> Child {
    let child = Child::of(era).flag("--subscribe").named("update");
    ["a", "b", "c"].iter().fold(child, |child, name| {
        child.option("--resource", format!("test://{name}"))
    })
}

async fn subscribe(client: &mut Client, uri: &str) {
    let answer = client
        .request("resources/subscribe", &json!({"uri": uri}).to_string())
        .await;
    assert_eq!(answer.result(), "{}");
}

async fn unsubscribe(client: &mut Client, uri: &str) {
    let answer = client
        .request("resources/unsubscribe", &json!({"uri": uri}).to_string())
        .await;
    assert_eq!(answer.result(), "{}");
}

/// Lets the child say that a resource has changed.
async fn update(client: &mut Client, child: &str, uri: &str) {
    let arguments = json!({"uri": uri}).to_string();
    let answer = client.call(&format!("{child}__update"), &arguments).await;
    assert_eq!(answer.structured(), "{}", "{}", answer.frame);
}

async fn next_uri(client: &mut Client) -> String {
    let frame = client.news(UPDATED).await;
    uri(&frame)
}

fn uri(frame: &str) -> String {
    let frame: Value = serde_json::from_str(frame).expect("JSON");
    frame["params"]["uri"].as_str().expect("a URI").to_owned()
}

/// Waits until a child is listened to for the n-th time.
async fn listened_to(journal: &Journal, times: usize) {
    eventually("the child is listened to", async || {
        (journal.of("listening").len() >= times).then_some(())
    })
    .await;
}

/// How often a legacy child has been asked this of a resource.
fn asked(journal: &Journal, method: &str, uri: &str) -> usize {
    let noted = journal.of(method);
    noted.iter().filter(|noted| noted["key"] == uri).count()
}

/// Waits until a modern child is last listened to for exactly these resources.
async fn listened_for(journal: &Journal, uris: &[&str]) {
    eventually(&format!("{uris:?} are listened for"), async || {
        let mut last = journal.of("listening").pop()?["resources"].clone();
        last.as_array_mut()?.sort_by_key(Value::to_string);
        (last == json!(uris)).then_some(())
    })
    .await;
}

/// Waits until the child has what leads to updates of these resources, and to no other.
async fn subscribed_at(mux: &Multiplexer, name: &str, era: Era, uris: &[&str]) {
    let journal = mux.journal(name);
    match era {
        Era::Modern => listened_for(&journal, uris).await,
        Era::Legacy => {
            eventually(&format!("{uris:?} are subscribed to"), async || {
                let held = ["test://a", "test://b", "test://c"]
                    .into_iter()
                    .filter(|uri| {
                        asked(&journal, "resources/subscribe", uri)
                            > asked(&journal, "resources/unsubscribe", uri)
                    });
                (held.collect::<Vec<_>>() == uris).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test]
async fn a_legacy_client_is_told_of_what_it_has_subscribed_to() {
    for era in Era::ALL {
        for door in Door::ALL {
            let fleet = Fleet::new()
                .stdio("one", child(era))
                .http("two", child(era).key("prefix", "zwei"));
            let mut mux = fleet.over(door).await;
            mux.all_ready().await;
            let mut client = mux.client(Era::Legacy).await;
            client.listen("{}").await;
            let alias = "mux+zwei://test://a";
            for (name, prefix, public) in [("one", "one", "test://a"), ("two", "zwei", alias)] {
                listened_to(&mux.journal(name), usize::from(name == "two")).await;
                subscribe(&mut client, public).await;
                subscribed_at(&mux, name, era, &["test://a"]).await;

                // Only the first has been subscribed to.
                update(&mut client, prefix, "test://b").await;
                update(&mut client, prefix, "test://a").await;

                let told = client.news(UPDATED).await;
                let params = member(&told, "params").expect("params");
                let kept = format!(r#"{{"uri" : "{public}","x-exact":1.10}}"#);
                match era {
                    Era::Legacy => assert_eq!(params, kept),
                    // What told of the other subscription is gone, and nothing else.
                    Era::Modern => {
                        assert_eq!(params, format!(r#"{{"_meta":{{}},{}"#, &kept[1..]));
                    }
                }
                unsubscribe(&mut client, public).await;
                subscribed_at(&mux, name, era, &[]).await;
            }
        }
    }
}

#[tokio::test]
async fn a_modern_client_listens_for_updates_and_each_names_its_subscription() {
    for era in Era::ALL {
        for door in Door::ALL {
            let fleet = Fleet::new()
                .stdio("one", child(era))
                .http("two", child(era))
                .http("mute", Child::of(era).option("--resource", "mute://a"));
            let mut mux = fleet.over(door).await;
            mux.all_ready().await;
            let mut client = mux.client(Era::Modern).await;
            for name in ["two", "mute"] {
                listened_to(&mux.journal(name), 1).await;
            }

            let filter = json!({"resourceSubscriptions":
                ["test://a", "mux+two://test://b", "mute://a", "nobody://a", "test://unknown"]});
            let acknowledged = client
                .listen(&filter.to_string())
                .await
                .expect("it is said");

            let acknowledged: Value = serde_json::from_str(&acknowledged).expect("JSON");
            let params = &acknowledged["params"];
            assert_eq!(
                params["notifications"],
                json!({"resourceSubscriptions": ["test://a", "mux+two://test://b"]})
            );
            let id = &params["_meta"]["io.modelcontextprotocol/subscriptionId"];
            let rest = r#","x-exact":1.10}"#;
            for (child, own, public) in [
                ("one", "test://a", "test://a"),
                ("two", "test://b", "mux+two://test://b"),
            ] {
                update(&mut client, child, "test://c").await;
                update(&mut client, child, own).await;
                let told = client.news(UPDATED).await;
                let params = member(&told, "params").expect("params");
                let tag = format!(r#"{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
                assert_eq!(params, format!(r#"{tag},"uri" : "{public}"{rest}"#));
            }
            if door == Door::Http {
                client.stop_listening();
            } else {
                let cancelled = format!(r#"{{"requestId":{id}}}"#);
                client.notify("notifications/cancelled", &cancelled).await;
            }
            for name in ["one", "two"] {
                subscribed_at(&mux, name, era, &[]).await;
            }
        }
    }
}

#[tokio::test]
async fn the_child_is_asked_once_for_all_clients_and_let_go_by_the_last() {
    for era in Era::ALL {
        let mut mux = Fleet::new().http("one", child(era)).over(Door::Http).await;
        mux.all_ready().await;
        listened_to(&mux.journal("one"), 1).await;
        let mut clients = Vec::new();
        for client_era in [Era::Legacy, Era::Legacy, Era::Modern] {
            let mut client = mux.client(client_era).await;
            client
                .listen(r#"{"resourceSubscriptions":["test://a"]}"#)
                .await;
            if client_era == Era::Legacy {
                subscribe(&mut client, "test://a").await;
                // Twice is once.
                subscribe(&mut client, "test://a").await;
            }
            clients.push(client);
        }
        let [mut first, mut second, mut third] = clients.try_into().ok().expect("three");
        update(&mut first, "one", "test://a").await;
        for client in [&mut first, &mut second, &mut third] {
            assert_eq!(next_uri(client).await, "test://a");
        }

        unsubscribe(&mut first, "test://a").await;
        update(&mut first, "one", "test://a").await;
        assert_eq!(next_uri(&mut second).await, "test://a");
        assert_eq!(next_uri(&mut third).await, "test://a");
        third.leave();
        update(&mut first, "one", "test://a").await;
        assert_eq!(next_uri(&mut second).await, "test://a");
        if era == Era::Legacy {
            let journal = mux.journal("one");
            assert_eq!(asked(&journal, "resources/subscribe", "test://a"), 1);
            assert_eq!(asked(&journal, "resources/unsubscribe", "test://a"), 0);
        }

        // The first hears again, and nothing of what was while it did not.
        subscribe(&mut first, "test://b").await;
        update(&mut second, "one", "test://b").await;
        assert_eq!(next_uri(&mut first).await, "test://b");

        end(&mux, &second).await;
        subscribed_at(&mux, "one", era, &["test://b"]).await;
        end(&mux, &first).await;
        subscribed_at(&mux, "one", era, &[]).await;
    }
}

/// Ends a legacy session.
async fn end(mux: &Multiplexer, client: &Client) {
    let session = client.session().expect("a session");
    let delete = request(Method::DELETE, &mux.url(), Bytes::new())
        .with("mcp-session-id", session)
        .with("mcp-protocol-version", LEGACY_VERSION);
    assert_eq!(Http::default().send(delete).await.status, 204);
}

/// How often a child has been asked to tell of a resource.
fn times(mux: &Multiplexer, name: &str, era: Era, uri: &str) -> usize {
    let journal = mux.journal(name);
    match era {
        Era::Legacy => asked(&journal, "resources/subscribe", uri),
        Era::Modern => {
            let listened = journal.of("listening");
            let names = |noted: &&Value| {
                let uris = noted["resources"].as_array();
                uris.is_some_and(|uris| uris.contains(&json!(uri)))
            };
            listened.iter().filter(names).count()
        }
    }
}

/// Waits until a child has been asked once more, and lets it tell.
async fn told_again(
    (mux, client): (&Multiplexer, &mut Client),
    (name, era): (&str, Era),
    (own, public): (&str, &str),
    before: usize,
) {
    eventually(&format!("{own} of {name} is asked for again"), async || {
        (times(mux, name, era, own) > before).then_some(())
    })
    .await;
    // It may have changed while nobody listened.
    assert_eq!(next_uri(client).await, public);
    update(client, name, own).await;
    assert_eq!(next_uri(client).await, public);
}

#[tokio::test]
async fn a_child_that_comes_back_is_subscribed_to_again() {
    for era in Era::ALL {
        let fleet = Fleet::new()
            .stdio("one", child(era))
            .http("two", child(era));
        let mut mux = fleet.over(Door::Http).await;
        mux.all_ready().await;
        let journal = mux.journal("two");
        listened_to(&journal, 1).await;
        let mut client = mux.client(Era::Legacy).await;
        client.listen("{}").await;
        let (near, far) = (("test://a", "test://a"), ("test://b", "mux+two://test://b"));
        subscribe(&mut client, near.1).await;
        subscribe(&mut client, far.1).await;

        // A process that ends.
        client.call("one__exit", "{}").await;
        told_again((&mux, &mut client), ("one", era), near, 1).await;

        // One behind a URL that starts anew, and knows nothing of us.
        let (before, streams) = (
            times(&mux, "two", era, far.0),
            journal.of("listening").len(),
        );
        mux.remote("two").stop().await;
        mux.remote("two").restart().await;
        listened_to(&journal, streams + 1).await;
        told_again((&mux, &mut client), ("two", era), far, before).await;

        if era == Era::Legacy {
            let (before, streams) = (
                times(&mux, "two", era, far.0),
                journal.of("listening").len(),
            );
            mux.remote("two").forget_sessions().await;
            client.call("two__echo", "{}").await;
            listened_to(&journal, streams + 1).await;
            told_again((&mux, &mut client), ("two", era), far, before).await;
        }
    }
}

/// What tells ends, and begins again on the same connection.
#[tokio::test]
async fn a_resource_that_may_have_changed_unheard_is_told() {
    for era in Era::ALL {
        let mut mux = Fleet::new().http("one", child(era)).over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;
        client.listen("{}").await;
        listened_to(&mux.journal("one"), 1).await;
        subscribe(&mut client, "test://a").await;
        update(&mut client, "one", "test://a").await;
        assert_eq!(next_uri(&mut client).await, "test://a");

        mux.remote("one").end_streams().await;

        assert_eq!(next_uri(&mut client).await, "test://a");
        assert_eq!(mux.child("one").await["restarts"], 0);
    }
}

#[tokio::test]
async fn a_child_that_is_exchanged_is_subscribed_to_again() {
    for era in Era::ALL {
        let mut mux = Fleet::new().stdio("one", child(era)).over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;
        client.listen("{}").await;
        subscribe(&mut client, "test://a").await;

        mux.configure(&[mux.process("one", child(era).named("other"))]);
        eventually("the new child", async || {
            let names = client.tool_names().await;
            names.contains(&"one__other".to_owned()).then_some(())
        })
        .await;

        let both = ("test://a", "test://a");
        told_again((&mux, &mut client), ("one", era), both, 1).await;
    }
}

#[tokio::test]
async fn what_cannot_be_subscribed_to_is_told_as_it_is() {
    for era in Era::ALL {
        let fleet = Fleet::new()
            .stdio("one", child(era))
            .stdio("mute", Child::of(era).option("--resource", "mute://a"));
        let mut mux = fleet.over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;
        let answer = client
            .request("resources/subscribe", r#"{"uri":"mute://a"}"#)
            .await;
        assert_eq!(answer.error_code(), -32601);
        assert!(
            answer.frame.contains("resources.subscribe"),
            "{}",
            answer.frame
        );
        let nobodys = r#"{"uri":"nobody://a"}"#;
        let answer = client.request("resources/subscribe", nobodys).await;
        let read = client.request("resources/read", nobodys).await;
        assert_eq!(answer.error(), read.error());
        // The child's own error.
        let answer = client
            .request("resources/subscribe", r#"{"uri":"test://unknown"}"#)
            .await;
        match era {
            Era::Legacy => assert_eq!(
                member(&answer.frame, "error"),
                Some(
                    r#"{"code":-32002,"message":"Resource not found","data":{"uri":"test://unknown","exact":1.10}}"#
                )
            ),
            Era::Modern => assert_eq!(answer.error_code(), -32602),
        }
        // It is asked again, not remembered.
        let again = client
            .request("resources/subscribe", r#"{"uri":"test://unknown"}"#)
            .await;
        assert_eq!(again.error(), answer.error());
        unsubscribe(&mut client, "nobody://a").await;

        let mut modern = mux.client(Era::Modern).await;
        let answer = modern
            .request("resources/subscribe", r#"{"uri":"test://a"}"#)
            .await;
        assert_eq!(answer.error_code(), -32601);
    }
}

/// A client that does not listen for a while misses no resource, and is told of each
/// only once.
#[tokio::test]
async fn updates_wait_for_a_slow_client_once_for_each_resource() {
    let mut mux = Fleet::new()
        .stdio("one", child(Era::Legacy))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let mut other = mux.client(Era::Legacy).await;
    other.listen("{}").await;
    subscribe(&mut other, "test://c").await;
    for uri in ["test://a", "test://b"] {
        subscribe(&mut client, uri).await;
        let arguments = json!({"uri": uri, "times": 5000}).to_string();
        client.call("one__update", &arguments).await;
    }
    // What came before it has come, too.
    update(&mut other, "one", "test://c").await;
    assert_eq!(next_uri(&mut other).await, "test://c");

    client.listen("{}").await;

    assert_eq!(next_uri(&mut client).await, "test://a");
    assert_eq!(next_uri(&mut client).await, "test://b");
    subscribe(&mut client, "test://c").await;
    update(&mut client, "one", "test://c").await;
    assert_eq!(next_uri(&mut client).await, "test://c");
}

#[tokio::test]
async fn a_part_of_a_resource_is_told_under_its_own_uri() {
    let fleet = Fleet::new()
        .stdio("one", child(Era::Legacy))
        .stdio("two", child(Era::Legacy));
    let mut mux = fleet.over(Door::Stdio).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    subscribe(&mut client, "mux+two://test://a").await;
    for (told, heard) in [
        (Some("test://a/part"), Some("mux+two://test://a/part")),
        (Some("test://ab"), None),
        (Some("test://a"), Some("mux+two://test://a")),
    ] {
        let arguments = json!({"uri": told, "of": "test://a"}).to_string();
        client.call("two__update", &arguments).await;
        if let Some(heard) = heard {
            assert_eq!(next_uri(&mut client).await, heard);
        }
    }
}

#[tokio::test]
async fn an_update_on_the_stream_of_a_call_reaches_its_subscriber() {
    for era in Era::ALL {
        let mut mux = Fleet::new().http("one", child(era)).over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Legacy).await;
        client.listen("{}").await;
        subscribe(&mut client, "test://a").await;
        let mut caller = mux.client(Era::Legacy).await;

        let answer = caller
            .call("one__update", r#"{"uri":"test://a","inCall":true}"#)
            .await;

        assert_eq!(answer.before, [""; 0], "the caller has not subscribed");
        assert_eq!(next_uri(&mut client).await, "test://a");
    }
}

#[tokio::test]
async fn a_sessions_own_connection_tells_its_session_alone() {
    for era in Era::ALL {
        for door in Door::ALL {
            let own = child(era).key("session", "dedicated");
            let mut mux = Fleet::new().with(door, "one", own).over(Door::Http).await;
            mux.all_ready().await;
            let mut clients = Vec::new();
            for uri in ["test://a", "test://b"] {
                let mut client = mux.client(Era::Legacy).await;
                client.listen("{}").await;
                subscribe(&mut client, uri).await;
                clients.push(client);
            }
            let [mut first, mut second] = clients.try_into().ok().expect("two");
            if door == Door::Http && era == Era::Legacy {
                listened_to(&mux.journal("one"), 3).await;
            }
            update(&mut first, "one", "test://a").await;
            assert_eq!(next_uri(&mut first).await, "test://a");
            update(&mut second, "one", "test://b").await;
            // And none of the other's before it.
            assert_eq!(next_uri(&mut second).await, "test://b");
            end(&mux, &second).await;
            mux.until_child("one", "has one session left", |child| {
                child["dedicatedSessions"] == 1
            })
            .await;
        }
    }
}

/// One that does not run tells nothing.
#[tokio::test]
async fn a_lazy_child_runs_while_somebody_has_subscribed() {
    for era in Era::ALL {
        let lazy = child(era).key("lazy", true).key("idleTimeout", "100ms");
        let mut mux = Fleet::new().stdio("one", lazy).over(Door::Http).await;
        mux.until_child("one", "is idle", |child| child["state"] == "idle")
            .await;
        let mut client = mux.client(Era::Legacy).await;
        client.listen("{}").await;
        subscribe(&mut client, "test://a").await;
        let pid = mux.child("one").await["pid"].clone();
        assert!(pid.is_number(), "it has been started for that");
        for _ in 0..3 {
            // Longer than it would run for nobody.
            tokio::time::sleep(std::time::Duration::from_millis(150)).await;
            update(&mut client, "one", "test://a").await;
            assert_eq!(next_uri(&mut client).await, "test://a");
        }
        assert_eq!(mux.child("one").await["pid"], pid);

        unsubscribe(&mut client, "test://a").await;

        mux.until_child("one", "is idle", |child| child["state"] == "idle")
            .await;
    }
}

#[tokio::test]
async fn a_log_message_names_its_child() {
    let fleet = Fleet::new()
        .http("far", Child::legacy().named("announce"))
        .stdio("near", Child::legacy());
    let mut mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    listened_to(&mux.journal("far"), 1).await;
    let mut client = mux.client(Era::Legacy).await;
    client
        .request("logging/setLevel", r#"{"level":"info"}"#)
        .await;
    client.listen("{}").await;
    for (params, expected) in [
        (
            r#"{"level" : "info","data":{"n":1e400}}"#,
            r#"{"logger":"far","level" : "info","data":{"n":1e400}}"#,
        ),
        (
            r#"{"level":"info", "logger" : "db","data":1.10}"#,
            r#"{"level":"info", "logger" : "far/db","data":1.10}"#,
        ),
    ] {
        let arguments = format!(r#"{{"params":{params}}}"#);
        client.call("far__announce", &arguments).await;
        let told = client.news("notifications/message").await;
        assert_eq!(member(&told, "params"), Some(expected));
    }
    for child in ["far", "near"] {
        let answer = client
            .call(&format!("{child}__log"), r#"{"data":{"n":1.10}}"#)
            .await;
        let expected =
            format!(r#"{{"level":"error","logger":"{child}/test-child","data":{{"n":1.10}}}}"#);
        assert_eq!(answer.before.len(), 1);
        assert_eq!(member(&answer.before[0], "params"), Some(expected.as_str()));
    }
}

#[tokio::test]
async fn a_modern_clients_level_is_asked_of_a_legacy_child_before_the_call() {
    let mut mux = Fleet::new()
        .stdio("one", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;
    for (level, messages) in [("emergency", 0), ("error", 1), ("debug", 1)] {
        let meta = format!(r#""io.modelcontextprotocol/logLevel":"{level}""#);
        let answer = client.call_with_meta("one__log", "{}", &meta).await;
        assert_eq!(answer.before.len(), messages, "{level}");
        let events = mux.journal("one").events();
        let told = events.iter().rposition(|event| {
            event["event"] == "logging/setLevel"
                && event["params"]
                    .as_str()
                    .is_some_and(|it| it.contains(level))
        });
        let called = events.iter().rposition(|event| event["event"] == "call");
        assert!(told.is_some() && told < called, "{level}: {events:?}");
    }
    // It does not become quieter for the others.
    let meta = r#""io.modelcontextprotocol/logLevel":"alert""#;
    client.call_with_meta("one__log", "{}", meta).await;
    assert_eq!(mux.journal("one").of("logging/setLevel").len(), 3);
}

#[tokio::test]
async fn a_legacy_clients_level_goes_to_a_modern_child_with_each_request() {
    let mut mux = Fleet::new()
        .http("one", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;
    let silent = client.call("one__log", "{}").await;
    assert_eq!(silent.before, [""; 0]);
    for (level, messages) in [("warning", 1), ("emergency", 0)] {
        let params = json!({"level": level}).to_string();
        client.request("logging/setLevel", &params).await;
        let received = client.call("one__received", "{}").await;
        let params = received.params_received();
        let meta = member(&params, "_meta").expect("_meta");
        let told = member(meta, "io.modelcontextprotocol/logLevel");
        assert_eq!(told, Some(format!("\"{level}\"").as_str()));
        let answer = client.call("one__log", "{}").await;
        assert_eq!(answer.before.len(), messages, "{level}");
    }
}

/// A server that others have made, which sends its updates by itself.
#[tokio::test]
async fn server_everything_tells_of_updates() {
    let command = json!({"command": "node", "args": [server_everything(), "stdio"]});
    let mut mux = Fleet::new()
        .entry("everything", command)
        .over(Door::Http)
        .await;
    mux.until_ready("everything").await;
    let mut legacy = mux.client(Era::Legacy).await;
    legacy.listen("{}").await;
    let uri = "demo://resource/dynamic/text/1";
    subscribe(&mut legacy, uri).await;
    let mut modern = mux.client(Era::Modern).await;
    let filter = json!({"resourceSubscriptions": [uri]}).to_string();
    let acknowledged = modern.listen(&filter).await.expect("it is said");
    assert!(acknowledged.contains(uri), "{acknowledged}");

    let toggled = legacy
        .call("everything__toggle-subscriber-updates", "{}")
        .await;
    assert!(!toggled.is_tool_error(), "{}", toggled.frame);

    for client in [&mut legacy, &mut modern] {
        let told = client.news(UPDATED).await;
        assert_eq!(method(&told).as_deref(), Some(UPDATED));
        assert_eq!(self::uri(&told), uri);
    }
}

#[tokio::test]
async fn a_subscription_to_a_child_that_was_never_there_is_told_and_counted() {
    let closed = ClosedPort::pick();
    let entry = json!({"url": closed.url("/mcp")});
    let mux = Fleet::new().entry("child", entry).over(Door::Http).await;
    let mut client = Client::over_http(mux.at("/mcp/child"), Era::Legacy).await;

    let params = r#"{"uri":"test://a"}"#;
    let answer = client.request("resources/subscribe", params).await;

    let told: Value = serde_json::from_str(&answer.frame).expect("JSON");
    assert_eq!(told["error"]["data"]["kind"], "unavailable", "{told}");
    let labels = [
        ("method", "resources/subscribe"),
        ("outcome", "unavailable"),
    ];
    let counted = mux.metrics().await.sum("requests_total", &labels);
    assert_eq!(counted, 1.0);
}
