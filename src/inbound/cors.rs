//! Clients that are pages in a browser: what the browser has to be told before it lets
//! them send a request, or read an answer (WHATWG Fetch, "CORS protocol"). Whether their
//! origin may come in at all is the [`Entrance`](super::Entrance)'s to say.

use axum::response::{IntoResponse, Response};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD,
        ALLOW, ORIGIN, VARY,
    },
};

/// A page whose origin was let in.
pub(super) struct Page(HeaderValue);

impl Page {
    /// The one that sends a request, if it is one that does.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        headers.get(ORIGIN).cloned().map(Self)
    }

    /// The answer as this page may read it.
    pub(super) fn may_read(self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.0);
        headers.append(VARY, HeaderValue::from_static("Origin"));
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(
                "Mcp-Session-Id, WWW-Authenticate, Retry-After, X-Correlation-Id",
            ),
        );
        response
    }
}

/// Whether a browser asks what a page may send. It never shows a token with that.
pub(super) fn asks_first(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to that. No cookies: nothing here rests on them.
pub(super) fn preflight(methods: &'static str) -> Response {
    (
        StatusCode::NO_CONTENT,
        [
            (ACCESS_CONTROL_ALLOW_METHODS, methods),
            // The asterisk does not cover this one.
            (ACCESS_CONTROL_ALLOW_HEADERS, "*, Authorization"),
            (ACCESS_CONTROL_MAX_AGE, "3600"),
        ],
    )
        .into_response()
}

/// The answer to another method than these.
pub(super) fn not_allowed(methods: &'static str) -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, methods)]).into_response()
}
