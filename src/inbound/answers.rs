//! The answers that need no child: who we are, and what there is.

use bytes::Bytes;
use rmcp::model::{
    CacheScope, DiscoverResult, Implementation, InitializeResult, JsonObject, PromptsCapability,
    ResourcesCapability, ServerCapabilities, ToolsCapability,
};
use serde::Serialize;

use crate::{
    catalog::{Catalog, Family, Primitive},
    protocol::{
        Era, Frame,
        error::{RpcError, code, result_answer},
        json,
        version::{MODERN, negotiate_legacy},
    },
};

/// How long a modern client may keep what `server/discover` said, in milliseconds.
const DISCOVER_TTL_MS: u64 = 5_000;

/// The answer to `initialize`. A handshake cannot be amended, so it says what can
/// ever be carried, whatever the children offer at this moment.
pub(super) fn initialize(request: &Frame, catalog: &Catalog) -> Result<Bytes, RpcError> {
    let params = request.body_object();
    let asked = params
        .as_ref()
        .and_then(|params| params.get("protocolVersion"))
        .filter(|raw| json::is_string(raw))
        .ok_or_else(|| invalid("params.protocolVersion must be a string"))?;
    let mut result = InitializeResult::new(everything())
        .with_protocol_version(negotiate_legacy(&json::unquote(asked)))
        .with_server_info(server_info());
    result.instructions = catalog.instructions().map(str::to_owned);
    Ok(answer(request, &result))
}

/// The answer to `server/discover`: what the children offer now.
pub(super) fn discover(request: &Frame, catalog: &Catalog) -> Bytes {
    let mut capabilities = everything();
    if !catalog.offers(Family::Prompts) {
        capabilities.prompts = None;
    }
    match &mut capabilities.resources {
        Some(resources) if catalog.offers(Family::Resources) => {
            resources.subscribe = catalog.subscribes().then_some(true);
        }
        resources => *resources = None,
    }
    if !catalog.completes() {
        capabilities.completions = None;
    }
    let mut result = DiscoverResult::new(vec![MODERN], capabilities)
        .with_server_info(server_info())
        .with_ttl_ms(DISCOVER_TTL_MS)
        .with_cache_scope(CacheScope::Private);
    result.instructions = catalog.instructions().map(str::to_owned);
    answer(request, &result)
}

/// The answer to a request that lists: what was prepared when the catalog was merged.
/// There is one page.
pub(super) fn list(
    request: &Frame,
    era: Era,
    primitive: Primitive,
    catalog: &Catalog,
) -> Result<Bytes, RpcError> {
    let params = request.body_object();
    let cursor = params.as_ref().and_then(|params| params.get("cursor"));
    if cursor.is_some_and(|cursor| cursor != "null") {
        return Err(invalid("unknown cursor: the list has one page"));
    }
    let id = request.id().unwrap_or("null");
    let mut answer = Vec::with_capacity(catalog.list_size(primitive) + id.len() + 128);
    answer.extend_from_slice(br#"{"jsonrpc":"2.0","id":"#);
    answer.extend_from_slice(id.as_bytes());
    answer.extend_from_slice(br#","result":"#);
    catalog.write_list(primitive, era, &mut answer);
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

fn server_info() -> Implementation {
    Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
        .with_title("MCP Multiplexer")
}

/// Everything that can ever be carried.
fn everything() -> ServerCapabilities {
    let mut tools = ToolsCapability::default();
    tools.list_changed = Some(true);
    let mut prompts = PromptsCapability::default();
    prompts.list_changed = Some(true);
    let mut resources = ResourcesCapability::default();
    resources.list_changed = Some(true);
    resources.subscribe = Some(true);
    let mut capabilities = ServerCapabilities::default();
    capabilities.tools = Some(tools);
    capabilities.prompts = Some(prompts);
    capabilities.resources = Some(resources);
    capabilities.completions = Some(JsonObject::default());
    capabilities.logging = Some(JsonObject::default());
    capabilities
}

fn invalid(message: &str) -> RpcError {
    RpcError::new(code::INVALID_PARAMS, message)
}
