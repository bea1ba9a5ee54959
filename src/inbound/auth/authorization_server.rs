//! The authorization server as clients find it here: Keycloak's document at this origin,
//! and its registration in reach of pages in browsers.
//!
//! Clients of the first specification (MCP 2025-03-26) look for it here and nowhere
//! else. The document stays the realm's: `issuer` is what its tokens and its answers
//! bear (RFC 9207), and no client may be told otherwise. Who reads the metadata of the
//! resource goes to the realm itself.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Json, Router,
    body::Body,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::any,
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use http_body_util::{BodyExt as _, Limited};
use moka::{Expiry, future::Cache};
use serde_json::{Map, Value, json};
use tokio::{sync::Semaphore, time::Instant};
use tracing::{info, warn};
use url::Url;

use super::{
    Guard, GuardError,
    metadata::{answer_to_all, varies},
    place::{AUTHORIZATION_SERVER, REGISTRATION, Seen},
};
use crate::{
    config::{LockSettings, ProviderTls},
    identity::{AuthorizationServer, ServerDocument},
    inbound::{Entrance, cors},
};

/// How long the document is kept, and the lack of one.
const FRESH: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(5);
/// A registration is a few names and addresses.
const LARGEST: usize = 64 * 1024;
/// How long it may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);
/// Registrations at a time, and how many in how long: each leaves a client in the realm,
/// for which nobody had to log in.
const AT_ONCE: usize = 4;
const MOST: u32 = 30;
const IN: Duration = Duration::from_secs(60);

/// The realm that is to be found here.
pub(super) struct Realm {
    server: AuthorizationServer,
    /// What it says of itself, or why that is not known.
    document: Cache<(), Result<Arc<ServerDocument>, Arc<str>>>,
    registrations: Semaphore,
    window: Mutex<Window>,
}

/// The registrations of the minute.
struct Window {
    began: Instant,
    count: u32,
}

impl Realm {
    /// The one that the settings name, if any.
    pub(super) fn of(
        settings: &LockSettings,
        tls: &ProviderTls,
    ) -> Result<Option<Self>, GuardError> {
        let Some(issuer) = settings.realm.clone() else {
            return Ok(None);
        };
        let document = Cache::builder().max_capacity(1).expire_after(Life);
        Ok(Some(Self {
            server: AuthorizationServer::new(issuer, tls)?,
            document: document.build(),
            registrations: Semaphore::new(AT_ONCE),
            window: Mutex::new(Window {
                began: Instant::now(),
                count: 0,
            }),
        }))
    }

    /// What it says of itself. Many that ask are one question.
    async fn document(&self) -> Result<Arc<ServerDocument>, Arc<str>> {
        let asked = self.document.get_with((), async {
            match self.server.document().await {
                Ok(document) => Ok(Arc::new(document)),
                Err(error) => {
                    warn!(%error, "the document of the realm cannot be had");
                    Err(error.to_string().into())
                }
            }
        });
        asked.await
    }

    /// Whether one more client may be registered now; else when.
    fn may_register(&self) -> Result<(), Duration> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = window.began.elapsed();
        if elapsed >= IN {
            *window = Window {
                began: Instant::now(),
                count: 0,
            };
        }
        if window.count >= MOST {
            return Err(IN.saturating_sub(elapsed));
        }
        window.count += 1;
        Ok(())
    }
}

struct Life;

impl Expiry<(), Result<Arc<ServerDocument>, Arc<str>>> for Life {
    fn expire_after_create(
        &self,
        (): &(),
        document: &Result<Arc<ServerDocument>, Arc<str>>,
        _created: std::time::Instant,
    ) -> Option<Duration> {
        Some(match document {
            Ok(_) => FRESH,
            Err(_) => SOON,
        })
    }
}

