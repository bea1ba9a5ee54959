//! `serve`: the multiplexer itself.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use clap::{Args, ValueEnum};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use url::Url;

use super::CliError;
use crate::{
    config::{Mode, ProcessEnvironment, Settings, locate},
    fleet::Fleet,
    identity::{self, Identity},
    inbound::{About, Admin, Dispatch, Entrance, Sessions, serve_http, serve_stdio},
    outbound::HttpClient,
    telemetry::{LogFormat, Recorder, init_logs},
};

/// How long open requests may go on once the end has begun. With the time children
/// are given it stays under the ten seconds a container runtime waits.
const DRAIN: Duration = Duration::from_secs(5);

/// Serve all configured servers as one.
#[derive(Args, Clone, Debug)]
pub(super) struct Serve {
    /// The configuration [default: ./mcp_config.json, then
    /// $XDG_CONFIG_HOME/mcp-multiplexer/mcp_config.json].
    #[arg(long, value_name = "FILE", env = "MCP_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// How clients come in.
    #[arg(long, value_enum, default_value = "stdio")]
    pub(super) transport: Transport,
    /// The address to listen on, with --transport http.
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    /// The port to listen on, with --transport http; 0 picks one.
    #[arg(long, default_value_t = 8000)]
    pub(super) port: u16,
    /// Serve /health, /ready, /status and /metrics on an address of their own.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) admin_addr: Option<SocketAddr>,
    /// Let this Host in, beside loopback; repeatable. `*` lets any in.
    #[arg(
        long,
        value_name = "HOST",
        env = "MCP_ALLOWED_HOSTS",
        value_delimiter = ','
    )]
    pub(super) allowed_host: Vec<String>,
    /// Let this Origin in, beside loopback; repeatable. `*` lets any in.
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "MCP_ALLOWED_ORIGINS",
        value_delimiter = ','
    )]
    pub(super) allowed_origin: Vec<String>,
    /// Listen beyond loopback although callers are not authenticated: for a private
    /// network, or behind a proxy that authenticates them.
    #[arg(long, env = "MCP_INSECURE_NO_AUTH", value_parser = clap::builder::FalseyValueParser::new())]
    pub(super) insecure_no_auth: bool,
    /// The shape of log lines.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) log_format: LogFormat,
    /// What to log: a level, or directives as in RUST_LOG.
    #[arg(long, value_name = "FILTER", env = "RUST_LOG")]
    pub(super) log_level: Option<String>,
}

/// How clients come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Transport {
    /// One client, on stdin and stdout.
    Stdio,
    /// Any number of clients, at /mcp.
    #[value(alias = "streamable-http")]
    Http,
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), CliError> {
        init_logs(self.log_format, self.log_level.as_deref())
            .map_err(|error| CliError::Usage(format!("--log-level: {error}")))?;
        let environment = ProcessEnvironment;
        let path = locate(self.config.as_deref(), &environment)?;
        let settings = Settings::load(&path, &environment)?;
        Running::start(&self, settings).await?.until_ended().await
    }

    fn entrance(&self) -> Entrance {
        let own = (!is_wildcard(&self.host)).then(|| self.host.clone());
        let hosts = self.allowed_host.iter().cloned().chain(own).collect();
        Entrance::new(hosts, self.allowed_origin.clone())
    }

    /// A listener, which nobody but loopback may reach unless the user insists.
    async fn listen(&self) -> Result<TcpListener, CliError> {
        let at = (self.host.as_str(), self.port);
        let listener = TcpListener::bind(at).await.map_err(CliError::io(format!(
            "cannot listen on {}:{}",
            self.host, self.port
        )))?;
        let loopback = local(&listener)?.ip().is_loopback();
        if !loopback && !self.insecure_no_auth {
            return Err(CliError::Usage(format!(
                "--host {} is reachable from other machines and callers are not authenticated: \
                 add --insecure-no-auth (or MCP_INSECURE_NO_AUTH=1) if a private network or an \
                 authenticating proxy protects it",
                self.host
            )));
        }
        if !loopback {
            warn!(host = %self.host, "callers are not authenticated, and other machines can reach this address");
        }
        Ok(listener)
    }
}

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
            .map_err(|error| CliError::Usage(format!("metrics cannot be recorded: {error}")))?;
        identity::describe();
        let shutdown = CancellationToken::new();
        let listener = match serve.transport {
            Transport::Http => Some(serve.listen().await?),
            Transport::Stdio => None,
        };
        let own = listener.as_ref().map(local).transpose()?;
        if let Some(own) = own {
            settings.disable_self(|url| is_own(url, own));
        }
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
            mode: match settings.mode {
                Mode::Eager => "eager",
                Mode::Dynamic => "dynamic",
            },
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
        info!(seconds = DRAIN.as_secs(), "draining");
        self.shutdown.cancel();
        let ended = match ended {
            Some(ended) => Some(ended),
            None => tokio::time::timeout(DRAIN, &mut self.door).await.ok(),
        };
        self.door.abort();
        self.fleet.stop().await;
        info!("ended");
        match ended {
            Some(Ok(Err(error))) => Err(CliError::io("serving")(error)),
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

fn local(listener: &TcpListener) -> Result<SocketAddr, CliError> {
    listener.local_addr().map_err(CliError::io("the listener"))
}

fn is_wildcard(host: &str) -> bool {
    host.trim_matches(['[', ']'])
        .parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_unspecified())
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

/// Resolves at Ctrl-C or SIGTERM.
pub(super) async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = terminated => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
