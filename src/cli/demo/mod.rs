//! `demo`: the multiplexer over three children of its own, and a walk through what
//! it does.
//!
//! Owns: a token issuer, the children, the walk, and what is printed of them. The
//! multiplexer among them is the real one: it reads a configuration and knows
//! nothing of the rest.

mod bearer;
mod children;
mod client;
mod http_child;
mod issuer;
mod out;
mod server;
pub(super) mod stdio_child;
mod tour;
mod welcome;

use std::{collections::HashMap, path::Path, time::Duration, time::SystemTime};

use clap::Args;
use serde_json::json;
use url::Url;

use self::{
    bearer::{AUDIENCE, Guard},
    children::{Accounts, Reports, Weather},
    client::Client,
    http_child::Outage,
    issuer::Issuer,
    out::Out,
    server::Toolbox,
    tour::Tour,
};
use super::{
    CliError,
    running::{END_OR_HANGUP, Running, signalled},
    serve::{Serve, Transport},
};
use crate::{
    config::Settings,
    telemetry::{LogFormat, init_logs},
};

/// How long the table waits for children that take their time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Try it, with nothing to install.
///
/// Serves three small servers of its own, one of them behind a token, as one over
/// HTTP, until Ctrl-C.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer demo
  mcp-multiplexer demo --port 8000
  mcp-multiplexer demo --tour

Exit status:
  0  ended by a signal; with --tour, every step held
  1  it could not start; with --tour, a step did not hold
  2  the command line is wrong")]
pub(super) struct Demo {
    /// Walk through what it does, check every step, and end.
    #[arg(long)]
    tour: bool,
    /// The port to listen on; 0 picks one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// What to log: a level, or directives as in RUST_LOG [default: warn; error on
    /// the tour, which breaks things on purpose].
    #[arg(long, value_name = "FILTER", env = "RUST_LOG")]
    log_level: Option<String>,
}

/// What the multiplexer is run over.
struct Stage {
    issuer: Issuer,
    accounts: Url,
    weather: Url,
    outage: Outage,
}

impl Demo {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let quiet = if self.tour { "error" } else { "warn" };
        let log_level = self.log_level.as_deref().unwrap_or(quiet);
        let _logs = init_logs(LogFormat::Text, Some(log_level))
            .map_err(|error| CliError::Usage(format!("--log-level: {error}")))?;
        let out = Out::new();
        let stage = Stage::set().await?;
        let began = SystemTime::now();
        let running = Running::start(&self.serve(), stage.settings()?, None).await?;
        let Some(endpoint) = running.url.clone() else {
            return Err(CliError::Usage("the demo serves over HTTP only".to_owned()));
        };
        let snapshot = running.fleet.snapshot();
        for child in &snapshot.children {
            child.attempted(PATIENCE).await;
        }
        welcome::table(&out, snapshot.children.iter().map(|child| &**child), began)?;
        drop(snapshot);
        if self.tour {
            return stage.tour(endpoint, running, &out).await;
        }
        welcome::commands(&out, endpoint.as_str())?;
        out.line("")?;
        out.line(format!("Serving at {endpoint} until Ctrl-C."))?;
        running.until_ended().await
    }

    fn serve(&self) -> Serve {
        Serve {
            config: None,
            env_file: None,
            transport: Transport::Http,
            mode: None,
            host: "127.0.0.1".to_owned(),
            port: self.port,
            admin_addr: None,
            max_connections: None,
            max_memory: None,
            cache_dir: None,
            allowed_host: Vec::new(),
            allowed_origin: Vec::new(),
            insecure_no_auth: false,
            metrics_compat: None,
            log_format: LogFormat::Text,
            log_level: None,
        }
    }
}

impl Stage {
    /// Starts the issuer and the two children that are no processes.
    async fn set() -> Result<Self, CliError> {
        let issuer = Issuer::start().await?;
        let guard = Guard::trusting(&issuer).await?;
        let outage = Outage::default();
        let guarded = guard.before(http_child::endpoint(Accounts));
        let breakable = outage.over(http_child::endpoint(Weather));
        Ok(Self {
            issuer,
            accounts: http_child::serve_endpoint(guarded).await?,
            weather: http_child::serve_endpoint(breakable).await?,
            outage,
        })
    }

    /// What an operator would write for these children, read as it always is.
    fn settings(&self) -> Result<Settings, CliError> {
        let what = "this program's own path";
        let own = std::env::current_exe().map_err(CliError::io(what))?;
        let config = json!({"mcpServers": {
            Accounts::NAME: {"url": self.accounts},
            Weather::NAME: {
                "url": self.weather,
                // Short clocks: whoever watches should not have to wait.
                "breaker": {"failures": 3, "cooldown": "500ms", "maxCooldown": "1s"},
            },
            Reports::NAME: {"command": own, "args": [stdio_child::COMMAND]},
        }});
        let environment: HashMap<String, String> = [
            ("MCP_CLIENT_AUTH", "oidc-client-credentials"),
            ("OIDC_CLIENT_ID", issuer::CLIENT),
            ("OIDC_CLIENT_SECRET", &self.issuer.client_secret),
            ("OIDC_TOKEN_URL", &self.issuer.token_url()),
            ("OIDC_AUDIENCE", AUDIENCE),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let path = Path::new("demo/mcp_config.json");
        Ok(Settings::from_json(
            path,
            &config.to_string(),
            &environment,
        )?)
    }

    /// The walk, at whose end the multiplexer ends; a signal ends both.
    async fn tour(self, endpoint: Url, running: Running, out: &Out) -> Result<(), CliError> {
        let client = Client::new(endpoint).map_err(|seen| CliError::Tour {
            step: "a client",
            seen,
        })?;
        let tour = Tour {
            client,
            guarded: self.accounts,
            outage: self.outage,
            out,
        };
        out.line("")?;
        let mut walked = Err(CliError::Usage("the tour was interrupted".to_owned()));
        let over = async {
            tokio::select! {
                ended = tour.walk() => walked = ended,
                () = signalled(END_OR_HANGUP) => {}
            }
        };
        running.until(over).await?;
        walked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_configuration_is_one_without_a_warning() {
        let settings = Stage::set().await.unwrap().settings().unwrap();
        assert_eq!(settings.warnings, []);
        assert_eq!(settings.children.len(), 3);
        assert!(
            settings
                .children
                .iter()
                .all(|child| child.disabled.is_none())
        );
    }
}
