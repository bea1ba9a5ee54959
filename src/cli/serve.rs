//! `serve`: the multiplexer itself.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{Args, ValueEnum};
use tokio::net::TcpListener;
use tracing::warn;

use super::{CliError, running::Running};
use crate::{
    config::{ProcessEnvironment, Settings, locate},
    inbound::Entrance,
    telemetry::{LogFormat, init_logs},
};

/// Serve all configured servers as one.
#[derive(Args, Clone, Debug)]
pub(super) struct Serve {
    /// The configuration [default: $MCP_CONFIG, then ./mcp_config.json, then
    /// $XDG_CONFIG_HOME/mcp-multiplexer/mcp_config.json].
    #[arg(long, value_name = "FILE")]
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
    #[arg(long, env = "MCP_INSECURE_NO_AUTH", value_parser = switch)]
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

    pub(super) fn entrance(&self) -> Entrance {
        let own = (!is_wildcard(&self.host)).then(|| self.host.clone());
        let hosts = self.allowed_host.iter().cloned().chain(own).collect();
        Entrance::new(hosts, self.allowed_origin.clone())
    }

    /// A listener, which nobody but loopback may reach unless the user insists.
    pub(super) async fn listen(&self) -> Result<TcpListener, CliError> {
        let host = self.host.trim_matches(['[', ']']);
        let cannot = || CliError::io(format!("cannot listen on {}:{}", self.host, self.port));
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, self.port))
            .await
            .map_err(cannot())?
            .collect();
        let loopback = addresses.iter().all(|address| address.ip().is_loopback());
        if !loopback && !self.insecure_no_auth {
            return Err(CliError::Usage(format!(
                "--host {} is reachable from other machines and callers are not authenticated: \
                 add --insecure-no-auth (or MCP_INSECURE_NO_AUTH=1) if a private network or an \
                 authenticating proxy protects it",
                self.host
            )));
        }
        let listener = TcpListener::bind(addresses.as_slice())
            .await
            .map_err(cannot())?;
        if !loopback {
            warn!(host = %self.host, "callers are not authenticated, and other machines can reach this address");
        }
        Ok(listener)
    }
}

/// The address a listener has got.
pub(super) fn local(listener: &TcpListener) -> Result<SocketAddr, CliError> {
    listener.local_addr().map_err(CliError::io("the listener"))
}

fn is_wildcard(host: &str) -> bool {
    host.trim_matches(['[', ']'])
        .parse::<IpAddr>()
        .is_ok_and(|ip| ip.is_unspecified())
}

/// A switch as people write it in an environment. Blank is off; what is neither on
/// nor off must not open a door.
fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "" | "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("expected 1 or 0".to_owned()),
    }
}
