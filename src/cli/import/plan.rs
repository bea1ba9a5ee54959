//! What an import would write: which servers, under which names, from whom.

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
};

use jsonc_parser::cst::CstObject;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    secrets::{Variables, hide, reference},
    sources::Found,
    translate::{Translated, translated},
};
use crate::{
    cli::{
        CliError,
        document::{Document, Input, object},
        out::{self, Format, GOOD, ODD, styled},
    },
    config::{DISABLED_IN_CONFIG, Settings, ShownUrl},
};

const SERVERS: &str = "mcpServers";

/// What would be written, and the file as it would be.
pub(super) struct Plan {
    servers: Vec<Server>,
    document: Document,
}

/// One server that was found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    name: String,
    /// Who has it.
    from: Vec<String>,
    transport: &'static str,
    target: String,
    action: Action,
    notes: Vec<String>,
    #[serde(skip)]
    entry: Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    /// It is new.
    Add,
    /// The configuration has it, word for word.
    Same,
    /// The configuration has another one of this name, which stays.
    Taken,
    /// It cannot be used.
    Skip,
}

impl Plan {
    pub(super) fn make(
        found: Vec<Found>,
        target: &Path,
        variables: &mut Variables,
    ) -> Result<Self, CliError> {
        let document = Document::open(target)?;
        let members = document.object(SERVERS)?;
        let mut plan = Self {
            servers: Vec::new(),
            document,
        };
        for found in found {
            if let Some(mut it) = translated(&found) {
                hide(&found.name, &mut it, variables);
                plan.add(&found, it, &members);
            }
        }
        let new = plan.servers.iter().filter(|it| it.action == Action::Add);
        let new: Vec<_> = new.map(|it| it.entry.to_string()).collect();
        variables.keep(|name| new.iter().any(|entry| entry.contains(&reference(name))));
        plan.look_through(target, variables);
        Ok(plan)
    }

    /// How many servers are new.
    pub(super) fn adds(&self) -> usize {
        let new = self.servers.iter().filter(|it| it.action == Action::Add);
        new.count()
    }

    pub(super) fn document(&self) -> &Document {
        &self.document
    }

    fn add(&mut self, found: &Found, it: Translated, members: &CstObject) {
        let entry = Value::Object(
            it.members
                .iter()
                .map(|(key, value)| ((*key).to_owned(), value.clone()))
                .collect(),
        );
        let from = found.from();
        // Most people have one server in several clients.
        let twin = self
            .servers
            .iter_mut()
            .find(|it| it.entry == entry && is_of(&it.name, &found.name));
        if let Some(twin) = twin {
            twin.from.push(from);
            return;
        }
        let mut notes = it.notes.clone();
        let name = self.free_name(found);
        if name != found.name {
            notes.push(format!("another {:?} was found before", found.name));
        }
        let there = members.get(&name);
        let same = there.as_ref().is_some_and(|there| {
            there.value().and_then(|value| value.to_serde_value()) == Some(entry.clone())
        });
        let usable = it.get("command").is_some() || it.get("url").is_some();
        let action = match there {
            _ if !usable => Action::Skip,
            Some(_) if same => Action::Same,
            Some(_) => {
                notes
                    .push("the configuration has another one of this name, which stays".to_owned());
                Action::Taken
            }
            None => {
                Document::set(
                    members,
                    &name,
                    object(it.members.iter().map(|(key, value)| (*key, input(value)))),
                );
                Action::Add
            }
        };
        let (transport, target) = how(&it);
        self.servers.push(Server {
            name,
            from: vec![from],
            transport,
            target,
            action,
            notes,
            entry,
        });
    }

