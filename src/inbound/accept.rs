//! Connections of clients: taken in, as many as may be, and refused in words beyond.

use std::{
    convert::Infallible,
    fs::File,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Request, StatusCode, header::RETRY_AFTER};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use nix::errno::Errno;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use super::{
    auth::Peer,
    overload::{Overload, Shortage},
};

/// How long a client may take over the head of its first request.
const FIRST_HEAD: Duration = Duration::from_secs(30);
/// How long over the next one, the pause before it included: longer than the pools of
/// common clients and proxies keep a connection (90 s), so that they close it first.
const NEXT_HEAD: Duration = Duration::from_secs(120);
/// How often the other end of an HTTP/2 connection is asked whether it is still there:
/// one that has vanished without a word would keep its place for ever.
const STILL_THERE: Duration = Duration::from_secs(30);
/// How long it may take to say so.
const STILL_THERE_ANSWER: Duration = Duration::from_secs(20);
/// How long a connection that is only refused may take. A client sends its request as
/// soon as it is connected; who is silent must not keep the next one out.
const REFUSAL: Duration = Duration::from_millis(250);
/// How many of these there may be. The others are closed without a word.
const REFUSALS: usize = 64;
/// Before the next try after an `accept` that failed for no fault of the connection.
const AGAIN: Duration = Duration::from_millis(50);

/// What answers the requests of a connection.
pub(super) trait Respond:
    Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> Respond for S where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Serves `all` until `shutdown`, and returns when the last answer has been sent.
