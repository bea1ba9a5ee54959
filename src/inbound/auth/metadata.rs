//! What is told of the resource to whoever asks (RFC 9728): who issues tokens for it,
//! and of what kind.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::any,
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, VARY},
};
use serde::Serialize;
use url::Url;

use super::{
    Guard,
    place::{Place, Seen, WELL_KNOWN},
};
use crate::{
    config::MetadataSettings,
    inbound::{Entrance, cors},
};

#[derive(Serialize)]
struct Document<'a> {
    resource: Url,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    authorization_servers: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    bearer_methods_supported: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    scopes_supported: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_documentation: Option<&'a Url>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_policy_uri: Option<&'a Url>,
}

/// The routes: the root form, and one for each path a resource may have.
pub(super) fn router(guard: Guard, entrance: Arc<Entrance>) -> Router {
    Router::new()
        .route(WELL_KNOWN, any(answer))
        .route(&format!("{WELL_KNOWN}/{{*path}}"), any(answer))
        .with_state((guard, entrance))
}

async fn answer(
    State((guard, entrance)): State<(Guard, Arc<Entrance>)>,
    request: Request,
) -> Response {
    let (head, _) = request.into_parts();
    let document = async { document(&guard, &entrance, &Seen::of(&head)) };
    answer_to_all(&head.method, document).await
}

/// A document that pages of any origin may read.
pub(super) async fn answer_to_all(
    method: &Method,
    document: impl Future<Output = Response>,
) -> Response {
    const METHODS: &str = "GET, HEAD, OPTIONS";
    let mut response = match *method {
        Method::GET | Method::HEAD => document.await,
        // Clients ask with headers of MCP, for which browsers ask first.
        Method::OPTIONS => cors::preflight(METHODS),
        _ => cors::not_allowed(METHODS),
    };
    let any = HeaderValue::from_static("*");
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, any);
    response
}

fn document(guard: &Guard, entrance: &Entrance, seen: &Seen<'_>) -> Response {
    let orders = guard.0.orders.load();
    let (place, told) = (&orders.place, orders.metadata.as_ref());
    let (Some(told), Some(view)) = (told, place.view_behind(WELL_KNOWN, seen.uri.path())) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // What a stranger names must not stand in an answer that others may be given.
    if place.depends_on_request()
        && let Err(reason) = entrance.admit_host(seen.headers, seen.uri)
    {
        return (StatusCode::FORBIDDEN, reason).into_response();
    }
    let Some(resource) = place.resource(seen, view) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let mut response = Json(Document::of(told, resource)).into_response();
    varies(place, response.headers_mut());
    response
}

/// For how long an answer is good, and for whom.
pub(super) fn varies(place: &Place, headers: &mut HeaderMap) {
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("public, max-age=300"),
    );
    if place.depends_on_request() {
        headers.insert(
            VARY,
            HeaderValue::from_static("Host, X-Forwarded-Host, X-Forwarded-Proto"),
        );
    }
}

impl<'a> Document<'a> {
    fn of(told: &'a MetadataSettings, resource: Url) -> Self {
        Self {
            resource,
            resource_name: told.name.as_deref(),
            authorization_servers: &told.authorization_servers,
            bearer_methods_supported: &told.bearer_methods,
            scopes_supported: &told.scopes,
            resource_documentation: told.documentation.as_ref(),
            resource_policy_uri: told.policy.as_ref(),
        }
    }
}
