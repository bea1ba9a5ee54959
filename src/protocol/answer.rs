//! A child's messages on their way to the client: ids and tokens given back, and
//! the few result keys in which the eras differ.

use bytes::Bytes;

use super::{
    ChildName, View,
    caller::LogLevel,
    error::code,
    frame::{Frame, Kind},
    json,
    request::meta_key,
    splice::Splice,
    version::Era,
};

/// The result key that says how to read a result (MCP 2026-07-28).
pub const RESULT_TYPE: &str = "resultType";

/// The [`RESULT_TYPE`] of a result that asks the client for more.
pub const INPUT_REQUIRED: &str = "input_required";
/// What it asks: requests, by keys of its own.
pub const INPUT_REQUESTS: &str = "inputRequests";

/// The result keys that say how long a result may be kept (MCP 2026-07-28).
const CACHE_KEYS: [&str; 2] = ["ttlMs", "cacheScope"];

/// `answer` under the client's own `id`, in the client's era. `id` is `None` where
/// the child was given the client's id as it is. A `cacheable` result must say in the
/// modern era how long it may be kept; of a legacy child's nobody knows, so not at all.
pub fn to_client(
    answer: &Frame,
    id: Option<&str>,
    child: Era,
    client: Era,
    cacheable: bool,
) -> Bytes {
    let kept = answer.id().unwrap_or("null").to_owned();
    let mut splice = answer.with_id(id.unwrap_or(&kept));
    if child != client
        && let (Some(at), Some(body)) = (answer.body_range(), answer.body_object())
    {
        match (client, answer.kind()) {
            (Era::Modern, Kind::Result) if body.get(RESULT_TYPE).is_none() => {
                let comma = if body.members().is_empty() { "" } else { "," };
                let cache = match cacheable && CACHE_KEYS.iter().all(|key| body.get(key).is_none())
                {
                    true => r#","ttlMs":0,"cacheScope":"private""#,
                    false => "",
                };
                splice.insert(
                    at.start + 1,
                    format!("\"{RESULT_TYPE}\":\"complete\"{cache}{comma}"),
                );
            }
            (Era::Legacy, Kind::Result) if body.get(RESULT_TYPE).is_some() => {
                let is_cache_key = |key: &str| cacheable && CACHE_KEYS.contains(&key);
                let kept = |key: &str| key != RESULT_TYPE && !is_cache_key(key);
                splice.replace(at, body.retain(kept));
            }
            (Era::Modern, Kind::Error) => {
                if let Some(old) = body
                    .get("code")
                    .filter(|raw| *raw == code::LEGACY_RESOURCE_NOT_FOUND.to_string())
                {
                    splice.replace(answer.range_of(old), code::INVALID_PARAMS.to_string());
                }
            }
            _ => {}
        }
    }
    splice.finish()
}

/// What a modern result says it is, when that is not simply `complete`.
pub fn unfinished(answer: &Frame) -> Option<String> {
    if answer.kind() != Kind::Result {
        return None;
    }
    let kind = json::unquote(answer.body_member(RESULT_TYPE)?);
    (kind != "complete").then(|| kind.into_owned())
}

/// Whether a tool's result says that the tool failed.
pub fn is_tool_error(answer: &Frame) -> bool {
    answer.kind() == Kind::Result && answer.body_member("isError") == Some("true")
}

/// The code of an error.
pub fn error_code(answer: &Frame) -> Option<i64> {
    if answer.kind() != Kind::Error {
        return None;
    }
    answer.body_member("code")?.parse().ok()
}

/// Whether an error is one that only a server of the modern era gives, of a request
/// that it has understood.
pub fn is_modern_error(answer: &Frame) -> bool {
    let code = error_code(answer);
    matches!(code, Some(code::HEADER_MISMATCH | code::MISSING_CAPABILITY))
}

/// A progress notification with the client's own token given back; `None` if it
/// has none to replace.
pub fn with_progress_token(progress: &Frame, token: &str) -> Option<Bytes> {
    let params = progress.body_object()?;
    let at = progress.range_of(params.get(meta_key::PROGRESS_TOKEN)?);
    let mut splice = Splice::of(progress.bytes());
    splice.replace(at, token);
    Some(splice.finish())
}

/// The progress token of a progress notification, quotes and escapes undone.
pub fn progress_token(progress: &Frame) -> Option<String> {
    let params = progress.body_object()?;
    Some(json::unquote(params.get(meta_key::PROGRESS_TOKEN)?).into_owned())
}

