//! A client's entry in our words.

use std::{path::Path, sync::LazyLock};

use regex::{Captures, Regex};
use serde_json::{Map, Value};

use super::sources::Found;
use crate::cli::clients::{Client, OUR_NAME};

/// An entry of ours, and what its user should know of it.
#[derive(Debug, Default)]
pub(super) struct Translated {
    /// In the order in which they are to stand.
    pub(super) members: Vec<(&'static str, Value)>,
    pub(super) notes: Vec<String>,
}

/// Keys that concern how a client treats a server, and nobody else.
const OF_CLIENTS: &[&str] = &[
    "trust",
    "alwaysAllow",
    "autoApprove",
    "description",
    "gallery",
    "version",
    "dev",
    "enabled",
    "icon",
];

/// `None`: it is ourselves.
pub(super) fn translated(found: &Found) -> Option<Translated> {
    let entry = &found.entry;
    let command = entry.get("command").and_then(Value::as_str);
    if found.name == OUR_NAME || command.is_some_and(is_us) {
        return None;
    }
    let mut it = Translated::default();
    let mut rest = entry.clone();
    let mut take = |key: &str| rest.remove(key).filter(|value| !value.is_null());
    let (url, kind) = address(found.client, &mut take);
    let values = [
        ("command", take("command")),
        ("args", take("args")),
        ("env", take("env").map(as_texts)),
        ("cwd", take("cwd")),
        ("url", url),
        ("type", kind),
        ("headers", take("headers").map(as_texts)),
        ("enabledTools", take("includeTools")),
        (
            "disabledTools",
            take("excludeTools").or(take("disabledTools")),
        ),
        (
            "disabled",
            take("disabled").filter(|off| *off == Value::Bool(true)),
        ),
    ];
    for (key, value) in values {
        let Some(mut value) = value else { continue };
        // An empty list says nothing.
        if value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(Map::is_empty)
        {
            continue;
        }
        respell(found.client, &mut value, &mut it.notes);
        it.members.push((key, value));
    }
    if found.client == Client::Gemini
        && let Some(ms) = take("timeout")
    {
        it.members.push(("callTimeout", format!("{ms}ms").into()));
    }
    if rest.remove("enabled") == Some(Value::Bool(false)) && !it.has("disabled") {
        it.members.push(("disabled", true.into()));
    }
    let lost = rest
        .keys()
        .filter(|key| !OF_CLIENTS.contains(&key.as_str()));
    let lost: Vec<_> = lost.map(String::as_str).collect();
    if !lost.is_empty() {
        it.notes.push(format!("left out: {}", lost.join(", ")));
    }
    if !it.has("command") && !it.has("url") {
        it.notes.push("it has no command and no URL".to_owned());
    }
    Some(it)
}

impl Translated {
    fn has(&self, key: &str) -> bool {
        self.members.iter().any(|(known, _)| *known == key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        let member = self.members.iter().find(|(known, _)| *known == key);
        member.map(|(_, value)| value)
    }
}

fn is_us(command: &str) -> bool {
    let name = Path::new(command)
        .file_name()
        .and_then(|name| name.to_str());
    let me = std::env::current_exe().ok();
    name == Some(OUR_NAME) || me.is_some_and(|me| Path::new(command) == me)
}

/// Where it is, and by what transport.
fn address(
    client: Client,
    take: &mut impl FnMut(&str) -> Option<Value>,
) -> (Option<Value>, Option<Value>) {
    let named = take("type").or(take("transport"));
    let known = ["stdio", "http", "streamable-http", "streamableHttp", "sse"];
    let named = named.filter(|kind| kind.as_str().is_some_and(|kind| known.contains(&kind)));
    if let Some(url) = take("httpUrl") {
        return (Some(url), Some("http".into()));
    }
    let url = take("url").or(take("serverUrl"));
    match (&url, named) {
        // Of Gemini's two keys this is the one for the older transport.
        (Some(_), None) if client == Client::Gemini => (url, Some("sse".into())),
        // It goes without saying.
        (None, Some(_)) => (None, None),
        (_, named) => (url, named),
    }
}

/// Clients take numbers and switches as texts; we want texts.
fn as_texts(mut value: Value) -> Value {
    for member in value.as_object_mut().into_iter().flat_map(Map::values_mut) {
        if matches!(member, Value::Number(_) | Value::Bool(_)) {
            *member = member.to_string().into();
        }
    }
    value
}

static EDITORS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\$\{(?:(env|input|config):)?([A-Za-z_][A-Za-z0-9_.-]*)\}").ok());
static BARE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\$([A-Za-z_][A-Za-z0-9_]*)").ok());

/// Spells variables as we read them: `${env:X}`, `${input:x}`, and Gemini's `$X`.
fn respell(client: Client, value: &mut Value, notes: &mut Vec<String>) {
    match value {
        Value::String(text) => *text = respelt(client, text, notes),
        Value::Array(items) => items
            .iter_mut()
            .for_each(|item| respell(client, item, notes)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|it| respell(client, it, notes)),
        _ => {}
    }
}

fn respelt(client: Client, text: &str, notes: &mut Vec<String>) -> String {
    let mut note = |told: String| {
        if !notes.contains(&told) {
            notes.push(told);
        }
    };
    let Some(editors) = EDITORS.as_ref() else {
        return text.to_owned();
    };
    let text = editors.replace_all(text, |found: &Captures<'_>| {
        let name = &found[2];
        match found.get(1).map(|kind| kind.as_str()) {
            Some("env") => format!("${{{name}}}"),
            Some("input") => {
                let variable = variable(name);
                note(format!("asks for {name:?}: set {variable}"));
                format!("${{{variable}}}")
            }
            _ if name == "userHome" => "${HOME}".to_owned(),
            _ if name.starts_with("workspaceFolder") || found.get(1).is_some() => {
                note(format!("{} is its editor's: replace it", &found[0]));
                found[0].to_owned()
            }
            _ => found[0].to_owned(),
        }
    });
    match BARE.as_ref().filter(|_| client == Client::Gemini) {
        Some(bare) => bare.replace_all(&text, "$${$1}").into_owned(),
        None => text.into_owned(),
    }
}

/// A name as variables have them.
pub(super) fn variable(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric());
    let words: Vec<_> = words.filter(|word| !word.is_empty()).collect();
    let name = words.join("_").to_ascii_uppercase();
    match name.chars().next() {
        Some(first) if !first.is_ascii_digit() => name,
        _ => format!("_{name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(client: Client, entry: Value) -> (Value, Vec<String>) {
        let Value::Object(entry) = entry else {
            panic!("an object")
        };
        let found = Found {
            client,
            project: None,
            name: "it".to_owned(),
            entry,
        };
        let it = translated(&found).expect("not us");
        let members = it
            .members
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        (Value::Object(members.collect()), it.notes)
    }

    #[test]
    fn each_clients_words_become_ours() {
        let cases = [
            (
                Client::Gemini,
                json!({"httpUrl": "https://h/mcp", "timeout": 5000, "trust": true, "includeTools": ["a"]}),
                json!({"url": "https://h/mcp", "type": "http", "callTimeout": "5000ms", "enabledTools": ["a"]}),
            ),
            (
                Client::Gemini,
                json!({"url": "https://h/x", "headers": {"X": "$KEY"}}),
                json!({"url": "https://h/x", "type": "sse", "headers": {"X": "${KEY}"}}),
            ),
            (
                Client::Windsurf,
                json!({"serverUrl": "https://h/mcp", "disabled": false, "disabledTools": []}),
                json!({"url": "https://h/mcp"}),
            ),
            (
                Client::Cursor,
                json!({"command": "x", "args": ["${userHome}/a", "${env:B}"], "env": {"N": 1, "ON": true}}),
                json!({"command": "x", "args": ["${HOME}/a", "${B}"], "env": {"N": "1", "ON": "true"}}),
            ),
            (
                Client::ClaudeCode,
                json!({"type": "stdio", "command": "x", "args": [], "env": {}}),
                json!({"command": "x"}),
            ),
        ];
        for (client, theirs, ours) in cases {
            assert_eq!(of(client, theirs), (ours, vec![]), "{client}");
        }
    }

    #[test]
    fn what_cannot_be_taken_over_is_said() {
        let (entry, notes) = of(
            Client::Vscode,
            json!({"command": "x", "args": ["${workspaceFolder}"], "env": {"K": "${input:api-key}"}, "envFile": "f"}),
        );
        assert_eq!(entry["env"]["K"], "${API_KEY}");
        let notes = notes.join("\n");
        for part in ["set API_KEY", "workspaceFolder", "envFile"] {
            assert!(notes.contains(part), "{notes}");
        }
    }
}
