//! Many children in one process: what each of them offers stands in its path.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use clap::Args;
use http_body_util::{Either, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Frame, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};

use crate::{
    message::{self, Era, Results},
    web::{self, Error},
};

/// The tools' shapes: those of real servers.
const SHAPES: &str = include_str!("../../tests/data/fleet57.json");

/// A child's path: how many tools it has, and whether it holds event streams open.
pub fn path(tools: usize, streams: bool) -> String {
    let kind = if streams { "streams" } else { "quiet" };
    format!("/{tools}/{kind}/mcp")
}

/// Many children, as one process that serves legacy clients over HTTP.
#[derive(Args, Debug)]
pub struct Crowd {}

impl Crowd {
    /// Serves until it is killed. The first line on stdout is its URL.
    pub async fn run(self) -> Result<(), Error> {
        let (listener, at) = web::listen().await?;
        let results = Results::new(Era::Legacy, &[]);
        let served = Arc::new(Served {
            initialize: results.initialize,
            shapes: shapes()?,
            lists: Mutex::default(),
        });
        println!("http://{at}");
        let respond = move |request| respond(Arc::clone(&served), request);
        Ok(web::serve(listener, respond).await?)
    }
}

struct Served {
    initialize: Bytes,
    shapes: Vec<Value>,
    /// Results of `tools/list`, by the number of tools.
    lists: Mutex<HashMap<usize, Bytes>>,
}

impl Served {
    fn list(&self, tools: usize) -> Bytes {
        let mut lists = match self.lists.lock() {
            Ok(lists) => lists,
            Err(poisoned) => poisoned.into_inner(),
        };
        let list = lists.entry(tools).or_insert_with(|| self.made(tools));
        list.clone()
    }

    fn made(&self, tools: usize) -> Bytes {
        let shapes = self.shapes.iter().cycle().take(tools).enumerate();
        let tools: Vec<_> = shapes
            .map(|(n, shape)| {
                let mut tool = shape.clone();
                tool["name"] = format!("tool_{n}").into();
                tool
            })
            .collect();
        json!({"tools": tools}).to_string().into()
    }
}

fn shapes() -> Result<Vec<Value>, Error> {
    let mut fleet: Vec<Value> = serde_json::from_str(SHAPES)?;
    let tools = fleet.iter_mut().map(|child| child["tools"].take());
    let tools = tools.filter_map(|tools| match tools {
        Value::Array(tools) => Some(tools),
        _ => None,
    });
    Ok(tools.flatten().collect())
}

/// A body that is at hand, or an event stream on which nothing is ever said.
type Answer = Either<Full<Bytes>, Silence>;

struct Silence;

impl Body for Silence {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

async fn respond(
    served: Arc<Served>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Error> {
    let mut parts = request.uri().path().split('/').skip(1);
    let first = parts.next().unwrap_or_default();
    let streams = parts.next() == Some("streams");
    let tools = first.parse().unwrap_or_default();
    if first == "token" {
        let token = r#"{"access_token":"a.b.c","token_type":"Bearer","expires_in":3600}"#;
        return Ok(json_answer(Bytes::from_static(token.as_bytes())));
    }
    match *request.method() {
        Method::GET if streams => {
            let mut response = Response::new(Either::Right(Silence));
            let events = HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(CONTENT_TYPE, events);
            return Ok(response);
        }
        Method::POST => {}
        _ => return Ok(status(StatusCode::METHOD_NOT_ALLOWED)),
    }
    let asked = web::read(request.into_body()).await?;
    let Some(id) = message::id(&asked) else {
        return Ok(status(StatusCode::ACCEPTED));
    };
    if message::is(&asked, "\"initialize\"") {
        let mut response = json_answer(message::answer(id, &served.initialize));
        let session = HeaderValue::from_static("5e55104d5e55104d5e55104d5e55104d");
        response.headers_mut().insert("mcp-session-id", session);
        return Ok(response);
    }
    if message::is(&asked, "\"tools/list\"") {
        return Ok(json_answer(message::answer(id, &served.list(tools))));
    }
    let id = String::from_utf8_lossy(id);
    let unknown =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"unknown"}}}}"#);
    Ok(json_answer(unknown.into()))
}

fn json_answer(body: Bytes) -> Response<Answer> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn status(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = status;
    response
}
