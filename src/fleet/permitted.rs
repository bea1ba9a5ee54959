//! What a caller may know of, and call: the one predicate that lists, search, loading,
//! status and routing ask.

use std::{borrow::Cow, sync::Arc};

use super::{NoView, Shown, Snapshot};
use crate::{
    catalog::{Extensions, MetaTool, Placed, Primitive, Route},
    outbound::Child,
    policy::{Sight, Thing, Verdict},
    protocol::{Subject, View},
};

/// What one caller may know of in a view, and call, by the policies of one moment.
#[derive(Debug)]
pub struct Permitted<'a> {
    shown: Shown<'a>,
    /// Whether some names are ours.
    reserves: bool,
    /// What the policies let the caller see.
    sight: Sight,
}

impl<'a> Shown<'a> {
    /// What a caller may know of in it, and call: whoever its token says it is.
    pub fn permitted(&self, subject: Option<&Arc<Subject>>) -> Permitted<'a> {
        Permitted {
            shown: *self,
            reserves: self.offers_meta_tools(),
            sight: self.policies().sight(subject),
        }
    }
}

impl Snapshot {
    /// Whether there is such a view, for this caller.
    ///
    /// # Errors
    ///
    /// There is none, as far as it may know.
    pub fn permits(&self, view: &View, subject: Option<&Arc<Subject>>) -> Result<(), NoView> {
        let is_known = match (self.view(view), view) {
            (Ok(shown), _) => shown.permitted(subject).is_visible(),
            (Err(NoView::Disabled), View::Child(child)) => {
                self.policies.sight(subject).shows(&Thing::child(child))
            }
            (Err(why), _) => return Err(why),
        };
        match is_known {
            true => self.view(view).map(|_| ()),
            false => Err(NoView::Unknown),
        }
    }
}

impl<'a> Permitted<'a> {
    /// Whose this is, if the caller may know of it.
    pub fn route(&self, primitive: Primitive, name: &str) -> Option<Route> {
        let (route, verdict) = self.find(primitive, name)?;
        (verdict != Verdict::Hidden).then_some(route)
    }

    /// Whose this is, and what the caller may do with it, if anything.
    pub fn find(&self, primitive: Primitive, name: &str) -> Option<(Route, Verdict)> {
        let route = self.shown.catalog.route(primitive, name)?;
        let child = self.is_there(primitive, name, route.child)?;
        let thing = Thing::routed(child.name(), primitive, &route);
        let verdict = self.sight.verdict(&thing);
        Some((route, verdict))
    }

    /// Whether the caller may not know of this, which is there.
    pub fn hides(&self, primitive: Primitive, name: &str) -> bool {
        self.find(primitive, name)
            .is_some_and(|(_, verdict)| verdict == Verdict::Hidden)
    }

    /// Whether the caller may be told that a resource has changed which is `whole` or a
    /// part of it. Who may read the whole hears of its parts, which no policy need name: to
    /// be told is not to read, for which a part is asked by itself. But what a policy
    /// forbids is not told of.
    pub fn may_hear_of(&self, uri: &str, whole: &str) -> bool {
        if self.sight.is_open() {
            return true;
        }
        let usable = |uri| {
            let (route, verdict) = self.find(Primitive::Resource, uri)?;
            (verdict == Verdict::Usable).then_some(route)
        };
        if usable(uri).is_some() {
            return true;
        }
        let of_whole = || {
            let route = usable(whole)?;
            // The same alias stands before both, if one does.
            let alias = whole.strip_suffix(route.own.as_str())?;
            let own = uri.strip_prefix(alias)?;
            let child = self.shown.child(route.child)?;
            let part = Thing::of(child.name(), Primitive::Resource, own, Default::default());
            Some(!self.sight.forbids(&part))
        };
        uri != whole && of_whole().unwrap_or(false)
    }

    /// Whether the caller may know of what stands in a list of the view.
    pub fn shows(&self, primitive: Primitive, placed: &Placed<'_>) -> bool {
        self.is_there(primitive, placed.name.as_str(), placed.child)
            .is_some_and(|child| {
                let own = placed.own.as_str();
                let thing = Thing::of(child.name(), primitive, own, placed.hints);
                self.sight.shows(&thing)
            })
    }

