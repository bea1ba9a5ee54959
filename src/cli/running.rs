//! A multiplexer that serves: what is started, and how it all ends.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use super::{
    CliError, not_in_force,
    serve::{Serve, Transport, local},
};
use crate::{
    config::Settings,
    fleet::Fleet,
    identity::{self, Identity},
    inbound::{About, Admin, Dispatch, Sessions, serve_http, serve_stdio},
    outbound::HttpClient,
    telemetry::Recorder,
};

/// How long open requests may go on once the end has begun. With [`STOP`] it stays
/// under the ten seconds a container runtime waits.
const DRAIN: Duration = Duration::from_secs(4);
/// How long children may take to end.
const STOP: Duration = Duration::from_secs(5);

/// A multiplexer that serves.
pub(super) struct Running {
    /// Where it serves, if over HTTP.
    pub(super) url: Option<Url>,
    /// Its children.
    pub(super) fleet: Arc<Fleet>,
    door: JoinHandle<std::io::Result<()>>,
    shutdown: CancellationToken,
}

impl Running {
    /// Listens, and starts the children.
    pub(super) async fn start(serve: &Serve, mut settings: Settings) -> Result<Self, CliError> {
        let recorder = Recorder::install()
            .map_err(|error| CliError::Broken(format!("metrics cannot be recorded: {error}")))?;
        identity::describe();
        let shutdown = CancellationToken::new();
        let listener = match serve.transport {
            Transport::Http => Some(serve.listen().await?),
            Transport::Stdio => None,
        };
        let own = listener.as_ref().map(local).transpose()?;
        if let Some(own) = own {
            let public = settings.public_url.clone();
            settings.disable_self(|url| is_own(url, own) || public.as_ref() == Some(url));
        }
        not_in_force::sort_out(&mut settings)?;
        for warning in &settings.warnings {
            warn!("{warning}");
        }
        let identity = Identity::start(&settings.identity, shutdown.clone())?;
        let fleet = Fleet::start(&settings, HttpClient::new()?, identity.clone());
        let about = About {
            transport: match serve.transport {
                Transport::Stdio => "stdio",
                Transport::Http => "http",
            },
            // The one that is in force: see `not_in_force`.
            mode: "eager",
            config_path: settings.path.display().to_string(),
        };
        let admin = Admin::new(
            about,
            Arc::clone(&fleet),
            identity,
            recorder,
            serve.entrance(),
        );
        if let Some(address) = serve.admin_addr {
            serve_admin(&admin, address, serve.insecure_no_auth, shutdown.clone()).await?;
        }
        let dispatch = Dispatch::new(Arc::clone(&fleet), shutdown.clone());
        let door = match listener {
            Some(listener) => {
                let sessions = Sessions::default();
                tokio::spawn(
                    shutdown
                        .clone()
                        .run_until_cancelled_owned(sessions.clone().sweep()),
                );
                let served = serve_http(
                    listener,
                    dispatch,
                    sessions,
                    serve.entrance(),
                    admin.router(),
                );
                tokio::spawn(served)
            }
            None => tokio::spawn(async move {
                serve_stdio(dispatch, tokio::io::stdin(), tokio::io::stdout()).await;
                Ok(())
            }),
        };
        let url = own.and_then(|own| Url::parse(&format!("http://{own}/mcp")).ok());
        match &url {
            Some(url) => info!(%url, children = settings.children.len(), "listening"),
            None => info!(
                children = settings.children.len(),
                "serving on stdin and stdout"
            ),
        }
        Ok(Self {
            url,
            fleet,
            door,
            shutdown,
        })
    }

    /// Serves until a signal or the end of stdin, then drains and ends everything.
    pub(super) async fn until_ended(self) -> Result<(), CliError> {
        self.until(signalled()).await
    }

    /// Serves until something is over, then drains and ends everything.
    pub(super) async fn until(mut self, over: impl Future<Output = ()>) -> Result<(), CliError> {
        let ended = tokio::select! {
            ended = &mut self.door => Some(ended),
            () = over => None,
        };
        let mut again = pin!(signalled());
        info!(seconds = DRAIN.as_secs(), "draining");
        self.shutdown.cancel();
        let ended = match ended {
            Some(ended) => Some(ended),
            None => tokio::select! {
                drained = tokio::time::timeout(DRAIN, &mut self.door) => drained.ok(),
                () = &mut again => {
                    warn!("ended at a second signal, with requests open");
                    return Ok(());
                }
            },
        };
        self.door.abort();
        tokio::select! {
            stopped = tokio::time::timeout(STOP, self.fleet.stop()) => match stopped {
                Ok(()) => info!("ended"),
                // The watchdog ends what is left of them.
                Err(_) => warn!("ended, and not every child has"),
            },
            () = again => warn!("ended at a second signal, before every child has"),
        }
        match ended {
            Some(Ok(Err(error))) => Err(CliError::io("serving")(error)),
            Some(Err(panic)) if panic.is_panic() => Err(CliError::Broken(
                "serving has failed; the log says where".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

async fn serve_admin(
    admin: &Admin,
    address: SocketAddr,
    insecure: bool,
    shutdown: CancellationToken,
) -> Result<(), CliError> {
    if !address.ip().is_loopback() && !insecure {
        return Err(CliError::Usage(format!(
            "--admin-addr {address} is reachable from other machines: add --insecure-no-auth if \
             a private network protects it"
        )));
    }
    let listener = TcpListener::bind(address)
        .await
        .map_err(CliError::io(format!("cannot listen on {address}")))?;
    info!(url = %format!("http://{}", local(&listener)?), "admin listening");
    let admin = admin.clone();
    tokio::spawn(async move { admin.serve(listener, shutdown).await });
    Ok(())
}

/// Whether an entry's URL is our own endpoint.
fn is_own(url: &Url, own: SocketAddr) -> bool {
    let here = match url.host() {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || IpAddr::V4(ip) == own.ip(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback() || IpAddr::V6(ip) == own.ip(),
        None => false,
    };
    here && url.port_or_known_default() == Some(own.port()) && url.path().starts_with("/mcp")
}

/// Resolves at Ctrl-C, SIGTERM or SIGHUP that comes after the call.
pub(super) fn signalled() -> impl Future<Output = ()> {
    use tokio::signal::unix::{SignalKind, signal};
    // Listened to from here on, not only from the first poll.
    let received = |kind| {
        let signals = signal(kind);
        async {
            match signals {
                Ok(mut signals) => {
                    signals.recv().await;
                }
                Err(_) => std::future::pending().await,
            }
        }
    };
    let terminate = received(SignalKind::terminate());
    let hangup = received(SignalKind::hangup());
    let interrupt = received(SignalKind::interrupt());
    async {
        tokio::select! {
            () = terminate => {}
            () = hangup => {}
            () = interrupt => {}
        }
    }
}
