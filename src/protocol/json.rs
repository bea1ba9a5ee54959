//! Reading one level of a JSON object without decoding what is inside.
//!
//! A member's value stays the slice of text it was; nothing below it is looked
//! at, so numbers of any size, odd escapes and unknown fields pass through.

use std::{borrow::Cow, fmt, ops::Range};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// One member of an object, as text.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The key with its quotes and escapes.
    pub raw_key: &'a str,
    /// The value, exactly as it stands.
    pub value: &'a str,
}

impl<'a> Member<'a> {
    /// The key with its escapes undone.
    pub fn key(&self) -> Cow<'a, str> {
        unquote(self.raw_key)
    }
}

/// The members of one object, in order.
#[derive(Debug)]
pub struct Object<'a> {
    text: &'a str,
    members: Vec<Member<'a>>,
}

impl<'a> Object<'a> {
    /// Reads `text`, which must be one JSON object and nothing else.
    pub fn read(text: &'a str) -> serde_json::Result<Self> {
        let Members(members) = serde_json::from_str(text)?;
        Ok(Self { text, members })
    }

    /// The members, in the order in which they stand.
    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    /// The value of `key`; of the first one if the key stands twice.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.members
            .iter()
            .find(|m| key_is(m.raw_key, key))
            .map(|m| m.value)
    }

    /// Whether `key` stands more than once, escapes undone: two readers could
    /// then see two different values.
    pub fn is_doubled(&self, key: &str) -> bool {
        self.members
            .iter()
            .filter(|m| key_is(m.raw_key, key))
            .nth(1)
            .is_some()
    }

    /// Where `part`, a slice of this object's text, stands in it.
    pub fn range_of(&self, part: &str) -> Range<usize> {
        range_in(self.text, part)
    }

    /// The object with only those members that `keep` says, each as it stood.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) -> String {
        let mut out = String::with_capacity(self.text.len());
        out.push('{');
        for member in self.members.iter().filter(|m| keep(&m.key())) {
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(member.raw_key);
            out.push(':');
            out.push_str(member.value);
        }
        out.push('}');
        out
    }
}

/// Where `part`, a slice of `whole`, stands in it.
pub(crate) fn range_in(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

/// A JSON string without its quotes, escapes undone. A lone surrogate, which no
/// Rust string can hold, leaves the text as it stands.
pub(crate) fn unquote(raw: &str) -> Cow<'_, str> {
    let inner = raw
        .strip_prefix('"')
        .and_then(|r| r.strip_suffix('"'))
        .unwrap_or(raw);
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    match serde_json::from_str(raw) {
        Ok(text) => Cow::Owned(text),
        Err(_) => Cow::Borrowed(inner),
    }
}

/// `text` as a JSON string, quotes included.
pub fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Whether a value is a JSON string.
pub(crate) fn is_string(raw: &str) -> bool {
    raw.starts_with('"')
}

/// Whether a value is a JSON object.
pub(crate) fn is_object(raw: &str) -> bool {
    raw.starts_with('{')
}

fn key_is(raw_key: &str, key: &str) -> bool {
    unquote(raw_key) == key
}

struct Members<'a>(Vec<Member<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::with_capacity(4);
                while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
                    members.push(Member {
                        raw_key: key.get(),
                        value: value.get(),
                    });
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_the_text_they_were() {
        let text = r#" { "a" : 1e400 , "b":12345678901234567890123,"c": [ 1.10 , "\ud800" ] } "#;
        let object = Object::read(text).unwrap();
        let values: Vec<_> = object.members().iter().map(|m| m.value).collect();
        assert_eq!(
            values,
            ["1e400", "12345678901234567890123", r#"[ 1.10 , "\ud800" ]"#]
        );
        assert_eq!(&text[object.range_of(values[0])], "1e400");
    }

    #[test]
    fn a_key_spelled_with_escapes_is_the_same_key() {
        let object = Object::read(r#"{"name":1,"n\u0061me":2}"#).unwrap();
        assert!(object.is_doubled("name"));
        assert_eq!(object.get("name"), Some("1"));
    }

    #[test]
    fn what_is_kept_stays_as_it_stood() {
        let object = Object::read(r#"{"a": 1.0, "b" :{"x":  2}, "c":3}"#).unwrap();
        assert_eq!(object.retain(|key| key != "a"), r#"{"b":{"x":  2},"c":3}"#);
        assert_eq!(object.retain(|_| false), "{}");
    }

    #[test]
    fn deep_nesting_does_not_overflow() {
        let text = format!(r#"{{"a":{}1{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
        assert!(Object::read(&text).is_ok());
    }

    #[test]
    fn anything_but_an_object_is_refused() {
        for text in ["[]", "1", "", "{", r#"{"a":}"#, "{} {}"] {
            assert!(Object::read(text).is_err(), "{text}");
        }
    }
}
