//! `serve`: the multiplexer itself.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use clap::{
    Args, ValueEnum,
    builder::{OsStringValueParser, TypedValueParser},
};
use tokio::net::TcpListener;
use tracing::warn;
use url::Url;

use super::{CliError, reload::Reloads, running::Running};
use crate::{
    config::{Mode, ProcessEnvironment, Settings, locate},
    inbound::{Entrance, Overload, raise_open_files},
    outbound::CatalogCache,
    telemetry::{LogFormat, MetricsCompat, init_logs, init_traces},
};

/// Serve all configured servers as one.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer serve
  mcp-multiplexer serve --config mcp_config.json --env-file ~/.config/mcp-multiplexer/env
  mcp-multiplexer serve --transport http --port 8000 --log-format json
  mcp-multiplexer serve --transport http --admin-addr 127.0.0.1:9000

Exit status:
  0  ended by a signal, or by the end of stdin
  1  it could not start, or could not go on
  2  the command line is wrong")]
pub(super) struct Serve {
    /// The configuration [default: $MCP_CONFIG, then ./mcp_config.json, then
    /// $XDG_CONFIG_HOME/mcp-multiplexer/mcp_config.json].
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Take variables that the environment does not have from this file: NAME=value, line
    /// by line.
    #[arg(long, value_name = "FILE")]
    pub(super) env_file: Option<PathBuf>,
    /// How clients come in.
    #[arg(long, value_enum, default_value = "stdio")]
    pub(super) transport: Transport,
    /// What tools/list shows: all tools, or a few that find and load the others
    /// [default: the configuration's, or eager].
    #[arg(long, value_enum)]
    pub(super) mode: Option<ModeFlag>,
    /// The address to listen on, with --transport http.
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    /// The port to listen on, with --transport http; 0 picks one.
    #[arg(long, default_value_t = 8000)]
    pub(super) port: u16,
    /// Move the status page, /status and /metrics to an address of their own; /health and
    /// /ready are on both.
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
    /// Connections of clients at once [default: by ulimit -n, at most 10000].
    #[arg(long, value_name = "N", env = "MCP_MAX_CONNECTIONS", value_parser = connections)]
    pub(super) max_connections: Option<Connections>,
    /// Refuse requests from this much resident memory on: 512MiB, 2GiB.
    #[arg(long, value_name = "SIZE", env = "MCP_MAX_MEMORY", value_parser = size)]
    pub(super) max_memory: Option<Size>,
    /// Keep the catalogs of lazy children in this folder, so that a restart need not
    /// start them.
    #[arg(long, value_name = "DIR", env = "MCP_CACHE_DIR", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(super) cache_dir: Option<PathBuf>,
    /// Write another program's series beside ours, so that dashboards and alerts made
    /// for it go on: agent-utilities.
    #[arg(long, value_name = "PROGRAM", env = "MCP_METRICS_COMPAT", value_parser = compat)]
    pub(super) metrics_compat: Option<Compat>,
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

/// What `tools/list` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ModeFlag {
    /// Every tool.
    Eager,
    /// A few tools that find and load the others.
    Dynamic,
}

impl From<ModeFlag> for Mode {
    fn from(flag: ModeFlag) -> Self {
        match flag {
            ModeFlag::Eager => Self::Eager,
            ModeFlag::Dynamic => Self::Dynamic,
        }
    }
}