/// The routes: the document for the whole and for each path a resource may have, and the
/// registration.
pub(super) fn router(guard: Guard, entrance: Arc<Entrance>) -> Router {
    Router::new()
        .route(AUTHORIZATION_SERVER, any(describe))
        .route(&format!("{AUTHORIZATION_SERVER}/{{*path}}"), any(describe))
        .route(REGISTRATION, any(register))
        .with_state((guard, entrance))
}

type Standing = State<(Guard, Arc<Entrance>)>;

async fn describe(State((guard, entrance)): Standing, request: Request) -> Response {
    let (head, _) = request.into_parts();
    answer_to_all(&head.method, document(&guard, &entrance, &Seen::of(&head))).await
}

async fn document(guard: &Guard, entrance: &Entrance, seen: &Seen<'_>) -> Response {
    let orders = guard.0.orders.load_full();
    let place = &orders.place;
    let known = place.view_behind(AUTHORIZATION_SERVER, seen.uri.path());
    let (Some(realm), Some(_)) = (orders.realm(), known) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // What a stranger names must not stand in an answer that others may be given.
    if place.depends_on_request()
        && let Err(reason) = entrance.admit_host(seen.headers, seen.uri)
    {
        return (StatusCode::FORBIDDEN, reason).into_response();
    }
    let Some(here) = place.registration(seen) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let Ok(document) = realm.document().await else {
        return unavailable();
    };
    let told = orders.metadata.as_ref();
    let scopes = told.map_or(&[] as &[String], |told| &told.scopes);
    let mut response = Json(as_found_here(&document, &here, scopes)).into_response();
    varies(place, response.headers_mut());
    response
}

/// The realm's own document, but for the registration; and it names the scopes of the
/// resource, where there are any: clients that know of no others ask for all they find,
/// and the realm's include some that it gives to nobody.
fn as_found_here(document: &ServerDocument, here: &Url, scopes: &[String]) -> Map<String, Value> {
    let mut members = document.members.clone();
    // One that is not the realm's own is not passed on by us, and not named either.
    members.remove("registration_endpoint");
    if document.registration.is_some() {
        members.insert("registration_endpoint".into(), json!(here));
    }
    if !scopes.is_empty() {
        members.insert("scopes_supported".into(), json!(scopes));
    }
    members
}

async fn register(State((guard, entrance)): Standing, request: Request) -> Response {
    let orders = guard.0.orders.load_full();
    let Some(realm) = orders.realm() else {
        return StatusCode::NOT_FOUND.into_response();
    };
    // A page that nobody has allowed registers nothing.
    if let Err(reason) = entrance.admit(request.headers(), request.uri()) {
        return (StatusCode::FORBIDDEN, reason).into_response();
    }
    let page = cors::Page::of(request.headers());
    let response = match *request.method() {
        Method::POST => passed_on(realm, request).await.unwrap_or_else(|no| no),
        Method::OPTIONS => cors::preflight("POST, OPTIONS"),
        _ => cors::not_allowed("POST, OPTIONS"),
    };
    match page {
        Some(page) => page.may_read(response),
        None => response,
    }
}

async fn passed_on(realm: &Realm, request: Request) -> Result<Response, Response> {
    let (head, body) = request.into_parts();
    let authorization = head.headers.get(AUTHORIZATION).cloned();
    if !is_json(&head.headers) {
        let why = "a registration is application/json";
        return Err(refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why));
    }
    // First: a place is not for those who take their time.
    let registration = read(body).await?;
    let Ok(_place) = realm.registrations.try_acquire() else {
        return Err(too_many(SOON));
    };
    realm.may_register().map_err(too_many)?;
    let document = realm.document().await.map_err(|_| unavailable())?;
    let Some(at) = &document.registration else {
        let why = "the realm registers no clients";
        return Err(refused(StatusCode::NOT_FOUND, why));
    };
    let answer = realm.server.register(at, registration, authorization);
    let registered = answer.await.map_err(|error| {
        warn!(%error, "a client could not be registered");
        unavailable()
    })?;
    let status = registered.status.as_u16();
    info!(status, "a client has asked the realm to be registered");
    Ok((
        registered.status,
        [
            (CONTENT_TYPE, "application/json"),
            // There may be a secret in it.
            (CACHE_CONTROL, "no-store"),
        ],
        registered.body,
    )
        .into_response())
}

