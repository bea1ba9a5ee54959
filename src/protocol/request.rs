//! The parts of a request that are routed by, and the edits made to them.
//!
//! Read: the one name in `params`, and in `params._meta` the progress token and
//! the keys in which the eras differ. Everything else is copied as it stands.

use std::ops::Range;

use bytes::Bytes;

use super::{
    abilities::Abilities,
    error::{RpcError, code},
    frame::Frame,
    is_specified,
    json::{self, Object, quote},
    splice::Splice,
    trace::TraceContext,
    version::Era,
};

/// Keys of `params._meta` in the modern era (MCP 2026-07-28, "Request metadata").
pub mod meta_key {
    /// The version this request speaks. Required.
    pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// What the client can do. Required.
    pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
    /// Who the client says it is.
    pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
    /// The least severe log message wanted for this request.
    pub const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
    /// The `subscriptions/listen` request a notification belongs to.
    pub const SUBSCRIPTION_ID: &str = "io.modelcontextprotocol/subscriptionId";
    /// Ties progress notifications to a request; in both eras.
    pub const PROGRESS_TOKEN: &str = "progressToken";
}

/// The params key of what an unfinished answer gave along.
pub const REQUEST_STATE: &str = "requestState";
/// The params key of the answers to what an unfinished answer asked.
pub const INPUT_RESPONSES: &str = "inputResponses";

const COMPLETE: &str = "completion/complete";

/// What the modern era has no more, whatever its params (MCP 2026-07-28, changelog).
const REMOVED: [&str; 5] = [
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
];

const ERA_KEYS: [&str; 4] = [
    meta_key::PROTOCOL_VERSION,
    meta_key::CLIENT_CAPABILITIES,
    meta_key::CLIENT_INFO,
    meta_key::LOG_LEVEL,
];

/// The params key that names the one thing a request is about.
pub fn name_key(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => Some("uri"),
        "tasks/get" | "tasks/update" | "tasks/cancel" => Some("taskId"),
        _ => None,
    }
}

/// The same of a method that the modern era does not have, so that no header names it.
fn legacy_name_key(method: &str) -> Option<&'static str> {
    (method == "tasks/result").then_some("taskId")
}

/// What was read of a request's `params`.
#[derive(Debug, Default)]
pub struct Params {
    /// The name, escapes undone, for methods that have one. Of a method that the
    /// specification does not know: a `uri` or `name`, if there is one.
    pub name: Option<String>,
    /// What the name of a `completion/complete` is of; [`Reference::Resource`] for any
    /// `uri` of an unknown method.
    pub reference: Option<Reference>,
    /// The progress token as it stands (string or number).
    pub progress_token: Option<String>,
    /// The modern era's protocol version. Its presence makes a request modern.
    pub version: Option<String>,
    /// What the modern era's client capabilities let servers ask, where they are there.
    pub abilities: Option<Abilities>,
    /// The modern era's log level.
    pub log_level: Option<String>,
    /// The headers of a modern request over HTTP: what they repeat of its arguments
    /// is to be what the arguments say.
    pub headers: Option<http::HeaderMap>,
    /// Where the HTTP request that brought it stands in a trace.
    pub trace: Option<TraceContext>,
    /// What an unfinished answer gave along, to be given back with its retry (MCP
    /// 2026-07-28, "Multi Round-Trip Requests").
    pub request_state: Option<String>,
    /// The answers to what it asked, as they stand.
    pub input_responses: Option<String>,
    at: Places,
}

/// What a `completion/complete` completes (MCP, "Completion").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// `ref/prompt`: an argument of a prompt, by its name.
    Prompt,
    /// `ref/resource`: a variable of a template, by its URI.
    Resource,
}

/// Where the parts stand in the frame.
#[derive(Debug, Default)]
struct Places {
    params: Option<Range<usize>>,
    params_is_empty: bool,
    name: Option<Range<usize>>,
    meta: Option<Range<usize>>,
    meta_is_empty: bool,
    progress_token: Option<Range<usize>>,
}

/// What to put into a request on its way to a child.
#[derive(Debug)]
pub struct RequestEdit<'a> {
    /// The id to send, as JSON text; `None` keeps the client's.
    pub id: Option<&'a str>,
    /// The child's own name for the thing.
    pub name: &'a str,
    /// The progress token to send, as JSON text; `None` keeps the client's. Never
    /// added where the client sent none.
    pub progress_token: Option<&'a str>,
    /// The era keys of `_meta`.
    pub meta: MetaEdit<'a>,
    /// Further members of `params` (JSON text, each with a comma after it).
    pub members: &'a str,
}

