//! One JSON-RPC message as it stands on the wire, with only its envelope read.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use bytestring::ByteString;
use thiserror::Error;

use super::{
    json::{self, Member, Nested, Object},
    splice::Splice,
};

/// Members of a body whose places are remembered; one with more is read again.
const MOST_PLACES: usize = 32;

/// How much of an answer's beginning is searched for its id.
pub const LEADING: usize = 4096;

/// A JSON-RPC 2.0 message: the bytes, and where the parts of its envelope are.
#[derive(Clone, Debug)]
pub struct Frame {
    text: ByteString,
    kind: Kind,
    id: Option<Range<usize>>,
    method: Option<Range<usize>>,
    /// `params`, `result` or `error`, whichever this kind of message has.
    body: Option<Range<usize>>,
    /// Where the body's members are: found when the envelope was read, so that nothing
    /// long is read twice. `None` if there is no object, or a very wide one.
    places: Option<Box<[Place]>>,
}

/// Where a member is: its key, with quotes, and its value.
#[derive(Clone, Debug)]
struct Place {
    key: Range<usize>,
    value: Range<usize>,
}

/// What a message is, by its envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A method and an id: wants an answer.
    Request,
    /// A method without an id: wants none.
    Notification,
    /// An answer that holds a `result`.
    Result,
    /// An answer that holds an `error`.
    Error,
}

/// Why some bytes are no frame.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FrameError {
    /// Not JSON, or not UTF-8 (JSON-RPC: parse error).
    #[error("the message is not valid JSON")]
    Syntax,
    /// JSON, but not one JSON-RPC message (JSON-RPC: invalid request).
    #[error("{reason}")]
    Invalid {
        /// What is wrong with it.
        reason: &'static str,
        /// The id as it stands, if it could be read: the error answers to it.
        id: Option<String>,
    },
}

