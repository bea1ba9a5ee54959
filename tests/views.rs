//! Views: one child alone under its own names, or a group under public ones, each at an
//! address of its own; never more than that.

mod peers;
mod support;

use ::http::Method;
use bytes::Bytes;
use peers::Peers;
use serde_json::{Map, Value, json};
use support::{
    Answer, Child, Client, Door, Era, Fleet, Multiplexer,
    child::program,
    client::LEGACY_VERSION,
    http::{Http, Reply, With as _, post, request},
};

const LIST_CHANGED: &str = "notifications/tools/list_changed";

/// Two children, each in another way and era, and a group of the second.
async fn two() -> Multiplexer {
    let fleet = Fleet::new()
        .stdio("one-mcp", Child::legacy())
        .http("two", Child::modern())
        .top("groups", json!({"dev": ["two"], "none": []}));
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    mux
}

async fn at(mux: &Multiplexer, path: &str, era: Era) -> Client {
    Client::over_http(mux.at(path), era).await
}

fn result(answer: &Answer) -> Value {
    serde_json::from_str(answer.result()).expect("JSON")
}

fn initialize() -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{LEGACY_VERSION}","capabilities":{{}},"clientInfo":{{"name":"tests","version":"1"}}}}}}"#
    )
}

async fn begin(mux: &Multiplexer, path: &str) -> Reply {
    Http::default().post(&mux.at(path), initialize()).await
}

fn error_message(answer: &Answer) -> String {
    let frame: Value = serde_json::from_str(&answer.frame).expect("JSON");
    let message = frame["error"]["message"].as_str();
    message
        .unwrap_or_else(|| panic!("no error: {frame}"))
        .to_owned()
}

