//! `healthcheck`: whether the multiplexer in this container serves, by exit status.

use std::net::IpAddr;

use clap::Args;

use super::{CliError, instance::Instance, patience::Patience};

/// Ask the multiplexer on this machine whether it serves.
///
/// For containers. Whether children can be reached is no part of the answer: to restart
/// the multiplexer would not help them.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer healthcheck
  mcp-multiplexer healthcheck --port 9000 --ready
  HEALTHCHECK CMD [\"mcp-multiplexer\", \"healthcheck\"]      (in a Dockerfile)

Exit status:
  0  it serves
  1  it does not
  2  the command line is wrong")]
pub(super) struct Healthcheck {
    /// The address it listens on, as of `serve`.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// The port it listens on, as of `serve`.
    #[arg(long, default_value_t = 8000)]
    port: u16,
    /// Ask whether the first round of connecting to children is over, too.
    #[arg(long)]
    ready: bool,
}

impl Healthcheck {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let path = match self.ready {
            true => "ready",
            false => "health",
        };
        let instance = Instance::at(&self.address(), None).map_err(CliError::into_input)?;
        let waiting = format!("waiting for {}", self.address());
        match Patience::during(&waiting, instance.get(path)).await {
            Ok(answered) if answered.status.is_success() => Ok(()),
            Ok(answered) => Err(CliError::Broken(format!(
                "/{path}: {}: {}",
                answered.status,
                String::from_utf8_lossy(&answered.body)
            ))),
            Err(why) => Err(CliError::Broken(why.to_string())),
        }
    }

    /// Whoever listens everywhere is reached here.
    fn address(&self) -> String {
        let host = self.host.trim_matches(['[', ']']);
        let host = match host.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) if ip.is_unspecified() => "127.0.0.1".to_owned(),
            Ok(IpAddr::V6(ip)) if ip.is_unspecified() => "[::1]".to_owned(),
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            _ => host.to_owned(),
        };
        format!("http://{host}:{}", self.port)
    }
}
