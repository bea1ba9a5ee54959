//! The few messages of MCP that are exchanged here, found and made with the least work.
//!
//! The child and the bare proxy must cost next to nothing, or what they are compared
//! with would look cheap. So nothing is parsed: every message here is one of ours or
//! the multiplexer's, and both put the envelope's `id` before anything called so.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use memchr::memmem;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};

/// What the multiplexer and the bare proxy put before a child's own names.
pub const PREFIX: &str = "child__";
const MODERN_VERSION: &str = "2026-07-28";
const LEGACY_VERSION: &str = "2025-11-25";

/// The two eras of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Era {
    /// `initialize`, and sessions.
    Legacy,
    /// `server/discover`, and requests that say everything themselves.
    Modern,
}

impl Era {
    /// As it stands on a command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }

    /// The version a request of this era names in its header.
    pub fn version(self) -> &'static str {
        match self {
            Self::Legacy => LEGACY_VERSION,
            Self::Modern => MODERN_VERSION,
        }
    }
}

/// What a tool gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Payload {
    /// A text of so many bytes.
    Text(usize),
    /// A structured result of so many rows, and the same as text.
    Rows(usize),
    /// The list of so many tools, which is no tool's result.
    Tools(usize),
}

impl Payload {
    /// The name of the tool that gives it.
    pub fn tool(self) -> String {
        match self {
            Self::Text(bytes) => format!("text_{bytes}"),
            Self::Rows(rows) => format!("rows_{rows}"),
            Self::Tools(_) => "tools/list".to_owned(),
        }
    }

    /// The request for it.
    pub fn request(self, id: u64, era: Era, prefix: &str) -> Bytes {
        match self {
            Self::Tools(_) => list(id, era),
            _ => call(id, era, &format!("{prefix}{}", self.tool())),
        }
    }

    /// What is given.
    pub fn result(self) -> Value {
        match self {
            Self::Text(bytes) => json!({"content": [{"type": "text", "text": text(bytes)}]}),
            Self::Rows(rows) => {
                let rows = json!({"rows": (0..rows).map(row).collect::<Vec<_>>()});
                let text = rows.to_string();
                json!({"content": [{"type": "text", "text": text}], "structuredContent": rows})
            }
            Self::Tools(many) => json!({"tools": fleet(many)}),
        }
    }

    /// The least bytes that an answer with it has.
    pub fn least(self) -> usize {
        match self {
            Self::Text(bytes) => bytes,
            // A row is well above this, and stands there twice.
            Self::Rows(rows) => 200 * rows,
            Self::Tools(many) => 100 * many,
        }
    }

    /// As a person reads it.
    pub fn title(self) -> String {
        match self {
            Self::Text(bytes) if bytes >= 1 << 20 => format!("{} MB", bytes >> 20),
            Self::Text(bytes) if bytes >= 1 << 10 => format!("{} KB", bytes >> 10),
            Self::Text(bytes) => format!("{bytes} B"),
            Self::Rows(rows) => format!("{rows} rows"),
            Self::Tools(many) => format!("a list of {many} tools"),
        }
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(bytes) => write!(f, "{bytes}"),
            Self::Rows(rows) => write!(f, "rows:{rows}"),
            Self::Tools(many) => write!(f, "tools:{many}"),
        }
    }
}

impl FromStr for Payload {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.split_once(':') {
            Some(("rows", rows)) => Self::Rows(rows.parse()?),
            Some(("tools", many)) => Self::Tools(many.parse()?),
            _ => Self::Text(text.parse()?),
        })
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The id of a message as it stands; `None` for a notification.
pub fn id(message: &[u8]) -> Option<&[u8]> {
    let from = memmem::find(message, b"\"id\":")? + 5;
    let length = memchr::memchr2(b',', b'}', &message[from..])?;
    Some(message[from..from + length].trim_ascii())
}

/// Whether a message is a request of this method.
pub fn is(message: &[u8], method: &str) -> bool {
    // Methods stand at the beginning; a body may be long.
    memmem::find(&message[..message.len().min(200)], method.as_bytes()).is_some()
}

/// The message with the prefix taken from its tool's name.
pub fn without_prefix(message: Bytes) -> Bytes {
    let Some(at) = memmem::find(&message, PREFIX.as_bytes()) else {
        return message;
    };
    let mut out = Vec::with_capacity(message.len());
    out.extend_from_slice(&message[..at]);
    out.extend_from_slice(&message[at + PREFIX.len()..]);
    out.into()
}

/// The answer to `id`, with a result that is ready.
pub fn answer(id: &[u8], result: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(result.len() + id.len() + 40);
    out.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    out.extend_from_slice(id);
    out.extend_from_slice(br#","result":"#);
    out.extend_from_slice(result);
    out.push(b'}');
    out.into()
}

/// A call of a tool.
pub fn call(id: u64, era: Era, tool: &str) -> Bytes {
    let meta = match era {
        Era::Legacy => String::new(),
        Era::Modern => format!(r#","_meta":{}"#, modern_meta()),
    };
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{"query":"what does it cost","limit":20}}{meta}}}}}"#
    )
    .into()
}

