//! Knocking: one request with the token, or whatever else, that a test has made.

use ::http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    issuer::{AUDIENCE, Issuer},
    support::{
        Door, Fleet, Multiplexer,
        client::{LEGACY_VERSION, modern_post, with_modern_meta},
        http::{Http, Reply, With as _, post, request},
    },
};

/// A door that is locked with `auth` of this issuer, and these keys more.
pub fn locked(issuer: &Issuer, more: Value) -> Fleet {
    let mut auth = json!({"issuer": issuer.name(), "audiences": [AUDIENCE]});
    for (name, value) in more.as_object().expect("an object") {
        auth[name] = value.clone();
    }
    // Every refusal has a line of its own at this level.
    Fleet::new()
        .top("auth", auth)
        .flags(&["--log-level", "debug"])
}

/// Starts it, and waits until the keys are there.
pub async fn open(fleet: Fleet) -> Multiplexer {
    let mux = fleet.over(Door::Http).await;
    mux.log
        .until("the keys", |line| {
            line.contains("the keys of an issuer are there")
        })
        .await;
    mux
}

/// A request that anybody may send who is let in.
pub fn discover(url: &str) -> Request<Bytes> {
    let params = with_modern_meta("{}");
    modern_post(
        url,
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"server/discover","params":{params}}}"#),
    )
}

/// The beginning of a session.
pub fn initialize(url: &str) -> Request<Bytes> {
    post(
        url,
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{{"protocolVersion":"{LEGACY_VERSION}","capabilities":{{}},"clientInfo":{{"name":"t","version":"1"}}}}}}"#
        ),
    )
}

/// What became of a request at the door.
pub struct Knock {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Knock {
    /// With these `Authorization` headers, as bytes.
    pub async fn with(http: &Http, mut request: Request<Bytes>, headers: &[&[u8]]) -> Self {
        for value in headers {
            let value = HeaderValue::from_bytes(value).expect("a header value");
            request
                .headers_mut()
                .append(HeaderName::from_static("authorization"), value);
        }
        Self::of(http.send(request).await).await
    }

    /// With this token.
    pub async fn bearing(http: &Http, request: Request<Bytes>, token: &str) -> Self {
        Self::with(http, request, &[format!("Bearer {token}").as_bytes()]).await
    }

    async fn of(reply: Reply) -> Self {
        let (status, headers) = (reply.status.as_u16(), reply.headers.clone());
        let body = serde_json::from_slice(&reply.bytes().await).unwrap_or_default();
        Self {
            status,
            headers,
            body,
        }
    }

    /// One header as text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default()
    }

    /// The id that stands in the answer and in the log.
    pub fn id(&self) -> &str {
        let id = self.body["correlation_id"].as_str().unwrap_or_default();
        assert_eq!(id, self.header("x-correlation-id"));
        assert!(!id.is_empty(), "no correlation id: {}", self.body);
        id
    }
}

/// Waits for the line of the log about a refusal.
pub async fn logged(mux: &Multiplexer, knock: &Knock) -> String {
    let id = knock.id();
    mux.log
        .until(&format!("a line about {id}"), |line| line.contains(id))
        .await
}

/// Whether this token is let in.
pub async fn lets_in(mux: &Multiplexer, token: &str) -> bool {
    let knock = Knock::bearing(&Http::default(), discover(&mux.url()), token).await;
    match knock.status {
        200 => true,
        401 => false,
        other => panic!("{other}: {}", knock.body),
    }
}

/// A request for a page.
pub fn page(method: Method, url: &str) -> Request<Bytes> {
    request(method, url, Bytes::new())
}

/// A request in a session.
pub fn in_session(url: &str, session: &str, frame: &str) -> Request<Bytes> {
    post(url, frame.to_owned())
        .with("mcp-session-id", session)
        .with("mcp-protocol-version", LEGACY_VERSION)
}
