//! `register`: writes us into a client's file.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use clap::Args;
use regex::Regex;
use url::Url;

use super::{
    CliError,
    clients::{Client, OUR_NAME, Way},
    document::{Document, object, pretty},
    out,
};
use crate::config::{ProcessEnvironment, locate};

/// Write mcp-multiplexer into the file of an MCP client.
///
/// Everything else in the file stays as it is; a copy of it is kept beside it. The client
/// starts the multiplexer over stdio, unless --url says where one runs already.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer register claude-code
  mcp-multiplexer register cursor --dry-run
  mcp-multiplexer register cursor --env-file ~/.config/mcp-multiplexer/env
  mcp-multiplexer register vscode --url http://127.0.0.1:8000/mcp
  mcp-multiplexer register gemini --print

Exit status:
  0  the entry is in the file, or shown
  1  a file cannot be edited
  2  the command line is wrong, the client is not installed, or there is no configuration")]
pub(super) struct Register {
    /// The client.
    #[arg(value_enum)]
    client: Client,
    /// Let the client connect to this address, in place of starting a process.
    #[arg(long, value_name = "URL", conflicts_with = "config", value_parser = web_url)]
    url: Option<Url>,
    /// The configuration that the started process is to read [default: as of `serve`].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The file from which the started process is to take variables that the client does
    /// not have.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    env_file: Option<PathBuf>,
    /// The client's file, where it is elsewhere.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Write nothing: show what would change.
    #[arg(long)]
    dry_run: bool,
    /// Write nothing: show the entry.
    #[arg(long, conflicts_with = "dry_run")]
    print: bool,
}

fn web_url(text: &str) -> Result<Url, String> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        _ => Err("expected an address such as http://127.0.0.1:8000/mcp".to_owned()),
    }
}

impl Register {
    pub(super) fn run(self) -> Result<(), CliError> {
        let (way, missing) = self.way().map_err(CliError::into_input)?;
        let entry = self
            .client
            .entry(&way)
            .ok_or_else(|| self.only_stdio().into_input())?;
        let whole = object([(self.client.servers(), object([(OUR_NAME, entry.clone())]))]);
        if self.print {
            return out::print(&pretty(&whole));
        }
        let file = self.file().map_err(CliError::into_input)?;
        let document = Document::open(&file)?;
        let servers = document.object(self.client.servers())?;
        Document::set(&servers, OUR_NAME, entry);
        let place = document.path().display();
        if !document.is_changed() {
            out::tell(&format!("{} has it already: {place}", self.client));
            return Ok(());
        }
        if self.dry_run {
            return out::print(&document.difference(&whole));
        }
        let backup = document.write()?;
        out::tell(&format!("{} will find {OUR_NAME}: {place}", self.client));
        if let Some(backup) = backup {
            out::tell(&format!("what stood there before: {}", backup.display()));
        }
        out::tell(&format!("restart {} for it", self.client));
        if !missing.is_empty() {
            out::tell(&format!(
                "note: the configuration needs variables; {} must be started with them, or \
                 --env-file name a file that has them: {}",
                self.client,
                missing.join(", ")
            ));
        }
        Ok(())
    }

    /// How the client is to reach us, and the variables that it must bring.
    fn way(&self) -> Result<(Way, Vec<String>), CliError> {
        if let Some(url) = &self.url {
            return Ok((Way::Http(url.clone()), Vec::new()));
        }
        let environment = ProcessEnvironment::with(self.env_file.as_deref())?;
        let config = locate(self.config.as_deref(), &environment)?;
        // The client may start us anywhere.
        let full = |file: &Path| {
            let full = file.canonicalize();
            full.map_err(CliError::io(file.display().to_string()))
        };
        let config = full(&config)?;
        let program = std::env::current_exe().map_err(CliError::io("the program's own path"))?;
        let text = |path: &Path| {
            path.to_str().map(str::to_owned).ok_or_else(|| {
                CliError::Usage(format!("{}: JSON cannot hold this path", path.display()))
            })
        };
        let mut args = vec!["serve".to_owned(), "--config".to_owned(), text(&config)?];
        if let Some(file) = &self.env_file {
            args.extend(["--env-file".to_owned(), text(&full(file)?)?]);
        }
        let mut missing = variables(&config);
        missing.retain(|name| !environment.is_in_file(name));
        Ok((Way::Stdio(text(&program)?, args), missing))
    }

    /// The file to edit. Its folder is the client's to make: where it is missing, so is
    /// the client.
    fn file(&self) -> Result<PathBuf, CliError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let file = self.client.file(&home()?);
        match file.parent() {
            Some(folder) if !folder.is_dir() => Err(CliError::Usage(format!(
                "{} does not exist\nhint: is {} installed here? --file names another place",
                folder.display(),
                self.client
            ))),
            _ => Ok(file),
        }
    }

    fn only_stdio(&self) -> CliError {
        CliError::Usage(format!(
            "{}: its file knows no remote servers\nhint: leave --url out, or add the address in its settings",
            self.client
        ))
    }
}

/// The user's home.
pub(super) fn home() -> Result<PathBuf, CliError> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    home.filter(|home| home.is_absolute())
        .ok_or_else(|| CliError::Usage("HOME is not set".to_owned()))
}

/// The variables that a configuration cannot do without: what a shell has, an editor
/// that was started by a click has not.
fn variables(config: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(config).unwrap_or_default();
    let Ok(reference) = Regex::new(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}") else {
        return Vec::new();
    };
    let names: BTreeSet<_> = reference
        .captures_iter(&text)
        .filter_map(|found| Some(found.get(1)?.as_str().to_owned()))
        .collect();
    names.into_iter().collect()
}
