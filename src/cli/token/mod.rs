//! `token`: one mint, to see who the multiplexer is to its children, or why it is nobody.

mod report;

use std::path::PathBuf;

use clap::Args;

use super::{
    CliError,
    out::{self, Format},
    patience::Patience,
    reload::checked,
};
use crate::{
    config::{
        AuthSettings, ChildSettings, IdentitySettings, ProcessEnvironment, ServiceSettings,
        Settings, TokenHosts, TransportSettings, locate,
    },
    identity::{Trial, Whose},
    telemetry::{LogFormat, init_logs},
};
use report::Report;
pub(super) use report::words;

/// The error tells what the verifier would log.
const LOG_LEVEL: &str = "warn,rustls_platform_verifier=off";

/// Mint one token with the current settings, and show what is in it.
///
/// Asks as the multiplexer would: with the environment, and with --child as that entry
/// of the configuration says. The token itself is not shown, unless with --reveal.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer token
  mcp-multiplexer token --child billing --format json
  TOKEN=$(mcp-multiplexer token --reveal | tail -n 1)

Exit status:
  0  there is a token
  1  there is none
  2  the command line or the settings are wrong")]
pub(super) struct Token {
    /// The token of this child, in place of the service's.
    #[arg(long, value_name = "NAME")]
    child: Option<String>,
    /// The configuration in which --child stands [default: as of `serve`].
    #[arg(long, value_name = "FILE", requires = "child")]
    config: Option<PathBuf>,
    /// Take variables that the environment does not have from this file: NAME=value, line
    /// by line.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Show the token too: as the last line, alone; in JSON as `token`.
    #[arg(long)]
    reveal: bool,
    /// The shape of what is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// What to log: a level, or directives as in RUST_LOG.
    #[arg(long, value_name = "FILTER", env = "RUST_LOG")]
    log_level: Option<String>,
}

/// Whose token is to be minted, and what the operator should know before.
struct Wanted {
    service: ServiceSettings,
    whose: Whose,
    warnings: Vec<String>,
}

impl Token {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let log_level = self.log_level.as_deref().filter(|it| !it.trim().is_empty());
        let _logs = init_logs(LogFormat::Text, log_level.or(Some(LOG_LEVEL)))
            .map_err(|error| CliError::Usage(format!("--log-level: {error}")).into_input())?;
        let wanted = self.wanted().map_err(CliError::into_input)?;
        for warning in &wanted.warnings {
            out::tell(&format!("warning: {warning}"));
        }
        let mint = Trial::of(&wanted.service, wanted.whose);
        let trial = Patience::during("waiting for the identity provider", mint)
            .await
            .map_err(|error| CliError::from(error).into_input())?
            .ok_or_else(|| self.nobody().into_input())?;
        // The status answers also those who read no further.
        let printed = Report::new(&trial, self.reveal).print(self.format);
        match trial.result {
            Ok(sample) => {
                for doubt in sample.doubts {
                    out::tell(&format!("warning: {doubt}"));
                }
                printed
            }
            Err(mistake) => Err(CliError::NotMinted(mistake)),
        }
    }

    fn wanted(&self) -> Result<Wanted, CliError> {
        let environment = ProcessEnvironment::with(self.env_file.as_deref())?;
        let wanted = match &self.child {
            None => {
                let (identity, warnings) = IdentitySettings::from_environment(&environment)?;
                Wanted {
                    service: identity.service,
                    whose: Whose::Service,
                    warnings: warnings.iter().map(ToString::to_string).collect(),
                }
            }
            Some(name) => {
                let path = locate(self.config.as_deref(), &environment)?;
                let settings = Settings::load(&path, &environment)?;
                of_child(name, &checked(settings, None, None))?
            }
        };
        match wanted.service {
            ServiceSettings::Basic { .. } if self.reveal => Err(CliError::Usage(
                "--reveal: there is no token to show with MCP_CLIENT_AUTH=basic".to_owned(),
            )),
            _ => Ok(wanted),
        }
    }

    fn nobody(&self) -> CliError {
        CliError::Usage(match &self.child {
            None => "no identity is configured: set MCP_CLIENT_AUTH, or name a child that has an \
                     \"auth\" of its own with --child"
                .to_owned(),
            Some(name) => format!(
                "no identity is configured for {name:?}: set MCP_CLIENT_AUTH, or give its entry an \
                 \"auth\" of its own"
            ),
        })
    }
}

/// What a child of the configuration would be sent.
fn of_child(name: &str, settings: &Settings) -> Result<Wanted, CliError> {
    let child = settings
        .children
        .iter()
        .find(|child| child.name.as_str() == name)
        .ok_or_else(|| unknown(name, settings))?;
    let remote = match &child.transport {
        TransportSettings::Http(remote) | TransportSettings::Sse(remote) => remote,
        TransportSettings::Stdio(_) => return Err(none(name, "it is a process, not remote")),
        TransportSettings::Unusable => {
            let why = child.disabled.clone().unwrap_or_default();
            return Err(CliError::Usage(why));
        }
    };
    let hosts = settings.identity.hosts.as_ref();
    let service = service(child, &settings.identity)?;
    let warnings = [
        remote.has_own_authorization().then(|| {
            format!(
                "{name:?} is not sent this token: its entry has an Authorization header, or a user \
                 in its URL"
            )
        }),
        hosts
            .is_some_and(|hosts: &TokenHosts| !hosts.allow(&remote.url))
            .then(|| {
                format!(
                    "{name:?} is not sent this token: MCP_CLIENT_AUTH_HOSTS does not name its host"
                )
            }),
        child
            .disabled
            .as_ref()
            .map(|why| format!("{name:?} is not used: {why}")),
    ];
    Ok(Wanted {
        service,
        whose: match &child.auth {
            AuthSettings::Own(_) => Whose::Entry,
            _ => Whose::Service,
        },
        warnings: warnings.into_iter().flatten().collect(),
    })
}

fn service(
    child: &ChildSettings,
    identity: &IdentitySettings,
) -> Result<ServiceSettings, CliError> {
    let name = child.name.as_str();
    match &child.auth {
        AuthSettings::Service => Ok(identity.service.clone()),
        AuthSettings::Own(token) => {
            let token = Box::new(token.as_ref().clone());
            Ok(ServiceSettings::ClientCredentials(token))
        }
        AuthSettings::None => Err(none(name, "its \"auth\" is \"none\"")),
        AuthSettings::Passthrough | AuthSettings::Exchange(_) => {
            let why = child.disabled.as_deref();
            Err(none(name, why.unwrap_or("it gets those of its users")))
        }
    }
}

fn none(name: &str, why: &str) -> CliError {
    CliError::Usage(format!("{name:?} is sent no token of ours: {why}"))
}

fn unknown(name: &str, settings: &Settings) -> CliError {
    let known: Vec<_> = settings
        .children
        .iter()
        .map(|child| format!("{:?}", child.name.as_str()))
        .collect();
    CliError::Usage(format!(
        "--child: {} has no entry {name:?}; it has {}",
        settings.path.display(),
        if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        }
    ))
}
