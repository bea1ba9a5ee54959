//! The few messages of MCP that are exchanged here, found and made with the least work.
//!
//! The child and the bare proxy must cost next to nothing, or what they are compared
//! with would look cheap. So nothing is parsed: every message here is one of ours or
//! the multiplexer's, and both put the envelope's `id` before anything called so.

use bytes::Bytes;
use memchr::memmem;
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
    /// The version a request of this era names in its header.
    pub fn version(self) -> &'static str {
        match self {
            Self::Legacy => LEGACY_VERSION,
            Self::Modern => MODERN_VERSION,
        }
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

/// The name of the tool whose result holds this many bytes of text.
pub fn tool(bytes: usize) -> String {
    format!("text_{bytes}")
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
    /// Those of a child with one tool for each of these lengths.
    pub fn new(era: Era, lengths: &[usize]) -> Self {
        let about = json!({"name": "benches-child", "version": "0"});
        let capabilities = json!({"tools": {}});
        let tools: Vec<_> = lengths
            .iter()
            .map(|&length| {
                json!({
                    "name": tool(length),
                    "description": "Gives a text of a known length.",
                    "inputSchema": {"type": "object"},
                })
            })
            .collect();
        let calls = lengths.iter().map(|&length| {
            let text = json!({"content": [{"type": "text", "text": text(length)}]});
            (format!("\"{}\"", tool(length)), complete(era, text))
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