    /// The name it has, or one that says where it is from.
    fn free_name(&self, found: &Found) -> String {
        let is_free = |name: &String| self.servers.iter().all(|it| it.name != *name);
        let project = found
            .project
            .as_ref()
            .and_then(|project| project.file_name());
        let origin = match project {
            Some(project) => project.to_string_lossy().to_lowercase(),
            None => found.client.to_string().to_lowercase().replace(' ', "-"),
        };
        let first = [found.name.clone(), format!("{}-{origin}", found.name)];
        let more = (2..).map(|number| format!("{}-{origin}-{number}", found.name));
        let mut names = first.into_iter().chain(more);
        names.find(is_free).unwrap_or_else(|| found.name.clone())
    }

    /// Reads the file as it would be, and notes what would be wrong with it.
    fn look_through(&mut self, target: &Path, variables: &Variables) {
        let text = self.document.text();
        let named = text.split("${").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_owned()
        });
        let ours = variables.iter().map(|(name, _)| name.clone());
        // Which values they have says nothing about the names.
        let environment: HashMap<String, String> = named
            .chain(ours)
            .map(|name| (name, "x".to_owned()))
            .collect();
        let Ok(settings) = Settings::from_json(target, &text, &environment) else {
            return;
        };
        for server in self
            .servers
            .iter_mut()
            .filter(|it| it.action == Action::Add)
        {
            let mut children = settings.children.iter();
            let child = children.find(|child| child.name.as_str() == server.name);
            let reason = child.and_then(|child| child.disabled.as_ref());
            if let Some(reason) = reason.filter(|reason| *reason != DISABLED_IN_CONFIG) {
                server.notes.push(reason.clone());
            }
        }
    }

    pub(super) fn print(&self, format: Format, variables: &Variables) -> Result<(), CliError> {
        let variables: BTreeSet<&str> = variables.iter().map(|(name, _)| name.as_str()).collect();
        let config = self.document.path().display().to_string();
        if format == Format::Json {
            return out::print_json(&json!({
                "config": config, "servers": self.servers, "variables": variables,
            }));
        }
        let rows: Vec<_> = self.servers.iter().map(Server::row).collect();
        let heading = ["server", "", "from", "transport", "target", "notes"];
        out::print(&format!("{config}\n\n{}", out::table(heading, &rows)))?;
        if !variables.is_empty() {
            let names: Vec<_> = variables.into_iter().collect();
            out::print(&format!(
                "\nSecrets are written as variables; set these for the multiplexer:\n  {}",
                names.join("\n  ")
            ))?;
        }
        Ok(())
    }
}

impl Server {
    fn row(&self) -> [String; 6] {
        let action = match self.action {
            Action::Add => styled(GOOD, "new"),
            Action::Same => "there already".to_owned(),
            Action::Taken => styled(ODD, "not written"),
            Action::Skip => styled(ODD, "skipped"),
        };
        [
            self.name.clone(),
            action,
            self.from.join(", "),
            self.transport.to_owned(),
            self.target.clone(),
            self.notes.join("; "),
        ]
    }
}

/// Whether a server was found under this name.
fn is_of(name: &str, found: &str) -> bool {
    name.strip_prefix(found)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn how(it: &Translated) -> (&'static str, String) {
    let text = |key| it.get(key).and_then(Value::as_str);
    match (text("command"), text("url")) {
        (Some(command), _) => ("stdio", command.to_owned()),
        (None, Some(url)) => {
            let shown = url::Url::parse(url).map(|url| ShownUrl(&url).to_string());
            let kind = match text("type") {
                Some("sse") => "sse",
                _ => "http",
            };
            (kind, shown.unwrap_or_default())
        }
        (None, None) => ("?", String::new()),
    }
}

fn input(value: &Value) -> Input {
    match value {
        Value::Null => Input::Null,
        Value::Bool(flag) => Input::Bool(*flag),
        Value::Number(number) => Input::Number(number.to_string()),
        Value::String(text) => Input::String(text.clone()),
        Value::Array(items) => Input::Array(items.iter().map(input).collect()),
        Value::Object(members) => Input::Object(
            members
                .iter()
                .map(|(key, value)| (key.clone(), input(value)))
                .collect(),
        ),
    }
}
