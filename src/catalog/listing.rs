//! What one child said it offers, as it said it.

use std::ops::Range;

use bytes::Bytes;
use thiserror::Error;

use super::Filter;
use crate::protocol::{
    Frame, Kind, OwnName,
    json::{self, Object, quote},
};

/// One tool, as its child describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tool {
    /// The child's own name for it.
    pub own: OwnName,
    /// Whether a call may be sent twice: `annotations.readOnlyHint` or
    /// `annotations.idempotentHint`.
    pub repeatable: bool,
    json: Bytes,
    name_at: Range<usize>,
}

/// Everything one child offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the child's order.
    pub tools: Vec<Tool>,
}

/// One answered page of `tools/list`.
#[derive(Debug)]
pub struct Page {
    /// The tools on it, in order.
    pub tools: Vec<Tool>,
    /// Entries that are no tools: not an object, or without a `name`.
    pub unusable: usize,
    /// Where the next page starts (JSON text), if there is one.
    pub next_cursor: Option<String>,
}

/// Why an answer is no page.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ListingError {
    /// The child has no such method: it offers none.
    #[error("the child does not offer tools")]
    NotOffered,
    /// The child answered with an error.
    #[error("tools/list failed: {0}")]
    Refused(String),
    /// The result holds no list.
    #[error("the answer to tools/list holds no \"tools\"")]
    NoList,
}

impl Page {
    /// Reads an answer to `tools/list`.
    ///
    /// # Errors
    ///
    /// See [`ListingError`].
    pub fn read(answer: &Frame) -> Result<Self, ListingError> {
        let body = answer.body_object().ok_or(ListingError::NoList)?;
        if answer.kind() == Kind::Error {
            return Err(match body.get("code") {
                Some("-32601") => ListingError::NotOffered,
                _ => ListingError::Refused(
                    json::unquote(body.get("message").unwrap_or("no message")).into_owned(),
                ),
            });
        }
        let raw = body.get("tools").ok_or(ListingError::NoList)?;
        let entries: Vec<&serde_json::value::RawValue> =
            serde_json::from_str(raw).map_err(|_| ListingError::NoList)?;
        let tools: Vec<Tool> = entries
            .iter()
            .filter_map(|entry| Tool::read(answer, entry.get()))
            .collect();
        Ok(Self {
            unusable: entries.len() - tools.len(),
            tools,
            next_cursor: body
                .get("nextCursor")
                .filter(|cursor| *cursor != "null")
                .map(str::to_owned),
        })
    }
}

impl Tool {
    fn read(answer: &Frame, entry: &str) -> Option<Self> {
        let object = Object::read(entry).ok()?;
        let name = object.get("name").filter(|raw| json::is_string(raw))?;
        let hint = |key| {
            object
                .get("annotations")
                .and_then(|raw| Object::read(raw).ok())
                .is_some_and(|annotations| annotations.get(key) == Some("true"))
        };
        Some(Self {
            own: json::unquote(name).into_owned().into(),
            repeatable: hint("readOnlyHint") || hint("idempotentHint"),
            name_at: object.range_of(name),
            // A copy: a slice would keep the whole page alive.
            json: Bytes::copy_from_slice(&answer.bytes()[answer.range_of(entry)]),
        })
    }

    /// The tool's JSON under another name, every other byte as the child gave it.
    pub(super) fn write_as(&self, name: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.json[..self.name_at.start]);
        out.extend_from_slice(quote(name).as_bytes());
        out.extend_from_slice(&self.json[self.name_at.end..]);
    }

    /// How many bytes it takes in a list.
    pub fn size(&self) -> usize {
        self.json.len()
    }
}

impl Listing {
    /// The listing without the tools that `filter` holds back.
    pub fn filtered(mut self, filter: &Filter) -> Self {
        self.tools.retain(|tool| filter.allows(tool.own.as_str()));
        self
    }

    /// How many bytes its tools take in a list.
    pub fn tools_size(&self) -> usize {
        self.tools.iter().map(Tool::size).sum()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::catalog) fn page(tools: &str) -> Page {
        let frame = Frame::made(format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":{tools},"nextCursor":"p2"}}}}"#
        ));
        Page::read(&frame).unwrap()
    }

    #[test]
    fn a_tool_keeps_every_byte_but_its_name() {
        let page = page(r#"[ {"x-new" : 1.10, "name":"a", "_meta":{"n":1e400}} ]"#);
        let mut out = Vec::new();
        page.tools[0].write_as("p__a", &mut out);
        assert_eq!(
            out,
            br#"{"x-new" : 1.10, "name":"p__a", "_meta":{"n":1e400}}"#
        );
        assert_eq!(page.next_cursor.as_deref(), Some("\"p2\""));
    }

    #[test]
    fn entries_that_are_no_tools_are_counted_and_left_out() {
        let page = page(r#"[1, {"title":"no name"}, {"name":5}, {"name":"good"}]"#);
        assert_eq!((page.tools.len(), page.unusable), (1, 3));
    }

    #[test]
    fn a_tool_that_only_reads_may_be_called_twice() {
        let page = page(
            r#"[{"name":"a","annotations":{"readOnlyHint":true}},{"name":"b","annotations":{"readOnlyHint":false}},{"name":"c"}]"#,
        );
        let repeatable: Vec<_> = page.tools.iter().map(|t| t.repeatable).collect();
        assert_eq!(repeatable, [true, false, false]);
    }

    #[test]
    fn a_child_without_the_method_offers_nothing() {
        let answer = |body: &str| Frame::made(format!(r#"{{"jsonrpc":"2.0","id":1,{body}}}"#));
        assert_eq!(
            Page::read(&answer(r#""error":{"code":-32601,"message":"?"}"#)).unwrap_err(),
            ListingError::NotOffered
        );
        assert_eq!(
            Page::read(&answer(r#""error":{"code":-32603,"message":"boom"}"#)).unwrap_err(),
            ListingError::Refused("boom".into())
        );
        assert_eq!(
            Page::read(&answer(r#""result":{}"#)).unwrap_err(),
            ListingError::NoList
        );
    }
}