/// Where something is short, only `open` is served, and all else is refused with 503.
pub(super) async fn serve(
    listener: TcpListener,
    all: impl Respond,
    open: Router,
    overload: Overload,
    shutdown: CancellationToken,
) {
    let connections = TaskTracker::new();
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let mut spare = Spare::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, Peer(peer.ip())),
            Err(error) if of_the_connection(&error) => continue,
            Err(error) => {
                // The one that is waiting can be taken in place of the spare.
                if !(out_of_descriptors(&error) && spare.give()) {
                    debug!(%error, "accept");
                    tokio::time::sleep(AGAIN).await;
                }
                continue;
            }
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "no TCP_NODELAY");
        }
        if !spare.take() {
            // At once: the next one needs its descriptor.
            let short = overload.out_of_descriptors();
            refuse(stream, short, open.clone()).await;
            continue;
        }
        match overload.connection() {
            Ok(place) => {
                let served = connection(stream, peer, all.clone(), shutdown.clone());
                connections.spawn(async move {
                    served.await;
                    drop(place);
                });
            }
            Err(short) => {
                let Ok(place) = Arc::clone(&refusals).try_acquire_owned() else {
                    continue;
                };
                let refused = refuse(stream, short, open.clone());
                connections.spawn(async move {
                    refused.await;
                    drop(place);
                });
            }
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// Serves one connection until it ends, or `shutdown` and the request that is open.
async fn connection(stream: TcpStream, peer: Peer, all: impl Respond, shutdown: CancellationToken) {
    let asked = Arc::new(AtomicBool::new(false));
    let service = {
        let asked = Arc::clone(&asked);
        service_fn(move |mut request: Request<Incoming>| {
            asked.store(true, Ordering::Relaxed);
            request.extensions_mut().insert(peer);
            all.call(request)
        })
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(NEXT_HEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(STILL_THERE)
        .keep_alive_timeout(STILL_THERE_ANSWER);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(served);
    let silent = async {
        tokio::time::sleep(FIRST_HEAD).await;
        if asked.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = served.as_mut() => Some(ended),
        () = silent => return debug!("a client did not say what it wants"),
        () = shutdown.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        // Clients go away in the middle of things: nobody's fault.
        debug!(%error, "connection");
    }
}

/// Answers one request on a connection for which there is no room.
async fn refuse(stream: TcpStream, short: Shortage, open: Router) {
    let router = open.fallback(move || async move { refusal(short) });
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().keep_alive(false);
    let service = TowerToHyperService::new(router);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    // Whoever is slow is refused all the same.
    let _ = tokio::time::timeout(REFUSAL, served).await;
}

/// 503, with the reason.
pub(super) fn refusal(short: Shortage) -> Response<Body> {
    let mut response = (StatusCode::SERVICE_UNAVAILABLE, short.sentence()).into_response();
    let soon = HeaderValue::from_static("1");
    response.headers_mut().insert(RETRY_AFTER, soon);
    response
}

/// One file descriptor that is held for the moment when there is none: without it a
/// connection could not even be refused, and would be offered again and again.
struct Spare(Option<File>);

impl Spare {
    fn new() -> Self {
        let mut spare = Self(None);
        if !spare.take() {
            warn!("no file descriptor is left from the beginning on");
        }
        spare
    }

    /// Gives it up; whether there was one.
    fn give(&mut self) -> bool {
        self.0.take().is_some()
    }

    /// Holds one; whether that is so.
    fn take(&mut self) -> bool {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
        self.0.is_some()
    }
}

fn of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}

fn out_of_descriptors(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(Errno::from_raw);
    matches!(code, Some(Errno::EMFILE | Errno::ENFILE))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        task::JoinHandle,
    };

    use super::*;

    async fn serving(overload: Overload) -> (SocketAddr, CancellationToken, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Router::new().route("/health", get(async || "well"));
        let router = open.clone().route("/mcp", get(async || "served"));
        let shutdown = CancellationToken::new();
        let all = TowerToHyperService::new(router);
        let served = serve(listener, all, open, overload, shutdown.clone());
        (address, shutdown, tokio::spawn(served))
    }

    async fn send(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// All that comes until the connection is closed.
    async fn rest(mut stream: TcpStream) -> String {
        let mut text = String::new();
        let _ = stream.read_to_string(&mut text).await;
        text
    }

    fn head(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_ends_its_connection() {
        let (address, _shutdown, _served) = serving(Overload::new(None, None)).await;
        let began = tokio::time::Instant::now();
        let slow = send(address, "GET /mcp HTTP/1.1\r\nHost: ").await;
        assert_eq!(rest(slow).await, "");
        assert!(began.elapsed() >= FIRST_HEAD);
    }

    /// It answers no PING: it may as well be gone.
    #[tokio::test]
    async fn an_http2_client_that_is_gone_without_a_word_loses_its_place() {
        const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
        // GET http://x/ (RFC 7541, static table), and no more on this stream.
        const REQUEST: &[u8] = &[0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, b'x'];
        let (address, _shutdown, _served) = serving(Overload::new(None, None)).await;
        let mut client = send(address, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.write_all(SETTINGS).await.unwrap();
        client.write_all(REQUEST).await.unwrap();
        let answered = async {
            loop {
                let mut head = [0; 9];
                client.read_exact(&mut head).await.unwrap();
                let length = u64::from(u32::from_be_bytes([0, head[0], head[1], head[2]]));
                let mut body = (&mut client).take(length);
                tokio::io::copy(&mut body, &mut tokio::io::sink())
                    .await
                    .unwrap();
                if head[3] == 1 {
                    return;
                }
            }
        };
        answered.await;

        tokio::time::pause();
        let hour = Duration::from_secs(3600);
        let ended = tokio::time::timeout(hour, rest(client)).await;
        assert!(ended.is_ok(), "the connection is kept");
    }

    #[tokio::test]
    async fn beyond_the_limit_only_what_is_open_is_served_and_the_connection_closed() {
        let (address, _shutdown, _served) = serving(Overload::new(Some(1), None)).await;
        let mut first = send(address, &head("/mcp")).await;
        let mut some = [0; 12];
        first.read_exact(&mut some).await.unwrap();
        assert_eq!(&some, b"HTTP/1.1 200");

        let refused = rest(send(address, &head("/mcp")).await).await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        assert!(refused.contains("--max-connections"), "{refused}");
        assert!(refused.contains("retry-after: 1"), "{refused}");
        let health = rest(send(address, &head("/health")).await).await;
        assert!(health.ends_with("well"), "{health}");
    }

    #[tokio::test]
    async fn at_the_end_connections_that_nobody_uses_are_closed() {
        let (address, shutdown, served) = serving(Overload::new(None, None)).await;
        let mut idle = send(address, &head("/mcp")).await;
        let mut some = [0; 12];
        idle.read_exact(&mut some).await.unwrap();
        shutdown.cancel();
        served.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
