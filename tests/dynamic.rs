//! Dynamic mode: a client sees a handful of tools, and finds, loads and calls all others
//! by them.

mod peers;
mod support;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
};

use futures::future::join_all;
use mcp_multiplexer::{
    catalog::{
        Listing, Offer,
        cost::{self, Cost, Tokenizer},
    },
    protocol::ChildName,
};
use peers::Sdk;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};
use support::{
    Answer, Child, Client, Door, Era, Fleet, Multiplexer,
    child::program,
    eventually,
    http::Http,
    journal::Journal,
    wire::{elements, member, method, quoted},
};

/// The multiplexer's own tools.
const META: [&str; 6] = [
    "find_tools",
    "list_catalog",
    "load_tools",
    "unload_tools",
    "call_tool",
    "multiplexer_status",
];
const LIST_CHANGED: &str = "notifications/tools/list_changed";
const MOON: &str = r#"{"name":"moon_phase","description":"Tells how much of the moon is lit.","inputSchema":{"type":"object","properties":{"day":{"type":"string"}},"required":["day"]},"odd":1.10}"#;

fn dynamic() -> Fleet {
    Fleet::new().top("mode", "dynamic")
}

/// The names in the list that are not the multiplexer's own, which stand first.
async fn others(client: &mut Client) -> Vec<String> {
    let names = client.tool_names().await;
    assert_eq!(names[..META.len()], META);
    names[META.len()..].to_vec()
}

fn names(tools: &[&str]) -> String {
    json!({"names": tools}).to_string()
}

/// How often the client was told, within this answer, that its list has changed.
fn told(answer: &Answer) -> usize {
    let changed = |frame: &&String| method(frame).as_deref() == Some(LIST_CHANGED);
    answer.before.iter().filter(changed).count()
}

fn found(answer: &Answer) -> Vec<String> {
    let tools = answer.content()["tools"].clone();
    let tools = tools.as_array().expect("tools").iter();
    tools
        .map(|tool| tool["name"].as_str().expect("a name").to_owned())
        .collect()
}

