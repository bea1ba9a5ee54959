//! A flood: so many requests a second with tokens that are not good, whether or not the
//! ones before have been answered.

use std::{
    collections::BTreeMap,
    io::BufRead,
    path::PathBuf,
    time::{Duration, Instant},
};

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Uri,
    client::conn::http1,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::{net::TcpStream, task::JoinSet, time::interval};

use crate::{message, web::Error};

/// Connections: more than the refusals of a second take.
const CONNECTIONS: u32 = 32;

/// A process that floods. It begins and ends as a load does.
#[derive(Args, Debug)]
pub struct Flood {
    /// Who is asked.
    #[arg(long)]
    url: Uri,
    /// The tokens, a line each.
    #[arg(long)]
    tokens: PathBuf,
    /// Requests a second.
    #[arg(long)]
    rate: u32,
    /// For how long.
    #[arg(long)]
    millis: u64,
}

/// What became of a flood.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Refused {
    /// Requests by the status they were answered with.
    pub statuses: BTreeMap<u16, usize>,
    /// From the first to the last.
    pub seconds: f64,
}

impl Flood {
    /// Floods.
    pub async fn run(self) -> Result<(), Error> {
        let tokens = std::fs::read_to_string(&self.tokens)?;
        let tokens: Vec<_> = tokens.lines().map(str::to_owned).collect();
        println!("warm");
        std::io::stdin().lock().read_line(&mut String::new())?;
        let began = Instant::now();
        let until = began + Duration::from_millis(self.millis);
        let every = Duration::from_secs(1) * CONNECTIONS / self.rate.max(1);
        let mut senders = JoinSet::new();
        for sender in 0..CONNECTIONS as usize {
            let mut tokens = tokens.clone();
            let first = sender * 5 % tokens.len().max(1);
            tokens.rotate_left(first);
            senders.spawn(send(self.url.clone(), tokens, every, until));
        }
        let mut refused = Refused::default();
        while let Some(done) = senders.join_next().await {
            for (status, many) in done?? {
                *refused.statuses.entry(status).or_default() += many;
            }
        }
        refused.seconds = began.elapsed().as_secs_f64();
        println!("{}", serde_json::to_string(&refused)?);
        Ok(())
    }
}

async fn send(
    url: Uri,
    tokens: Vec<String>,
    every: Duration,
    until: Instant,
) -> Result<BTreeMap<u16, usize>, Error> {
    let at = url.authority().ok_or("the URL names no host")?.as_str();
    let stream = TcpStream::connect(at).await?;
    stream.set_nodelay(true)?;
    let (mut connection, driver) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    let mut clock = interval(every);
    let mut statuses = BTreeMap::new();
    for token in tokens.iter().cycle() {
        clock.tick().await;
        if Instant::now() >= until {
            break;
        }
        let request = Request::post(url.path())
            .header(HOST, at)
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "application/json, text/event-stream")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::<Bytes>::new(message::initialize()))?;
        connection.ready().await?;
        let response = connection.send_request(request).await?;
        *statuses.entry(response.status().as_u16()).or_default() += 1;
        response.into_body().collect().await?;
    }
    Ok(statuses)
}