/// The severity of a `notifications/message`.
pub fn log_level(message: &Frame) -> Option<LogLevel> {
    let params = message.body_object()?;
    LogLevel::read(&json::unquote(params.get("level")?))
}

/// A `notifications/message` as a client reads it that sees this of the fleet: where
/// there may be several children, with the one it comes from in front of its logger.
pub fn logged(message: Frame, child: &ChildName, view: &View) -> Bytes {
    match view {
        View::Child(_) => message.into_bytes(),
        View::All | View::Group(_) => with_logger(&message, child.as_str()),
    }
}

/// With the child named in `logger`, before the child's own logger, if it names one.
fn with_logger(message: &Frame, child: &str) -> Bytes {
    let mut splice = Splice::of(message.bytes());
    if let (Some(at), Some(params)) = (message.body_range(), message.body_object()) {
        let name = json::quote(child);
        let open = name.strip_suffix('"').unwrap_or(&name);
        match params.get("logger") {
            Some(logger) if json::is_string(logger) => {
                let quote = message.range_of(logger).start;
                splice.replace(quote..quote + 1, format!("{open}/"));
            }
            Some(none) => splice.replace(message.range_of(none), name),
            None => {
                let comma = if params.members().is_empty() { "" } else { "," };
                splice.insert(at.start + 1, format!("\"logger\":{name}{comma}"));
            }
        }
    }
    splice.finish()
}

/// The URI in a `notifications/resources/updated`.
pub fn updated_uri(updated: &Frame) -> Option<String> {
    let params = updated.body_object()?;
    let uri = params.get("uri").filter(|raw| json::is_string(raw))?;
    Some(json::unquote(uri).into_owned())
}

