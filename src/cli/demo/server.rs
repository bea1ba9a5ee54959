//! A small MCP server: what a [`Toolbox`] needs around it to be one, in either era.

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::bearer::Claims;
use crate::protocol::{
    Era, Frame,
    answer::RESULT_TYPE,
    error::{RpcError, code, notification, result_answer},
    model::{
        CacheScope, DiscoverResult, Implementation, InitializeResult, ServerCapabilities,
        ToolsCapability,
    },
    request::Params,
    version::{MODERN, negotiate_legacy},
};

/// The tools of one server.
pub(super) trait Toolbox: Send + Sync + 'static {
    /// The server's name, in the configuration too.
    const NAME: &'static str;
    /// The only era it speaks.
    const ERA: Era;

    /// What it offers, as it stands in a list.
    fn tools() -> Vec<Value>;

    /// Calls a tool; gives its result.
    fn call(&self, call: &Call<'_>) -> impl Future<Output = Result<Value, RpcError>> + Send;
}

/// Around a request: who sent it, and where what comes before the answer goes.
#[derive(Default)]
pub(super) struct Around {
    /// The caller, where the server asks for a token.
    pub(super) caller: Option<Claims>,
    /// Where progress goes, where it can go anywhere.
    pub(super) asides: Option<mpsc::Sender<Frame>>,
}

/// One call of a tool.
pub(super) struct Call<'a> {
    /// The tool's name.
    pub(super) tool: &'a str,
    arguments: Value,
    around: &'a Around,
    /// Ties progress to the call (JSON text).
    progress_token: Option<&'a str>,
}

impl Call<'_> {
    /// The caller, where the server asks for a token.
    pub(super) fn caller(&self) -> Option<&Claims> {
        self.around.caller.as_ref()
    }

    /// An argument that is a text.
    pub(super) fn text(&self, key: &str) -> Result<&str, RpcError> {
        self.arguments[key]
            .as_str()
            .ok_or_else(|| invalid(format!("arguments.{key} must be a string")))
    }

    /// An argument that is a whole number of at least 1.
    pub(super) fn count(&self, key: &str) -> Result<u64, RpcError> {
        self.arguments[key]
            .as_u64()
            .filter(|count| *count > 0)
            .ok_or_else(|| {
                invalid(format!(
                    "arguments.{key} must be a whole number, at least 1"
                ))
            })
    }

    /// Tells how far the call has come, if its client asked to be told.
    pub(super) async fn progressed(&self, done: u64, of: u64) {
        let (Some(token), Some(asides)) = (self.progress_token, &self.around.asides) else {
            return;
        };
        let params = format!(r#"{{"progressToken":{token},"progress":{done},"total":{of}}}"#);
        let progress = notification("notifications/progress", Some(&params));
        // A client that is gone need not be told.
        let _ = asides.send(progress).await;
    }

    /// The error for a name that is none of the tools.
    pub(super) fn unknown(&self) -> RpcError {
        invalid(format!("unknown tool {:?}", self.tool))
    }
}

/// One tool, as it stands in a list.
pub(super) fn tool(name: &str, description: &str, arguments: Value, read_only: bool) -> Value {
    let required: Vec<_> = arguments
        .as_object()
        .into_iter()
        .flat_map(|a| a.keys())
        .collect();
    json!({
        "name": name,
        "description": description,
        "inputSchema": {"type": "object", "required": required, "properties": arguments},
        "annotations": {"readOnlyHint": read_only},
    })
}

/// A tool's result: a text.
pub(super) fn text(text: impl Into<String>) -> Value {
    json!({"content": [{"type": "text", "text": text.into()}]})
}

/// A tool's result that says that the tool failed.
pub(super) fn failed(why: impl Into<String>) -> Value {
    let mut result = text(why);
    result["isError"] = true.into();
    result
}

