//! `import`: the servers that other clients on this machine know, as entries of ours.

mod plan;
mod secrets;
mod sources;
mod translate;

use std::{
    fmt::Write as _,
    fs,
    io::{IsTerminal, stderr, stdin},
    path::{Path, PathBuf},
};

use clap::Args;
use secrecy::ExposeSecret;

use super::{
    CliError,
    clients::Client,
    document::replace,
    out::{self, Format, counted},
    register::home,
};
use crate::config::{ProcessEnvironment, locate, user_file};
use plan::Plan;
use secrets::Variables;

/// Take over the servers that other MCP clients on this machine know.
///
/// Looks at the files of Claude Code, Claude Desktop, VS Code, Cursor, Windsurf and Gemini
/// CLI, of this user and of this folder. Shows what would be written, and writes it when
/// told to: with --write, or by a yes. What looks secret is written as a variable. The
/// clients' own files stay as they are.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer import
  mcp-multiplexer import --write --env-file ~/.config/mcp-multiplexer/env
  mcp-multiplexer import --config team.json --format json

Exit status:
  0  done, also where there was nothing to write
  1  a file cannot be read or written
  2  the command line is wrong, or the file of --env-file is there already")]
pub(super) struct Import {
    /// The configuration to add to [default: as of `serve`, else
    /// $XDG_CONFIG_HOME/mcp-multiplexer/mcp_config.json].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write without asking.
    #[arg(long)]
    write: bool,
    /// Write the values of the variables to this new file, for this user alone.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// The shape of what is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Import {
    pub(super) fn run(self) -> Result<(), CliError> {
        if let Some(file) = self.env_file.as_ref().filter(|file| file.exists()) {
            let told = format!("--env-file: {} is there already", file.display());
            return Err(CliError::Usage(told).into_input());
        }
        let target = self.target().map_err(CliError::into_input)?;
        let here = std::env::current_dir().map_err(CliError::io("the current folder"))?;
        let sources = sources::all(&home().map_err(CliError::into_input)?, &here);
        for trouble in &sources.troubles {
            out::tell(&format!("warning: {trouble}"));
        }
        if sources.found.is_empty() && self.format == Format::Text {
            out::tell(&nothing_in(&sources.files));
            return Ok(());
        }
        let mut variables = Variables::default();
        let plan = Plan::make(sources.found, &target, &mut variables)?;
        // Who told us to write, and reads no further, still wants it written.
        let printed = plan.print(self.format, &variables);
        if plan.adds() == 0 {
            out::tell("there is nothing to add");
            return printed;
        }
        // Nobody is asked about what they could not see.
        if !self.write && (printed.is_err() || !confirmed(&plan, &target)) {
            out::tell("nothing is written; --write does it");
            return printed;
        }
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder).map_err(CliError::io(folder.display().to_string()))?;
        }
        // First what could not be had again: without it the entries are of no use.
        if let Some(file) = &self.env_file {
            write_values(file, &variables)?;
            out::tell(&format!(
                "values: {0} (what reads the configuration takes it: --env-file {0})",
                file.display()
            ));
        }
        let backup = plan.document().write()?;
        out::tell(&format!(
            "{} written: {}",
            counted(plan.adds(), "server", "servers"),
            target.display()
        ));
        if let Some(backup) = backup {
            out::tell(&format!("what stood there before: {}", backup.display()));
        }
        printed
    }

    fn target(&self) -> Result<PathBuf, CliError> {
        let environment = ProcessEnvironment::default();
        match &self.config {
            // It need not be there yet.
            Some(file) => Ok(file.clone()),
            None => locate(None, &environment)
                .ok()
                .or_else(|| user_file(&environment))
                .ok_or_else(|| CliError::Usage("HOME is not set".to_owned())),
        }
    }
}

/// Where was looked in vain.
fn nothing_in(files: &[(Client, PathBuf, bool)]) -> String {
    let rows: Vec<_> = files
        .iter()
        .map(|(client, file, is_there)| {
            let found = match is_there {
                true => "no servers in it",
                false => "not there",
            };
            [
                client.to_string(),
                file.display().to_string(),
                found.to_owned(),
            ]
        })
        .collect();
    let table = out::table(["client", "file", "found"], &rows);
    format!("no other client has a server to take over; looked at\n\n{table}")
}

/// Asks somebody, if there is anybody.
fn confirmed(plan: &Plan, target: &Path) -> bool {
    if !stdin().is_terminal() || !stderr().is_terminal() {
        return false;
    }
    out::tell(&format!(
        "Add {} to {}? [y/N]",
        counted(plan.adds(), "server", "servers"),
        target.display()
    ));
    let mut answer = String::new();
    let read = stdin().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// As a shell reads it, and `--env-file`.
fn write_values(file: &Path, variables: &Variables) -> Result<(), CliError> {
    let mut text = String::new();
    for (name, value) in variables.iter() {
        // Into memory: it cannot fail.
        let _ = write!(text, "{name}='");
        for c in value.expose_secret().chars() {
            let _ = match c {
                // Readers differ on a backslash between quotes, and agree on one outside.
                '\'' | '\\' => write!(text, "'\\{c}'"),
                c => write!(text, "{c}"),
            };
        }
        text.push_str("'\n");
    }
    replace(file, text.as_bytes(), None).map_err(CliError::io(file.display().to_string()))
}
