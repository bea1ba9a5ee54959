//! What can be known of a message that is too long to be kept: whose answer it is.

use bytes::Bytes;
use memchr::memmem;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How much is kept of each end. Servers write the id of an answer before the result or
/// after it, and little else.
pub(super) const KEPT: usize = 1024;

/// The first bytes of a message, and the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ends {
    head: Bytes,
    tail: Bytes,
}

/// What a message answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Nothing, or it is no message.
    Nothing,
    /// The request with this id, as it stands.
    One(String),
    /// One request, and its id is not to be seen.
    Unseen,
}

impl Ends {
    /// Those of a message that is kept in two parts, or in one.
    pub(super) fn of(first: &[u8], last: &[u8]) -> Self {
        Self {
            head: Bytes::copy_from_slice(&first[..first.len().min(KEPT)]),
            tail: Bytes::copy_from_slice(&last[last.len().saturating_sub(KEPT)..]),
        }
    }

    /// What the message answers.
    pub fn answers(&self) -> Answers {
        let mut seen = Seen::default();
        // Where the head is cut, reading ends.
        let _ = read(&self.head, &mut seen);
        match (seen.is_answer, seen.id.or_else(|| self.last_id())) {
            (false, _) => Answers::Nothing,
            (true, Some(id)) => Answers::One(id),
            (true, None) => Answers::Unseen,
        }
    }

    /// The id among the members after the result. What stands from a key of the whole
    /// message on becomes a message when it is opened; what stands from one within the
    /// result on is closed once too often.
    fn last_id(&self) -> Option<String> {
        memmem::find_iter(&self.tail, b"\"id\"").find_map(|at| {
            let rest = [b"{", &self.tail[at..]].concat();
            let mut seen = Seen::default();
            read(&rest, &mut seen).ok()?;
            seen.id
        })
    }
}

#[derive(Default)]
struct Seen {
    id: Option<String>,
    is_answer: bool,
}

/// Reads the members of an object, as far as it goes.
fn read(object: &[u8], seen: &mut Seen) -> serde_json::Result<()> {
    let mut source = serde_json::Deserializer::from_slice(object);
    source.deserialize_map(seen)?;
    source.end()
}

impl<'de> Visitor<'de> for &mut Seen {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut id = None;
        while let Some(key) = map.next_key::<String>()? {
            // A number is whole only if something follows.
            self.id = id.take().or(self.id.take());
            match &*key {
                "id" => id = Some(map.next_value::<Box<RawValue>>()?.get().to_owned()),
                key => {
                    self.is_answer |= matches!(key, "result" | "error");
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        self.id = id.or(self.id.take());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(head: &str, tail: &str) -> Answers {
        let filling = "x".repeat(10 * KEPT);
        let whole = format!("{head}{filling}{tail}");
        Ends::of(whole.as_bytes(), whole.as_bytes()).answers()
    }

    #[test]
    fn the_id_is_found_before_the_result_and_after_it() {
        let ours = Answers::One("\"m7\"".to_owned());
        for (head, tail) in [
            (r#"{"jsonrpc":"2.0","id":"m7","result":{"a":[""#, r#""]}}"#),
            (r#"{"result":{"a":""#, r#""},"jsonrpc":"2.0","id":"m7"}"#),
            (
                r#"{ "result" : {"a":""#,
                r#""}, "id" : "m7", "x": {"id":1}}"#,
            ),
            (
                r#"{"id":"m7","jsonrpc":"2.0","error":{"message":""#,
                r#""}}"#,
            ),
        ] {
            assert_eq!(answers(head, tail), ours, "{head} … {tail}");
        }
    }

    #[test]
    fn an_id_within_the_result_is_none() {
        for (head, tail) in [
            (r#"{"result":{"id":1,"a":""#, r#""},"jsonrpc":"2.0"}"#),
            (r#"{"result":{"a":""#, r#"","id":1}}"#),
            (r#"{"result":{"a":""#, r#"\"id\":1}"}}"#),
            (r#"{"result":{"a":""#, r#"","b":"id"}}"#),
        ] {
            assert_eq!(answers(head, tail), Answers::Unseen, "{head} … {tail}");
        }
    }

    #[test]
    fn what_is_no_answer_answers_nothing() {
        for (head, tail) in [
            (r#"{"jsonrpc":"2.0","method":"x","params":{"a":""#, r#""}}"#),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":""#,
                r#""}}"#,
            ),
            (r#"{"method":"x","params":{"a":""#, r#""},"id":1}"#),
            ("Listening", r#","id":1}"#),
            ("", ""),
        ] {
            assert_eq!(answers(head, tail), Answers::Nothing, "{head} … {tail}");
        }
    }

    #[test]
    fn half_a_number_is_no_id() {
        let (before, after) = (r#"{"result":{},"x":""#, r#"","id":12"#);
        let filling = "y".repeat(KEPT - before.len() - after.len());
        assert_eq!(
            answers(&format!("{before}{filling}{after}"), "}"),
            Answers::Unseen
        );
    }
}
