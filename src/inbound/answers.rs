//! The answers that need no child: who we are, and what there is.

use bytes::Bytes;
use rmcp::model::{CacheScope, DiscoverResult, InitializeResult, ProtocolVersion};
use serde::Serialize;
use serde_json::json;

use super::introduction::Introduction;
use crate::protocol::{
    Abilities, Frame,
    error::{RpcError, code, result_answer},
    json::{is_string, unquote},
    version::{MODERN, negotiate_legacy},
};

/// How long a modern client may keep what `server/discover` said, in milliseconds.
const DISCOVER_TTL_MS: u64 = 5_000;

/// The answer to `initialize`.
pub(super) fn initialize(request: &Frame, us: Introduction) -> Result<Bytes, RpcError> {
    let params = request.body_object();
    let asked = params
        .as_ref()
        .and_then(|params| params.get("protocolVersion"))
        .filter(|raw| is_string(raw))
        .ok_or_else(|| invalid("params.protocolVersion must be a string"))?;
    let version = negotiate_legacy(&unquote(asked));
    let mut result = InitializeResult::new(us.capabilities)
        .with_protocol_version(version.clone())
        .with_server_info(us.server_info);
    result.instructions = us.instructions;
    Ok(answer(request, &with_tasks(&result, &version)))
}

/// The same with what rmcp has no words for: the tasks of 2025-11-25. A tool says of
/// itself whether a call of it may become one. No list of tasks: a child that knows only
/// us would tell every client of the tasks of all.
fn with_tasks(result: &InitializeResult, version: &ProtocolVersion) -> serde_json::Value {
    let mut result = json!(result);
    if *version == ProtocolVersion::V_2025_11_25 {
        result["capabilities"]["tasks"] =
            json!({"cancel": {}, "requests": {"tools": {"call": {}}}});
    }
    result
}

/// What the client may be asked, as it says in its `initialize`.
pub(super) fn abilities(initialize: &Frame) -> Abilities {
    let params = initialize.body_object();
    let declared = params
        .as_ref()
        .and_then(|params| params.get("capabilities"));
    declared.map(Abilities::read).unwrap_or_default()
}

/// The answer to `server/discover`.
pub(super) fn discover(request: &Frame, us: Introduction) -> Bytes {
    let mut result = DiscoverResult::new(vec![MODERN], us.capabilities)
        .with_server_info(us.server_info)
        .with_ttl_ms(DISCOVER_TTL_MS)
        .with_cache_scope(CacheScope::Private);
    result.instructions = us.instructions;
    answer(request, &result)
}

/// The answer to a request that lists: a result of about this `size`, as it is written.
/// There is one page.
pub(super) fn list(
    request: &Frame,
    size: usize,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<Bytes, RpcError> {
    let params = request.body_object();
    let cursor = params.as_ref().and_then(|params| params.get("cursor"));
    if cursor.is_some_and(|cursor| cursor != "null") {
        return Err(invalid("unknown cursor: the list has one page"));
    }
    let id = request.id().unwrap_or("null");
    let mut answer = Vec::with_capacity(size + id.len() + 128);
    answer.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    answer.extend_from_slice(id.as_bytes());
    answer.extend_from_slice(br#","result":"#);
    write(&mut answer);
    answer.push(b'}');
    Ok(answer.into())
}

/// The answer that says nothing but "done".
pub(super) fn empty(request: &Frame) -> Bytes {
    result_answer(request.id().unwrap_or("null"), "{}").into_bytes()
}

fn answer(request: &Frame, result: &impl Serialize) -> Bytes {
    let id = request.id().unwrap_or("null");
    match serde_json::to_string(result) {
        Ok(result) => result_answer(id, &result).into_bytes(),
        Err(error) => RpcError::new(code::INTERNAL, error.to_string())
            .answer(Some(id))
            .into_bytes(),
    }
}

fn invalid(message: &str) -> RpcError {
    RpcError::new(code::INVALID_PARAMS, message)
}
