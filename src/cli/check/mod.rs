//! `check`: what the configuration comes to, and all that is wrong with it.

mod live;
mod names;
mod report;

use std::{collections::HashMap, path::PathBuf};

use clap::Args;

use super::{
    CliError,
    out::{Format, counted},
    reload::checked,
};
use crate::{
    config::{
        ConfigError, DISABLED_IN_CONFIG, Diagnosis, Finding, ProcessEnvironment, Settings, locate,
    },
    policy::Policy,
    telemetry::{LogFormat, init_logs},
};
use report::Report;

/// The report tells what the log would.
const LOG_LEVEL: &str = "off";

/// Check the configuration: every mistake at once, and the names that will result.
///
/// Starts nothing and asks nobody, unless with --live: then every child is started or
/// connected once, and what it offers is counted.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer check
  mcp-multiplexer check --live
  mcp-multiplexer check --config new.json --format json

Exit status:
  0  there are no problems
  1  there are problems
  2  the command line is wrong, or there is no configuration")]
pub(super) struct Check {
    /// The configuration [default: as of `serve`].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take variables that the environment does not have from this file: NAME=value, line
    /// by line.
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Connect to every child, too.
    #[arg(long)]
    live: bool,
    /// The shape of what is printed.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// What to log: a level, or directives as in RUST_LOG.
    #[arg(long, value_name = "FILTER", env = "RUST_LOG")]
    log_level: Option<String>,
}

impl Check {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let log_level = self.log_level.as_deref().filter(|it| !it.trim().is_empty());
        let _logs = init_logs(LogFormat::Text, log_level.or(Some(LOG_LEVEL)))
            .map_err(|error| CliError::Usage(format!("--log-level: {error}")).into_input())?;
        let (path, diagnosis) = self
            .diagnosis()
            .map_err(|error| CliError::from(error).into_input())?;
        let mut report = Report::new(&path, diagnosis.problems, diagnosis.warnings);
        let places = diagnosis.places;
        if let Some(settings) = diagnosis.settings {
            let settings = checked(settings, None, None);
            report.note_disabled(&settings);
            report.note_policies(&settings);
            report.warnings.extend(names::long_prefixes(&settings));
            match self.live {
                true => live::look(&settings, &mut report).await?,
                false => {
                    report.children = settings
                        .children
                        .iter()
                        .map(|it| names::planned(it, &settings))
                        .collect()
                }
            }
        }
        report.place(&places);
        // The status answers also those who read no further.
        let printed = report.print(self.format);
        match report.problems.len() {
            0 => printed,
            problems => Err(CliError::Broken(format!(
                "{}: {}",
                path.display(),
                counted(problems, "problem", "problems")
            ))),
        }
    }

    fn diagnosis(&self) -> Result<(PathBuf, Diagnosis), ConfigError> {
        let environment = ProcessEnvironment::with(self.env_file.as_deref())?;
        let path = locate(self.config.as_deref(), &environment)?;
        let diagnosis = Diagnosis::of(&path, &environment)?;
        Ok((path, diagnosis))
    }
}

impl Report {
    /// What was found later stands where its entry does.
    fn place(&mut self, places: &HashMap<String, (usize, usize)>) {
        for found in self.problems.iter_mut().chain(&mut self.warnings) {
            let place = found.entry.as_ref().and_then(|entry| places.get(entry));
            if let (None, Some((line, column))) = (found.line, place) {
                found.line = Some(*line);
                found.column = Some(*column);
            }
        }
    }

    /// Policies that cannot be used.
    fn note_policies(&mut self, settings: &Settings) {
        let policy = settings.door.policy.as_deref();
        if let Some(Err(error)) = policy.map(Policy::load) {
            self.problems.push(Finding {
                entry: None,
                line: None,
                column: None,
                message: error.to_string(),
                hint: None,
            });
        }
    }

    /// Children that cannot be used for a reason nobody has told yet.
    fn note_disabled(&mut self, settings: &Settings) {
        for child in &settings.children {
            let name = child.name.as_str();
            let of_entry = |found: &Finding| found.entry.as_deref() == Some(name);
            if let Some(reason) = &child.disabled
                && reason != DISABLED_IN_CONFIG
                && !self.problems.iter().chain(&self.warnings).any(of_entry)
            {
                self.problems.push(Finding::new(name, reason, None));
            }
        }
    }
}
