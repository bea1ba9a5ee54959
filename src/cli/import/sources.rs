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

/// All servers of the clients of this user and of this folder, and what could not be
/// read.
pub(super) fn all(home: &Path, here: &Path) -> (Vec<Found>, Vec<String>) {
    let mut found = Vec::new();
    let mut troubles = Vec::new();
    for client in Client::ALL {
        let Some(top) = read(&client.file(home), &mut troubles) else {
            continue;
        };
        take(client, None, &top, &mut found);
        if client == Client::ClaudeCode
            && let Some(Value::Object(projects)) = top.get("projects")
        {
            for (path, project) in projects {
                if let Value::Object(project) = project {
                    take(client, Some(path.into()), project, &mut found);
                }
            }
        }
    }
    // The home is no project.
    if here != home {
        for client in Client::ALL {
            let file = client.project_file().map(|file| here.join(file));
            if let Some(top) = file.and_then(|file| read(&file, &mut troubles)) {
                take(client, Some(here.to_owned()), &top, &mut found);
            }
        }
    }
    (found, troubles)
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
