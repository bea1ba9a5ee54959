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

    /// What has been read before: `text`, and its members, slices of it.
    pub(super) fn of(text: &'a str, members: Vec<Member<'a>>) -> Self {
        Self { text, members }
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

pub(super) fn key_is(raw_key: &str, key: &str) -> bool {
    // Escapes only make it longer.
    raw_key.len() >= key.len() + 2 && unquote(raw_key) == key
}

/// An object and, one level further, the objects under some of its keys, read in one go.
pub(super) struct Nested<'a> {
    /// The members of the object itself.
    pub(super) members: Vec<Member<'a>>,
    /// The last of those that were looked into: which one, and its members.
    pub(super) inner: Option<(usize, Vec<Member<'a>>)>,
}

impl<'a> Nested<'a> {
    /// Reads `text`, which must be one object, with objects under all keys of which
    /// `opens` holds.
    pub(super) fn read(text: &'a str, opens: fn(&str) -> bool) -> serde_json::Result<Self> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let nested = reader.deserialize_map(Opening { text, opens })?;
        reader.end()?;
        Ok(nested)
    }
}

/// Reads the members of an object, and opens some.
struct Opening<'a> {
    text: &'a str,
    opens: fn(&str) -> bool,
}

impl<'de> Visitor<'de> for Opening<'de> {
    type Value = Nested<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut members = Vec::with_capacity(4);
        let mut inner = None;
        while let Some(key) = map.next_key::<&RawValue>()? {
            let raw_key = key.get();
            let value = if (self.opens)(&unquote(raw_key)) {
                let Members(opened) = map.next_value()?;
                let value = whole(self.text, raw_key, opened.last())
                    .ok_or_else(|| serde::de::Error::custom("an object that has no end"))?;
                inner = Some((members.len(), opened));
                value
            } else {
                map.next_value::<&RawValue>()?.get()
            };
            members.push(Member { raw_key, value });
        }
        Ok(Nested { members, inner })
    }
}

/// The value of `key` in the beginning of an object, where it stands once, and before
/// `last`.
pub(super) fn leading_value<'a>(
    text: &'a str,
    key: &'static str,
    last: &'static str,
) -> Option<&'a str> {
    let mut found = None;
    let leading = Leading {
        key,
        last,
        found: &mut found,
    };
    // Whoever leaves in the middle is told that there is more.
    let _ = serde_json::Deserializer::from_str(text).deserialize_map(leading);
    found
}

struct Leading<'a, 'f> {
    key: &'static str,
    last: &'static str,
    found: &'f mut Option<&'a str>,
}

impl<'de> Visitor<'de> for Leading<'de, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let mut values = Vec::new();
        while let Some(key) = map.next_key::<&RawValue>()? {
            let key = unquote(key.get());
            if key == self.last {
                *self.found = match values.as_slice() {
                    [only] => Some(*only),
                    _ => None,
                };
                break;
            }
            let value = map.next_value::<&RawValue>()?.get();
            if key == self.key {
                values.push(value);
            }
        }
        Ok(())
    }
}

/// The object that stands after this key, up to its end after this last member.
fn whole<'a>(text: &'a str, raw_key: &str, last: Option<&Member<'_>>) -> Option<&'a str> {
    let opens = range_in(text, raw_key).end;
    let opens = opens + text.get(opens..)?.find('{')?;
    let inside = last.map_or(opens + 1, |last| range_in(text, last.value).end);
    let closes = inside + text.get(inside..)?.find('}')?;
    text.get(opens..=closes)
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
    fn an_object_in_an_object_is_read_in_the_same_go() {
        for inner in ["{}", " { } ", r#"{"x":{"y":"}"} , "z":[1] }"#] {
            let text = format!(r#"{{"a":"{{", "b" : {inner} ,"c":1}}"#);
            let nested = Nested::read(&text, |key| key == "b").unwrap();
            let (at, members) = nested.inner.unwrap();
            assert_eq!((at, nested.members.len()), (1, 3));
            assert_eq!(nested.members[1].value, inner.trim());
            let read = Object::read(inner).unwrap();
            let values = |members: &[Member<'_>]| -> Vec<String> {
                members
                    .iter()
                    .map(|it| format!("{}:{}", it.raw_key, it.value))
                    .collect()
            };
            assert_eq!(values(&members), values(read.members()));
        }
        assert!(Nested::read(r#"{"b":1}"#, |key| key == "b").is_err());
        assert!(Nested::read(r#"{"b":{}} {"#, |key| key == "b").is_err());
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
