//! What operators see of the configuration itself.

use std::{path::Path, time::SystemTime};

use serde::Serialize;

use super::Settings;

/// Which configuration is in force, and how the last reading of its file went.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigStatus {
    path: String,
    /// Configurations that have been in force, this one included.
    pub generation: u64,
    /// How it went when the file was read last, at the start or later.
    pub last_reload: LastReload,
    /// What the operator should look at, one sentence each.
    warnings: Vec<String>,
}

/// How one reading of the file went.
#[derive(Clone, Debug, Serialize)]
pub struct LastReload {
    /// Unix time in seconds.
    at: u64,
    /// Whether what it says is in force.
    pub ok: bool,
    /// Why not, in a sentence.
    error: Option<String>,
}

impl ConfigStatus {
    /// Of what a process starts with.
    pub fn first(path: &Path) -> Self {
        Self {
            path: path.display().to_string(),
            generation: 1,
            last_reload: LastReload::now(None),
            warnings: Vec::new(),
        }
    }

    /// Of the configuration that a process starts with.
    pub fn of(settings: &Settings) -> Self {
        Self {
            warnings: warnings(settings),
            ..Self::first(&settings.path)
        }
    }

    /// From now on it is this file that is read.
    pub fn is_of(&mut self, path: &Path) {
        self.path = path.display().to_string();
    }

    /// These settings have come into force.
    pub fn took(&mut self, settings: &Settings) {
        self.generation += 1;
        self.warnings = warnings(settings);
        self.read(None);
    }

    /// The file has been read; `error` says why it could not be used.
    pub fn read(&mut self, error: Option<String>) {
        self.last_reload = LastReload::now(error);
    }

    /// The same for those who may know that it is in force, and not where it is.
    pub fn without_reason(mut self) -> Self {
        self.path.clear();
        self.warnings.clear();
        self.last_reload.error = None;
        self
    }

    /// Why the file could not be used when it was read last.
    pub fn error(&self) -> Option<&str> {
        self.last_reload.error.as_deref()
    }
}

fn warnings(settings: &Settings) -> Vec<String> {
    settings.warnings.iter().map(ToString::to_string).collect()
}

impl LastReload {
    fn now(error: Option<String>) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            at: since.map_or(0, |since| since.as_secs()),
            ok: error.is_none(),
            error,
        }
    }
}
