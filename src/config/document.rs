//! JSON as it stands in the file: objects keep their order and their doubled keys.
//!
//! `serde_json::Value` sorts keys and lets the last of two equal ones win. Here
//! the order of entries decides who owns a prefix, and a doubled key is a
//! mistake that must be seen.

use std::{collections::HashSet, fmt, path::Path};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;

use super::error::ConfigError;

/// One JSON value. It has no `Debug`: a file holds secrets.
#[derive(Clone)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    List(Vec<Node>),
    Object(Pairs),
}

/// The members of an object in file order, doubled keys included.
pub(super) type Pairs = Vec<(String, Node)>;

impl Node {
    /// The kind of value, with its article; never the value.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::Null => "null",
            Node::Bool(_) => "a boolean",
            Node::Number(_) => "a number",
            Node::String(_) => "a string",
            Node::List(_) => "a list",
            Node::Object(_) => "an object",
        }
    }
}

/// The first key that stands a second time.
pub(super) fn repeated(pairs: &[(String, Node)]) -> Option<&str> {
    let mut seen = HashSet::with_capacity(pairs.len());
    pairs
        .iter()
        .map(|(key, _)| key.as_str())
        .find(|key| !seen.insert(*key))
}

/// The text in a file's bytes, without a byte order mark.
pub(super) fn decode<'a>(path: &Path, bytes: &'a [u8]) -> Result<&'a str, ConfigError> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line_start = before.iter().rposition(|byte| *byte == b'\n');
        ConfigError::NotJson {
            path: path.to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: before.len() - line_start.map_or(0, |at| at + 1) + 1,
            reason: "the file is not UTF-8 text".into(),
        }
    })
}

/// Parses one document; an error tells the position and never the content.
pub(super) fn parse(path: &Path, text: &str) -> Result<Node, ConfigError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|error| ConfigError::NotJson {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
        reason: reason(&error),
    })
}

/// The parser's own words without the position, which is told beside them.
fn reason(error: &serde_json::Error) -> String {
    // Messages of the data category quote what was found.
    if error.is_data() {
        return "unexpected value".into();
    }
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((reason, _)) => reason.to_owned(),
        None => text,
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Number::from_f64(value).map_or(Node::Null, Node::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = members.next_entry()? {
            pairs.push(pair);
        }
        Ok(Node::Object(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(text: &str) -> String {
        match parse(Path::new("c.json"), text) {
            Ok(_) => panic!("it should not parse"),
            Err(error) => error.to_string(),
        }
    }

    fn pairs(text: &str) -> Pairs {
        match parse(Path::new("c.json"), text) {
            Ok(Node::Object(pairs)) => pairs,
            _ => panic!("an object was expected"),
        }
    }

    #[test]
    fn objects_keep_the_order_of_the_file() {
        let pairs = pairs(r#"{"z": 1, "a": [true, null, -2, 1.5, "s"], "m": {}}"#);
        let keys: Vec<_> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["z", "a", "m"]);
        assert_eq!(pairs[1].1.kind(), "a list");
    }

    #[test]
    fn a_doubled_key_is_seen_even_when_it_is_escaped() {
        assert_eq!(
            repeated(&pairs(r#"{"a": 1, "b": 2, "\u0061": 3}"#)),
            Some("a")
        );
        assert_eq!(repeated(&pairs(r#"{"a": 1, "A": 2}"#)), None);
    }

    #[test]
    fn a_syntax_error_tells_line_and_column_and_not_the_content() {
        let text = fails("{\n  \"a\": \"hunter2\",\n  hunter2\n}");
        assert!(text.starts_with("c.json:3:3: not valid JSON: "), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
        assert!(fails("").contains("EOF while parsing"));
        assert!(fails("{} x").contains("trailing characters"));
        assert!(fails("{\"a\": 1e999}").contains("number out of range"));
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert!(pairs("\u{feff}{}").is_empty());
    }

    #[test]
    fn bytes_that_are_not_text_are_located() {
        let error = decode(Path::new("c.json"), b"{\n \"a\": \xff").expect_err("not UTF-8");
        assert!(error.to_string().starts_with("c.json:2:7: "), "{error}");
    }

    #[test]
    fn nesting_without_end_is_an_error_and_not_a_crash() {
        let text = fails(&"[".repeat(1_000_000));
        assert!(text.contains("recursion limit"), "{text}");
    }
}
