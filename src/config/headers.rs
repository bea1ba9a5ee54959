//! The headers of an entry, checked and marked sensitive.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{reader::Reader, shown::pair_name};
use crate::protocol::headers::PARAM_PREFIX;

/// Headers that describe a message or its connection. Whoever writes the message
/// sets them; a value from a file could only break it.
const OWN: [&str; 12] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "keep-alive",
    "last-event-id",
    "mcp-protocol-version",
    "mcp-session-id",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads `headers`. A line break or another character that no header can carry
/// is refused without showing the value.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<HeaderMap> {
    let written = reader.spelling("headers");
    let mut headers = HeaderMap::new();
    let mut sound = true;
    for (name, value) in reader.pairs("headers")? {
        match header(&name, &value) {
            Ok((name, _)) if is_own(&name) => reader.warn(&format!(
                "the header {:?} is set by the multiplexer itself; the one in {written:?} has no effect",
                name.as_str()
            )),
            Ok((name, value)) => {
                if headers.contains_key(&name) {
                    let at = format!("{written}.{name}");
                    reader.refuse(&at, "the header stands twice, in different letter case");
                    sound = false;
                } else if headers.try_insert(name, value).is_err() {
                    reader.refuse(written, "there are too many headers");
                    return None;
                }
            }
            Err(why) => {
                let at = format!("{written}.{}", pair_name(&name).escape_debug());
                reader.refuse(&at, why);
                sound = false;
            }
        }
    }
    sound.then_some(headers)
}

fn is_own(name: &HeaderName) -> bool {
    OWN.contains(&name.as_str()) || name.as_str().starts_with(PARAM_PREFIX)
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| "the name is not one that a header can have")?;
    let mut value = HeaderValue::from_bytes(value.as_bytes())
        .map_err(|_| "the value holds a line break or another control character")?;
    if name == header::HOST && value.is_empty() {
        return Err("the value is empty");
    }
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;
    use crate::config::{
        document::{Node, parse},
        keys,
        reader::Findings,
    };

    fn read_json(text: &str) -> (Option<HeaderMap>, Findings) {
        let env: HashMap<String, String> = HashMap::new();
        let Ok(Node::Object(pairs)) = parse(Path::new("c"), text) else {
            panic!("an object was expected");
        };
        let mut reader = Reader::open("entry \"x\": ".into(), &pairs, keys::ENTRY, &env);
        (read(&mut reader), reader.finish())
    }

    #[test]
    fn values_are_marked_sensitive() {
        let (headers, _) =
            read_json(r#"{"headers": {"Authorization": "hunter2", "X-Ü": "", "X-A": "é"}}"#);
        assert!(headers.is_none(), "a name must be ASCII");
        let (headers, _) = read_json(r#"{"headers": {"Authorization": "hunter2", "X-A": "é"}}"#);
        let shown = format!("{:?}", headers.expect("valid"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_line_break_is_refused_without_showing_the_value() {
        for text in [
            r#"{"headers": {"X-A": "hunter2\r\nX-B: 1"}}"#,
            r#"{"headers": {"X-A\nhunter2": "1"}}"#,
            r#"{"headers": {"Authorization: Bearer hunter2": ""}}"#,
            r#"{"headers": {"": "hunter2"}}"#,
        ] {
            let (headers, findings) = read_json(text);
            assert!(headers.is_none());
            assert_eq!(findings.problems.len(), 1);
            assert!(
                !findings.problems[0].contains("hunter2"),
                "{:?}",
                findings.problems
            );
        }
    }

    #[test]
    fn one_header_in_two_letter_cases_is_a_mistake() {
        let (_, findings) = read_json(r#"{"headers": {"X-A": "1", "x-a": "2"}}"#);
        assert!(findings.problems[0].contains("\"headers.x-a\": the header stands twice"));
    }

    #[test]
    fn a_header_of_the_message_itself_is_left_out_with_a_warning() {
        for name in ["Content-Type", "Mcp-Param-Region"] {
            let text = format!(r#"{{"headers": {{"{name}": "text/plain", "X-A": "1"}}}}"#);
            let (headers, findings) = read_json(&text);
            assert_eq!(headers.expect("valid").len(), 1);
            let warning = findings.warnings[0].to_string();
            let told = format!("{:?} is set by", name.to_lowercase());
            assert!(warning.contains(&told), "{warning}");
        }
    }

    #[test]
    fn more_headers_than_a_map_can_hold_are_refused() {
        let many: Vec<_> = (0..40_000).map(|n| format!("\"h{n}\": \"\"")).collect();
        let (headers, findings) = read_json(&format!("{{\"headers\": {{{}}}}}", many.join(",")));
        assert!(headers.is_none());
        assert!(findings.problems[0].contains("too many headers"));
    }
}
