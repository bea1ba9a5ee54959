//! `load_tools` and `unload_tools`: what a client has in its list.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{Asked, Said, Sight, input, structured};
use crate::{
    catalog::{Family, MetaTool, Primitive},
    inbound::session::Session,
    protocol::{PublicName, error::notification},
};

/// For a client that has no session: there is nothing to remember its tools by.
const NOT_KEPT: &str = "Nothing is kept between your requests, and your list stays as it is. \
     Here are the full definitions: call these tools by their names, or through call_tool.";

/// So many unknown names are compared with those that there are, which is costly.
const HINTS: usize = 5;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LoadedTools {
    loaded: Vec<PublicName>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    already_listed: Vec<PublicName>,
}

#[derive(Serialize)]
struct Definitions<'a> {
    /// As a list would hold them.
    tools: Vec<&'a RawValue>,
    note: &'static str,
}

#[derive(Serialize)]
struct Unloaded<'a> {
    unloaded: &'a [String],
}

impl Asked<'_> {
    pub(super) async fn load_tools(&self) -> Said {
        let input::Load { names } = self.input()?;
        self.everything_listed().await;
        let snapshot = self.dispatch.fleet.snapshot_for(&self.requester.caller);
        let sight = self.sight(&snapshot)?;
        let route = |name: &String| sight.permitted.route(Primitive::Tool, name);
        let unknown = names.iter().filter(|name| route(name).is_none());
        let wrong = unknown.enumerate();
        let wrong = wrong.map(|(at, name)| unknown_name(&sight, name, at < HINTS));
        let wrong: Vec<String> = wrong.collect();
        if !wrong.is_empty() {
            return Err(nothing_done("loaded", &wrong));
        }
        let Some(session) = self.requester.session else {
            return definitions(&sight, &names);
        };
        let (listed, missing): (Vec<PublicName>, Vec<PublicName>) = {
            let is_listed = self.meta.listed(&sight, Some(session));
            let is_listed = |name: &PublicName| {
                route(&name.to_string()).is_some_and(|route| is_listed(name, route.child))
            };
            let names = names.iter().map(|name| name.as_str().into());
            names.partition(is_listed)
        };
        let loaded = session.loaded.add(&missing).map_err(|_| {
            "Nothing was loaded: too many tools are loaded. unload_tools takes some off your list."
        })?;
        if !loaded.is_empty() {
            self.tell_changed().await;
        }
        structured(&LoadedTools {
            loaded,
            already_listed: listed,
        })
    }

    pub(super) async fn unload_tools(&self) -> Said {
        let input::Unload { names } = self.input()?;
        let Some(session) = self.requester.session else {
            return Err("Nothing is kept between your requests, so nothing is loaded.".to_owned());
        };
        if let Err(missing) = session.loaded.remove(&names) {
            let snapshot = self.dispatch.fleet.snapshot_for(&self.requester.caller);
            let sight = self.sight(&snapshot)?;
            let wrong = missing
                .iter()
                .map(|name| self.not_loaded(&sight, session, name));
            return Err(nothing_done("unloaded", &wrong.collect::<Vec<_>>()));
        }
        self.tell_changed().await;
        structured(&Unloaded { unloaded: &names })
    }

    /// Tells the client, on the stream of its own request, that its list is another one:
    /// nobody else's is.
    async fn tell_changed(&self) {
        let changed = notification(Family::Tools.list_changed(), None);
        // A client that is gone is told nothing.
        let _ = self.asides.send(changed.into_bytes()).await;
    }

    fn not_loaded(&self, sight: &Sight<'_>, session: &Session, name: &str) -> String {
        if MetaTool::named(name).is_some() {
            return format!("{name} is always listed");
        }
        let route = sight.permitted.route(Primitive::Tool, name);
        let is_listed = self.meta.listed(sight, Some(session));
        match route {
            Some(route) if is_listed(&name.into(), route.child) => {
                format!("{name} is always listed")
            }
            _ => format!("{:?} is not loaded", cut(name)),
        }
    }
}

/// The full definitions, byte for byte as a list would hold them.
fn definitions(sight: &Sight<'_>, names: &[String]) -> Said {
    let wanted: HashSet<&str> = names.iter().map(String::as_str).collect();
    let tools = sight.shown.catalog.tools();
    let tools = tools.filter(|tool| wanted.contains(tool.name.as_str()));
    structured(&Definitions {
        tools: tools
            .filter_map(|tool| serde_json::from_slice(tool.entry).ok())
            .collect(),
        note: NOT_KEPT,
    })
}

fn unknown_name(sight: &Sight<'_>, name: &str, is_hinted: bool) -> String {
    if MetaTool::named(name).is_some() {
        return format!("{name} is always listed");
    }
    let closest = match is_hinted {
        true => sight.permitted.closest(Primitive::Tool, name),
        false => Vec::new(),
    };
    match closest.as_slice() {
        [] => format!("there is no tool {:?}", cut(name)),
        closest => format!(
            "there is no tool {:?}: did you mean {}?",
            cut(name),
            closest.join(", ")
        ),
    }
}

fn nothing_done(what: &str, wrong: &[String]) -> String {
    format!("Nothing was {what}:\n- {}", wrong.join("\n- "))
}

fn cut(name: &str) -> String {
    name.chars().take(128).collect()
}
