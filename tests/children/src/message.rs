//! One JSON-RPC message, read without touching its values.
//!
//! Ids, arguments and tokens stay the bytes they came as; what goes out is put
//! together from such bytes.

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

/// A message as it came.
#[derive(Deserialize, Debug)]
pub struct Message {
    /// The id's own bytes; absent for a notification.
    pub id: Option<Box<RawValue>>,
    /// Absent for an answer.
    pub method: Option<String>,
    /// The bytes of `params`.
    pub params: Option<Box<RawValue>>,
}

impl Message {
    /// Reads one message; the error is for a person.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// What this child needs to know of `params`; what it cannot read counts as absent.
    pub fn params(&self) -> Params {
        self.params
            .as_deref()
            .and_then(|raw| serde_json::from_str(raw.get()).ok())
            .unwrap_or_default()
    }

    /// The bytes of `params`, or those of an empty object.
    pub fn raw_params(&self) -> &str {
        self.params.as_deref().map_or("{}", RawValue::get)
    }

    /// What the journal says of a notification.
    pub fn noted(&self) -> Value {
        json!({"method": self.method, "params": self.raw_params()})
    }
}

/// The parts of `params` by which this child decides.
#[derive(Deserialize, Default, Debug)]
#[serde(rename_all = "camelCase", default)]
pub struct Params {
    pub name: Option<String>,
    pub uri: Option<String>,
    pub arguments: Option<Box<RawValue>>,
    pub cursor: Option<String>,
    pub protocol_version: Option<String>,
    pub request_id: Option<Box<RawValue>>,
    #[serde(rename = "_meta")]
    pub meta: Meta,
}

/// The parts of `params._meta` by which this child decides.
#[derive(Deserialize, Default, Debug)]
#[serde(default)]
pub struct Meta {
    #[serde(rename = "progressToken")]
    pub progress_token: Option<Box<RawValue>>,
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    pub protocol_version: Option<String>,
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
    pub client_capabilities: Option<Box<RawValue>>,
    #[serde(rename = "io.modelcontextprotocol/logLevel")]
    pub log_level: Option<String>,
}

/// What a request comes to.
#[derive(Debug)]
pub enum Reply {
    /// The bytes of `result`.
    Result(String),
    /// A JSON-RPC error.
    Error(RpcError),
    /// The bytes of `error`.
    Failure(String),
}

/// A JSON-RPC error, with the bytes of its `data`.
#[derive(Debug)]
pub struct RpcError {
    pub code: i64,
    pub message: String,
    pub data: Option<String>,
}

impl RpcError {
    /// An error without `data`.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            data: None,
        }
    }

    /// The frame that answers `id` (raw bytes) with this error.
    pub fn frame(&self, id: &str) -> String {
        let data = match &self.data {
            Some(data) => format!(r#","data":{data}"#),
            None => String::new(),
        };
        format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{},"message":{}{data}}}}}"#,
            self.code,
            quoted(&self.message),
        )
    }
}

impl From<RpcError> for Reply {
    fn from(error: RpcError) -> Self {
        Self::Error(error)
    }
}

impl Reply {
    /// The frame that answers `id` (raw bytes).
    pub fn frame(&self, id: &str) -> String {
        match self {
            Self::Result(result) => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#),
            Self::Error(error) => error.frame(id),
            Self::Failure(error) => format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#),
        }
    }

    /// The same in the order of some SDKs, where it is a result.
    pub fn frame_with_id_last(&self, id: &str) -> String {
        match self {
            Self::Result(result) => format!(r#"{{"result":{result},"jsonrpc":"2.0","id":{id}}}"#),
            other => other.frame(id),
        }
    }
}

/// The frame of a notification whose `params` are these bytes.
pub fn notification(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":{params}}}"#)
}

/// `text` as a JSON string.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