/// A `notifications/resources/updated` for a client that knows the resource as `uri`.
/// `subscription` is the id, as JSON text, of the request that a modern client listens
/// by; a legacy one is told of none.
pub fn updated(updated: &Frame, uri: &str, subscription: Option<&str>) -> Bytes {
    let mut splice = Splice::of(updated.bytes());
    let (Some(at), Some(params)) = (updated.body_range(), updated.body_object()) else {
        return splice.finish();
    };
    if let Some(own) = params.get("uri").filter(|own| json::unquote(own) != uri) {
        splice.replace(updated.range_of(own), json::quote(uri));
    }
    let key = meta_key::SUBSCRIPTION_ID;
    let raw = params.get("_meta");
    let meta = raw.and_then(|raw| json::Object::read(raw).ok());
    match (raw.zip(meta), subscription) {
        (Some((raw, meta)), Some(id)) => match meta.get(key) {
            Some(of_the_child) => splice.replace(updated.range_of(of_the_child), id),
            None => {
                let comma = if meta.members().is_empty() { "" } else { "," };
                let start = updated.range_of(raw).start + 1;
                splice.insert(start, format!("\"{key}\":{id}{comma}"));
            }
        },
        (Some((raw, meta)), None) if meta.get(key).is_some() => {
            splice.replace(updated.range_of(raw), meta.retain(|it| it != key));
        }
        (None, Some(id)) if raw.is_none() => {
            splice.insert(at.start + 1, format!("\"_meta\":{{\"{key}\":{id}}},"));
        }
        _ => {}
    }
    splice.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(body: &str) -> Frame {
        Frame::made(format!(r#"{{"jsonrpc":"2.0","id":"m1",{body}}}"#))
    }

    fn crossed(body: &str, child: Era, client: Era) -> String {
        let bytes = to_client(&answer(body), Some("7"), child, client, false);
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn within_an_era_only_the_id_differs() {
        let body = r#""result": { "resultType":"complete", "x" : 1e400 }"#;
        for era in [Era::Legacy, Era::Modern] {
            assert_eq!(
                crossed(body, era, era),
                format!(r#"{{"jsonrpc":"2.0","id":7,{body}}}"#)
            );
        }
    }

    #[test]
    fn between_the_eras_the_result_type_comes_and_goes() {
        assert_eq!(
            crossed(r#""result":{"x": 1.10}"#, Era::Legacy, Era::Modern),
            r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","x": 1.10}}"#
        );
        assert_eq!(
            crossed(r#""result":{}"#, Era::Legacy, Era::Modern),
            r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete"}}"#
        );
        assert_eq!(
            crossed(
                r#""result":{"resultType":"complete","x": 1.10}"#,
                Era::Modern,
                Era::Legacy
            ),
            r#"{"jsonrpc":"2.0","id":7,"result":{"x":1.10}}"#
        );
    }

    #[test]
    fn what_is_read_says_in_the_modern_era_how_long_it_may_be_kept() {
        let read = |body: &str, child, client| {
            let bytes = to_client(&answer(body), Some("7"), child, client, true);
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        assert_eq!(
            read(r#""result":{"contents":[]}"#, Era::Legacy, Era::Modern),
            r#"{"jsonrpc":"2.0","id":7,"result":{"resultType":"complete","ttlMs":0,"cacheScope":"private","contents":[]}}"#
        );
        assert_eq!(
            read(
                r#""result":{"resultType":"complete","ttlMs":9,"cacheScope":"public","contents":[]}"#,
                Era::Modern,
                Era::Legacy
            ),
            r#"{"jsonrpc":"2.0","id":7,"result":{"contents":[]}}"#
        );
    }

    #[test]
    fn a_missing_resource_is_told_in_the_code_of_the_clients_era() {
        assert_eq!(
            crossed(
                r#""error":{"code":-32002,"message":"m"}"#,
                Era::Legacy,
                Era::Modern
            ),
            r#"{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"m"}}"#
        );
    }

    #[test]
    fn a_tool_error_is_seen_at_the_top_of_the_result_only() {
        assert!(is_tool_error(&answer(
            r#""result":{"content":[],"isError" : true}"#
        )));
        for body in [
            r#""result":{"isError":false}"#,
            r#""result":{"structuredContent":{"isError":true}}"#,
            r#""result":{"content":"isError"}"#,
            r#""error":{"isError":true}"#,
        ] {
            assert!(!is_tool_error(&answer(body)), "{body}");
        }
    }

    fn told(params: &str) -> Frame {
        Frame::made(format!(
            r#"{{"jsonrpc":"2.0","method":"m","params":{params}}}"#
        ))
    }

    #[test]
    fn a_log_message_names_its_child_and_keeps_every_other_byte() {
        for (params, expected) in [
            (
                r#"{"level":"info", "data":{"n":1e400}}"#,
                r#"{"logger":"a\"b","level":"info", "data":{"n":1e400}}"#,
            ),
            (
                r#"{"data":1.10,"logger" : "x\ud800"}"#,
                r#"{"data":1.10,"logger" : "a\"b/x\ud800"}"#,
            ),
            (r#"{"logger":null}"#, r#"{"logger":"a\"b"}"#),
            ("{}", r#"{"logger":"a\"b"}"#),
        ] {
            assert_eq!(with_logger(&told(params), "a\"b"), told(expected).bytes());
        }
    }

    #[test]
    fn an_update_names_the_resource_as_the_client_knows_it() {
        let key = meta_key::SUBSCRIPTION_ID;
        let tagged = |id: &str| format!(r#"{{"uri":"p:1","_meta":{{"{key}":{id},"x" : 1.10}}}}"#);
        for (params, to_legacy, to_modern) in [
            (
                r#"{"uri" : "a:1","n":1e400}"#.to_owned(),
                r#"{"uri" : "p:1","n":1e400}"#.to_owned(),
                format!(r#"{{"_meta":{{"{key}":7}},"uri" : "p:1","n":1e400}}"#),
            ),
            (
                tagged("\"m1\""),
                r#"{"uri":"p:1","_meta":{"x":1.10}}"#.to_owned(),
                tagged("7"),
            ),
            (
                r#"{"_meta":{},"uri":"a:1"}"#.to_owned(),
                r#"{"_meta":{},"uri":"p:1"}"#.to_owned(),
                format!(r#"{{"_meta":{{"{key}":7}},"uri":"p:1"}}"#),
            ),
        ] {
            let child = told(&params);
            assert_eq!(updated(&child, "p:1", None), told(&to_legacy).bytes());
            assert_eq!(updated(&child, "p:1", Some("7")), told(&to_modern).bytes());
        }
    }

    #[test]
    fn the_clients_progress_token_is_given_back() {
        let progress = Frame::made(
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"m1","progress":1.0}}"#
                .to_owned(),
        );
        assert_eq!(progress_token(&progress).as_deref(), Some("m1"));
        assert_eq!(
            with_progress_token(&progress, "5").unwrap(),
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":5,"progress":1.0}}"#
        );
    }
}