/// A request for the list of tools.
fn list(id: u64, era: Era) -> Bytes {
    let meta = match era {
        Era::Legacy => String::new(),
        Era::Modern => format!(r#","params":{{"_meta":{}}}"#, modern_meta()),
    };
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/list"{meta}}}"#).into()
}

/// The beginning of a legacy session.
pub fn initialize() -> Bytes {
    json!({
        "jsonrpc": "2.0", "id": 0, "method": "initialize",
        "params": {
            "protocolVersion": LEGACY_VERSION,
            "capabilities": {},
            "clientInfo": {"name": "benches", "version": "0"},
        },
    })
    .to_string()
    .into()
}

/// The result of `initialize` in the version that it asks for: some know none so new.
pub fn in_version_of(asked: &[u8], result: &Bytes) -> Bytes {
    const KEY: &[u8] = br#""protocolVersion":""#;
    let version = |text: &[u8]| {
        let from = memmem::find(text, KEY)? + KEY.len();
        let length = memchr::memchr(b'"', &text[from..])?;
        Some(from..from + length)
    };
    match (version(asked), version(result)) {
        (Some(wanted), Some(at)) => [&result[..at.start], &asked[wanted], &result[at.end..]]
            .concat()
            .into(),
        _ => result.clone(),
    }
}

/// The other half of that beginning.
pub fn initialized() -> Bytes {
    Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
}

/// The results of a child, ready to be sent.
#[derive(Debug)]
pub struct Results {
    pub initialize: Bytes,
    pub discover: Bytes,
    pub tools: Bytes,
    /// By the tool's name in quotes.
    pub calls: Vec<(String, Bytes)>,
}

impl Results {
    /// Those of a child with one tool for each of these payloads.
    pub fn new(era: Era, payloads: &[Payload]) -> Self {
        let about = json!({"name": "benches-child", "version": "0"});
        let capabilities = json!({"tools": {}});
        let tools: Vec<_> = payloads.iter().flat_map(|it| described(*it)).collect();
        let given = payloads
            .iter()
            .filter(|it| !matches!(it, Payload::Tools(_)));
        let calls = given.map(|payload| {
            let name = format!("\"{}\"", payload.tool());
            (name, complete(era, payload.result()))
        });
        Self {
            initialize: Bytes::from(
                json!({
                    "protocolVersion": LEGACY_VERSION,
                    "capabilities": capabilities,
                    "serverInfo": about,
                })
                .to_string(),
            ),
            discover: complete(
                era,
                json!({
                    "supportedVersions": [MODERN_VERSION],
                    "capabilities": capabilities,
                    "ttlMs": 60_000, "cacheScope": "public",
                    "_meta": {"io.modelcontextprotocol/serverInfo": about},
                }),
            ),
            tools: complete(
                era,
                json!({"tools": tools, "ttlMs": 60_000, "cacheScope": "public"}),
            ),
            calls: calls.collect(),
        }
    }
}

/// The tool that gives it as its child lists it.
fn described(payload: Payload) -> Vec<Value> {
    if let Payload::Tools(many) = payload {
        return fleet(many);
    }
    let mut tool = json!({
        "name": payload.tool(),
        "description": "Gives a result that is known beforehand.",
        "inputSchema": {"type": "object"},
    });
    if let Payload::Rows(_) = payload {
        tool["outputSchema"] = json!({"type": "object"});
    }
    vec![tool]
}

/// So many tools as real servers describe theirs, under names of their own.
fn fleet(many: usize) -> Vec<Value> {
    let fleet = include_str!("../../tests/data/fleet57.json");
    let fleet: Vec<Value> = serde_json::from_str(fleet).unwrap_or_default();
    let tools = fleet.iter().flat_map(|child| child["tools"].as_array());
    let tools: Vec<_> = tools.flatten().collect();
    let named = tools.iter().cycle().take(many).enumerate();
    let named = named.map(|(number, &tool)| {
        let mut tool = tool.clone();
        tool["name"] = format!("tool_{number}").into();
        tool
    });
    named.collect()
}

fn complete(era: Era, mut result: Value) -> Bytes {
    if era == Era::Modern {
        result["resultType"] = "complete".into();
    }
    result.to_string().into()
}

fn modern_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
        "io.modelcontextprotocol/clientInfo": {"name": "benches", "version": "0"},
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// Lines of words: a scanner of JSON meets an escape now and then, as in real texts.
fn text(length: usize) -> String {
    let line = "the quick brown fox jumps over the lazy dog and says \"hello\" to it\n";
    line.chars().cycle().take(length).collect()
}

/// One of many, as a database would give it.
fn row(number: usize) -> Value {
    json!({
        "id": number,
        "name": format!("customer {number}"),
        "email": format!("customer.{number}@example.com"),
        "balance": number as f64 * 1.25,
        "active": number.is_multiple_of(3),
        "tags": ["north", "retail"],
        "note": null,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_found_and_the_prefix_taken_away() {
        let sent = call(17, Era::Modern, "child__text_64");
        assert_eq!(id(&sent), Some(&b"17"[..]));
        assert_eq!(without_prefix(sent), call(17, Era::Modern, "text_64"));
        assert_eq!(id(b"{\"method\":\"notifications/initialized\"}"), None);
    }
}