/// What happens to the era keys of `_meta`.
#[derive(Debug)]
pub enum MetaEdit<'a> {
    /// Same era on both sides.
    Keep,
    /// Modern client, legacy child.
    Strip,
    /// Legacy client, modern child: these members (JSON text, without braces).
    Add(std::borrow::Cow<'a, str>),
}

impl Params {
    /// Reads what is routed by.
    ///
    /// # Errors
    ///
    /// A key that is read here and stands twice (escapes undone): `-32600`, for two
    /// readers could see two requests. One that has the wrong type: `-32602`. A method
    /// that the era of the request has no more: `-32601`.
    pub fn read(frame: &Frame, method: &str) -> Result<Self, RpcError> {
        let mut read = Self::default();
        let Some(params) = frame.body_object() else {
            let needed = name_key(method)
                .or(legacy_name_key(method))
                .or((method == COMPLETE).then_some("ref"));
            return match needed {
                Some(key) => Err(invalid(format!("params.{key} is missing"))),
                None => Ok(read),
            };
        };
        read.at.params = frame.body_range();
        read.at.params_is_empty = params.members().is_empty();

        if let Some(raw) = single(&params, "_meta")? {
            let meta = Object::read(raw).map_err(|_| invalid("params._meta must be an object"))?;
            read.at.meta = Some(frame.range_of(raw));
            read.at.meta_is_empty = meta.members().is_empty();
            read.read_meta(frame, &meta)?;
        }
        if read.era() == Era::Modern && REMOVED.contains(&method) {
            return Err(RpcError::new(
                code::METHOD_NOT_FOUND,
                format!("Method not found: {method} (protocol version 2026-07-28 has it no more)"),
            ));
        }
        if let Some(key) = name_key(method).or(legacy_name_key(method)) {
            let raw = single(&params, key)?
                .filter(|raw| json::is_string(raw))
                .ok_or_else(|| invalid(format!("params.{key} must be a string")))?;
            read.at.name = Some(frame.range_of(raw));
            read.name = Some(json::unquote(raw).into_owned());
        }
        if method == COMPLETE {
            read.read_reference(frame, &params)?;
        }
        if name_key(method).is_none() && !is_specified(method) {
            read.read_subject(frame, &params)?;
        }
        read.request_state = single(&params, REQUEST_STATE)?
            .filter(|raw| json::is_string(raw))
            .map(|raw| json::unquote(raw).into_owned());
        read.input_responses = single(&params, INPUT_RESPONSES)?.map(str::to_owned);
        Ok(read)
    }

    /// What the params of an unknown method may be about.
    fn read_subject(&mut self, frame: &Frame, params: &Object<'_>) -> Result<(), RpcError> {
        for (key, reference) in [("uri", Some(Reference::Resource)), ("name", None)] {
            if let Some(raw) = single(params, key)?.filter(|raw| json::is_string(raw)) {
                self.at.name = Some(frame.range_of(raw));
                self.name = Some(json::unquote(raw).into_owned());
                self.reference = reference;
                break;
            }
        }
        Ok(())
    }

    fn read_reference(&mut self, frame: &Frame, params: &Object<'_>) -> Result<(), RpcError> {
        let expected = || {
            invalid(
                "params.ref must be {type: \"ref/prompt\", name} or {type: \"ref/resource\", uri}",
            )
        };
        let raw = single(params, "ref")?.ok_or_else(expected)?;
        let object = Object::read(raw).map_err(|_| expected())?;
        let kind = single(&object, "type")?.ok_or_else(expected)?;
        let (reference, key) = match &*json::unquote(kind) {
            "ref/prompt" => (Reference::Prompt, "name"),
            "ref/resource" => (Reference::Resource, "uri"),
            _ => return Err(expected()),
        };
        let name = single(&object, key)?
            .filter(|raw| json::is_string(raw))
            .ok_or_else(expected)?;
        self.reference = Some(reference);
        self.at.name = Some(frame.range_of(name));
        self.name = Some(json::unquote(name).into_owned());
        Ok(())
    }

    fn read_meta(&mut self, frame: &Frame, meta: &Object<'_>) -> Result<(), RpcError> {
        if let Some(raw) = single(meta, meta_key::PROGRESS_TOKEN)? {
            if !json::is_string(raw) && raw.parse::<serde_json::Number>().is_err() {
                return Err(invalid("_meta.progressToken must be a string or a number"));
            }
            self.at.progress_token = Some(frame.range_of(raw));
            self.progress_token = Some(raw.to_owned());
        }
        let text = |key| match single(meta, key)? {
            Some(raw) if json::is_string(raw) => Ok(Some(json::unquote(raw).into_owned())),
            Some(_) => Err(invalid(format!("_meta[\"{key}\"] must be a string"))),
            None => Ok(None),
        };
        self.version = text(meta_key::PROTOCOL_VERSION)?;
        self.log_level = text(meta_key::LOG_LEVEL)?;
        single(meta, meta_key::CLIENT_INFO)?;
        self.abilities = single(meta, meta_key::CLIENT_CAPABILITIES)?
            .filter(|raw| json::is_object(raw))
            .map(Abilities::read);
        Ok(())
    }

