//! server-everything behind the multiplexer, used by the MCP Inspector's command line:
//! each of its tools, prompts and resources is there as without the multiplexer.

mod peers;
mod support;

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_STANDARD as BASE64};
use futures::{StreamExt as _, stream};
use peers::{
    everything_by_http,
    inspector::{Outcome, inspect},
    server_everything,
};
use serde_json::{Value, json};
use support::{Door, Fleet};

const PREFIX: &str = "everything__";

/// How many Inspectors run at once.
const AT_ONCE: usize = 4;

/// What each tool is called with.
fn arguments(tool: &str) -> Value {
    match tool {
        "echo" => json!({"message": "\u{0000}\t\"\\ ü 🦀"}),
        "get-annotated-message" => json!({"messageType": "error", "includeImage": true}),
        "get-resource-links" => json!({"count": 3}),
        "get-resource-reference" => json!({"resourceType": "Blob", "resourceId": 2}),
        "get-structured-content" => json!({"location": "Chicago"}),
        "get-sum" => json!({"a": 0.1, "b": 1e21}),
        "gzip-file-as-resource" => {
            json!({"name": "a.gz", "data": "data:text/plain,hello", "outputType": "resource"})
        }
        "simulate-research-query" => json!({"topic": "bees"}),
        "trigger-long-running-operation" => json!({"duration": 1, "steps": 2}),
        "get-env"
        | "get-tiny-image"
        | "toggle-simulated-logging"
        | "toggle-subscriber-updates"
        | "get-roots-list" => json!({}),
        unknown => panic!("a tool that no arguments are known for: {unknown}"),
    }
}

/// What each prompt is got with.
fn prompt_arguments(prompt: &str) -> &'static [&'static str] {
    match prompt {
        "simple-prompt" => &[],
        "args-prompt" => &["city=Ulm", "state=BW"],
        "completable-prompt" => &["department=Engineering", "name=Alice"],
        "resource-prompt" => &["resourceType=Text", "resourceId=3"],
        unknown => panic!("a prompt that no arguments are known for: {unknown}"),
    }
}

/// A server, and how the names of its tools and prompts begin.
struct Server<'a> {
    target: Vec<String>,
    prefix: &'static str,
    home: &'a Path,
}

impl Server<'_> {
    async fn ask(&self, words: &[&str]) -> Outcome {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        inspect(&self.target, &words, self.home).await
    }

    /// A list, under the server's own names.
    async fn list(&self, method: &str, key: &str) -> Vec<Value> {
        let outcome = self.ask(&["--method", method]).await;
        let result = outcome.result.unwrap_or_else(|| panic!("no {method}"));
        let mut entries = result[key].as_array().expect("a list").clone();
        for entry in &mut entries {
            if let Some(name) = entry["name"].as_str()
                && !key.starts_with("resource")
            {
                let own = name.strip_prefix(self.prefix).expect("our prefix");
                entry["name"] = json!(own);
            }
        }
        entries
    }

    async fn call(&self, tool: &str) -> Outcome {
        let (name, arguments) = (
            format!("{}{tool}", self.prefix),
            arguments(tool).to_string(),
        );
        let words = [
            "--method",
            "tools/call",
            "--tool-name",
            &name,
            "--tool-args-json",
            &arguments,
        ];
        self.ask(&words).await
    }

    async fn prompt(&self, prompt: &str) -> Outcome {
        let name = format!("{}{prompt}", self.prefix);
        let mut words = vec!["--method", "prompts/get", "--prompt-name", &name];
        let arguments = prompt_arguments(prompt);
        if !arguments.is_empty() {
            words.push("--prompt-args");
            words.extend(arguments);
        }
        self.ask(&words).await
    }

    async fn read(&self, uri: &str) -> Outcome {
        self.ask(&["--method", "resources/read", "--uri", uri])
            .await
    }
}

/// Everything a client can do with the server, thing by thing.
enum Thing {
    Tool(String),
    Prompt(String),
    Resource(String),
}

impl Thing {
    async fn of(&self, server: &Server<'_>) -> (String, Outcome) {
        match self {
            Self::Tool(name) => (name.clone(), server.call(name).await),
            Self::Prompt(name) => (name.clone(), server.prompt(name).await),
            Self::Resource(uri) => (uri.clone(), server.read(uri).await),
        }
    }
}