impl Frame {
    /// Reads the envelope of one message.
    ///
    /// # Errors
    ///
    /// A batch, an envelope key that stands twice (escapes undone), a missing or
    /// odd `jsonrpc`, an id that is neither string nor integer, and `result`
    /// beside `error` or `method` are refused: two readers could understand them
    /// differently.
    pub fn read(bytes: Bytes) -> Result<Self, FrameError> {
        let text = ByteString::try_from(bytes).map_err(|_| FrameError::Syntax)?;
        let trimmed = text.trim_ascii_start();
        if !trimmed.starts_with('{') {
            return Err(not_an_object(trimmed));
        }
        let Nested { members, inner } = Nested::read(&text, is_body)
            // A body that is no object, if it is not the syntax.
            .or_else(|_| Nested::read(&text, |_| false))
            .map_err(|_| FrameError::Syntax)?;

        let [
            mut version,
            mut id,
            mut method,
            mut params,
            mut result,
            mut error,
        ] = [None; 6];
        let mut doubled = false;
        for member in &members {
            let slot = match &*member.key() {
                "jsonrpc" => &mut version,
                "id" => &mut id,
                "method" => &mut method,
                "params" => &mut params,
                "result" => &mut result,
                "error" => &mut error,
                _ => continue,
            };
            doubled |= slot.replace(member.value).is_some();
        }

        let known_id = id.filter(|id| is_id(id)).map(str::to_owned);
        let refuse = |reason| {
            Err(FrameError::Invalid {
                reason,
                id: known_id.clone(),
            })
        };
        if doubled {
            // Which of the two ids an answer should name is open too.
            return Err(FrameError::Invalid {
                reason: "a key of the envelope stands twice",
                id: None,
            });
        }
        if version != Some("\"2.0\"") {
            return refuse("\"jsonrpc\" must be \"2.0\"");
        }
        if method.is_some_and(|m| !json::is_string(m)) {
            return refuse("\"method\" must be a string");
        }
        let kind = match (method, result, error) {
            (Some(_), None, None) if id.is_some() => Kind::Request,
            (Some(_), None, None) => Kind::Notification,
            (None, Some(_), None) => Kind::Result,
            (None, None, Some(_)) => Kind::Error,
            _ => {
                return refuse(
                    "a message holds either \"method\", or \"result\", or \"error\", and only one of them",
                );
            }
        };
        let id_may_be_null = kind == Kind::Error;
        match id {
            Some("null") if id_may_be_null => {}
            Some(id) if !is_id(id) => return refuse("\"id\" must be a string or an integer"),
            None if matches!(kind, Kind::Result) => return refuse("an answer needs an \"id\""),
            _ => {}
        }
        if params.is_some_and(|p| method.is_some() && !json::is_object(p)) {
            return refuse("\"params\" must be an object");
        }

        let body = params.or(result).or(error);
        // Of several bodies only one is this kind's.
        let inner = inner.filter(|(at, _)| {
            let opened = members.get(*at).map(|member| member.value);
            opened.map(str::as_ptr) == body.map(str::as_ptr)
        });
        let places = inner.filter(|(_, members)| members.len() <= MOST_PLACES);
        let places = places.map(|(_, members)| {
            let place = |member: &Member<'_>| Place {
                key: json::range_in(&text, member.raw_key),
                value: json::range_in(&text, member.value),
            };
            members.iter().map(place).collect()
        });
        let at = |part: Option<&str>| part.map(|part| json::range_in(&text, part));
        let (id, method, body) = (at(id), at(method), at(body));
        Ok(Self {
            kind,
            id,
            method,
            body,
            places,
            text,
        })
    }

    /// A frame made by this program, whose parts need no checking.
    ///
    /// # Panics
    ///
    /// Never: text that is no frame becomes one that answers with an error.
    pub fn made(text: String) -> Self {
        Self::read(Bytes::from(text)).unwrap_or_else(|_| Self {
            text: ByteString::from_static("{}"),
            kind: Kind::Error,
            id: None,
            method: None,
            body: None,
            places: None,
        })
    }

    /// What kind of message this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The id as it stands, quotes included.
    pub fn id(&self) -> Option<&str> {
        self.id.clone().map(|at| self.part(at))
    }

    /// The method, escapes undone.
    pub fn method(&self) -> Option<Cow<'_, str>> {
        self.method.clone().map(|at| json::unquote(self.part(at)))
    }

    /// `params`, `result` or `error` as it stands, whichever there is.
    pub fn body(&self) -> Option<&str> {
        self.body.clone().map(|at| self.part(at))
    }

    /// Where the body stands in [`Frame::bytes`].
    pub fn body_range(&self) -> Option<Range<usize>> {
        self.body.clone()
    }

    /// The whole message.
    pub fn bytes(&self) -> &Bytes {
        self.text.as_bytes()
    }

    /// The whole message, owned.
    pub fn into_bytes(self) -> Bytes {
        self.text.into_bytes()
    }

    /// The body's members, one level deep. `None` if it has none or is no object.
    pub fn body_object(&self) -> Option<Object<'_>> {
        let body = self.body()?;
        match &self.places {
            Some(places) => {
                let members = places.iter().map(|place| Member {
                    raw_key: self.part(place.key.clone()),
                    value: self.part(place.value.clone()),
                });
                Some(Object::of(body, members.collect()))
            }
            None => Object::read(body).ok(),
        }
    }

    /// The value of a member of the body; of the first one if its key stands twice.
    pub fn body_member(&self, key: &str) -> Option<&str> {
        let Some(places) = &self.places else {
            return self.body_object()?.get(key);
        };
        let named = |place: &&Place| json::key_is(self.part(place.key.clone()), key);
        let place = places.iter().find(named)?;
        Some(self.part(place.value.clone()))
    }

    /// A splice over this frame with its id already replaced, or put in.
    pub fn with_id<'a>(&'a self, id: &'a str) -> Splice<'a> {
        let mut splice = Splice::of(self.bytes());
        match self.id.clone() {
            Some(at) => splice.replace(at, id),
            // An error that names no request answers the one it was sent for.
            None => {
                let open = memchr::memchr(b'{', self.bytes()).map_or(0, |at| at + 1);
                splice.insert(open, format!("\"id\":{id},"));
            }
        }
        splice
    }

    /// Where `part`, a slice of this frame, stands in it.
    pub fn range_of(&self, part: &str) -> Range<usize> {
        json::range_in(&self.text, part)
    }

    fn part(&self, at: Range<usize>) -> &str {
        // The ranges were cut at token borders.
        self.text.get(at).unwrap_or_default()
    }
}

/// Where the id stands in the first bytes of an answer, if it stands there before its
/// result. An error is not looked for: it is never long.
pub fn leading_id(head: &[u8]) -> Option<Range<usize>> {
    let head = &head[..head.len().min(LEADING)];
    // It may be cut within a character.
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(cut) => std::str::from_utf8(&head[..cut.valid_up_to()]).ok()?,
    };
    let id = json::leading_value(text, "id", "result")?;
    Some(json::range_in(text, id))
}

/// Whether what stands under this key is a message's body.
fn is_body(key: &str) -> bool {
    matches!(key, "params" | "result" | "error")
}

fn not_an_object(text: &str) -> FrameError {
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        Err(_) => FrameError::Syntax,
        Ok(_) => FrameError::Invalid {
            reason: if text.starts_with('[') {
                "batches of messages are not supported: send one message at a time"
            } else {
                "a message must be a JSON object"
            },
            id: None,
        },
    }
}