    /// The era the request speaks by its own `_meta`.
    pub fn era(&self) -> Era {
        match self.version {
            Some(_) => Era::Modern,
            None => Era::Legacy,
        }
    }

    /// Whether it is the retry of a request whose answer was unfinished.
    pub fn is_retry(&self) -> bool {
        self.request_state.is_some() || self.input_responses.is_some()
    }

    /// `frame`, whose params these are, as a child is to read it.
    pub fn edit(&self, frame: &Frame, edit: &RequestEdit<'_>) -> Bytes {
        let original = frame.id().unwrap_or("null").to_owned();
        let mut splice = frame.with_id(edit.id.unwrap_or(&original));
        if let Some(at) = self.at.name.clone()
            && self.name.as_deref() != Some(edit.name)
        {
            splice.replace(at, quote(edit.name));
        }
        if let Some(at) = self.at.params.clone()
            && !edit.members.is_empty()
        {
            splice.insert(at.start + 1, edit.members);
        }
        let token = self.at.progress_token.clone().zip(edit.progress_token);
        match (&edit.meta, &self.at.meta) {
            (MetaEdit::Strip, Some(at)) => {
                splice.replace(at.clone(), self.stripped(frame, at, edit.progress_token));
            }
            (meta, at) => {
                if let Some((at, token)) = token {
                    splice.replace(at, token);
                }
                if let MetaEdit::Add(members) = meta {
                    match (at, &self.at.params) {
                        (Some(at), _) => {
                            let comma = if self.at.meta_is_empty { "" } else { "," };
                            splice.insert(at.start + 1, format!("{members}{comma}"));
                        }
                        (None, Some(at)) => {
                            let comma = if self.at.params_is_empty { "" } else { "," };
                            splice.insert(at.start + 1, format!("\"_meta\":{{{members}}}{comma}"));
                        }
                        (None, None) => {}
                    }
                }
            }
        }
        splice.finish()
    }

    /// A notification, whose params these are, with the child's own name for the thing.
    pub fn renamed(&self, frame: &Frame, name: &str) -> Bytes {
        let mut splice = Splice::of(frame.bytes());
        if let Some(at) = self.at.name.clone()
            && self.name.as_deref() != Some(name)
        {
            splice.replace(at, quote(name));
        }
        splice.finish()
    }

    fn stripped(&self, frame: &Frame, at: &Range<usize>, token: Option<&str>) -> String {
        let text = std::str::from_utf8(&frame.bytes()[at.clone()]).unwrap_or("{}");
        let Ok(meta) = Object::read(text) else {
            return text.to_owned();
        };
        let kept = meta.retain(|key| !ERA_KEYS.contains(&key));
        match (token, &self.progress_token) {
            (Some(new), Some(_)) => replace_member(&kept, meta_key::PROGRESS_TOKEN, new),
            _ => kept,
        }
    }
}

/// `object` with the value of `key` replaced, if it has that key.
pub(crate) fn replace_member(object: &str, key: &str, value: &str) -> String {
    let Ok(read) = Object::read(object) else {
        return object.to_owned();
    };
    let Some(old) = read.get(key) else {
        return object.to_owned();
    };
    let at = read.range_of(old);
    format!("{}{value}{}", &object[..at.start], &object[at.end..])
}

fn single<'a>(object: &Object<'a>, key: &str) -> Result<Option<&'a str>, RpcError> {
    if object.is_doubled(key) {
        let twice = format!("the key {key:?} stands twice");
        return Err(RpcError::new(code::INVALID_REQUEST, twice));
    }
    Ok(object.get(key))
}

