//! The load: some connections, each of which asks again as soon as it is answered.

use std::{
    io::BufRead,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode, Uri,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    message::{self, Era},
    web::Error,
};

/// Answers to be had on each connection before anything is measured: by then pools
/// are filled and buffers have grown.
const WARM_UP: usize = 20;

/// A process that makes load. It says `warm`, begins when it is told to by a line on
/// stdin, and prints what it measured.
#[derive(Args, Debug)]
pub struct Load {
    /// Who is asked.
    #[arg(long)]
    url: Uri,
    /// How.
    #[arg(long, value_enum)]
    era: Era,
    /// The tool's name there.
    #[arg(long)]
    tool: String,
    /// The length of the text it must give.
    #[arg(long)]
    bytes: usize,
    /// The connections.
    #[arg(long)]
    concurrency: usize,
    /// For how long.
    #[arg(long)]
    millis: u64,
    /// The token that is shown.
    #[arg(long)]
    token: Option<String>,
}

/// What a load measured. Times are in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// Calls that were answered.
    pub calls: usize,
    /// From the first to the last.
    pub seconds: f64,
    /// The median of the times of a call.
    pub p50: f64,
    /// 99 of 100 were faster.
    pub p99: f64,
}

impl Load {
    /// Makes the load.
    pub async fn run(self) -> Result<(), Error> {
        let load = Arc::new(self);
        let mut clients = Vec::new();
        let ids = Arc::new(AtomicU64::new(1));
        for _ in 0..load.concurrency {
            let mut client = Client::connect(Arc::clone(&load), Arc::clone(&ids)).await?;
            for _ in 0..WARM_UP {
                client.call().await?;
            }
            clients.push(client);
        }
        println!("warm");
        std::io::stdin().lock().read_line(&mut String::new())?;
        let began = Instant::now();
        let until = began + Duration::from_millis(load.millis);
        let mut running: JoinSet<_> = clients.into_iter().map(|c| c.repeat(until)).collect();
        let mut times = Vec::new();
        while let Some(done) = running.join_next().await {
            times.extend(done??);
        }
        let seconds = began.elapsed().as_secs_f64();
        times.sort_unstable();
        let measured = Measured {
            calls: times.len(),
            seconds,
            p50: percentile(&times, 50),
            p99: percentile(&times, 99),
        };
        println!("{}", serde_json::to_string(&measured)?);
        Ok(())
    }
}

struct Client {
    load: Arc<Load>,
    ids: Arc<AtomicU64>,
    connection: SendRequest<Full<Bytes>>,
    headers: HeaderMap,
}

impl Client {
    async fn connect(load: Arc<Load>, ids: Arc<AtomicU64>) -> Result<Self, Error> {
        let at = load
            .url
            .authority()
            .ok_or("the URL names no host")?
            .as_str();
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        let (connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(driver);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(at)?);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(
            ACCEPT,
            HeaderValue::from_static("application/json, text/event-stream"),
        );
        if let Some(token) = &load.token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"))?;
            headers.insert(AUTHORIZATION, value);
        }
        let version = HeaderValue::from_static(load.era.version());
        let mut client = Self {
            load,
            ids,
            connection,
            headers,
        };
        match client.load.era {
            Era::Legacy => client.begin_session().await?,
            Era::Modern => {
                let tool = HeaderValue::from_str(&client.load.tool)?;
                let method = HeaderValue::from_static("tools/call");
                client.headers.insert("mcp-name", tool);
                client.headers.insert("mcp-method", method);
            }
        }
        client.headers.insert("mcp-protocol-version", version);
        Ok(client)
    }

    async fn begin_session(&mut self) -> Result<(), Error> {
        let response = self.post(message::initialize()).await?;
        if let Some(session) = response.headers().get("mcp-session-id") {
            self.headers.insert("mcp-session-id", session.clone());
        }
        response.into_body().collect().await?;
        let ready =
            Bytes::from_static(br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        let accepted = self.post(ready).await?;
        accepted.into_body().collect().await?;
        Ok(())
    }

    async fn repeat(mut self, until: Instant) -> Result<Vec<u32>, Error> {
        let mut times = Vec::new();
        let mut began = Instant::now();
        while began < until {
            self.call().await?;
            let now = Instant::now();
            let took = (now - began).as_nanos();
            times.push(u32::try_from(took).unwrap_or(u32::MAX));
            began = now;
        }
        Ok(times)
    }

    /// One call, whose answer must be its own and whole.
    async fn call(&mut self) -> Result<(), Error> {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let request = message::call(id, self.load.era, &self.load.tool);
        let response = self.post(request).await?;
        let status = response.status();
        let mut body = response.into_body();
        let (mut length, mut first) = (0, Bytes::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else {
                continue;
            };
            if length == 0 {
                first = data.clone();
            }
            length += data.len();
        }
        let is_own = message::id(&first) == Some(id.to_string().as_bytes());
        if status != StatusCode::OK || !is_own || length < self.load.bytes {
            let shown = String::from_utf8_lossy(&first[..first.len().min(300)]).into_owned();
            return Err(format!("{status}, {length} bytes instead of an answer: {shown}").into());
        }
        Ok(())
    }

    async fn post(&mut self, message: Bytes) -> Result<Response<Incoming>, Error> {
        let mut request = Request::post(self.load.url.path()).body(Full::new(message))?;
        request.headers_mut().clone_from(&self.headers);
        self.connection.ready().await?;
        Ok(self.connection.send_request(request).await?)
    }
}

/// Of sorted nanoseconds, in microseconds.
fn percentile(times: &[u32], percent: usize) -> f64 {
    let at = times.len() * percent / 100;
    let nanos = times.get(at.min(times.len().saturating_sub(1)));
    f64::from(nanos.copied().unwrap_or_default()) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times: Vec<u32> = (1..=1000).map(|n| n * 1000).collect();
        assert_eq!(percentile(&times, 50), 501.0);
        assert_eq!(percentile(&times, 99), 991.0);
        assert_eq!(percentile(&[], 99), 0.0);
    }
}