/// JSON-RPC ids that MCP allows: strings and integers of any size.
fn is_id(raw: &str) -> bool {
    json::is_string(raw)
        || raw
            .strip_prefix('-')
            .unwrap_or(raw)
            .bytes()
            .all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &'static str) -> Result<Frame, FrameError> {
        Frame::read(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn the_four_kinds_are_told_apart() {
        let kind = |text| read(text).unwrap().kind();
        assert_eq!(
            kind(r#"{"jsonrpc":"2.0","id":1,"method":"a"}"#),
            Kind::Request
        );
        assert_eq!(
            kind(r#"{"jsonrpc":"2.0","method":"a"}"#),
            Kind::Notification
        );
        assert_eq!(
            kind(r#"{"result":{},"jsonrpc":"2.0","id":"x"}"#),
            Kind::Result
        );
        assert_eq!(
            kind(r#"{"jsonrpc":"2.0","id":null,"error":{}}"#),
            Kind::Error
        );
    }

    #[test]
    fn envelope_keys_that_stand_twice_are_refused_in_any_spelling() {
        for text in [
            r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","m\u0065thod":"b"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{},"params":{}}"#,
        ] {
            assert!(
                matches!(read(text), Err(FrameError::Invalid { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_not_one_message_is_refused_with_its_id_where_it_has_one() {
        let refused = |text| match read(text) {
            Err(FrameError::Invalid { id, .. }) => id,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(refused("[]"), None);
        assert_eq!(refused("7"), None);
        assert_eq!(refused(r#"{"id":7,"method":"a"}"#), Some("7".to_owned()));
        assert_eq!(
            refused(r#"{"jsonrpc":"2.0","id":7,"method":1}"#),
            Some("7".to_owned())
        );
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":null,"method":"a"}"#), None);
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":1.5,"method":"a"}"#), None);
        assert_eq!(refused(r#"{"jsonrpc":"2.0","id":{},"method":"a"}"#), None);
        assert_eq!(
            refused(r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[]}"#),
            Some("1".to_owned())
        );
        assert_eq!(
            refused(r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#),
            Some("1".to_owned())
        );
        assert_eq!(read("{\"jsonrpc\":").unwrap_err(), FrameError::Syntax);
        assert_eq!(read("").unwrap_err(), FrameError::Syntax);
        assert_eq!(
            Frame::read(Bytes::from_static(b"\xff\xfe")).unwrap_err(),
            FrameError::Syntax
        );
    }

    #[test]
    fn a_bodys_members_are_found_however_many_there_are() {
        let wide: String = (0..MOST_PLACES).map(|n| format!("\"k{n}\":{n},")).collect();
        for more in ["", &wide] {
            let body = format!(r#"{{{more}"isError" : true,"content":[{{"isError":1}}]}}"#);
            let text = format!(r#"{{"result": {body} ,"id":1,"jsonrpc":"2.0"}}"#);
            let frame = Frame::read(Bytes::from(text)).unwrap();
            assert_eq!(frame.body(), Some(&*body));
            assert_eq!(frame.body_member("isError"), Some("true"));
            assert_eq!(frame.body_member("error"), None);
            let object = frame.body_object().unwrap();
            assert_eq!(object.get("content"), Some(r#"[{"isError":1}]"#));
            let at = frame.range_of(object.get("isError").unwrap());
            assert_eq!(&frame.bytes()[at], b"true");
        }
        for body in ["null", "7", r#""\ud800""#, "[{}]", "1e999"] {
            let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{body}}}"#);
            let frame = Frame::read(Bytes::from(text)).unwrap();
            assert_eq!(frame.body(), Some(body));
            assert!(frame.body_object().is_none() && frame.body_member("a").is_none());
        }
    }

    #[test]
    fn an_id_that_leads_is_found_in_what_is_cut() {
        let leading = |text: &'static str| {
            let at = leading_id(text.as_bytes())?;
            Some(&text[at])
        };
        assert_eq!(
            leading(r#"{"jsonrpc":"2.0","x":[{"id":1}],"id" : "a\"b" ,"result":{"content":[{"te"#),
            Some(r#""a\"b""#)
        );
        assert_eq!(leading(r#"{"id":7,"result":"#), Some("7"));
        for text in [
            r#"{"id":7,"error":{"code":1,"#,
            r#"{"jsonrpc":"2.0","result":{"id":7},"id":8}"#,
            r#"{"jsonrpc":"2.0","id":7"#,
            r#"{"id":7,"id":8,"result":{"#,
            r#"{"id":7,"i\u0064":8,"result":{"#,
            "[1",
            "",
        ] {
            assert_eq!(leading(text), None, "{text}");
        }
        let cut = [br#"{"id":7,"result":{"text":""#, "\u{fc}".as_bytes()].concat();
        assert_eq!(leading_id(&cut[..cut.len() - 1]), Some(6..7));
    }

    #[test]
    fn an_error_without_an_id_is_given_one() {
        let frame = read(r#"{"jsonrpc":"2.0","error":{"code":1}}"#).unwrap();
        assert_eq!(
            frame.with_id("7").finish(),
            r#"{"id":7,"jsonrpc":"2.0","error":{"code":1}}"#
        );
    }

    #[test]
    fn the_id_is_replaced_and_nothing_else() {
        let frame = read(r#" {"id" : 12345678901234567890 ,"x":1.10,"result":{},"jsonrpc":"2.0"}"#)
            .unwrap();
        assert_eq!(frame.id(), Some("12345678901234567890"));
        assert_eq!(
            frame.with_id("\"a\"").finish(),
            r#" {"id" : "a" ,"x":1.10,"result":{},"jsonrpc":"2.0"}"#
        );
    }
}