fn invalid(message: impl Into<String>) -> RpcError {
    RpcError::new(code::INVALID_PARAMS, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(params: &str) -> Frame {
        Frame::made(format!(
            r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#
        ))
    }

    fn edited(params: &str, meta: MetaEdit<'_>) -> String {
        let frame = call(params);
        let bytes = Params::read(&frame, "tools/call").unwrap().edit(
            &frame,
            &RequestEdit {
                id: Some("\"m1\""),
                name: "own",
                progress_token: Some("\"m1\""),
                meta,
                members: "",
            },
        );
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn name_id_and_token_are_replaced_and_every_other_byte_stays() {
        assert_eq!(
            edited(
                r#"{ "arguments" : {"x":1e400,"y": 1.10}, "name":"a__own","_meta":{"progressToken" : 5, "t":"\ud800"} }"#,
                MetaEdit::Keep
            ),
            r#"{"jsonrpc":"2.0","id":"m1","method":"tools/call","params":{ "arguments" : {"x":1e400,"y": 1.10}, "name":"own","_meta":{"progressToken" : "m1", "t":"\ud800"} }}"#
        );
    }

    #[test]
    fn a_modern_request_loses_the_era_keys_towards_a_legacy_child() {
        assert_eq!(
            edited(
                r#"{"name":"a","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","progressToken":1,"traceparent":"x","io.modelcontextprotocol/clientCapabilities":{}}}"#,
                MetaEdit::Strip
            ),
            r#"{"jsonrpc":"2.0","id":"m1","method":"tools/call","params":{"name":"own","_meta":{"progressToken":"m1","traceparent":"x"}}}"#
        );
    }

    #[test]
    fn a_legacy_request_gains_the_era_keys_towards_a_modern_child() {
        for (params, expected) in [
            (r#"{"name":"a"}"#, r#"{"_meta":{"k":1},"name":"own"}"#),
            (
                r#"{"name":"a","_meta":{}}"#,
                r#"{"name":"own","_meta":{"k":1}}"#,
            ),
            (
                r#"{"name":"a","_meta":{"x":2}}"#,
                r#"{"name":"own","_meta":{"k":1,"x":2}}"#,
            ),
        ] {
            let text = edited(params, MetaEdit::Add(r#""k":1"#.into()));
            assert!(
                text.ends_with(&format!("\"params\":{expected}}}")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_completion_names_what_it_completes_in_its_reference() {
        let complete = |params: &str| {
            let frame = Frame::made(format!(
                r#"{{"jsonrpc":"2.0","id":7,"method":"{COMPLETE}","params":{params}}}"#
            ));
            let params = Params::read(&frame, COMPLETE)?;
            let edit = RequestEdit {
                id: None,
                name: "own",
                progress_token: None,
                meta: MetaEdit::Keep,
                members: "",
            };
            let edited = params.edit(&frame, &edit);
            Ok::<_, RpcError>((
                params.reference,
                String::from_utf8(edited.to_vec()).unwrap(),
            ))
        };
        let (reference, edited) =
            complete(r#"{"argument":{"name":"a"}, "ref":{"name":"p__own","type":"ref/prompt"}}"#)
                .unwrap();
        assert_eq!(reference, Some(Reference::Prompt));
        assert!(
            edited
                .contains(r#"{"argument":{"name":"a"}, "ref":{"name":"own","type":"ref/prompt"}}"#)
        );
        for params in [
            "{}",
            r#"{"ref":1}"#,
            r#"{"ref":{"type":"ref/tool","name":"a"}}"#,
            r#"{"ref":{"type":"ref/resource","name":"a"}}"#,
            r#"{"ref":{"type":"ref/prompt","name":"a","name":"b"}}"#,
        ] {
            assert!(complete(params).is_err(), "{params}");
        }
    }

    #[test]
    fn keys_that_are_routed_by_may_stand_only_once() {
        for params in [
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":"a","n\u0061me":"b"}"#,
            r#"{"name":"a","_meta":{},"_meta":{}}"#,
            r#"{"name":"a","_meta":{"progressToken":1,"progressToken":2}}"#,
        ] {
            let error = Params::read(&call(params), "tools/call").unwrap_err();
            assert_eq!(error.code, code::INVALID_REQUEST, "{params}");
        }
    }

    #[test]
    fn what_an_era_has_no_more_is_unknown_whatever_its_params() {
        let modern = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#;
        for method in REMOVED {
            let error = Params::read(&call(modern), method).unwrap_err();
            assert_eq!(error.code, code::METHOD_NOT_FOUND, "{method}");
        }
        assert!(Params::read(&call("{}"), "ping").is_ok());
    }

    #[test]
    fn keys_that_are_routed_by_must_have_their_type() {
        for params in [
            r#"{"name":1}"#,
            r#"{}"#,
            r#"{"name":"a","_meta":1}"#,
            r#"{"name":"a","_meta":{"progressToken":{}}}"#,
        ] {
            let error = Params::read(&call(params), "tools/call").unwrap_err();
            assert_eq!(error.code, code::INVALID_PARAMS, "{params}");
        }
    }
}
