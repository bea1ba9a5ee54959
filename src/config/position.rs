//! Where a key stands in the file: line and column.
//!
//! Problems are told in sentences that name the key. Only who looks for it in an editor
//! needs its line, and so the text is read a second time for that, with positions.

use jsonc_parser::{
    ParseOptions,
    ast::{Object, Value},
    common::Ranged,
    parse_to_ast,
};

/// A line and a column, both from 1.
pub(super) type Position = (usize, usize);

/// The file's text, with positions.
pub(super) struct Map<'a> {
    text: &'a str,
    root: Option<Value<'a>>,
}

impl<'a> Map<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let parsed = parse_to_ast(text, &Default::default(), &ParseOptions::default());
        Self {
            text,
            root: parsed.ok().and_then(|parsed| parsed.value),
        }
    }

    /// Where a key of an entry stands; of the top, where `entry` is `None`. As far as it
    /// can be followed: `headers.Authorization` may be told at `headers`.
    pub(super) fn find(&self, entry: Option<&str>, key: Option<&str>) -> Option<Position> {
        let top = self.root.as_ref()?.as_object()?;
        let (start, within) = match entry {
            None => (None, Some(top)),
            Some(entry) => {
                let entries = ["mcpServers", "mcp_servers"]
                    .iter()
                    .find_map(|key| top.get_object(key))?;
                // The last of two entries with one name is the one too many.
                let entry = entries
                    .properties
                    .iter()
                    .rev()
                    .find(|p| p.name.as_str() == entry)?;
                (Some(entry.name.range().start), entry.value.as_object())
            }
        };
        let inner = within
            .zip(key)
            .and_then(|(object, key)| follow(object, key));
        Some(self.position(inner.or(start)?))
    }

    fn position(&self, at: usize) -> Position {
        let before = &self.text[..at];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = 1 + before.matches('\n').count();
        (line, 1 + before[line_start..].chars().count())
    }
}

/// Follows `a.b[0].c` as far as it goes. A key may hold dots itself: the longest one
/// that stands there is meant.
fn follow(object: &Object<'_>, path: &str) -> Option<usize> {
    let ends = path
        .char_indices()
        .filter(|(_, c)| matches!(c, '.' | '['))
        .map(|(at, _)| at);
    let mut ends: Vec<_> = ends.chain([path.len()]).collect();
    ends.reverse();
    // The last of two doubled keys is the one too many.
    let found = ends.iter().find_map(|end| {
        let mut properties = object.properties.iter().rev();
        let property = properties.find(|property| property.name.as_str() == &path[..*end])?;
        Some((property, &path[*end..]))
    });
    let (property, rest) = found?;
    let deeper = match (&property.value, rest.chars().next()) {
        (Value::Object(inner), Some('.')) => follow(inner, &rest[1..]),
        (Value::Array(list), Some('[')) => {
            let (number, rest) = rest[1..].split_once(']')?;
            let element = list.elements.get(number.parse::<usize>().ok()?)?;
            match (element, rest.strip_prefix('.')) {
                (Value::Object(inner), Some(rest)) => follow(inner, rest),
                _ => None,
            }
            .or(Some(element.range().start))
        }
        _ => None,
    };
    deeper.or(Some(property.name.range().start))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{
  "mcpServers": {
    "a": {
      "url": "x",
      "headers": { "X.Key": 1 }
    }
  },
  "auth": { "issuer": ["x", { "jwks": 5 }] }
}"#;

    #[test]
    fn a_key_is_found_as_far_as_it_can_be_followed() {
        let map = Map::of(TEXT);
        let cases = [
            (Some("a"), None, Some((3, 5))),
            (Some("a"), Some("url"), Some((4, 7))),
            (Some("a"), Some("headers.X.Key"), Some((5, 20))),
            (Some("a"), Some("headers.Y"), Some((5, 7))),
            (Some("a"), Some("none"), Some((3, 5))),
            (None, Some("auth.issuer[1].jwks"), Some((8, 31))),
            (None, Some("auth.issuer[0]"), Some((8, 24))),
            (None, Some("none"), None),
            (Some("b"), None, None),
        ];
        for (entry, key, position) in cases {
            assert_eq!(map.find(entry, key), position, "{entry:?} {key:?}");
        }
    }
}