impl Serve {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let _logs = init_logs(self.log_format, self.log_level.as_deref())
            .map_err(|error| CliError::Usage(format!("--log-level: {error}")))?;
        let env_file = self.env_file.as_deref();
        // It may say where the configuration is; what counts is read once both are watched.
        let path = locate(self.config.as_deref(), &ProcessEnvironment::with(env_file)?)?;
        let reloads = Reloads::of(&path, env_file)?;
        let settings = Settings::load(&path, &ProcessEnvironment::with(env_file)?)?;
        raise_open_files();
        init_traces();
        let running = Running::start(&self, settings, Some(reloads)).await?;
        running.until_ended().await
    }

    /// What the process may use for its clients.
    pub(super) fn overload(&self) -> Overload {
        let connections = self.max_connections.and_then(|Connections(most)| most);
        let memory = self.max_memory.and_then(|Size(bytes)| bytes);
        Overload::new(connections, memory)
    }

    /// Who may come in by its headers; `public` is what clients know us by.
    pub(super) fn entrance(&self, public: Option<&Url>) -> Entrance {
        let own = (!is_wildcard(&self.host)).then(|| self.host.clone());
        let public = public.and_then(Url::host_str).map(str::to_owned);
        let hosts = self.allowed_host.iter().cloned();
        let hosts = hosts.chain(own).chain(public).collect();
        Entrance::new(hosts, self.allowed_origin.clone())
    }

    /// Where catalogs are kept. A folder that cannot be used stops nothing: it only
    /// saves starts.
    pub(super) fn cache(&self) -> Option<CatalogCache> {
        // A variable that is set to nothing is not set.
        let folder = self.cache_dir.as_deref()?;
        let folder = Some(folder).filter(|folder| !folder.as_os_str().is_empty())?;
        CatalogCache::open(folder)
            .inspect_err(|error| {
                warn!(folder = %folder.display(), %error, "catalogs cannot be kept here");
            })
            .ok()
    }

    /// A listener, which nobody but loopback may reach unless callers are authenticated
    /// or the user insists.
    pub(super) async fn listen(&self, locked: bool) -> Result<TcpListener, CliError> {
        let host = self.host.trim_matches(['[', ']']);
        let cannot = || CliError::io(format!("cannot listen on {}:{}", self.host, self.port));
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, self.port))
            .await
            .map_err(cannot())?
            .collect();
        let loopback = addresses.iter().all(|address| address.ip().is_loopback());
        if !loopback && !locked && !self.insecure_no_auth {
            return Err(CliError::Usage(format!(
                "--host {} is reachable from other machines and callers are not authenticated: \
                 lock it with a strict \"auth\", or add --insecure-no-auth (or MCP_INSECURE_NO_AUTH=1) if a private network or an \
                 authenticating proxy protects it",
                self.host
            )));
        }
        let listener = TcpListener::bind(addresses.as_slice())
            .await
            .map_err(cannot())?;
        if !loopback && !locked {
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

/// How many connections; `None` where the text was blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connections(Option<usize>);

fn connections(text: &str) -> Result<Connections, String> {
    match text.trim() {
        "" => Ok(Connections(None)),
        text => match text.parse() {
            Ok(most @ 1..) => Ok(Connections(Some(most))),
            _ => Err("expected a whole number from 1".to_owned()),
        },
    }
}

/// Whose series; `None` where the text was blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Compat(pub(super) Option<MetricsCompat>);

fn compat(text: &str) -> Result<Compat, String> {
    match text.trim() {
        "" => Ok(Compat(None)),
        text => MetricsCompat::from_str(text, true)
            .map(|program| Compat(Some(program)))
            .map_err(|_| "expected agent-utilities".to_owned()),
    }
}

/// A size in bytes; `None` where the text was blank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(Option<u64>);

/// A size as people write it: a number of bytes, or with a unit of 1024.
fn size(text: &str) -> Result<Size, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(Size(None));
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = text.split_at(unit_at.unwrap_or(text.len()));
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return Err("expected a size such as 512MiB".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "expected a size such as 512MiB".to_owned())?;
    match number.checked_mul(1 << shift) {
        Some(0) => Err("expected a size of more than 0".to_owned()),
        Some(bytes) => Ok(Size(Some(bytes))),
        None => Err("it is too large".to_owned()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let bytes = |text| size(text).map(|Size(bytes)| bytes);
        assert_eq!(bytes("1000"), Ok(Some(1000)));
        assert_eq!(bytes("512MiB"), Ok(Some(512 << 20)));
        assert_eq!(bytes(" 2 g "), Ok(Some(2 << 30)));
        assert_eq!(bytes(" "), Ok(None));
        for wrong in ["0", "-1", "1.5G", "many", "1T", "99999999999999999999"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
        assert!(bytes("99999999999999999G").is_err());
        assert_eq!(connections(""), Ok(Connections(None)));
        assert_eq!(connections("5"), Ok(Connections(Some(5))));
        assert!(connections("0").is_err());
    }
}