async fn read(body: Body) -> Result<Vec<u8>, Response> {
    let body = Limited::new(body, LARGEST).collect();
    let Ok(body) = tokio::time::timeout(PATIENCE, body).await else {
        let why = "the registration took too long";
        return Err(refused(StatusCode::REQUEST_TIMEOUT, why));
    };
    let body = body.map_err(|_| {
        let why = "a registration may have at most 64 KiB";
        refused(StatusCode::PAYLOAD_TOO_LARGE, why)
    })?;
    let body = body.to_bytes();
    match serde_json::from_slice::<Map<String, Value>>(&body) {
        Ok(_) => Ok(body.into()),
        Err(_) => {
            let why = "a registration is a JSON object";
            Err(refused(StatusCode::BAD_REQUEST, why))
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().split(';').next();
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// As RFC 7591, 3.2.2 has it.
fn refused(status: StatusCode, why: &str) -> Response {
    let body = json!({"error": "invalid_client_metadata", "error_description": why});
    (status, Json(body)).into_response()
}

fn unavailable() -> Response {
    let why = "the realm cannot be asked at the moment";
    let body = json!({"error": "temporarily_unavailable", "error_description": why});
    later(StatusCode::SERVICE_UNAVAILABLE, body, SOON)
}

fn too_many(wait: Duration) -> Response {
    let why = "too many clients want to be registered";
    let body = json!({"error": "temporarily_unavailable", "error_description": why});
    later(StatusCode::TOO_MANY_REQUESTS, body, wait)
}

fn later(status: StatusCode, body: Value, wait: Duration) -> Response {
    let mut response = (status, Json(body)).into_response();
    let seconds = HeaderValue::from(wait.as_secs().max(1));
    response.headers_mut().insert(RETRY_AFTER, seconds);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_stays_the_realms_but_for_registration_and_scopes() {
        let Value::Object(members) = json!({
            "issuer": "https://kc/realms/a", "token_endpoint": "https://kc/token",
            "registration_endpoint": "https://kc/register", "scopes_supported": ["all"],
            "client_id_metadata_document_supported": true
        }) else {
            panic!("an object");
        };
        let here = "https://h/register".parse().unwrap();
        let mut document = ServerDocument {
            registration: Some("https://kc/register".parse().unwrap()),
            members,
        };
        let found = as_found_here(&document, &here, &["mcp".to_owned()]);
        assert_eq!(
            Value::Object(found),
            json!({
                "issuer": "https://kc/realms/a", "token_endpoint": "https://kc/token",
                "registration_endpoint": "https://h/register", "scopes_supported": ["mcp"],
                "client_id_metadata_document_supported": true
            })
        );
        document.registration = None;
        let found = as_found_here(&document, &here, &[]);
        assert!(!found.contains_key("registration_endpoint"));
        assert_eq!(found["scopes_supported"], json!(["all"]));
    }

    #[tokio::test(start_paused = true)]
    async fn registrations_of_a_minute_are_bounded() {
        let tls = ProviderTls {
            verify: true,
            ca_file: None,
        };
        let issuer: Url = "http://127.0.0.1:9/".parse().unwrap();
        let realm = Realm {
            server: AuthorizationServer::new(issuer, &tls).unwrap(),
            document: Cache::builder().build(),
            registrations: Semaphore::new(AT_ONCE),
            window: Mutex::new(Window {
                began: Instant::now(),
                count: 0,
            }),
        };
        for _ in 0..MOST {
            assert_eq!(realm.may_register(), Ok(()));
        }
        tokio::time::advance(IN / 3).await;
        assert_eq!(realm.may_register(), Err(IN * 2 / 3));
        tokio::time::advance(IN).await;
        assert_eq!(realm.may_register(), Ok(()));
    }
}