/// The answer to one request.
pub(super) async fn answer<T: Toolbox>(toolbox: &T, request: &Frame, around: &Around) -> Frame {
    let method = request.method().unwrap_or_default();
    let result = match (&*method, T::ERA) {
        ("initialize", Era::Legacy) => Ok(initialize::<T>(request)),
        ("server/discover", Era::Modern) => Ok(discover::<T>()),
        ("ping", Era::Legacy) => Ok(json!({})),
        ("tools/list", _) => Ok(list::<T>()),
        ("tools/call", _) => call(toolbox, request, around).await,
        _ => Err(RpcError::new(
            code::METHOD_NOT_FOUND,
            format!("unknown method {method:?}"),
        )),
    };
    match result {
        Ok(mut result) => {
            if T::ERA == Era::Modern {
                result[RESULT_TYPE] = "complete".into();
            }
            result_answer(request.id().unwrap_or("null"), &result.to_string())
        }
        Err(error) => error.answer(request.id()),
    }
}

fn initialize<T: Toolbox>(request: &Frame) -> Value {
    let params = parsed(request.body());
    let asked = params["protocolVersion"].as_str().unwrap_or_default();
    let result = InitializeResult::new(capabilities())
        .with_protocol_version(negotiate_legacy(asked))
        .with_server_info(Implementation::new(T::NAME, env!("CARGO_PKG_VERSION")));
    json!(result)
}

fn discover<T: Toolbox>() -> Value {
    let result = DiscoverResult::new(vec![MODERN], capabilities())
        .with_server_info(Implementation::new(T::NAME, env!("CARGO_PKG_VERSION")))
        .with_cache_scope(CacheScope::Private);
    json!(result)
}

fn list<T: Toolbox>() -> Value {
    match T::ERA {
        Era::Legacy => json!({"tools": T::tools()}),
        Era::Modern => json!({"tools": T::tools(), "ttlMs": 0, "cacheScope": "private"}),
    }
}

async fn call<T: Toolbox>(
    toolbox: &T,
    request: &Frame,
    around: &Around,
) -> Result<Value, RpcError> {
    let params = Params::read(request, "tools/call")?;
    let body = request.body_object();
    let call = Call {
        tool: params.name.as_deref().unwrap_or_default(),
        arguments: parsed(body.as_ref().and_then(|body| body.get("arguments"))),
        around,
        progress_token: params.progress_token.as_deref(),
    };
    toolbox.call(&call).await
}

fn capabilities() -> ServerCapabilities {
    let mut capabilities = ServerCapabilities::default();
    capabilities.tools = Some(ToolsCapability::default());
    capabilities
}

/// Nothing, where nothing stands: no argument of ours is optional.
fn parsed(text: Option<&str>) -> Value {
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

fn invalid(message: impl Into<String>) -> RpcError {
    RpcError::new(code::INVALID_PARAMS, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::children::{Reports, Weather};

    async fn answered<T: Toolbox>(toolbox: T, method: &str, params: &str) -> Value {
        let request =
            format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{method}","params":{params}}}"#);
        let answer = answer(&toolbox, &Frame::made(request), &Around::default()).await;
        serde_json::from_slice(answer.bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_server_knows_the_handshake_of_its_own_era_only() {
        let legacy = r#"{"protocolVersion":"2025-06-18"}"#;
        let answer = answered(Reports, "initialize", legacy).await;
        assert_eq!(answer["result"]["protocolVersion"], "2025-06-18");
        let answer = answered(Reports, "server/discover", "{}").await;
        assert_eq!(answer["error"]["code"], code::METHOD_NOT_FOUND);
        let answer = answered(Weather, "server/discover", "{}").await;
        assert_eq!(
            answer["result"]["supportedVersions"],
            json!([MODERN.as_str()])
        );
        let answer = answered(Weather, "initialize", legacy).await;
        assert_eq!(answer["error"]["code"], code::METHOD_NOT_FOUND);
    }

    #[tokio::test]
    async fn a_call_that_cannot_be_made_is_told_apart_from_one_that_failed() {
        let unknown = answered(Weather, "tools/call", r#"{"name":"rain"}"#).await;
        assert_eq!(unknown["error"]["code"], code::INVALID_PARAMS);
        let lacking = answered(Weather, "tools/call", r#"{"name":"forecast"}"#).await;
        assert_eq!(lacking["error"]["code"], code::INVALID_PARAMS);
        let nowhere = r#"{"name":"forecast","arguments":{"city":"Nowhere"}}"#;
        let failed = answered(Weather, "tools/call", nowhere).await;
        assert_eq!(failed["result"]["isError"], true);
        assert_eq!(failed["result"]["resultType"], "complete");
    }
}