    /// Whether that is everything in the lists of these.
    pub fn shows_all(&self, primitive: Primitive) -> bool {
        let has = |ours: &MetaTool| {
            let taken = self.shown.catalog.route(Primitive::Tool, ours.as_str());
            taken.is_some()
        };
        let mut children = self.shown.children();
        self.sight.is_open()
            && children
                .all(|(child, listing)| child.settings.disabled.is_none() || listing.is_none())
            && !(self.reserves && primitive == Primitive::Tool && MetaTool::ALL.iter().any(has))
    }

    /// The names that are most like `name`, of those that the caller may know of.
    pub fn closest(&self, primitive: Primitive, name: &str) -> Vec<&'a str> {
        let shows = |name: &str, route: &Route| self.shows_route(primitive, name, route);
        self.shown.catalog.closest(primitive, name, shows)
    }

    /// Whether the caller may know of a child as a whole: what it says of itself, and of
    /// what belongs to no request.
    pub fn knows(&self, child: &Child) -> bool {
        self.sight.shows(&Thing::child(child.name()))
    }

    /// The same, or whether it may know of something that the child lists.
    pub fn knows_of(&self, child: &Child) -> bool {
        self.knows(child)
            || self.shown.position(child.name()).is_some_and(|place| {
                Primitive::ALL.into_iter().any(|primitive| {
                    let mut entries = self.shown.catalog.entries(primitive);
                    entries.any(|it| it.child == place && self.shows(primitive, &it))
                })
            })
    }

    /// Whether the view is there for the caller. Of a child that has never been listed
    /// nobody can say what the caller may know of.
    fn is_visible(&self) -> bool {
        let mut children = self.shown.children();
        self.sight.is_open()
            || self.shown.is_whole()
            || children.any(|(child, listing)| listing.is_none() || self.knows_of(child))
    }

    /// Whether the caller may know of what a child that was never listed may have under
    /// this name.
    pub fn may_know(&self, child: &Child, primitive: Option<Primitive>, own: &str) -> bool {
        let thing = |primitive| Thing::of(child.name(), primitive, own, Default::default());
        self.knows(child) || primitive.is_some_and(|it| self.sight.shows(&thing(it)))
    }

    /// Whether the caller may know of a child that was never listed to it, or of something
    /// that it may list: else nothing of the caller is to go there, its token least of all.
    pub fn may_know_any(&self, child: &Child) -> bool {
        self.sight.may_show_any(child.name())
    }

    /// What the caller may do with a child as a whole.
    pub fn of_child(&self, child: &Child) -> Verdict {
        self.sight.verdict(&Thing::child(child.name()))
    }

    /// What the children declare beyond the specification that the caller may know of.
    pub fn extensions(&self) -> Cow<'a, Extensions> {
        match self.sight.is_open() {
            true => Cow::Borrowed(self.shown.catalog.extensions()),
            false => Cow::Owned(self.shown.extensions_of(|child| self.knows(child))),
        }
    }

    /// What the caller is told of how to use all this; nothing of a child that is shown
    /// alone.
    pub fn instructions(&self) -> Option<String> {
        match self.sight.is_open() {
            true => self.shown.catalog.instructions().map(str::to_owned),
            false => self.shown.instructions_of(|child| self.knows(child)),
        }
    }

    fn shows_route(&self, primitive: Primitive, name: &str, route: &Route) -> bool {
        self.is_there(primitive, name, route.child)
            .is_some_and(|child| {
                self.sight
                    .shows(&Thing::routed(child.name(), primitive, route))
            })
    }

    /// The child that has this name, unless the name is one of ours.
    fn is_there(&self, primitive: Primitive, name: &str, child: usize) -> Option<&'a Child> {
        let ours = self.reserves && primitive == Primitive::Tool && MetaTool::named(name).is_some();
        let child = self.shown.child(child).filter(|_| !ours)?;
        child.settings.disabled.is_none().then_some(&**child)
    }
}
