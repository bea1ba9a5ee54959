//! What `tools/list` shows where we have tools of our own.

use super::{Meta, Sight};
use crate::{
    catalog::{META_TOOL_ENTRIES, Placed, Primitive},
    config::Mode,
    fleet::{Permitted, Shown},
    inbound::session::Session,
    protocol::{Era, PublicName},
};

impl Meta {
    /// Writes the result of a `tools/list`: our tools, and of the others what this client
    /// is to see.
    pub(in crate::inbound) fn write_list(
        &self,
        (shown, permitted): (Shown<'_>, Permitted<'_>),
        session: Option<&Session>,
        era: Era,
        out: &mut Vec<u8>,
    ) {
        let sight = Sight { shown, permitted };
        let listed = self.listed(&sight, session);
        let keep = |tool: &Placed<'_>| {
            listed(&tool.name, tool.child) && sight.permitted.shows(Primitive::Tool, tool)
        };
        shown
            .catalog
            .write_some(Primitive::Tool, META_TOOL_ENTRIES, keep, era, out);
    }

    /// Whether clients see a part of the tools only.
    pub(in crate::inbound) fn shows_a_part(&self) -> bool {
        self.mode == Mode::Dynamic
    }

    /// Which of what a client may see it has in its list.
    pub(super) fn listed<'a>(
        &'a self,
        sight: &Sight<'a>,
        session: Option<&Session>,
    ) -> impl Fn(&PublicName, usize) -> bool + 'a {
        let loaded = session.map(|session| session.loaded.all());
        let shown = sight.shown;
        move |name, child| {
            self.mode == Mode::Eager
                || loaded.as_ref().is_some_and(|loaded| loaded.contains(name))
                || shown
                    .child(child)
                    .is_some_and(|child| self.always.holds(name, child.name()))
        }
    }
}
