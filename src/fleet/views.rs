//! What the clients of each view see: all children, one of them, or a group.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use super::{Generations, Snapshot};
use crate::{
    catalog::{Catalog, Family, Listing, Offer},
    outbound::{Child, Phase},
    protocol::{ChildName, View},
};

/// The views beside the one of all children, as they are at one moment. What has not
/// changed since the moment before is taken over from there.
#[derive(Debug, Default)]
pub(super) struct Views {
    /// Where each child stands in the snapshot.
    places: HashMap<ChildName, usize>,
    /// Of each child, in the snapshot's order.
    alone: Vec<Alone>,
    groups: HashMap<Arc<str>, Group>,
    max_name_length: usize,
}

/// One child's view.
#[derive(Clone, Debug)]
struct Alone {
    /// Made when somebody looks at it: most children are never seen alone.
    catalog: Arc<OnceLock<Catalog>>,
    generations: Generations,
}

/// The view of a group.
#[derive(Debug)]
struct Group {
    /// Where its members stand in the snapshot.
    members: Vec<usize>,
    catalog: Arc<Catalog>,
    generations: Generations,
}

/// What a merge made of the views.
pub(super) struct Merged {
    pub(super) views: Views,
    /// Whether anybody sees something else in one of them.
    pub(super) changed: bool,
}

impl Views {
    /// The views of these children, that were `before` until now. `merge` is the number
    /// of the merge: it grows, so that a view that comes again is newer than it was.
    pub(super) fn merge(
        before: &Snapshot,
        children: &[Arc<Child>],
        listings: &[Option<Arc<Listing>>],
        groups: &[(Arc<str>, Vec<ChildName>)],
        max_name_length: usize,
        merge: u64,
    ) -> Merged {
        let places: HashMap<ChildName, usize> = children
            .iter()
            .enumerate()
            .map(|(place, child)| (child.name().clone(), place))
            .collect();
        let mut changed = false;
        // Which children are as they were, for the groups.
        let mut same = Vec::with_capacity(children.len());
        let alone = children.iter().zip(listings).map(|(child, listing)| {
            let place = before.views.places.get(child.name());
            let known = place.and_then(|place| {
                let was = (before.children.get(*place)?, before.listings.get(*place)?);
                Some((before.views.alone.get(*place)?, was))
            });
            let Some((alone, (was, was_listed))) = known else {
                same.push(false);
                return Alone::new(Generations::all(merge));
            };
            let same_listing = is_same(listing.as_ref(), was_listed.as_ref());
            same.push(same_listing && child.settings.prefix == was.settings.prefix);
            if same_listing {
                return alone.clone();
            }
            let mut generations = alone.generations;
            let nothing = Listing::default();
            let now = listing.as_deref().unwrap_or(&nothing);
            let then = was_listed.as_deref().unwrap_or(&nothing);
            for family in Family::ALL {
                if !now.lists_the_same_as(then, family) {
                    generations.moves(family, merge);
                    changed = true;
                }
            }
            Alone::new(generations)
        });
        let alone = alone.collect();
        let groups = groups.iter().map(|(name, names)| {
            let mut members: Vec<usize> = names
                .iter()
                .filter_map(|name| places.get(name).copied())
                .collect();
            // In file order, as everywhere.
            members.sort_unstable();
            let was = before.views.groups.get(name);
            let as_it_was = was.filter(|was| {
                let same_member = |(now, then): (&usize, &usize)| {
                    same.get(*now) == Some(&true)
                        && before.children.get(*then).map(|child| child.name())
                            == children.get(*now).map(|child| child.name())
                };
                before.views.max_name_length == max_name_length
                    && was.members.len() == members.len()
                    && members.iter().zip(&was.members).all(same_member)
            });
            let group = match as_it_was {
                Some(was) => Group {
                    members,
                    catalog: Arc::clone(&was.catalog),
                    generations: was.generations,
                },
                None => {
                    let offers = members.iter().filter_map(|place| {
                        let child = children.get(*place)?;
                        Some(Offer::of(child, listings.get(*place)?.as_deref()))
                    });
                    let offers: Vec<_> = offers.collect();
                    let catalog = Catalog::merge(&offers, max_name_length);
                    let mut generations = Generations::all(merge);
                    if let Some(was) = was {
                        generations = was.generations;
                        changed |= generations.follow(&was.catalog, &catalog, merge);
                    }
                    Group {
                        members,
                        catalog: Arc::new(catalog),
                        generations,
                    }
                }
            };
            (Arc::clone(name), group)
        });
        let groups = groups.collect();
        Merged {
            views: Self {
                places,
                alone,
                groups,
                max_name_length,
            },
            changed,
        }
    }
}

impl Alone {
    fn new(generations: Generations) -> Self {
        Self {
            catalog: Arc::default(),
            generations,
        }
    }
}

fn is_same(one: Option<&Arc<Listing>>, other: Option<&Arc<Listing>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

impl<'a> Offer<'a> {
    /// What this child brings into a merge.
    pub(super) fn of(child: &'a Child, listing: Option<&'a Listing>) -> Self {
        Offer {
            child: child.name(),
            prefix: &child.settings.prefix,
            listing,
        }
    }
}

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
