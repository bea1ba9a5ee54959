//! The files of other clients, and the servers in them.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use jsonc_parser::cst::CstRootNode;
use serde_json::{Map, Value};

use crate::cli::{clients::Client, document::with_comments};

/// A server as a client has it.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) client: Client,
    /// The project it is for, if it is for one.
    pub(super) project: Option<PathBuf>,
    pub(super) name: String,
    pub(super) entry: Map<String, Value>,
}

impl Found {
    /// Who has it, for people.
    pub(super) fn from(&self) -> String {
        match &self.project {
            None => self.client.to_string(),
            Some(project) => format!("{} ({})", self.client, project.display()),
        }
    }
}

/// What came of looking at the files of other clients.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// All servers in them.
    pub(super) found: Vec<Found>,
    /// What could not be read.
    pub(super) troubles: Vec<String>,
    /// The files looked at, and whether they are there.
    pub(super) files: Vec<(Client, PathBuf, bool)>,
}

/// All servers of the clients of this user and of this folder.
pub(super) fn all(home: &Path, here: &Path) -> Sources {
    let mut sources = Sources::default();
    for client in Client::ALL {
        let Some(top) = sources.read(client, client.file(home)) else {
            continue;
        };
        let found = &mut sources.found;
        take(client, None, &top, found);
        if client == Client::ClaudeCode
            && let Some(Value::Object(projects)) = top.get("projects")
        {
            for (path, project) in projects {
                if let Value::Object(project) = project {
                    take(client, Some(path.into()), project, found);
                }
            }
        }
    }
    // The home is no project.
    if here != home {
        for client in Client::ALL {
            let file = client.project_file().map(|file| here.join(file));
            if let Some(top) = file.and_then(|file| sources.read(client, file)) {
                take(client, Some(here.to_owned()), &top, &mut sources.found);
            }
        }
    }
    sources
}

impl Sources {
    fn read(&mut self, client: Client, file: PathBuf) -> Option<Map<String, Value>> {
        let top = read(&file, &mut self.troubles);
        let is_there = file.exists();
        self.files.push((client, file, is_there));
        top
    }
}

fn take(
    client: Client,
    project: Option<PathBuf>,
    top: &Map<String, Value>,
    found: &mut Vec<Found>,
) {
    let Some(Value::Object(servers)) = top.get(client.servers()) else {
        return;
    };
    for (name, entry) in servers {
        if let Value::Object(entry) = entry {
            found.push(Found {
                client,
                project: project.clone(),
                name: name.clone(),
                entry: entry.clone(),
            });
        }
    }
}

fn read(path: &Path, troubles: &mut Vec<String>) -> Option<Map<String, Value>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return None;
        }
        Err(error) => {
            troubles.push(format!("{}: {error}", path.display()));
            return None;
        }
    };
    let text = text.trim_start_matches('\u{feff}');
    let root = CstRootNode::parse(text, &with_comments());
    match root.ok().and_then(|root| root.to_serde_value()) {
        Some(Value::Object(top)) => Some(top),
        // An editor leaves an empty file.
        _ if text.trim().is_empty() => None,
        _ => {
            troubles.push(format!("{}: not valid JSON", path.display()));
            None
        }
    }
}
