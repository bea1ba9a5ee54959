//! A child's messages on their way to the client: ids and tokens given back, and
//! the few result keys in which the eras differ.

use bytes::Bytes;

use super::{
    caller::LogLevel,
    error::code,
    frame::{Frame, Kind},
    json,
    request::meta_key,
    version::Era,
};

/// The result key that says how to read a result (MCP 2026-07-28).
pub const RESULT_TYPE: &str = "resultType";

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
    if answer.kind() != Kind::Result || !mentions(answer, RESULT_TYPE) {
        return None;
    }
    let body = answer.body_object()?;
    let kind = json::unquote(body.get(RESULT_TYPE)?);
    (kind != "complete").then(|| kind.into_owned())
}

/// Whether a tool's result says that the tool failed.
pub fn is_tool_error(answer: &Frame) -> bool {
    answer.kind() == Kind::Result
        && mentions(answer, "isError")
        && answer
            .body_object()
            .is_some_and(|body| body.get("isError") == Some("true"))
}

/// The code of an error.
pub fn error_code(answer: &Frame) -> Option<i64> {
    let error = answer
        .body_object()
        .filter(|_| answer.kind() == Kind::Error);
    error?.get("code")?.parse().ok()
}

/// A progress notification with the client's own token given back; `None` if it
/// has none to replace.
pub fn with_progress_token(progress: &Frame, token: &str) -> Option<Bytes> {
    let params = progress.body_object()?;
    let at = progress.range_of(params.get(meta_key::PROGRESS_TOKEN)?);
    let mut splice = super::splice::Splice::of(progress.bytes());
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

/// A quick no: reading the members of a large result costs a pass over all of it.
/// A key spelled with escapes is not found; only names of keys the specification
/// gives are asked for, and nobody escapes those.
fn mentions(answer: &Frame, key: &str) -> bool {
    memchr::memmem::find(answer.body_bytes(), key.as_bytes()).is_some()
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
