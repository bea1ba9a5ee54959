//! What one view shows, at the moment of its snapshot.

use std::sync::Arc;

use super::{Generations, Snapshot, views::offer};
use crate::{
    catalog::{Catalog, Extensions, Listing, instructions},
    outbound::{Child, Phase},
    policy::Policies,
    protocol::{ChildName, View},
};

/// What one view shows, at the moment of its snapshot.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    snapshot: &'a Snapshot,
    members: Members<'a>,
    /// What is offered there.
    pub catalog: &'a Catalog,
    /// In which merge each family of its lists last changed.
    pub generations: Generations,
}

#[derive(Clone, Copy, Debug)]
enum Members<'a> {
    All,
    One(usize),
    These(&'a [usize]),
}

/// Why there is no view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoView {
    /// There is no child or group of this name.
    Unknown,
    /// Its child is disabled.
    Disabled,
}

impl Snapshot {
    /// What a view shows.
    ///
    /// # Errors
    ///
    /// There is no such view.
    pub fn view(&self, view: &View) -> Result<Shown<'_>, NoView> {
        let (members, catalog, generations) = match view {
            View::All => (Members::All, &self.catalog, self.generations),
            View::Child(name) => {
                let found = self.views.places.get(name).and_then(|place| {
                    let (child, listing) = (self.children.get(*place)?, self.listings.get(*place)?);
                    Some((*place, child, listing, self.views.alone.get(*place)?))
                });
                let (place, child, listing, alone) = found.ok_or(NoView::Unknown)?;
                if child.settings.disabled.is_some() {
                    return Err(NoView::Disabled);
                }
                let catalog = alone.catalog.get_or_init(|| {
                    let listing = listing.clone().unwrap_or_default();
                    Catalog::alone(name, listing)
                });
                (Members::One(place), catalog, alone.generations)
            }
            View::Group(name) => {
                let group = self.views.groups.get(name).ok_or(NoView::Unknown)?;
                (
                    Members::These(&group.members),
                    &*group.catalog,
                    group.generations,
                )
            }
        };
        Ok(Shown {
            snapshot: self,
            members,
            catalog,
            generations,
        })
    }
}

impl<'a> Shown<'a> {
    /// Whether the multiplexer's own tools are offered here: beside one child alone they
    /// are not.
    pub fn offers_meta_tools(&self) -> bool {
        self.snapshot.offers_meta_tools && !matches!(self.members, Members::One(_))
    }

    /// The child at this position among the view's: routes name them so.
    pub fn child(&self, position: usize) -> Option<&'a Arc<Child>> {
        self.snapshot.children.get(self.place(position)?)
    }

    /// Its children in order, each with what it was listed with.
    pub fn children(&self) -> impl Iterator<Item = (&'a Arc<Child>, Option<&'a Arc<Listing>>)> {
        let (shown, snapshot) = (*self, self.snapshot);
        (0..self.len()).filter_map(move |position| {
            let place = shown.place(position)?;
            Some((
                snapshot.children.get(place)?,
                snapshot.listings.get(place)?.as_ref(),
            ))
        })
    }

    /// The policies that are asked what a caller may see of it.
    pub(super) fn policies(&self) -> &'a Policies {
        &self.snapshot.policies
    }

    /// Whether it is the view of all children.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self.members, Members::All)
    }

    /// What those children declare beyond the specification of which `seen` holds.
    pub(super) fn extensions_of(&self, seen: impl Fn(&Child) -> bool) -> Extensions {
        // The others keep their places.
        let offers = self.children().map(|(child, listing)| {
            let listing = listing.filter(|_| seen(child));
            offer(child, listing.map(|it| &**it))
        });
        Extensions::merge(&offers.collect::<Vec<_>>())
    }

    /// What clients are told of how to use those children of which `seen` holds; nothing
    /// of one that is shown alone.
    pub(super) fn instructions_of(&self, seen: impl Fn(&Child) -> bool) -> Option<String> {
        if self.alone().is_some() {
            return None;
        }
        let children = self.children().filter(|(child, _)| seen(child));
        let offers = children.map(|(child, listing)| offer(child, listing.map(|it| &**it)));
        instructions(&offers.collect::<Vec<_>>())
    }

    /// The one child that is shown alone, and what it was listed with.
    pub fn alone(&self) -> Option<(&'a Arc<Child>, Option<&'a Arc<Listing>>)> {
        match self.members {
            Members::One(_) => self.children().next(),
            Members::All | Members::These(_) => None,
        }
    }

    /// Where this child stands among the view's, if it is one of them.
    pub fn position(&self, child: &ChildName) -> Option<usize> {
        let place = *self.snapshot.views.places.get(child)?;
        match self.members {
            Members::All => Some(place),
            Members::One(one) => (one == place).then_some(0),
            Members::These(these) => these.iter().position(|it| *it == place),
        }
    }

    /// The first child that is never listed yet, is not disabled, and of which `wanted`
    /// holds.
    pub fn unlisted(&self, wanted: impl Fn(&Child) -> bool) -> Option<&'a Arc<Child>> {
        let mut unlisted = self.children().filter(|(_, listing)| listing.is_none());
        unlisted
            .find(|(child, _)| wanted(child) && child.state().phase != Phase::Disabled)
            .map(|(child, _)| child)
    }

    fn len(&self) -> usize {
        match self.members {
            Members::All => self.snapshot.children.len(),
            Members::One(_) => 1,
            Members::These(these) => these.len(),
        }
    }

    fn place(&self, position: usize) -> Option<usize> {
        match self.members {
            Members::All => Some(position),
            Members::One(one) => (position == 0).then_some(one),
            Members::These(these) => these.get(position).copied(),
        }
    }
}