/// An outcome without what differs from one run to the next.
fn steady(name: &str, outcome: Outcome) -> Outcome {
    let mut result = outcome
        .result
        .unwrap_or_else(|| panic!("{name} printed nothing"));
    if name == "get-env" {
        // Each is started in an environment of its own.
        result = json!(result.to_string().contains("PATH"));
    }
    let result = unvarying(result);
    Outcome {
        result: Some(result),
        ..outcome
    }
}

/// Takes out, from text and from blobs, the time at which a resource was made and the
/// session that a tool names; and the ids of tasks.
fn unvarying(value: Value) -> Value {
    match value {
        Value::String(text) => {
            let told = [" created at ", " for session "]
                .into_iter()
                .find_map(|before| text.split_once(before));
            told.map_or_else(|| json!(text), |(what, _)| json!(what))
        }
        Value::Array(elements) => elements.into_iter().map(unvarying).collect(),
        Value::Object(mut object) => {
            if let Some(blob) = object.get("blob").and_then(Value::as_str) {
                let bytes = BASE64.decode(blob).expect("a blob in base64");
                let text = String::from_utf8_lossy(&bytes).into_owned();
                object.insert("blob".to_owned(), json!(text));
            }
            // Each run of a task is another one.
            if let Some(id) = object.get_mut("taskId") {
                *id = json!(id.is_string());
            }
            let members = object.into_iter();
            let members = members.map(|(key, value)| (key, unvarying(value)));
            Value::Object(members.collect())
        }
        other => other,
    }
}

/// Whether a server lists all of these. A multiplexer that the Inspector has started does
/// not wait for ever: on a slow machine its list may come before its child, so it is
/// started again.
async fn lists(server: &Server<'_>, method: &str, key: &str, own: &[Value]) -> bool {
    for _ in 0..5 {
        let listed = server.list(method, key).await;
        // A client that can be asked more is shown more: there may be others.
        if own.iter().all(|entry| listed.contains(entry)) {
            return true;
        }
        eprintln!("{method} of {:?} brought {listed:?}", server.target);
    }
    false
}

#[tokio::test]
async fn the_inspector_finds_everything_the_same_through_both_doors() {
    let home = tempfile::tempdir().expect("a folder");
    let server = |target, prefix| Server {
        target,
        prefix,
        home: home.path(),
    };
    let remote = peers::Server::start(&mut everything_by_http()).await;
    let command = json!({"command": "node", "args": [server_everything(), "stdio"]});
    let fleet = Fleet::new().entry("everything", command);
    let mux = fleet.over(Door::Http).await;
    mux.all_ready().await;
    let started = Fleet::new()
        .entry("everything", json!({"url": remote.mcp()}))
        .unserved()
        .await;
    let direct = server(vec![remote.mcp()], "");
    let over_http = server(vec![mux.url()], PREFIX);
    let over_stdio = server(started.command_line(), PREFIX);

    let mut things = Vec::new();
    for (method, key, name) in [
        ("tools/list", "tools", "name"),
        ("prompts/list", "prompts", "name"),
        ("resources/list", "resources", "uri"),
        (
            "resources/templates/list",
            "resourceTemplates",
            "uriTemplate",
        ),
    ] {
        let own = direct.list(method, key).await;
        assert!(!own.is_empty(), "{method}");
        for server in [&over_http, &over_stdio] {
            assert!(lists(server, method, key, &own).await, "{method}");
        }
        things.extend(own.iter().map(|entry| {
            let name = entry[name].as_str().expect("a name");
            match key {
                "tools" => Thing::Tool(name.to_owned()),
                "prompts" => Thing::Prompt(name.to_owned()),
                _ => Thing::Resource(name.replace("{resourceId}", "7")),
            }
        }));
    }
    let compared = stream::iter(&things).map(async |thing| {
        let of = async |server| {
            let (name, outcome) = thing.of(server).await;
            steady(&name, outcome)
        };
        let (name, own) = thing.of(&direct).await;
        let own = steady(&name, own);
        for server in [&over_http, &over_stdio] {
            assert_eq!(of(server).await, own, "{name} of {:?}", server.target);
        }
    });
    compared.buffer_unordered(AT_ONCE).collect::<()>().await;
}
