//! A child that knows its users: it lets in who bears a token it knows, and lists, says
//! and does for each something else.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::any,
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::support::Era;

/// What it demands of who bears no token that it knows.
pub const DEMAND: &str =
    r#"Bearer error="invalid_token", resource_metadata="https://service.example/metadata""#;
/// What it demands of who may not do something.
pub const MORE: &str = r#"Bearer error="insufficient_scope", scope="admin""#;

/// A child that runs for as long as this is held.
pub struct Service {
    desk: Arc<Desk>,
    port: u16,
    serving: JoinHandle<()>,
}

struct Desk {
    era: Era,
    state: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    users: HashMap<String, String>,
    requests: Vec<Seen>,
    sessions: usize,
}

/// A request that has reached it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The header, as it came.
    pub authorization: Option<String>,
    /// The method of its message.
    pub method: String,
}

impl Service {
    /// One that knows these tokens, each of this user's.
    pub async fn knowing(era: Era, users: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let desk = Arc::new(Desk {
            era,
            state: Mutex::default(),
        });
        let routes = Router::new()
            .route("/mcp", any(serve))
            .with_state(Arc::clone(&desk));
        let serving = tokio::spawn(async move {
            axum::serve(listener, routes).await.expect("the service");
        });
        let service = Self {
            desk,
            port,
            serving,
        };
        for (token, user) in users {
            service.knows(token, user);
        }
        service
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/mcp", self.port)
    }

    /// From now on this token is this user's.
    pub fn knows(&self, token: &str, user: &str) {
        let mut known = self.desk.lock();
        known.users.insert(token.to_owned(), user.to_owned());
    }

    /// From now on nobody bears this token.
    pub fn forgets(&self, token: &str) {
        self.desk.lock().users.remove(token);
    }

    /// Everything that has reached it.
    pub fn seen(&self) -> Vec<Seen> {
        self.desk.lock().requests.clone()
    }

    /// The tokens that requests of this method have come with.
    pub fn tokens(&self, method: &str) -> Vec<String> {
        let seen = self.seen().into_iter();
        seen.filter(|seen| seen.method == method)
            .map(|seen| seen.authorization.unwrap_or_default())
            .collect()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(State(desk): State<Arc<Desk>>, headers: HeaderMap, body: Bytes) -> Response {
    let message: Value = serde_json::from_slice(&body).unwrap_or_default();
    let method = message["method"].as_str().unwrap_or_default();
    let authorization = headers.get(header::AUTHORIZATION);
    let authorization = authorization.map(|value| value.to_str().expect("text").to_owned());
    let user = {
        let mut known = desk.lock();
        known.requests.push(Seen {
            authorization: authorization.clone(),
            method: method.to_owned(),
        });
        let token = authorization.as_deref().unwrap_or("Bearer ");
        let token = token.strip_prefix("Bearer ").unwrap_or_default();
        known.users.get(token).cloned()
    };
    let Some(user) = user else {
        return demand(StatusCode::UNAUTHORIZED, DEMAND);
    };
    if message.is_null() {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let Some(id) = message.get("id") else {
        return StatusCode::ACCEPTED.into_response();
    };
    let named = message["params"]["name"].as_str().unwrap_or_default();
    if named == "refused" {
        return demand(StatusCode::FORBIDDEN, MORE);
    }
    let mut session = None;
    let answer = match (method, desk.era) {
        ("initialize", Era::Legacy) => {
            let mut known = desk.lock();
            known.sessions += 1;
            session = Some(format!("{user}-{}", known.sessions));
            json!({"result": {
                "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "service", "version": "1"},
                "instructions": format!("Greet {user}."),
            }})
        }
        ("server/discover", Era::Modern) => json!({"result": {
            "resultType": "complete", "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}}, "ttlMs": 0, "cacheScope": "private",
            "instructions": format!("Greet {user}."),
            "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "service", "version": "1"}},
        }}),
        ("tools/list", _) => json!({"result": {
            "resultType": "complete", "ttlMs": 0, "cacheScope": "private",
            "tools": [tool("whoami"), tool("refused"), tool(&format!("of_{user}"))],
        }}),
        ("tools/call", _) => json!({"result": {
            "resultType": "complete", "content": [],
            "structuredContent": {
                "user": user, "token": authorization, "tool": named,
                "session": headers.get("mcp-session-id").map(|it| it.to_str().expect("text")),
            },
        }}),
        ("ping", _) => json!({"result": {"resultType": "complete"}}),
        _ => json!({"error": {"code": -32601, "message": "Method not found"}}),
    };
    let mut answer = answer;
    answer["jsonrpc"] = "2.0".into();
    answer["id"] = id.clone();
    let status = match answer.get("error") {
        Some(_) => StatusCode::NOT_FOUND,
        None => StatusCode::OK,
    };
    let mut response = (status, axum::Json(answer)).into_response();
    if let Some(session) = session {
        let session = session.parse().expect("a header value");
        response.headers_mut().insert("mcp-session-id", session);
    }
    response
}

fn tool(name: &str) -> Value {
    json!({"name": name, "inputSchema": {"type": "object"}})
}

fn demand(status: StatusCode, what: &'static str) -> Response {
    (status, [(header::WWW_AUTHENTICATE, what)]).into_response()
}
