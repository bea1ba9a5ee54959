//! What a caller may be shown, and call: the one predicate that lists, search, loading,
//! status and routing ask.

use super::Shown;
use crate::{
    catalog::{MetaTool, Primitive, Route},
    protocol::Caller,
};

/// What one caller may see of a view, and call.
#[derive(Clone, Copy, Debug)]
pub struct Permitted<'a> {
    shown: Shown<'a>,
    /// Whether some names are ours.
    reserves: bool,
}

impl<'a> Shown<'a> {
    /// What this caller may see of it, and call.
    pub fn permitted(&self, _caller: &Caller) -> Permitted<'a> {
        Permitted {
            shown: *self,
            reserves: self.offers_meta_tools(),
        }
    }

    /// Whose this is, if this caller may know of it.
    pub fn route(&self, caller: &Caller, primitive: Primitive, name: &str) -> Option<Route> {
        let route = self.catalog.route(primitive, name)?;
        let may = primitive != Primitive::Tool || self.permitted(caller).allows(name, route.child);
        may.then_some(route)
    }
}

impl Permitted<'_> {
    /// Whether the tool that this child of the view has under this public name may be
    /// shown and called.
    pub fn allows(&self, name: &str, child: usize) -> bool {
        let child = self.shown.child(child);
        child.is_some_and(|child| child.settings.disabled.is_none())
            && !(self.reserves && MetaTool::named(name).is_some())
    }

    /// Whether that is every tool of the catalog.
    pub fn allows_all(&self) -> bool {
        let has = |ours: &MetaTool| {
            let taken = self.shown.catalog.route(Primitive::Tool, ours.as_str());
            taken.is_some()
        };
        let mut children = self.shown.children();
        children.all(|(child, listing)| child.settings.disabled.is_none() || listing.is_none())
            && !(self.reserves && MetaTool::ALL.iter().any(has))
    }
}
