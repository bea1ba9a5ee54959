//! A request over HTTP that is not carried out, and what its sender is told.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::{
    HeaderValue, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
};

use crate::protocol::{
    Frame,
    error::{RpcError, code},
};

/// A refused request.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    told: Told,
}

#[derive(Debug)]
enum Told {
    /// A sentence.
    Plainly(Cow<'static, str>),
    /// A JSON-RPC error.
    Error(Box<Frame>),
    /// The methods that are allowed.
    Methods(&'static str),
}

impl Refused {
    /// With a sentence: what was sent is no message at all.
    pub(super) fn plainly(status: StatusCode, sentence: impl Into<Cow<'static, str>>) -> Self {
        let told = Told::Plainly(sentence.into());
        Self { status, told }
    }

    /// With a JSON-RPC error, ready to send.
    pub(super) fn with(status: StatusCode, error: Frame) -> Self {
        let told = Told::Error(Box::new(error));
        Self { status, told }
    }

    /// With a JSON-RPC error that answers the request `id`.
    pub(super) fn rpc(status: StatusCode, error: &RpcError, id: Option<&str>) -> Self {
        Self::with(status, error.answer(id))
    }

    /// 404: the client has to begin again (MCP 2025-11-25, "Session Management").
    pub(super) fn unknown_session(id: Option<&str>) -> Self {
        let error = RpcError::new(
            code::INVALID_REQUEST,
            "unknown session: begin again with initialize",
        );
        Self::rpc(StatusCode::NOT_FOUND, &error, id)
    }

    /// 405, with the methods that would do.
    pub(super) fn method(allowed: &'static str) -> Self {
        Self {
            status: StatusCode::METHOD_NOT_ALLOWED,
            told: Told::Methods(allowed),
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut response = match self.told {
            Told::Plainly(sentence) => sentence.into_response(),
            Told::Methods(allowed) => [(ALLOW, allowed)].into_response(),
            Told::Error(error) => {
                let json = HeaderValue::from_static("application/json");
                ([(CONTENT_TYPE, json)], error.into_bytes()).into_response()
            }
        };
        *response.status_mut() = self.status;
        response
    }
}
