//! The load over HTTP: so many connections. Where the server speaks the oldest HTTP
//! transport, a stream of events for each of them, too.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, Uri,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use sse_stream::SseStream;
use tokio::{net::TcpStream, task::JoinSet};

use super::{Load, Measured, WARM_UP, answer, since, wait};
use crate::{
    message::{self, Era},
    web::Error,
};

pub async fn run(load: Load, url: Uri) -> Result<Measured, Error> {
    let shared = Arc::new(Shared {
        load,
        url,
        ids: AtomicU64::new(1),
    });
    let mut first = Client::connect(&shared, None).await?;
    first.check().await?;
    let session = match shared.load.one_session {
        true => first.headers.get(SESSION).cloned(),
        false => None,
    };
    let mut clients = vec![first];
    for _ in 1..shared.load.concurrency {
        clients.push(Client::connect(&shared, session.clone()).await?);
    }
    let (clients, _) = repeat(clients, WARM_UP).await?;
    println!("warm");
    wait()?;
    let began = Instant::now();
    let (_, times) = repeat(clients, Duration::from_millis(shared.load.millis)).await?;
    Ok(Measured::of(times, began))
}

const SESSION: &str = "mcp-session-id";

/// All of them call for so long.
async fn repeat(clients: Vec<Client>, long: Duration) -> Result<(Vec<Client>, Vec<u32>), Error> {
    let until = Instant::now() + long;
    let mut running: JoinSet<_> = clients.into_iter().map(|it| it.repeat(until)).collect();
    let (mut clients, mut times) = (Vec::new(), Vec::new());
    while let Some(done) = running.join_next().await {
        let (client, its) = done??;
        clients.push(client);
        times.extend(its);
    }
    Ok((clients, times))
}

struct Shared {
    load: Load,
    url: Uri,
    ids: AtomicU64,
}

struct Client {
    shared: Arc<Shared>,
    connection: SendRequest<Full<Bytes>>,
    headers: HeaderMap,
    /// Where messages are sent.
    path: String,
    /// Where answers come, if not to the requests themselves.
    events: Option<SseStream<Incoming>>,
}

impl Client {
    /// A connection, with a session of its own if none is given.
    async fn connect(shared: &Arc<Shared>, session: Option<HeaderValue>) -> Result<Self, Error> {
        let Load { era, token, .. } = &shared.load;
        let at = shared.url.authority().ok_or("the URL names no host")?;
        let connection = open(at.as_str()).await?;
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(at.as_str())?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"))?;
            headers.insert(AUTHORIZATION, value);
        }
        let mut client = Self {
            shared: Arc::clone(shared),
            connection,
            headers,
            path: shared.url.path().to_owned(),
            events: None,
        };
        if shared.load.sse {
            client.listen().await?;
        }
        let version = HeaderValue::from_static(era.version());
        match (era, session) {
            (Era::Legacy, Some(session)) => {
                client.headers.insert(SESSION, session);
            }
            (Era::Legacy, None) => client.begin_session().await?,
            (Era::Modern, _) => {
                let tool = HeaderValue::from_str(&shared.load.tool())?;
                let method = HeaderValue::from_static("tools/call");
                client.headers.insert("mcp-name", tool);
                client.headers.insert("mcp-method", method);
            }
        }
        client.headers.insert("mcp-protocol-version", version);
        Ok(client)
    }

    /// Opens a stream of events, which says where messages are sent.
    async fn listen(&mut self) -> Result<(), Error> {
        let at = self.headers[HOST].to_str()?.to_owned();
        let mut connection = open(&at).await?;
        let request = Request::get(&self.path)
            .header(HOST, at)
            .header(ACCEPT, "text/event-stream")
            .body(Full::default())?;
        let response = connection.send_request(request).await?;
        self.events = Some(SseStream::new(response.into_body()));
        let endpoint: Uri = self.event("endpoint").await?.parse()?;
        self.path = endpoint.path_and_query().ok_or("no endpoint")?.to_string();
        Ok(())
    }

    /// What the next event of this kind says.
    async fn event(&mut self, kind: &str) -> Result<String, Error> {
        let events = self.events.as_mut().ok_or("no events")?;
        loop {
            let event = events.next().await.ok_or("the events ended")??;
            if event.event.as_deref().unwrap_or("message") == kind {
                return Ok(event.data.unwrap_or_default());
            }
        }
    }

    async fn begin_session(&mut self) -> Result<(), Error> {
        let response = self.post(message::initialize()).await?;
        if let Some(session) = response.headers().get(SESSION) {
            self.headers.insert(SESSION, session.clone());
        }
        response.into_body().collect().await?;
        if self.events.is_some() {
            self.event("message").await?;
        }
        let accepted = self.post(message::initialized()).await?;
        accepted.into_body().collect().await?;
        Ok(())
    }

    async fn repeat(mut self, until: Instant) -> Result<(Self, Vec<u32>), Error> {
        let mut times = Vec::new();
        loop {
            let began = Instant::now();
            self.call().await?;
            times.push(since(began));
            if Instant::now() >= until {
                return Ok((self, times));
            }
        }
    }

    /// One call, whose answer must be exactly what the child gives.
    async fn check(&mut self) -> Result<(), Error> {
        let answer = self.call().await?.concat();
        let Load { payload, keep, .. } = &self.shared.load;
        if let Some(file) = keep {
            std::fs::write(file, &answer)?;
        }
        answer::check(&answer, *payload)
    }

    /// One call, whose answer must be its own and whole.
    async fn call(&mut self) -> Result<Vec<Bytes>, Error> {
        let id = match self.shared.load.one_id {
            true => 1,
            false => self.shared.ids.fetch_add(1, Ordering::Relaxed),
        };
        let request = self.shared.load.request(id);
        let response = self.post(request).await?;
        let status = response.status();
        let mut parts = Vec::new();
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            parts.extend(frame?.into_data());
        }
        if self.events.is_some() && status.is_success() {
            parts = vec![self.event("message").await?.into()];
        }
        let length: usize = parts.iter().map(Bytes::len).sum();
        let is_whole = length >= self.shared.load.payload.least();
        if !status.is_success() || !is_whole || !answer::is_to(id, &parts) {
            let all = parts.concat();
            let shown = String::from_utf8_lossy(&all[..all.len().min(300)]).into_owned();
            return Err(format!("{status}, {length} bytes instead of an answer: {shown}").into());
        }
        Ok(parts)
    }

    async fn post(&mut self, message: Bytes) -> Result<Response<Incoming>, Error> {
        let mut request = Request::post(&self.path).body(Full::new(message))?;
        request.headers_mut().clone_from(&self.headers);
        self.connection.ready().await?;
        Ok(self.connection.send_request(request).await?)
    }
}

async fn open(at: &str) -> Result<SendRequest<Full<Bytes>>, Error> {
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    Ok(connection)
}
