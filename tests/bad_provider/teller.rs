//! A token endpoint that says what it is told to, byte for byte, over any stream.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpListener,
    sync::watch,
    task::JoinHandle,
    time::interval,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::support::eventually;

/// The token of a provider that is well.
pub const GOOD_TOKEN: &str = "a-good-token";

/// What the endpoint does with a request.
#[derive(Clone)]
pub enum Deed {
    /// Says this and hangs up.
    Say(Arc<[u8]>),
    /// Says nothing, until it changes its mind or the other side has had enough.
    Nothing,
    /// Says nothing that ends: a byte now and then.
    Drip,
}

impl Deed {
    /// An answer with this status line, these headers and this body.
    pub fn answer(status: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let mut answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            answer.push_str(&format!("{name}: {value}\r\n"));
        }
        answer.push_str("\r\n");
        let mut bytes = answer.into_bytes();
        bytes.extend_from_slice(body);
        Self::Say(bytes.into())
    }

    /// The same, in JSON.
    pub fn json(status: &str, body: &str) -> Self {
        Self::answer(status, &[("content-type", "application/json")], body)
    }

    /// A token that lives for an hour.
    pub fn good() -> Self {
        Self::token(GOOD_TOKEN, r#","expires_in":3600"#)
    }

    /// A token, with these members after it.
    pub fn token(token: &str, rest: &str) -> Self {
        Self::json(
            "200 OK",
            &format!(r#"{{"access_token":"{token}","token_type":"Bearer"{rest}}}"#),
        )
    }
}

/// The endpoint, which ends with this value.
pub struct Teller {
    port: u16,
    scheme: &'static str,
    deed: watch::Sender<Deed>,
    asked: Arc<Mutex<Vec<Instant>>>,
    serving: JoinHandle<()>,
}

impl Teller {
    /// One that does this with everybody.
    pub async fn start(deed: Deed) -> Self {
        Self::serve(deed, None).await
    }

    /// The same over TLS.
    pub async fn start_tls(deed: Deed, tls: ServerConfig) -> Self {
        Self::serve(deed, Some(TlsAcceptor::from(Arc::new(tls)))).await
    }

    async fn serve(deed: Deed, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let deed = watch::Sender::new(deed);
        let asked = Arc::new(Mutex::default());
        let (deeds, notes) = (deed.clone(), Arc::clone(&asked));
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (deeds, notes, tls) = (deeds.subscribe(), Arc::clone(&notes), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => attend(stream, deeds, notes).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => attend(stream, deeds, notes).await,
                            // Who does not trust us goes away.
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self {
            port,
            scheme,
            deed,
            asked,
            serving,
        }
    }

    /// What stands in `OIDC_TOKEN_URL`.
    pub fn token_url(&self) -> String {
        format!("{}://127.0.0.1:{}/token", self.scheme, self.port)
    }

    /// What it does from now on, also with those who are still waiting.
    pub fn change(&self, deed: Deed) {
        self.deed.send_replace(deed);
    }

    /// When it was asked.
    pub fn asked(&self) -> Vec<Instant> {
        let asked = self.asked.lock();
        asked.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has been asked this often.
    pub async fn until_asked(&self, times: usize) {
        eventually(&format!("request {times} for a token"), async || {
            (self.asked().len() >= times).then_some(())
        })
        .await;
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Reads one request and does what is to be done with it; `None` where the other side
/// went away before the end.
async fn attend(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    mut deeds: watch::Receiver<Deed>,
    asked: Arc<Mutex<Vec<Instant>>>,
) -> Option<()> {
    read_request(&mut stream).await?;
    asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Instant::now());
    loop {
        let deed = deeds.borrow_and_update().clone();
        let doing = async {
            match deed {
                Deed::Say(answer) => {
                    stream.write_all(&answer).await.ok()?;
                    stream.shutdown().await.ok()
                }
                Deed::Nothing => std::future::pending().await,
                Deed::Drip => drip(&mut stream).await,
            }
        };
        tokio::select! {
            done = doing => return done,
            changed = deeds.changed() => changed.ok()?,
        }
    }
}

/// The head of an answer, and then a body that never comes to an end.
async fn drip(stream: &mut (impl AsyncWrite + Unpin)) -> Option<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9999\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut often = interval(Duration::from_millis(100));
    loop {
        often.tick().await;
        stream.write_all(b" ").await.ok()?;
        stream.flush().await.ok()?;
    }
}

/// A form comes with its length.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<()> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).to_ascii_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:"));
            let length = length.and_then(|length| length.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return Some(());
            }
        }
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
}
