//! Clients that come in and then do nothing, and one that asks for lists.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, Response, Uri,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, de::IgnoredAny};
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    message::{self, Era},
    web::Error,
};

/// Clients that come in at once.
const AT_ONCE: usize = 32;

/// One connection.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
}

impl Connection {
    async fn open(uri: &Uri) -> Result<Self, Error> {
        let at = uri.authority().ok_or("the URL names no host")?.as_str();
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        let headers = [
            (HOST, HeaderValue::from_str(at)?),
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (
                ACCEPT,
                HeaderValue::from_static("application/json, text/event-stream"),
            ),
        ];
        Ok(Self {
            sender,
            uri: uri.clone(),
            headers: HeaderMap::from_iter(headers),
        })
    }

    async fn send(&mut self, method: Method, body: Bytes) -> Result<Response<Incoming>, Error> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.uri.path().parse()?;
        request.headers_mut().clone_from(&self.headers);
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(format!("answered {}", response.status()).into()),
        }
    }

    /// Begins a session, in which the next requests are.
    async fn begin(&mut self) -> Result<(), Error> {
        for name in ["mcp-session-id", "mcp-protocol-version"] {
            self.headers.remove(name);
        }
        let response = self.send(Method::POST, message::initialize()).await?;
        let session = response.headers().get("mcp-session-id");
        let session = session.ok_or("no session")?.clone();
        response.into_body().collect().await?;
        let version = HeaderValue::from_static(Era::Legacy.version());
        self.headers.insert("mcp-protocol-version", version);
        self.headers.insert("mcp-session-id", session);
        let ready = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let accepted = self.send(Method::POST, Bytes::from_static(ready.as_bytes()));
        accepted.await?.into_body().collect().await?;
        Ok(())
    }
}

/// Sessions, and their event streams, if they have any. Their drop closes these.
pub struct Guests(#[expect(dead_code, reason = "held open")] Vec<(Connection, Incoming)>);

impl Guests {
    /// Begins so many sessions.
    pub async fn enter(url: &str, number: usize, streams: bool) -> Result<Self, Error> {
        let uri: Uri = url.parse()?;
        let mut entering = JoinSet::new();
        for n in 0..AT_ONCE.min(number) {
            let share = number / AT_ONCE.min(number);
            let more = usize::from(n < number % AT_ONCE.min(number));
            entering.spawn(enter(uri.clone(), share + more, streams));
        }
        let mut open = Vec::new();
        while let Some(entered) = entering.join_next().await {
            open.extend(entered??);
        }
        Ok(Self(open))
    }
}

/// Those without a stream share one connection: it is sessions that are measured.
async fn enter(
    uri: Uri,
    number: usize,
    streams: bool,
) -> Result<Vec<(Connection, Incoming)>, Error> {
    let mut open = Vec::new();
    let mut shared = Connection::open(&uri).await?;
    for _ in 0..number {
        if !streams {
            shared.begin().await?;
            continue;
        }
        let mut own = Connection::open(&uri).await?;
        own.begin().await?;
        let stream = own.send(Method::GET, Bytes::new()).await?.into_body();
        open.push((own, stream));
    }
    Ok(open)
}

/// Who asks for lists, in a session of its own.
pub struct Lister(Connection);

impl Lister {
    /// Begins its session.
    pub async fn enter(url: &str) -> Result<Self, Error> {
        let mut connection = Connection::open(&url.parse()?).await?;
        connection.begin().await?;
        Ok(Self(connection))
    }

    /// Asks for all tools.
    pub async fn list(&mut self) -> Result<Bytes, Error> {
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let answer = self
            .0
            .send(Method::POST, Bytes::from_static(list.as_bytes()));
        Ok(answer.await?.into_body().collect().await?.to_bytes())
    }
}

/// How many tools there are in a list.
pub fn tools(answer: &[u8]) -> Result<usize, Error> {
    #[derive(Deserialize)]
    struct Answer {
        result: List,
    }
    #[derive(Deserialize)]
    struct List {
        tools: Vec<IgnoredAny>,
    }
    Ok(serde_json::from_slice::<Answer>(answer)?.result.tools.len())
}
