//! JSON-RPC errors that this program itself answers with.

use serde_json::{Value, json};

use super::{
    frame::{Frame, FrameError},
    json::quote,
};

/// Codes of JSON-RPC 2.0 and of MCP.
pub mod code {
    /// Invalid JSON was received (JSON-RPC 2.0 §5.1).
    pub const PARSE: i64 = -32700;
    /// Not a valid request object (JSON-RPC 2.0 §5.1).
    pub const INVALID_REQUEST: i64 = -32600;
    /// The method does not exist (JSON-RPC 2.0 §5.1).
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// Invalid method parameters (JSON-RPC 2.0 §5.1); in MCP an unknown name too.
    pub const INVALID_PARAMS: i64 = -32602;
    /// Internal error (JSON-RPC 2.0 §5.1).
    pub const INTERNAL: i64 = -32603;
    /// Headers contradict the body (MCP 2026-07-28, SEP-2243).
    pub const HEADER_MISMATCH: i64 = -32020;
    /// A capability the client must declare (MCP 2026-07-28).
    pub const MISSING_CAPABILITY: i64 = -32021;
    /// The protocol version is not supported (MCP 2026-07-28).
    pub const UNSUPPORTED_VERSION: i64 = -32022;
    /// The client has to go to a URL before it asks again (MCP 2025-11-25).
    pub const URL_ELICITATION_REQUIRED: i64 = -32042;
    /// A resource does not exist, as the legacy era says it.
    pub const LEGACY_RESOURCE_NOT_FOUND: i64 = -32002;
}

/// One JSON-RPC error.
#[derive(Clone, Debug, PartialEq)]
pub struct RpcError {
    /// See [`code`].
    pub code: i64,
    /// A sentence for people.
    pub message: String,
    /// Facts for programs.
    pub data: Option<Value>,
}

impl RpcError {
    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The same error with facts for programs.
    pub fn with_data(self, data: Value) -> Self {
        Self {
            data: Some(data),
            ..self
        }
    }

    /// The message that answers the request `id` (as it stands; `null` if none
    /// could be read) with this error.
    pub fn answer(&self, id: Option<&str>) -> Frame {
        let mut error = json!({"code": self.code, "message": self.message});
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        let id = id.unwrap_or("null");
        Frame::made(format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
    }
}

impl FrameError {
    /// The error that answers bytes that are no frame.
    pub fn answer(&self) -> Frame {
        match self {
            Self::Syntax => RpcError::new(code::PARSE, self.to_string()).answer(None),
            Self::Invalid { id, .. } => {
                RpcError::new(code::INVALID_REQUEST, self.to_string()).answer(id.as_deref())
            }
        }
    }
}

/// The message that answers the request `id` with a result (JSON text).
pub fn result_answer(id: &str, result: &str) -> Frame {
    Frame::made(format!(
        r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
    ))
}

/// A notification. `params` is JSON text, an object.
pub fn notification(method: &str, params: Option<&str>) -> Frame {
    let method = quote(method);
    Frame::made(match params {
        Some(params) => format!(r#"{{"jsonrpc":"2.0","method":{method},"params":{params}}}"#),
        None => format!(r#"{{"jsonrpc":"2.0","method":{method}}}"#),
    })
}
