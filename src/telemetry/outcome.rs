//! How a request ended, in the words of the `outcome` label.

use serde::Serialize;

/// How one request to one child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A result.
    Ok,
    /// A result with `isError: true`: the tool itself failed.
    ToolError,
    /// The child's own JSON-RPC error.
    RpcError,
    /// No answer within the deadline.
    Timeout,
    /// The connection failed.
    Transport,
    /// The child answered with something that is no answer.
    Protocol,
    /// Refused: the child is connected, and failing.
    CircuitOpen,
    /// Refused: the child is not connected.
    Unavailable,
    /// Refused: no free slot within the queue timeout.
    Busy,
    /// The child answered 401, also to a fresh token.
    Unauthorized,
    /// The child answered 403.
    Denied,
    /// The client took the request back, or went away.
    Cancelled,
}

impl Outcome {
    /// Every outcome, in the order of the table in the documentation.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::ToolError,
        Self::RpcError,
        Self::Timeout,
        Self::Transport,
        Self::Protocol,
        Self::CircuitOpen,
        Self::Unavailable,
        Self::Busy,
        Self::Unauthorized,
        Self::Denied,
        Self::Cancelled,
    ];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ToolError => "tool_error",
            Self::RpcError => "rpc_error",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::Protocol => "protocol",
            Self::CircuitOpen => "circuit_open",
            Self::Unavailable => "unavailable",
            Self::Busy => "busy",
            Self::Unauthorized => "unauthorized",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
        }
    }
}
