//! `multiplexer_status`: how the children are, for a model.

use serde::Serialize;

use super::{Asked, Said, input, structured};
use crate::{VERSION, catalog::Primitive, fleet::standing, outbound::Phase, protocol::PublicName};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status<'a> {
    version: &'static str,
    mode: &'static str,
    /// What can be called.
    tools: usize,
    /// What this client has loaded.
    loaded: Vec<PublicName>,
    children: Vec<OneChild<'a>>,
}

#[derive(Serialize)]
struct OneChild<'a> {
    name: &'a str,
    state: Phase,
    ready: bool,
    tools: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl Asked<'_> {
    pub(super) fn status(&self) -> Said {
        let input::Status {} = self.input()?;
        let snapshot = self.dispatch.fleet.snapshot_for(&self.requester.caller);
        let sight = self.sight(&snapshot)?;
        let session = self.requester.session;
        let loaded = session.map(|session| session.loaded.all());
        let loaded = loaded.into_iter().flatten();
        let mut loaded: Vec<PublicName> = loaded
            .filter(|name| !sight.permitted.hides(Primitive::Tool, name.as_str()))
            .collect();
        loaded.sort();
        let children = sight.counts().into_iter().map(|(child, listing, tools)| {
            let (state, ready) = standing(child, listing.is_some());
            let reason = child.state().reason.clone();
            OneChild {
                name: child.name().as_str(),
                state,
                ready,
                tools,
                reason: reason
                    .filter(|_| self.dispatch.tells_reasons && sight.permitted.knows(child)),
            }
        });
        let children: Vec<_> = children.collect();
        structured(&Status {
            version: VERSION,
            mode: self.meta.mode.as_str(),
            tools: children.iter().map(|child| child.tools).sum(),
            loaded,
            children,
        })
    }
}
