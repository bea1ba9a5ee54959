//! An HTTP server with nothing around it.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header::CONTENT_TYPE, server::conn::http1,
    service::service_fn,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::net::{TcpListener, TcpStream};

/// A body that is at hand, or one that is passed on.
pub type Body = Either<Full<Bytes>, Incoming>;
/// Any body that can be sent.
pub trait Answer:
    hyper::body::Body<Data = Bytes, Error: Into<Error> + Send> + Send + Unpin + 'static
{
}
impl<B> Answer for B where
    B: hyper::body::Body<Data = Bytes, Error: Into<Error> + Send> + Send + Unpin + 'static
{
}
/// Why a response cannot be given.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A listener on loopback, and where it is reached.
pub async fn listen() -> std::io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let at = listener.local_addr()?;
    Ok((listener, at))
}

/// Serves for ever.
pub async fn serve<F, R, B>(listener: TcpListener, respond: F) -> std::io::Result<()>
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + 'static,
    R: Future<Output = Result<Response<B>, Error>> + Send + 'static,
    B: Answer,
{
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, respond.clone()));
    }
}

async fn connection<F, R, B>(stream: TcpStream, respond: F)
where
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Result<Response<B>, Error>>,
    B: Answer,
{
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(respond));
    if let Err(error) = served.await {
        eprintln!("a connection failed: {error}");
    }
}

/// What a page says.
pub async fn get(url: &str) -> Result<Bytes, Error> {
    let client: Client<HttpConnector, Full<Bytes>> =
        Client::builder(TokioExecutor::new()).build_http();
    read(client.get(url.parse()?).await?.into_body()).await
}

/// All of a request's body.
pub async fn read(body: Incoming) -> Result<Bytes, Error> {
    Ok(body.collect().await?.to_bytes())
}

/// A JSON body.
pub fn json(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::new(body)));
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

/// A status without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Either::Left(Full::default()));
    *response.status_mut() = status;
    response
}