#[tokio::test]
async fn a_legacy_client_finds_loads_calls_and_unloads() {
    for door in Door::ALL {
        let mut mux = dynamic()
            .stdio("sky", Child::legacy().listing("moon_phase", MOON))
            .over(door)
            .await;
        let mut client = mux.client(Era::Legacy).await;
        assert!(others(&mut client).await.is_empty());

        let answer = client
            .call("find_tools", r#"{"query":"how full is the moon"}"#)
            .await;
        assert_eq!(found(&answer)[0], "sky__moon_phase");
        let first = &answer.content()["tools"][0];
        assert_eq!(first["child"], "sky");
        assert_eq!(first["parameters"], "day: string");
        assert_eq!(first["description"], "Tells how much of the moon is lit.");
        assert_eq!(first["ready"], true);
        assert!(first["score"].as_f64().is_some_and(|score| score > 0.0));

        // Twice: the second time there is nothing new to tell.
        for loaded in [json!(["sky__echo", "sky__moon_phase"]), json!([])] {
            let answer = client
                .call("load_tools", &names(&["sky__echo", "sky__moon_phase"]))
                .await;
            assert_eq!(answer.content()["loaded"], loaded);
            let once = usize::from(loaded != json!([]));
            match door {
                Door::Http => assert_eq!(told(&answer), once),
                Door::Stdio if once == 1 => drop(client.news(LIST_CHANGED).await),
                Door::Stdio => {}
            }
        }
        let listed = client.tools().await;
        assert_eq!(listed[META.len()].name, "sky__echo");
        let moon = listed.last().expect("a tool");
        assert_eq!(moon.entry, MOON.replace("moon_phase", "sky__moon_phase"));

        let answer = client.call("sky__echo", r#"{"exact":1.10}"#).await;
        assert_eq!(
            answer.structured(),
            r#"{"calls":1,"arguments":{"exact":1.10}}"#
        );

        let answer = client.call("unload_tools", &names(&["sky__echo"])).await;
        assert_eq!(answer.content()["unloaded"], json!(["sky__echo"]));
        match door {
            Door::Http => assert_eq!(told(&answer), 1),
            Door::Stdio => drop(client.news(LIST_CHANGED).await),
        }
        assert_eq!(others(&mut client).await, ["sky__moon_phase"]);
        if door == Door::Stdio {
            mux.terminate();
            assert_eq!(client.unread_news(LIST_CHANGED).await, 0);
        }
    }
}

#[tokio::test]
async fn a_modern_client_is_given_the_definitions_and_calls_by_name() {
    for door in Door::ALL {
        let mut mux = dynamic()
            .stdio("sky", Child::modern().listing("moon_phase", MOON))
            .over(door)
            .await;
        let mut client = mux.client(Era::Modern).await;
        assert!(others(&mut client).await.is_empty());

        let known = client.request("server/discover", "{}").await;
        let how = member(known.result(), "instructions").expect("instructions");
        assert!(how.contains("find_tools") && how.contains("sky__"), "{how}");

        let answer = client
            .call("load_tools", &names(&["sky__moon_phase"]))
            .await;

        let tools = member(answer.structured(), "tools").expect("tools");
        let entry = MOON.replace("moon_phase", "sky__moon_phase");
        assert_eq!(elements(tools), [entry.as_str()]);
        assert!(answer.content()["note"].is_string());
        assert_eq!(member(answer.result(), "resultType"), Some(r#""complete""#));
        assert_eq!(told(&answer), 0);
        assert!(others(&mut client).await.is_empty());
        let answer = client.call("sky__echo", r#"{"a":1}"#).await;
        assert_eq!(answer.structured(), r#"{"calls":1,"arguments":{"a":1}}"#);
        let answer = client
            .call("unload_tools", &names(&["sky__moon_phase"]))
            .await;
        assert!(answer.is_tool_error());
    }
}

#[tokio::test]
async fn a_call_in_a_call_brings_what_the_child_says_and_nothing_else() {
    const RAW: &str =
        r#"{"content":[ ],"odd":1.10,"n":12345678901234567890123,"resultType":"complete"}"#;
    for (era, of_child) in [
        (Era::Legacy, Era::Legacy),
        (Era::Legacy, Era::Modern),
        (Era::Modern, Era::Legacy),
        (Era::Modern, Era::Modern),
    ] {
        let mut mux = dynamic()
            .stdio("child", Child::of(of_child).returning(RAW))
            .over(Door::Http)
            .await;
        let mut client = mux.client(era).await;
        let mut both = async |tool: &str, arguments: &str, meta: &str| {
            let direct = client.call_with_meta(tool, arguments, meta).await;
            let packed = format!(r#"{{"arguments":{arguments},"name":{}}}"#, quoted(tool));
            let packed = client.call_with_meta("call_tool", &packed, meta).await;
            (direct, packed)
        };

        let (direct, packed) = both("child__raw", "{}", "").await;
        assert_eq!(packed.result(), direct.result(), "{era:?} {of_child:?}");

        let exact = r#"{"exact": 1.10, "big":1e400}"#;
        let (_, packed) = both("child__received", exact, r#""x/y":[1.0]"#).await;
        assert_eq!(packed.arguments_received(), exact);
        assert!(packed.params_received().contains(r#""x/y":[1.0]"#));

        let (direct, packed) =
            both("child__progress", r#"{"n":3}"#, r#""progressToken":"t""#).await;
        assert_eq!(direct.before.len(), 3);
        assert_eq!(packed.before, direct.before);

        let (direct, packed) = both("child__fail", "{}", "").await;
        assert!(packed.is_tool_error());
        assert_eq!(packed.result(), direct.result());

        let (direct, packed) = both("child__rpc_error", "{}", "").await;
        assert_eq!(
            member(&packed.frame, "error").expect("an error"),
            member(&direct.frame, "error").expect("an error")
        );
    }
}

#[tokio::test]
async fn what_is_malformed_is_answered_with_what_was_expected() {
    let many: Vec<String> = (0..101).map(|n| format!("t{n}")).collect();
    let many = json!({"names": many}).to_string();
    let mut mux = dynamic()
        .stdio("child", Child::legacy())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let table = [
        ("find_tools", "{}", "query"),
        ("find_tools", "7", "must be an object"),
        ("find_tools", r#"{"query":7}"#, "expected a string"),
        ("find_tools", r#"{"query":" "}"#, "query is empty"),
        ("find_tools", r#"{"query":"a","limit":0}"#, "from 1 to 50"),
        ("find_tools", r#"{"query":"a","limit":51}"#, "from 1 to 50"),
        ("find_tools", r#"{"query":"a","limit":-1}"#, "1 to 50"),
        (
            "find_tools",
            r#"{"query":"a","readOnly":"yes"}"#,
            "expected a boolean",
        ),
        (
            "find_tools",
            r#"{"query":"a","query":"b"}"#,
            "duplicate field",
        ),
        (
            "find_tools",
            r#"{"query":"a","server":"b"}"#,
            "unknown field `server`",
        ),
        (
            "find_tools",
            r#"{"query":"a","child":"none"}"#,
            "There are child",
        ),
        ("list_catalog", r#"{"child":1}"#, "list_catalog takes"),
        ("list_catalog", r#"{"child":"none"}"#, "There are child"),
        ("list_catalog", r#"{"offset":-1}"#, "a number from 0"),
        ("load_tools", "{}", "names"),
        (
            "load_tools",
            r#"{"names":"child__echo"}"#,
            "load_tools takes",
        ),
        ("load_tools", r#"{"names":[]}"#, "names is empty"),
        ("load_tools", r#"{"names":[1]}"#, "load_tools takes"),
        ("load_tools", &many, "holds too many"),
        (
            "load_tools",
            r#"{"names":["child__echo","child__ecko"]}"#,
            "did you mean child__echo",
        ),
        (
            "load_tools",
            r#"{"names":["child__echo","find_tools"]}"#,
            "find_tools is always listed",
        ),
        ("unload_tools", "{}", "names"),
        (
            "unload_tools",
            r#"{"names":["child__echo"]}"#,
            r#""child__echo" is not loaded"#,
        ),
        (
            "unload_tools",
            r#"{"names":["find_tools"]}"#,
            "find_tools is always listed",
        ),
        ("call_tool", "{}", "name"),
        ("call_tool", r#"{"name":5}"#, "call_tool takes"),
        (
            "call_tool",
            r#"{"name":"child__echo","arguments":"{}"}"#,
            "must be an object",
        ),
        (
            "call_tool",
            r#"{"name":"child__echo","argument":{}}"#,
            "unknown field `argument`",
        ),
        (
            "call_tool",
            r#"{"name":"child__ecko"}"#,
            "Did you mean child__echo",
        ),
        (
            "call_tool",
            r#"{"name":"call_tool"}"#,
            "is called by itself",
        ),
        ("multiplexer_status", r#"{"a":1}"#, "takes no arguments"),
    ];
    for era in Era::ALL {
        let mut client = mux.client(era).await;
        for (tool, arguments, expected) in table {
            let answer = client.call(tool, arguments).await;
            assert!(
                answer.is_tool_error(),
                "{tool} {arguments}: {}",
                answer.frame
            );
            let text = answer.content_text();
            let unloadable =
                era == Era::Modern && tool == "unload_tools" && text.contains("Nothing is kept");
            assert!(
                text.contains(expected) || unloadable,
                "{tool} {arguments}: {text}"
            );
            assert_eq!(told(&answer), 0, "{tool} {arguments}");
        }
        // Nothing was half done.
        assert!(others(&mut client).await.is_empty());
    }
    assert_eq!(mux.journal("child").calls("echo"), 0);
}

#[tokio::test]
async fn every_unknown_name_is_told_and_nothing_is_loaded() {
    let mut mux = dynamic()
        .stdio("child", Child::legacy())
        .over(Door::Http)
        .await;
    let mut client = mux.client(Era::Legacy).await;
    let asked = names(&["child__echo", "nobody__a", "nobody__b"]);
    let text = client.call("load_tools", &asked).await.content_text();
    assert!(
        text.contains("nobody__a") && text.contains("nobody__b"),
        "{text}"
    );
    assert!(others(&mut client).await.is_empty());
}

/// So many clients at once.
const SESSIONS: usize = 200;
/// Loads and unloads of each of them.
const STEPS: usize = 8;

#[tokio::test]
async fn sessions_load_at_random_and_see_their_own_tools_only() {
    const TOOLS: usize = 30;
    let mux = dynamic()
        .stdio("child", Child::legacy().bare().option("--tools", TOOLS))
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let url = mux.url();
    let http = Http::default();
    let all: Vec<String> = (0..TOOLS)
        .map(|n| format!("child__filler_{n:04}"))
        .collect();
    let one = async |seed: usize| {
        let mut random = StdRng::seed_from_u64(seed as u64);
        let mut client = Client::over_shared_http(http.clone(), url.clone(), Era::Legacy).await;
        let mut loaded = BTreeSet::new();
        for _ in 0..STEPS {
            let (tool, mine): (_, Vec<String>) = match random.random_bool(0.6) || loaded.is_empty()
            {
                true => {
                    let count = random.random_range(1..4);
                    (
                        "load_tools",
                        all.choose_multiple(&mut random, count).cloned().collect(),
                    )
                }
                false => ("unload_tools", loaded.iter().take(1).cloned().collect()),
            };
            let before = loaded.len();
            match tool {
                "load_tools" => loaded.extend(mine.iter().cloned()),
                _ => loaded.retain(|name| !mine.contains(name)),
            }
            let answer = client.call(tool, &json!({"names": mine}).to_string()).await;
            assert!(!answer.is_tool_error(), "{seed}: {}", answer.frame);
            let changed = loaded.len() != before;
            assert_eq!(
                told(&answer),
                usize::from(changed),
                "{seed} {}",
                answer.frame
            );
            let listed = others(&mut client).await;
            assert!(listed.iter().eq(&loaded), "{seed}: {listed:?} {loaded:?}");
        }
        // What it is told of outside of its own requests: of nothing.
        client.subscribe().await;
        client
    };
    let clients = join_all((0..SESSIONS).map(one)).await;
    mux.terminate();
    for client in clients {
        assert_eq!(client.unread_news(LIST_CHANGED).await, 0);
    }
}

#[tokio::test]
async fn what_is_loaded_outlives_its_child_and_follows_its_schema() {
    let mut mux = dynamic()
        .http("sky", Child::legacy().bare().listing("moon_phase", MOON))
        .over(Door::Http)
        .await;
    let mut client = mux.client(Era::Legacy).await;
    client
        .call("load_tools", &names(&["sky__moon_phase"]))
        .await;

    mux.remote("sky").stop().await;
    let down = |child: &Value| child["state"] == "down";
    // Nobody notices before it is used.
    client.call("sky__moon_phase", "{}").await;
    mux.until_child("sky", "is down", down).await;
    assert_eq!(others(&mut client).await, ["sky__moon_phase"]);
    let hit = client
        .call("find_tools", r#"{"query":"moon"}"#)
        .await
        .content();
    assert_eq!(hit["tools"][0]["ready"], false, "{hit}");
    let status = client.call("multiplexer_status", "{}").await.content();
    assert_eq!(status["children"][0]["state"], "down");
    assert_eq!(status["children"][0]["ready"], false);

    client.subscribe().await;
    let newer = MOON.replace("day", "night");
    fs::write(mux.path("sky.tools"), format!("moon_phase\t{newer}")).expect("written");
    mux.remote("sky").restart().await;
    mux.until_ready("sky").await;
    client.news(LIST_CHANGED).await;

    let listed = client.tools().await;
    let newer = newer.replace("moon_phase", "sky__moon_phase");
    assert_eq!(listed.last().expect("a tool").entry, newer);
    assert!(
        !client
            .call("sky__moon_phase", "{}")
            .await
            .frame
            .contains("unavailable")
    );
}

#[tokio::test]
async fn a_lazy_child_is_found_and_started_by_the_first_call() {
    let child = || {
        Child::legacy()
            .listing("moon_phase", MOON)
            .key("lazy", true)
            .key("idleTimeout", "200ms")
    };
    let mut mux = dynamic().stdio("sky", child()).over(Door::Http).await;
    let idle = |child: &Value| child["state"] == "idle";
    mux.until_child("sky", "is idle", idle).await;
    let mut client = mux.client(Era::Legacy).await;

    let hit = client
        .call("find_tools", r#"{"query":"moon"}"#)
        .await
        .content();
    assert_eq!(hit["tools"][0]["name"], "sky__moon_phase");
    assert_eq!(hit["tools"][0]["ready"], true);
    assert_eq!(mux.journal("sky").of("started").len(), 1);

    let answer = client
        .call("call_tool", r#"{"name":"sky__echo","arguments":{"a":1}}"#)
        .await;
    assert_eq!(answer.structured(), r#"{"calls":1,"arguments":{"a":1}}"#);
    assert_eq!(mux.journal("sky").of("started").len(), 2);
}

#[tokio::test]
async fn a_lazy_child_is_found_in_the_catalog_kept_from_the_run_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let journal = Journal::at(folder.path().join("journal"));
    let cache = folder.path().join("cache");
    // The same settings in every run: a catalog is kept for these alone.
    let args = json!([
        "--journal",
        folder.path().join("journal"),
        "--named",
        "moon_phase"
    ]);
    let entry = json!({
        "command": program(), "args": args, "lazy": true, "idleTimeout": "200ms",
    });
    let fleet = || {
        dynamic()
            .entry("sky", entry.clone())
            .flags(&["--cache-dir", &cache.to_string_lossy()])
            .over(Door::Http)
    };
    let mut mux = fleet().await;
    let is_idle = |child: &Value| child["state"] == "idle";
    mux.until_child("sky", "is idle", is_idle).await;
    mux.terminate();
    assert!(mux.ended().await.success());
    assert_eq!(journal.of("started").len(), 1);

    let mut mux = fleet().await;
    let mut client = mux.client(Era::Legacy).await;
    let answer = client.call("find_tools", r#"{"query":"moon phase"}"#).await;
    assert_eq!(found(&answer)[0], "sky__moon_phase");
    assert_eq!(answer.content()["tools"][0]["ready"], true);
    assert_eq!(journal.of("started").len(), 1, "searching starts nobody");

    let answer = client.call("sky__moon_phase", r#"{"a":1}"#).await;
    assert_eq!(answer.structured(), r#"{"calls":1,"arguments":{"a":1}}"#);
    assert_eq!(journal.of("started").len(), 2);
}

#[tokio::test]
async fn words_of_ones_own_are_searched_for_and_read_again_with_the_configuration() {
    let fleet = dynamic()
        .top("synonyms", "words.txt")
        .stdio("sky", Child::legacy().bare().listing("moon_phase", MOON));
    let words = fleet.path("words.txt");
    fs::write(&words, "luna, moon\n").expect("words");
    let mut mux = fleet.over(Door::Http).await;
    let mut client = mux.client(Era::Legacy).await;
    let find = async |client: &mut Client, query: &str| {
        let asked = json!({"query": query}).to_string();
        found(&client.call("find_tools", &asked).await)
    };
    assert_eq!(find(&mut client, "luna").await, ["sky__moon_phase"]);
    assert!(find(&mut client, "selene").await.is_empty());

    fs::write(&words, "luna, moon\nselene\n").expect("words");
    mux.hang_up();
    let refused = eventually("the refusal", async || {
        let last = mux.status().await["config"]["lastReload"].clone();
        (last["ok"] == false).then_some(last)
    });
    let refused = refused.await.to_string();
    assert!(refused.contains("words.txt: line 2"), "{refused}");
    assert_eq!(find(&mut client, "luna").await, ["sky__moon_phase"]);

    fs::write(&words, "selene, moon\n").expect("words");
    mux.hang_up();
    mux.until_generation(2).await;
    assert_eq!(find(&mut client, "selene").await, ["sky__moon_phase"]);
    assert!(find(&mut client, "luna").await.is_empty());
}

#[tokio::test]
async fn eager_mode_offers_them_beside_all_others_if_it_is_told_to() {
    let mut mux = Fleet::new()
        .top("metaTools", true)
        .stdio("child", Child::legacy().bare().named("one").named("two"))
        .over(Door::Http)
        .await;
    let mut client = mux.client(Era::Legacy).await;
    assert_eq!(others(&mut client).await, ["child__one", "child__two"]);
    let answer = client.call("load_tools", &names(&["child__one"])).await;
    assert_eq!(answer.content()["alreadyListed"], json!(["child__one"]));
    assert_eq!(told(&answer), 0);
    assert_eq!(mux.status().await["mode"], "eager");
}

#[tokio::test]
async fn eager_mode_has_none_of_them_by_itself() {
    let mut mux = Fleet::new()
        .stdio(
            "child",
            Child::legacy().bare().named("find_tools").key("prefix", ""),
        )
        .over(Door::Http)
        .await;
    let mut client = mux.client(Era::Legacy).await;
    assert_eq!(client.tool_names().await, ["find_tools"]);
    let answer = client.call("find_tools", r#"{"a":1}"#).await;
    assert_eq!(answer.structured(), r#"{"calls":1,"arguments":{"a":1}}"#);
}

#[tokio::test]
async fn the_mode_may_stand_on_the_command_line_or_in_the_environment() {
    for (fleet, mode) in [
        (dynamic().flags(&["--mode", "eager"]), "eager"),
        (Fleet::new().flags(&["--mode", "dynamic"]), "dynamic"),
        (
            Fleet::new().env("MCP_MULTIPLEXER_MODE", "dynamic"),
            "dynamic",
        ),
    ] {
        let mux = fleet.stdio("child", Child::legacy()).over(Door::Http).await;
        assert_eq!(mux.status().await["mode"], mode);
        let mut client = Client::over_http(mux.url(), Era::Legacy).await;
        let is_dynamic = client.tool_names().await[0] == META[0];
        assert_eq!(is_dynamic, mode == "dynamic");
    }
}

#[tokio::test]
async fn some_tools_are_always_listed() {
    for era in Era::ALL {
        let mut mux = dynamic()
            .top("alwaysLoad", json!(["*__rpc_*", "b__one"]))
            .env("MCP_DYNAMIC_ALWAYS_ON", "nobody, c*")
            .stdio("a", Child::legacy())
            .stdio("b", Child::legacy().bare().named("one").named("two"))
            .stdio("clock", Child::legacy().bare().named("now").named("then"))
            .over(Door::Http)
            .await;
        let mut client = mux.client(era).await;
        let always = ["a__rpc_error", "b__one", "clock__now", "clock__then"];
        assert_eq!(others(&mut client).await, always);
        if era == Era::Legacy {
            let answer = client
                .call("load_tools", &names(&["b__two", "b__one"]))
                .await;
            assert_eq!(answer.content()["alreadyListed"], json!(["b__one"]));
            let text = client
                .call("unload_tools", &names(&["b__two", "b__one"]))
                .await
                .content_text();
            assert!(text.contains("b__one is always listed"), "{text}");
            assert!(others(&mut client).await.contains(&"b__two".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_childs_tool_of_the_same_name_gives_way() {
    let mut mux = dynamic()
        .stdio(
            "child",
            Child::legacy()
                .bare()
                .named("find_tools")
                .named("other")
                .key("prefix", ""),
        )
        .over(Door::Http)
        .await;
    mux.log
        .until("a warning", |line| line.contains("left_out=child"))
        .await;
    let mut client = mux.client(Era::Legacy).await;
    let answer = client
        .call("find_tools", r#"{"query":"does what echo does"}"#)
        .await;
    assert_eq!(found(&answer), ["other"]);
    let catalog = client
        .call("list_catalog", r#"{"child":"child"}"#)
        .await
        .content();
    assert_eq!(
        catalog["tools"].as_array().map(Vec::len),
        Some(1),
        "{catalog}"
    );
    let status = client.call("multiplexer_status", "{}").await.content();
    assert_eq!(status["tools"], 1, "{status}");
    assert!(
        client
            .call("load_tools", &names(&["find_tools"]))
            .await
            .is_tool_error()
    );
}

#[tokio::test]
async fn a_group_is_dynamic_and_a_child_alone_is_as_it_is() {
    let mux = dynamic()
        .top("groups", json!({"some": ["a"]}))
        .stdio("a", Child::legacy().bare().named("one"))
        .stdio("b", Child::legacy().bare().named("one"))
        .over(Door::Http)
        .await;
    let mut alone = Client::over_http(mux.at("/mcp/a"), Era::Legacy).await;
    assert_eq!(alone.tool_names().await, ["one"]);
    assert!(
        alone
            .call("find_tools", r#"{"query":"echo"}"#)
            .await
            .frame
            .contains("Unknown tool")
    );

    let mut group = Client::over_http(mux.at("/mcp/group/some"), Era::Legacy).await;
    assert!(others(&mut group).await.is_empty());
    let answer = group
        .call("find_tools", r#"{"query":"does what echo does"}"#)
        .await;
    assert_eq!(found(&answer), ["a__one"]);
    let answer = group.call("load_tools", &names(&["b__one"])).await;
    assert!(answer.is_tool_error());
    let answer = group.call("call_tool", r#"{"name":"b__one"}"#).await;
    assert!(answer.is_tool_error());
}

#[tokio::test]
async fn a_name_that_two_children_give_is_found_in_each_group_at_its_own_child() {
    let child = || Child::legacy().bare().named("one").key("prefix", "");
    let mut mux = dynamic()
        .top("groups", json!({"first": ["a"], "second": ["b"]}))
        .stdio("a", child())
        .stdio("b", child())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let mut all = mux.client(Era::Legacy).await;
    let first = Client::over_http(mux.at("/mcp/group/first"), Era::Legacy).await;
    let second = Client::over_http(mux.at("/mcp/group/second"), Era::Legacy).await;
    let query = r#"{"query":"does what echo does"}"#;
    let owner = async |client: &mut Client| {
        let found = client.call("find_tools", query).await.content();
        let tools = found["tools"].as_array().expect("tools").clone();
        let names: Vec<_> = tools.iter().map(|tool| tool["name"].clone()).collect();
        assert_eq!(names, ["one"], "{found}");
        tools[0]["child"].clone()
    };
    assert_eq!(owner(&mut all).await, "a");
    for (mut group, child) in [(first, "a"), (second, "b")] {
        assert_eq!(owner(&mut group).await, child);
        group.call("one", "{}").await;
        assert_eq!(mux.journal(child).calls("one"), 1);
    }
}

#[tokio::test]
async fn the_catalog_is_told_child_by_child_and_page_by_page() {
    let mut mux = dynamic()
        .stdio("a", Child::legacy().bare().option("--tools", 150))
        .stdio(
            "b",
            Child::legacy()
                .bare()
                .named("one")
                .option("--instructions", "Is\nlong."),
        )
        .over(Door::Http)
        .await;
    let mut client = mux.client(Era::Legacy).await;
    let children = client.call("list_catalog", "{}").await.content();
    assert_eq!(
        children,
        json!({"children": [
            {"name": "a", "tools": 150, "ready": true},
            {"name": "b", "tools": 1, "ready": true, "description": "Is"},
        ]})
    );
    let first = client
        .call("list_catalog", r#"{"child":"a"}"#)
        .await
        .content();
    assert_eq!(
        first["tools"][0],
        json!({"name": "a__filler_0000", "description": "One of many."})
    );
    assert_eq!(
        (first["tools"].as_array().map(Vec::len), &first["next"]),
        (Some(100), &json!(100))
    );
    let rest = client
        .call("list_catalog", r#"{"child":"a","offset":100}"#)
        .await
        .content();
    assert_eq!(
        (rest["tools"].as_array().map(Vec::len), &rest["next"]),
        (Some(50), &Value::Null)
    );
}

#[tokio::test]
async fn a_client_is_told_of_changes_in_its_own_list_only() {
    for era in Era::ALL {
        let mut mux = dynamic()
            .top("alwaysLoad", json!(["child__shown*"]))
            .stdio("child", Child::legacy())
            .over(Door::Http)
            .await;
        mux.all_ready().await;
        let mut client = mux.client(era).await;
        let listed = others(&mut client).await;
        client.subscribe().await;
        // One that sees all of it.
        let mut observer = Client::over_http(mux.at("/mcp/child"), era).await;
        observer.tool_names().await;
        observer.subscribe().await;

        client.call("child__add_tool", r#"{"name":"hidden"}"#).await;
        observer.news(LIST_CHANGED).await;
        assert_eq!(others(&mut client).await, listed);
        client.call("child__add_tool", r#"{"name":"shown"}"#).await;
        client.news(LIST_CHANGED).await;
        assert_eq!(others(&mut client).await, ["child__shown"]);
        observer.news(LIST_CHANGED).await;

        mux.terminate();
        assert_eq!(client.unread_news(LIST_CHANGED).await, 0, "{era:?}");
    }
}

/// A child as `tests/data/fleet57.json` has it.
#[derive(Deserialize)]
struct Described {
    name: String,
    description: String,
    tools: Vec<Box<RawValue>>,
}

#[tokio::test]
async fn a_fleet_of_600_tools_costs_its_clients_little() {
    const MOST_TOKENS: usize = 1_500;
    let fleet: Vec<Described> =
        serde_json::from_str(include_str!("data/fleet57.json")).expect("a fleet");
    let mut served = dynamic();
    for child in &fleet {
        let mut described = Child::legacy()
            .bare()
            .option("--instructions", &child.description);
        for tool in &child.tools {
            let name: String =
                serde_json::from_str(member(tool.get(), "name").expect("a name")).expect("text");
            described = described.listing(&name, &tool.get().replace('\n', " "));
        }
        served = served.stdio(&child.name, described);
    }
    let mut mux: Multiplexer = served.over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Legacy).await;

    let list = client.request("tools/list", "{}").await;

    let tokenizer = Tokenizer::load();
    let dynamic = tokenizer.cost(list.result());
    let listings: Vec<(ChildName, String, Listing)> = fleet
        .iter()
        .map(|child| {
            let tools: Vec<_> = child.tools.iter().map(|tool| tool.get()).collect();
            let text = format!(r#"{{"completes":false,"tools":[{}]}}"#, tools.join(","));
            (
                child.name.as_str().into(),
                child.name.replace('-', "_"),
                Listing::read(&text).expect("a listing"),
            )
        })
        .collect();
    let offers: Vec<_> = listings
        .iter()
        .map(|(child, prefix, listing)| Offer {
            child,
            prefix,
            enabled: true,
            listing: Some(listing),
        })
        .collect();
    let eager: Cost = cost::of_tools(&offers, 42, &tokenizer)
        .into_iter()
        .map(|(_, cost)| cost)
        .sum();
    // Past the capture of a test that passes: this is to be read.
    let told = format!("tools/list of 600 tools: dynamic {dynamic:?}, eager {eager:?}\n");
    let _ = io::stdout().lock().write_all(told.as_bytes());
    assert!(dynamic.tokens < MOST_TOKENS, "{dynamic:?}");

    let told = eventually("the costs", async || {
        let status = mux.status().await;
        (status["cost"]["eager"]["bytes"] == eager.bytes).then_some(status)
    });
    let told = told.await;
    assert_eq!(told["cost"]["eager"]["tokens"], eager.tokens);
    // Its envelope aside, which is no tool's.
    let list = dynamic.tokens as u64;
    let count = |value: &Value| value.as_u64().expect("a count");
    let costs = count(&told["cost"]["dynamic"]["tokens"]);
    assert!((list * 9 / 10..=list).contains(&costs), "{costs} of {list}");
    let children = told["children"].as_array().expect("children");
    let tokens = children.iter().map(|it| count(&it["toolsListTokens"]));
    assert_eq!(tokens.sum::<u64>(), eager.tokens as u64);

    let status = client.call("multiplexer_status", "{}").await.content();
    assert_eq!(status["tools"], 600);
    let answer = client
        .call("find_tools", r#"{"query":"merge a pull request"}"#)
        .await;
    assert_eq!(found(&answer)[0], "github__merge_pull_request");
    let called = client.call(
        "call_tool",
        r#"{"name":"github__merge_pull_request","arguments":{"a":1}}"#,
    );
    assert_eq!(
        called.await.structured(),
        r#"{"calls":1,"arguments":{"a":1}}"#
    );
}

#[tokio::test]
async fn the_python_sdk_finds_loads_calls_and_unloads() {
    for sdk in [Sdk::LegacyPython, Sdk::Python] {
        let mux = dynamic()
            .stdio("sky", Child::legacy().listing("moon_phase", MOON))
            .over(Door::Http)
            .await;
        mux.all_ready().await;

        let told = sdk
            .walk(
                &mux.url(),
                "how full is the moon",
                "sky__moon_phase",
                "sky__echo",
            )
            .await;

        assert_eq!(told["found"], "sky__moon_phase", "{told:#}");
        assert_eq!(told["first"], json!(META));
        assert_eq!(told["called"]["arguments"], json!({"a": 1}));
        assert_eq!(told["packed"]["arguments"], json!({"a": 2}));
        assert_eq!(told["last"], json!(META));
        let loaded: &[&str] = match sdk {
            Sdk::LegacyPython => &["sky__echo", "sky__moon_phase"],
            _ => &[],
        };
        assert_eq!(
            told["news"],
            if loaded.is_empty() { 0 } else { 2 },
            "{told:#}"
        );
        assert_eq!(
            told["loaded"],
            json!([&META[..], loaded].concat()),
            "{told:#}"
        );
    }
}