#[tokio::test]
async fn one_child_is_shown_alone_under_its_own_names() {
    let mux = two().await;
    for (path, name, prefix) in [
        ("/mcp/one-mcp", "one-mcp", "one__"),
        ("/mcp/two", "two", "two__"),
    ] {
        let journal = mux.journal(name);
        let before = journal.calls("echo");
        for era in Era::ALL {
            let mut client = at(&mux, path, era).await;
            let own = client.tools().await;
            let mut all = at(&mux, "/mcp", era).await.tools().await;
            all.retain(|tool| tool.name.starts_with(prefix));
            assert!(!own.is_empty());
            assert_eq!(own.len(), all.len());
            for (own, public) in own.iter().zip(&all) {
                assert_eq!(public.name, format!("{prefix}{}", own.name));
                let renamed = own.entry.replacen(
                    &format!("\"{}\"", own.name),
                    &format!("\"{}\"", public.name),
                    1,
                );
                assert_eq!(renamed, public.entry);
            }

            let echo = client.call("echo", r#"{"n":1.10}"#).await;

            assert!(
                echo.structured().contains(r#"{"n":1.10}"#),
                "{}",
                echo.frame
            );
            for foreign in ["one__echo", "two__echo"] {
                let refused = client.call(foreign, "{}").await;
                assert_eq!(refused.error_code(), -32602, "{}", refused.frame);
            }
            let misspelt = error_message(&client.call("ecno", "{}").await);
            assert!(misspelt.contains("Did you mean echo"), "{misspelt}");
            assert!(!misspelt.contains("__"), "{misspelt}");
        }
        assert_eq!(journal.calls("echo") - before, 2);
        let labels = [("child", name), ("tool", "echo"), ("outcome", "ok")];
        let counted = mux.metrics().await.value("tool_calls_total", &labels);
        assert_eq!(counted, Some(2.0), "the same metrics as everywhere");
    }
    let one = mux.journal("one-mcp");
    assert_eq!(one.of("started").len(), 1, "one process for every view");
}

#[tokio::test]
async fn a_group_shows_its_members_under_their_public_names() {
    let mux = two().await;
    for era in Era::ALL {
        let mut client = at(&mux, "/mcp/group/dev", era).await;
        let names = client.tool_names().await;
        assert!(!names.is_empty() && names.iter().all(|name| name.starts_with("two__")));
        assert!(!client.call("two__echo", "{}").await.structured().is_empty());

        let refused = client.call("one__echo", "{}").await;
        assert_eq!(refused.error_code(), -32602);
        let told = error_message(&refused);
        assert!(told.contains("two__echo"), "{told}");
        assert!(!told.contains("Did you mean one__echo"), "{told}");

        let mut empty = at(&mux, "/mcp/group/none", era).await;
        assert_eq!(empty.tool_names().await, [""; 0]);
    }
}

#[tokio::test]
async fn what_is_unknown_or_disabled_is_not_found() {
    let fleet = Fleet::new()
        .stdio("known", Child::legacy())
        .stdio("asleep", Child::legacy().key("disabled", true))
        .top("groups", json!({"known group": ["known"]}));
    let mux = fleet.over(Door::Http).await;
    mux.until_ready("known").await;
    for path in [
        "/mcp/nobody",
        "/mcp/Known",
        "/mcp/",
        "/mcp/known/",
        "/mcp/known/echo",
        "/mcp/group",
        "/mcp/group/known",
        "/mcp/group/nobody",
        "/mcp/%ff",
        "/mcp/asleep",
    ] {
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let body = match method {
                Method::POST => initialize(),
                _ => String::new(),
            };
            let asked = request(method.clone(), &mux.at(path), Bytes::from(body))
                .with("accept", "application/json, text/event-stream")
                .with("content-type", "application/json")
                .with("mcp-session-id", "any");
            let reply = Http::default().send(asked).await;
            assert_eq!(reply.status, 404, "{method} {path}");
            assert_eq!(reply.header("mcp-session-id"), "");
            let told = reply.text().await;
            assert!(!told.contains("known__"), "{told}");
        }
    }
    let told = begin(&mux, "/mcp/asleep").await.text().await;
    assert!(told.contains("disabled"), "{told}");
    let told = begin(&mux, "/mcp/nobody").await.text().await;
    assert!(told.contains(r#"no server "nobody""#), "{told}");

    assert_eq!(begin(&mux, "/mcp/known").await.status, 200);
    assert_eq!(begin(&mux, "/mcp/group/known%20group").await.status, 200);
    // The same door as the address of everything.
    let foreign = post(&mux.at("/mcp/known"), initialize()).with("origin", "https://evil.example");
    assert_eq!(Http::default().send(foreign).await.status, 403);
}

#[tokio::test]
async fn any_name_can_be_asked_for() {
    let strange = json!({"command": program(), "args": ["--named", "strange"], "prefix": "s"});
    let fleet = Fleet::new()
        .entry("my/child ü", strange)
        .stdio("group", Child::legacy().named("grouped"))
        .top("groups", json!({"group": ["group"], "a/b": ["my/child ü"]}));
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    for (path, tool) in [
        ("/mcp/my%2Fchild%20%C3%BC", "strange"),
        ("/mcp/group", "grouped"),
        ("/mcp/group/group", "group__grouped"),
        ("/mcp/group/a%2Fb", "s__strange"),
    ] {
        let names = at(&mux, path, Era::Modern).await.tool_names().await;
        assert!(names.iter().any(|name| name == tool), "{path}: {names:?}");
    }
}

#[tokio::test]
async fn a_session_belongs_to_the_view_it_was_begun_on() {
    let mux = two().await;
    let paths = ["/mcp", "/mcp/one-mcp", "/mcp/two", "/mcp/group/dev"];
    for begun in paths {
        let reply = begin(&mux, begun).await;
        assert_eq!(reply.status, 200);
        let session = reply.header("mcp-session-id").to_owned();
        for used in paths {
            let list = r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#;
            let list = post(&mux.at(used), list).with("mcp-session-id", &session);
            let status = Http::default().send(list).await.status;
            assert_eq!(
                status,
                if begun == used { 200 } else { 404 },
                "{begun} {used}"
            );
            if begun != used {
                let end = request(Method::DELETE, &mux.at(used), Bytes::new())
                    .with("mcp-session-id", &session);
                assert_eq!(Http::default().send(end).await.status, 404);
            }
        }
        let end =
            request(Method::DELETE, &mux.at(begun), Bytes::new()).with("mcp-session-id", &session);
        assert_eq!(Http::default().send(end).await.status, 204);
    }
}

/// Each is told of a change of what it sees; of nothing else.
#[tokio::test]
async fn a_change_is_told_to_those_who_see_it() {
    let mut mux = two().await;
    let mut all = mux.client(Era::Legacy).await;
    all.subscribe().await;
    let mut seeing = Vec::new();
    for path in ["/mcp/one-mcp", "/mcp/two", "/mcp/group/dev"] {
        for era in Era::ALL {
            let mut client = at(&mux, path, era).await;
            client.tool_names().await;
            client.subscribe().await;
            seeing.push((path, client));
        }
    }

    all.call("two__add_tool", r#"{"name":"new_of_two"}"#).await;
    all.news(LIST_CHANGED).await;
    for (path, client) in &mut seeing {
        if *path != "/mcp/one-mcp" {
            client.news(LIST_CHANGED).await;
        }
    }
    all.call("one__add_tool", r#"{"name":"new_of_one"}"#).await;
    all.news(LIST_CHANGED).await;
    for (path, client) in &mut seeing {
        if *path == "/mcp/one-mcp" {
            client.news(LIST_CHANGED).await;
            let names = client.tool_names().await;
            assert!(names.iter().any(|name| name == "new_of_one"), "{names:?}");
        }
    }

    mux.terminate();
    for (path, client) in seeing {
        assert_eq!(client.unread_news(LIST_CHANGED).await, 0, "{path}");
    }
}

#[tokio::test]
async fn groups_change_with_the_configuration_and_no_child_notices() {
    let mux = two().await;
    let entries = [
        mux.process("one-mcp", Child::legacy()),
        mux.connection("two"),
    ];
    let mut group = at(&mux, "/mcp/group/dev", Era::Legacy).await;
    group.tool_names().await;
    group.subscribe().await;
    let mut gone = at(&mux, "/mcp/group/none", Era::Legacy).await;
    gone.subscribe().await;

    let top: Map<String, Value> =
        json!({"groups": {"dev": ["two", "one-mcp"], "new": ["one-mcp"]}})
            .as_object()
            .expect("an object")
            .clone();
    mux.configure_with(&entries, &top);
    mux.until_generation(2).await;

    group.news(LIST_CHANGED).await;
    let names = group.tool_names().await;
    for tool in ["one__echo", "two__echo"] {
        assert!(names.iter().any(|name| name == tool), "{names:?}");
    }
    let mut new = at(&mux, "/mcp/group/new", Era::Modern).await;
    assert!(!new.call("one__echo", "{}").await.structured().is_empty());
    assert_eq!(begin(&mux, "/mcp/group/none").await.status, 404);
    assert_eq!(mux.journal("one-mcp").of("started").len(), 1);

    mux.configure_with(&entries[1..], &Map::new());
    mux.until_generation(3).await;
    assert_eq!(begin(&mux, "/mcp/one-mcp").await.status, 404);
    assert_eq!(begin(&mux, "/mcp/group/dev").await.status, 404);
    // What it showed is gone, and with that its stream.
    assert_eq!(gone.unread_news(LIST_CHANGED).await, 0);
}

#[tokio::test]
async fn a_child_that_is_down_stays_listed_and_its_calls_say_so() {
    let fleet = Fleet::new()
        .http("gone", Child::legacy())
        .entry("never", json!({"url": "http://127.0.0.1:1/mcp"}));
    let mut mux = fleet.over(Door::Http).await;
    mux.until_ready("gone").await;
    mux.remote("gone").stop().await;
    let is_down = |child: &Value| child["state"] == "down";
    let mut client = at(&mux, "/mcp/gone", Era::Legacy).await;
    client.call("echo", "{}").await;
    mux.until_child("gone", "is down", is_down).await;
    mux.until_child("never", "is down", is_down).await;

    assert!(client.tool_names().await.iter().any(|name| name == "echo"));
    let failed = result(&client.call("echo", "{}").await);
    assert_eq!(failed["isError"], true, "{failed}");
    let facts = &failed["_meta"]["io.mcp-multiplexer/failure"];
    assert_eq!(
        (&facts["child"], &facts["kind"]),
        (&json!("gone"), &json!("unavailable"))
    );

    let mut never = at(&mux, "/mcp/never", Era::Legacy).await;
    assert_eq!(never.tool_names().await, [""; 0]);
    let failed = result(&never.call("anything", "{}").await);
    let facts = &failed["_meta"]["io.mcp-multiplexer/failure"];
    assert_eq!(
        facts["kind"], "unavailable",
        "it may have such a tool: {failed}"
    );
}

#[tokio::test]
async fn a_child_seen_alone_introduces_itself() {
    let fleet = Fleet::new()
        .stdio("one", Child::legacy().option("--extension", "vendor/one"))
        .http("two", Child::modern());
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let introduced = async |path: &str| {
        let reply = begin(&mux, path).await;
        let legacy = result(&reply.answer().await);
        let mut client = at(&mux, path, Era::Modern).await;
        let modern = result(&client.request("server/discover", "{}").await);
        (legacy, modern)
    };
    let (legacy, modern) = introduced("/mcp/one").await;
    assert_eq!(legacy["serverInfo"]["name"], "test-child");
    let info = &modern["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(info["name"], "test-child", "{modern}");
    for told in [&legacy, &modern] {
        assert_eq!(told["instructions"], "Ask for vendor/one.");
        let capabilities = &told["capabilities"];
        assert_eq!(capabilities["tools"]["listChanged"], true);
        assert!(capabilities["logging"].is_object());
        assert_eq!(
            capabilities["extensions"],
            json!({"vendor/one": {"exact": 1.10}})
        );
        for absent in ["prompts", "resources", "completions"] {
            assert!(capabilities[absent].is_null(), "{told}");
        }
    }
    let (legacy, modern) = introduced("/mcp/two").await;
    for told in [&legacy, &modern] {
        assert!(told["capabilities"]["extensions"].is_null(), "{told}");
        assert!(told["instructions"].is_null(), "{told}");
    }
}

/// Filters are the entry's: they hold wherever the child is seen.
#[tokio::test]
async fn a_tool_that_is_held_back_is_held_back_everywhere() {
    let filtered = Child::legacy().key("disabledTools", json!(["echo"]));
    let fleet = Fleet::new()
        .stdio("one", filtered)
        .top("groups", json!({"g": ["one"]}));
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    for (path, prefix) in [("/mcp/one", ""), ("/mcp/group/g", "one__")] {
        let mut client = at(&mux, path, Era::Modern).await;
        let names = client.tool_names().await;
        let listed = |tool: &str| names.iter().any(|name| *name == format!("{prefix}{tool}"));
        assert!(listed("received") && !listed("echo"), "{names:?}");
        let refused = client.call(&format!("{prefix}echo"), "{}").await;
        assert_eq!(refused.error_code(), -32602);
    }
    assert_eq!(mux.journal("one").calls("echo"), 0);
}

/// A log message of no call reaches those who see its child.
#[tokio::test]
async fn log_messages_are_for_those_who_see_the_child() {
    let mut mux = two().await;
    let mut seeing = Vec::new();
    for path in ["/mcp/one-mcp", "/mcp/two"] {
        let mut client = at(&mux, path, Era::Legacy).await;
        client
            .request("logging/setLevel", r#"{"level":"debug"}"#)
            .await;
        client.subscribe().await;
        seeing.push(client);
    }
    let [mut one, two] = seeing.try_into().ok().expect("two clients");
    // With another call in flight the message is nobody's.
    let mut busy = mux.client(Era::Legacy).await;
    let file = mux.path("enough");
    let slow = json!({"until": file, "key": "busy"}).to_string();
    let pending = busy.begin_call("one__slow", &slow).await;
    mux.journal("one-mcp").until_keyed("slow", "busy").await;
    let mut other = mux.client(Era::Legacy).await;
    other.call("one__log", r#"{"data":"for one"}"#).await;

    let news = one.news("notifications/message").await;
    assert!(news.contains("for one"), "{news}");
    std::fs::write(&file, "").expect("the file can be written");
    busy.finish(pending).await;
    mux.terminate();
    assert_eq!(two.unread_news("notifications/message").await, 0);
}

/// Prompts, resources and completions of a real server, seen alone although another one
/// has the same.
#[tokio::test]
async fn uris_and_prompts_are_the_childs_own() {
    let peers = Peers::start().await;
    let mux = peers.fleet().over(Door::Http).await;
    mux.all_ready().await;
    for path in ["/mcp/everything", "/mcp/everything-by-http"] {
        for era in Era::ALL {
            let mut client = at(&mux, path, era).await;
            for (method, key) in [
                ("resources/list", "resources"),
                ("resources/templates/list", "resourceTemplates"),
            ] {
                let answer = client.request(method, "{}").await;
                assert!(!answer.frame.contains("mux+"), "{}", answer.frame);
                assert_ne!(result(&answer)[key], json!([]));
            }
            let prompts = client.request("prompts/list", "{}").await;
            assert!(prompts.frame.contains(r#""name":"args-prompt""#));
            let prompt = r#"{"name":"args-prompt","arguments":{"city":"Ulm"}}"#;
            let got = result(&client.request("prompts/get", prompt).await);
            assert!(got["messages"].is_array(), "{got}");
            let uri = "demo://resource/dynamic/text/7";
            let read = format!(r#"{{"uri":"{uri}"}}"#);
            let read = result(&client.request("resources/read", &read).await);
            assert_eq!(read["contents"][0]["uri"], uri);
            // Nobody's alias; the child itself says what it thinks of it.
            let alias = format!(r#"{{"uri":"mux+remote://{uri}"}}"#);
            let refused = client.request("resources/read", &alias).await;
            assert!(refused.frame.contains(r#""error""#), "{}", refused.frame);
            let complete = json!({
                "ref": {"type": "ref/prompt", "name": "completable-prompt"},
                "argument": {"name": "department", "value": "E"},
            });
            let completed = client
                .request("completion/complete", &complete.to_string())
                .await;
            let values = result(&completed)["completion"]["values"].clone();
            assert_eq!(values, json!(["Engineering"]), "{}", completed.frame);
        }
    }
}
