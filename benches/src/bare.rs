//! The yardstick: proxies that move bytes and know nothing.
//!
//! They take the prefix from the tool's name, because no multiplexer can do without
//! that, and copy the rest: no sessions, no checks, no limits, no metrics, no errors.

use std::{
    collections::HashMap,
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use clap::Args;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode, Uri,
    body::Incoming,
    header::{CONTENT_LENGTH, HOST},
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot},
};

use crate::{
    message, relay,
    web::{self, Body, Error},
};

/// A bare proxy. The first line on stdout is its URL.
#[derive(Args, Debug)]
pub struct Bare {
    /// Its client is on stdin and stdout, and it says no URL.
    #[arg(long)]
    stdio: bool,
    /// The child, over HTTP.
    #[arg(long)]
    to: Option<Uri>,
    /// No child: this file is the answer to everything.
    #[arg(long)]
    fixed: Option<PathBuf>,
    /// Else: the child's command line.
    #[arg(trailing_var_arg = true)]
    command: Vec<String>,
}

impl Bare {
    /// Serves until it is killed.
    pub async fn run(self) -> Result<(), Error> {
        if self.stdio {
            return relay::run(&self.command).await;
        }
        let (listener, at) = web::listen().await?;
        println!("http://{at}");
        if let Some(file) = self.fixed {
            let answer = Bytes::from(std::fs::read(file)?);
            let respond = move |request| fixed(answer.clone(), request);
            return Ok(web::serve(listener, respond).await?);
        }
        match self.to {
            Some(to) => {
                let mut connector = HttpConnector::new();
                connector.set_nodelay(true);
                let client = Client::builder(TokioExecutor::new()).build(connector);
                let respond = move |request| over_http(client.clone(), to.clone(), request);
                web::serve(listener, respond).await?;
            }
            None => {
                let pipe = Pipe::to(&self.command)?;
                let respond = move |request| over_pipe(pipe.clone(), request);
                web::serve(listener, respond).await?;
            }
        }
        Ok(())
    }
}

async fn fixed(answer: Bytes, request: Request<Incoming>) -> Result<Response<Body>, Error> {
    web::read(request.into_body()).await?;
    Ok(web::json(answer))
}

async fn over_http(
    client: Client<HttpConnector, Full<Bytes>>,
    to: Uri,
    request: Request<Incoming>,
) -> Result<Response<Body>, Error> {
    let (mut parts, body) = request.into_parts();
    let body = message::without_prefix(web::read(body).await?);
    parts.uri = to;
    parts.headers.remove(HOST);
    parts.headers.remove(CONTENT_LENGTH);
    let sent = client.request(Request::from_parts(parts, Full::new(body)));
    Ok(sent.await?.map(Either::Right))
}

async fn over_pipe(pipe: Pipe, request: Request<Incoming>) -> Result<Response<Body>, Error> {
    let message = message::without_prefix(web::read(request.into_body()).await?);
    Ok(match pipe.ask(message)?.await {
        Some(answer) => web::json(answer),
        None => web::empty(StatusCode::ACCEPTED),
    })
}

type Waiting = Arc<Mutex<HashMap<Box<[u8]>, oneshot::Sender<Bytes>>>>;

/// The way to a child over stdio. Answers find their request by its id as it is: the
/// load never uses one twice.
#[derive(Clone)]
struct Pipe {
    out: mpsc::UnboundedSender<Bytes>,
    waiting: Waiting,
}

impl Pipe {
    fn to(command: &[String]) -> Result<Self, Error> {
        let mut child = start(command)?;
        let (out, outgoing) = mpsc::unbounded_channel();
        let waiting = Waiting::default();
        if let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) {
            tokio::spawn(write(stdin, outgoing));
            tokio::spawn(read(stdout, Arc::clone(&waiting)));
        }
        Ok(Self { out, waiting })
    }

    fn ask(&self, message: Bytes) -> Result<impl Future<Output = Option<Bytes>>, Error> {
        let answer = message::id(&message).map(|id| {
            let (sender, answer) = oneshot::channel();
            lock(&self.waiting).insert(id.into(), sender);
            answer
        });
        self.out.send(message)?;
        Ok(async { answer?.await.ok() })
    }
}

/// A child whose pipes are held here.
pub fn start(command: &[String]) -> Result<Child, Error> {
    let [program, arguments @ ..] = command else {
        return Err("no child is given".into());
    };
    let mut child = Command::new(program);
    child.args(arguments);
    Ok(child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
}

async fn write(mut stdin: ChildStdin, mut outgoing: mpsc::UnboundedReceiver<Bytes>) {
    let mut out = Vec::new();
    while let Some(message) = outgoing.recv().await {
        let mut next = Some(message);
        while let Some(message) = next {
            out.extend_from_slice(&message);
            out.push(b'\n');
            next = outgoing.try_recv().ok();
        }
        if stdin.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

async fn read(stdout: ChildStdout, waiting: Waiting) {
    let mut stdout = BufReader::with_capacity(64 * 1024, stdout);
    let mut line = Vec::new();
    while stdout
        .read_until(b'\n', &mut line)
        .await
        .is_ok_and(|n| n > 0)
    {
        let line = std::mem::take(&mut line);
        let waiter = message::id(&line).and_then(|id| lock(&waiting).remove(id));
        if let Some(waiter) = waiter {
            // A load that has gone away wants no answer.
            let _ = waiter.send(line.into());
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
