//! A child that answers at once with a prepared result, over HTTP or stdio.

use std::sync::Arc;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header::HeaderValue};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::{
    message::{self, Era, Payload, Results},
    web::{self, Body, Error},
};

/// A child process.
#[derive(Args, Debug)]
pub struct Child {
    /// How it is reached.
    #[arg(long, value_enum)]
    transport: Transport,
    /// What it speaks.
    #[arg(long, value_enum)]
    era: Era,
    /// What its tools give.
    #[arg(long, value_delimiter = ',')]
    payloads: Vec<Payload>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Transport {
    Http,
    Stdio,
}

impl Child {
    /// Serves until it is killed, or stdin ends. Over HTTP the first line on stdout
    /// is its URL.
    pub async fn run(self) -> Result<(), Error> {
        let child = Answers {
            era: self.era,
            results: Arc::new(Results::new(self.era, &self.payloads)),
        };
        match self.transport {
            Transport::Stdio => child.serve_stdio().await,
            Transport::Http => {
                let (listener, at) = web::listen().await?;
                println!("http://{at}");
                let respond = move |request| respond(child.clone(), request);
                Ok(web::serve(listener, respond).await?)
            }
        }
    }
}

#[derive(Clone)]
struct Answers {
    era: Era,
    results: Arc<Results>,
}

impl Answers {
    /// The answer to a message, if it wants one.
    fn to(&self, message: &[u8]) -> Option<Bytes> {
        let id = message::id(message)?;
        let Results {
            initialize,
            discover,
            tools,
            calls,
        } = &*self.results;
        let result = if message::is(message, "\"tools/call\"") {
            &calls.iter().find(|(tool, _)| message::is(message, tool))?.1
        } else if message::is(message, "\"tools/list\"") {
            tools
        } else if self.era == Era::Legacy && message::is(message, "\"initialize\"") {
            &message::in_version_of(message, initialize)
        } else if self.era == Era::Modern && message::is(message, "\"server/discover\"") {
            discover
        } else {
            return Some(unknown_method(id));
        };
        Some(message::answer(id, result))
    }

    async fn serve_stdio(self) -> Result<(), Error> {
        let mut stdin = BufReader::with_capacity(64 * 1024, tokio::io::stdin());
        let mut stdout = tokio::io::stdout();
        let (mut line, mut out) = (Vec::new(), Vec::new());
        while stdin.read_until(b'\n', &mut line).await? > 0 {
            if let Some(answer) = self.to(&line) {
                out.extend_from_slice(&answer);
                out.push(b'\n');
            }
            line.clear();
            // What has been asked together is answered together.
            if !stdin.buffer().contains(&b'\n') {
                stdout.write_all(&out).await?;
                stdout.flush().await?;
                out.clear();
            }
        }
        Ok(())
    }
}

async fn respond(child: Answers, request: Request<Incoming>) -> Result<Response<Body>, Error> {
    if request.method() != Method::POST {
        return Ok(web::empty(StatusCode::METHOD_NOT_ALLOWED));
    }
    if request.uri().path() == "/token" {
        return Ok(web::json(Bytes::from_static(
            br#"{"access_token":"a.b.c","token_type":"Bearer","expires_in":3600}"#,
        )));
    }
    let message = web::read(request.into_body()).await?;
    let Some(answer) = child.to(&message) else {
        return Ok(web::empty(StatusCode::ACCEPTED));
    };
    let mut response = web::json(answer);
    if child.era == Era::Legacy && message::is(&message, "\"initialize\"") {
        let session = HeaderValue::from_static("5e55104d5e55104d5e55104d5e55104d");
        response.headers_mut().insert("mcp-session-id", session);
    }
    Ok(response)
}

fn unknown_method(id: &[u8]) -> Bytes {
    let id = String::from_utf8_lossy(id);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"unknown"}}}}"#).into()
}
