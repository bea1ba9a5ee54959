//! Values of several parts: lists, objects whose keys the operator chooses, and
//! whole pieces of JSON that somebody else reads.

use std::collections::HashSet;

use serde_json::Value;

use super::{
    document::{Node, repeated},
    environment::Environment,
    expand::expand,
    reader::{Reader, expand_sentence},
    shown::{pair_name, quoted},
};

/// A string as the file has it, which may be shown, and what it means, which
/// may hold a secret.
pub(super) struct Text<'a> {
    pub(super) raw: &'a str,
    pub(super) expanded: String,
}

impl<'a> Reader<'a> {
    /// A list of strings, variables expanded.
    pub(super) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let texts = self.texts_as_written(key)?;
        Some(texts.into_iter().map(|text| text.expanded).collect())
    }

    /// A list of strings for a reader that will quote them in a sentence.
    pub(super) fn texts_as_written(&mut self, key: &str) -> Option<Vec<Text<'a>>> {
        let field = self.field(key)?;
        self.list(field.written, field.value)
    }

    fn list(&mut self, written: &str, value: &'a Node) -> Option<Vec<Text<'a>>> {
        let Node::List(items) = value else {
            let why = format!("expected a list of strings, found {}", value.kind());
            self.refuse(written, &why);
            return None;
        };
        let texts = items.iter().enumerate().map(|(at, item)| match item {
            Node::String(raw) => {
                let expanded = self.expanded(written, raw)?;
                Some(Text { raw, expanded })
            }
            other => {
                let kind = other.kind();
                let why = format!(
                    "expected a list of strings, found {kind} in place {}",
                    at + 1
                );
                self.refuse(written, &why);
                None
            }
        });
        // All of them first, so that every mistake in the list is seen.
        texts.collect::<Vec<_>>().into_iter().collect()
    }

    /// The members of an object whose keys the operator chooses, doubles included.
    pub(super) fn members(&mut self, key: &str) -> Option<&'a [(String, Node)]> {
        let field = self.field(key)?;
        let Node::Object(members) = field.value else {
            self.expected(field, "an object");
            return None;
        };
        Some(members)
    }

    /// An object of lists of strings, in file order.
    pub(super) fn lists(&mut self, key: &str) -> Option<Vec<(&'a str, Vec<Text<'a>>)>> {
        let written = self.field(key)?.written;
        let members = self.members(key)?;
        if let Some(name) = repeated(members) {
            let why = format!("the key {} stands twice in it", quoted(name));
            self.refuse(written, &why);
        }
        let lists = members.iter().map(|(name, value)| {
            let written = format!("{written}.{}", name.escape_debug());
            Some((name.as_str(), self.list(&written, value)?))
        });
        lists.collect::<Vec<_>>().into_iter().collect()
    }

    /// An object of strings in file order, variables expanded. Values are
    /// secrets: no sentence shows one.
    pub(super) fn pairs(&mut self, key: &str) -> Option<Vec<(String, String)>> {
        let field = self.field(key)?;
        let Node::Object(members) = field.value else {
            let why = format!(
                "expected an object of strings, found {}",
                field.value.kind()
            );
            self.refuse(field.written, &why);
            return None;
        };
        let mut seen = HashSet::new();
        let pairs = members.iter().map(|(name, value)| {
            let written = format!("{}.{}", field.written, pair_name(name).escape_debug());
            if !seen.insert(name) {
                self.refuse(&written, "the key stands twice");
                return None;
            }
            match value {
                Node::String(raw) => Some((name.clone(), self.expanded(&written, raw)?)),
                other => {
                    let why = format!("expected a string, found {}", other.kind());
                    self.refuse(&written, &why);
                    None
                }
            }
        });
        pairs.collect::<Vec<_>>().into_iter().collect()
    }

    /// Any value, variables expanded, to be read by somebody else.
    pub(super) fn json(&mut self, key: &str) -> Option<Value> {
        let field = self.field(key)?;
        match plain(field.value, self.env) {
            Ok(value) => Some(value),
            Err(why) => {
                self.refuse(field.written, &why);
                None
            }
        }
    }
}

fn plain(node: &Node, env: &dyn Environment) -> Result<Value, String> {
    Ok(match node {
        Node::Null => Value::Null,
        Node::Bool(flag) => Value::Bool(*flag),
        Node::Number(number) => Value::Number(number.clone()),
        Node::String(raw) => {
            Value::String(expand(raw, env).map_err(|error| expand_sentence(&error))?)
        }
        Node::List(items) => items
            .iter()
            .map(|item| plain(item, env))
            .collect::<Result<_, _>>()?,
        Node::Object(pairs) => {
            if let Some(key) = repeated(pairs) {
                return Err(format!("the key {} stands twice in it", quoted(key)));
            }
            let members = pairs
                .iter()
                .map(|(key, value)| Ok((key.clone(), plain(value, env)?)));
            Value::Object(members.collect::<Result<_, String>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::config::reader::testing::read;

    #[test]
    fn every_mistake_of_an_object_of_strings_is_seen_and_no_value() {
        let text = r#"{"other": {"A": 77, "B": "${NONE}", "C": "ok", "C": "hunter2"}}"#;
        let (value, problems, _) = read(text, |r| r.pairs("other"));
        assert_eq!((value, problems.len()), (None, 3));
        assert!(problems[1].contains(r#""other.B": the variable NONE is not set"#));
        assert!(!problems.concat().contains("77") && !problems.concat().contains("hunter2"));
    }

    #[test]
    fn a_stored_value_is_expanded_and_its_doubled_keys_are_refused() {
        let text = r#"{"someKey": {"a": ["${N}", 1.5, null, true]}}"#;
        let (value, _, _) = read(text, |r| r.json("someKey"));
        assert_eq!(
            value,
            Some(serde_json::json!({"a": ["7", 1.5, null, true]}))
        );
        let (_, problems, _) = read(r#"{"other": [{"a": 1, "a": 2}]}"#, |r| r.json("other"));
        assert!(problems[0].contains(r#"the key "a" stands twice"#));
    }
}
