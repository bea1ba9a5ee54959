//! What the clients of each view see: all children, one of them, or a group.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use super::{Generations, Snapshot};
use crate::{
    catalog::{Catalog, Family, Listing, Offer},
    outbound::Child,
    protocol::ChildName,
};

/// The views beside the one of all children, as they are at one moment. What has not
/// changed since the moment before is taken over from there.
#[derive(Debug, Default)]
pub(super) struct Views {
    /// Where each child stands in the snapshot.
    pub(super) places: HashMap<ChildName, usize>,
    /// Of each child, in the snapshot's order.
    pub(super) alone: Vec<Alone>,
    pub(super) groups: HashMap<Arc<str>, Group>,
    max_name_length: usize,
}

/// One child's view.
#[derive(Clone, Debug)]
pub(super) struct Alone {
    /// Made when somebody looks at it: most children are never seen alone.
    pub(super) catalog: Arc<OnceLock<Catalog>>,
    pub(super) generations: Generations,
}

/// The view of a group.
#[derive(Debug)]
pub(super) struct Group {
    /// Where its members stand in the snapshot.
    pub(super) members: Vec<usize>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) generations: Generations,
}

/// What there is to be seen, from one merge to the next.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) children: &'a [Arc<Child>],
    /// Of each child, what it offers.
    pub(super) listings: &'a [Option<Arc<Listing>>],
    pub(super) groups: &'a [(Arc<str>, Vec<ChildName>)],
    pub(super) max_name_length: usize,
    /// The number of the merge. It grows, so that a view that comes again is newer than
    /// it was.
    pub(super) merge: u64,
}

impl Views {
    /// The views, that were `before` until now; and whether anybody sees something else in
    /// one of them.
    pub(super) fn merge(before: &Snapshot, now: Sources<'_>) -> (Self, bool) {
        let mut changed = false;
        let mut views = Self {
            max_name_length: now.max_name_length,
            ..Self::default()
        };
        // Which children are as they were, for the groups.
        let mut same = Vec::with_capacity(now.children.len());
        for (place, (child, listing)) in now.children.iter().zip(now.listings).enumerate() {
            views.places.insert(child.name().clone(), place);
            let known = before.views.places.get(child.name()).and_then(|place| {
                let alone = before.views.alone.get(*place)?;
                let (was, listed) = (before.children.get(*place)?, before.listings.get(*place)?);
                Some((alone, was, listed))
            });
            let Some((alone, was, listed)) = known else {
                same.push(false);
                views.alone.push(Alone::new(Generations::all(now.merge)));
                continue;
            };
            let as_it_was = is_same(listing.as_ref(), listed.as_ref());
            same.push(as_it_was && child.settings.prefix == was.settings.prefix);
            views.alone.push(match as_it_was {
                true => alone.clone(),
                false => {
                    let mut generations = alone.generations;
                    let (was, is) = (listed.as_deref(), listing.as_deref());
                    changed |= generations.follow_child(was, is, now.merge);
                    Alone::new(generations)
                }
            });
        }
        for (name, names) in now.groups {
            let members = names.iter().filter_map(|name| views.places.get(name));
            let mut members: Vec<usize> = members.copied().collect();
            // In file order, as everywhere.
            members.sort_unstable();
            let was = before.views.groups.get(name);
            let name_at = |children: &[Arc<Child>], place: usize| {
                children.get(place).map(|child| child.name().clone())
            };
            let is_as_it_was = |was: &&Group| {
                let same_member = |(is, was): (&usize, &usize)| {
                    same.get(*is) == Some(&true)
                        && name_at(now.children, *is) == name_at(&before.children, *was)
                };
                before.views.max_name_length == now.max_name_length
                    && was.members.len() == members.len()
                    && members.iter().zip(&was.members).all(same_member)
            };
            let group = match (was.filter(is_as_it_was), was) {
                (Some(was), _) => Group {
                    members,
                    catalog: Arc::clone(&was.catalog),
                    generations: was.generations,
                },
                (None, was) => {
                    let catalog = now.merged(&members);
                    let mut generations = Generations::all(now.merge);
                    if let Some(was) = was {
                        generations = was.generations;
                        changed |= generations.follow(&was.catalog, &catalog, now.merge);
                    }
                    Group {
                        members,
                        catalog: Arc::new(catalog),
                        generations,
                    }
                }
            };
            views.groups.insert(Arc::clone(name), group);
        }
        (views, changed)
    }
}

impl Views {
    /// Whether names are as long and groups have the same members, where the children are
    /// the same.
    pub(super) fn are_arranged_as(&self, other: &Self) -> bool {
        let mut groups = self.groups.iter();
        self.max_name_length == other.max_name_length
            && self.groups.len() == other.groups.len()
            && groups.all(|(name, group)| {
                let other = other.groups.get(name);
                other.is_some_and(|other| other.members == group.members)
            })
    }

    /// The groups, each with its members in file order.
    pub(super) fn groups(&self) -> Vec<(Arc<str>, Vec<ChildName>)> {
        let by_place: HashMap<usize, &ChildName> = self
            .places
            .iter()
            .map(|(name, place)| (*place, name))
            .collect();
        let named = |place: &usize| by_place.get(place).map(|name| (*name).clone());
        let groups = self.groups.iter();
        groups
            .map(|(name, group)| {
                (
                    Arc::clone(name),
                    group.members.iter().filter_map(named).collect(),
                )
            })
            .collect()
    }
}

impl Sources<'_> {
    /// What these children offer together.
    fn merged(&self, places: &[usize]) -> Catalog {
        let offers = places.iter().filter_map(|place| {
            let listing = self.listings.get(*place)?;
            Some(offer(self.children.get(*place)?, listing.as_deref()))
        });
        Catalog::merge(&offers.collect::<Vec<_>>(), self.max_name_length)
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

impl Generations {
    /// One child offers this now. Whether that is a change.
    fn follow_child(&mut self, was: Option<&Listing>, is: Option<&Listing>, merge: u64) -> bool {
        let nothing = Listing::default();
        let (was, is) = (was.unwrap_or(&nothing), is.unwrap_or(&nothing));
        let mut changed = false;
        for family in Family::ALL {
            if !is.lists_the_same_as(was, family) {
                self.moves(family, merge);
                changed = true;
            }
        }
        changed
    }
}

/// Whether it is the same list.
pub(super) fn is_same(one: Option<&Arc<Listing>>, other: Option<&Arc<Listing>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// What this child brings into a merge.
pub(super) fn offer<'a>(child: &'a Child, listing: Option<&'a Listing>) -> Offer<'a> {
    Offer {
        child: child.name(),
        prefix: &child.settings.prefix,
        enabled: child.settings.disabled.is_none(),
        listing,
    }
}

impl Snapshot {
    /// The longest public name there is.
    pub(super) fn max_name_length(&self) -> usize {
        self.views.max_name_length
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use proptest::{prelude::*, test_runner::TestRunner};
    use tokio::sync::{Semaphore, broadcast, mpsc, watch};
    use tokio_util::sync::CancellationToken;

    use super::{
        super::{NoView, users::ListsTo},
        *,
    };
    use crate::{
        catalog::{Page, Primitive},
        config::Settings,
        identity::Identities,
        outbound::{AllSubscriptions, HttpClient, Surroundings},
        policy::Policies,
        protocol::{Era, Frame, View},
    };

    /// Children that are never connected.
    fn children(names: &[&str]) -> Vec<Arc<Child>> {
        let entries = names
            .iter()
            .map(|name| format!(r#""{name}": {{"command": "x"}}"#));
        let entries = entries.collect::<Vec<_>>().join(",");
        let text = format!(r#"{{"mcpServers": {{{entries}}}}}"#);
        let settings = Settings::from_json(Path::new("c.json"), &text, &HashMap::new()).unwrap();
        let end = CancellationToken::new();
        let surroundings = Surroundings {
            http: HttpClient::new().unwrap(),
            identities: Identities::start(&settings.identity, end.clone()).unwrap(),
            starts: Arc::new(Semaphore::new(1)),
            messages: broadcast::Sender::new(1),
            news: mpsc::unbounded_channel().0,
            cache: None,
            subscriptions: AllSubscriptions::default(),
            users_lists: Default::default(),
            log_level: watch::channel(None).1,
        };
        let entries = settings.children.into_iter();
        entries
            .map(|entry| Child::supervised(entry, surroundings.clone(), end.clone()).0)
            .collect()
    }

    fn listing(tool: &str) -> Option<Arc<Listing>> {
        let frame = Frame::made(format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{{"name":"{tool}"}}]}}}}"#
        ));
        let mut listing = Listing::default();
        let page = Page::read(Primitive::Tool, &frame).unwrap();
        listing.extend(Primitive::Tool, page.entries);
        Some(Arc::new(listing))
    }

    /// A snapshot before the first merge.
    pub(in crate::fleet) fn nothing() -> Snapshot {
        Snapshot {
            children: Vec::new(),
            catalog: Catalog::merge(&[], 42),
            listings: Vec::new(),
            generations: Generations::default(),
            changed: 0,
            views: Views::default(),
            own_index: None,
            synonyms: Arc::default(),
            offers_meta_tools: false,
            policies: Policies::default(),
            merge: 0,
            lists_changed: 0,
            lists_to: ListsTo::All,
        }
    }

    /// The snapshots of a fleet, one after the other.
    struct Merges {
        now: Snapshot,
        number: u64,
    }

    impl Merges {
        fn new() -> Self {
            let now = nothing();
            Self { now, number: 0 }
        }

        /// Whether anything has changed.
        fn next(&mut self, of: &[(&Arc<Child>, &Option<Arc<Listing>>)], group: &[&str]) -> bool {
            self.number += 1;
            let children: Vec<_> = of.iter().map(|(child, _)| Arc::clone(child)).collect();
            let listings: Vec<_> = of.iter().map(|(_, listing)| (*listing).clone()).collect();
            let members = group.iter().map(|name| (*name).into()).collect();
            let sources = Sources {
                children: &children,
                listings: &listings,
                groups: &[("g".into(), members)],
                max_name_length: 42,
                merge: self.number,
            };
            let (views, changed) = Views::merge(&self.now, sources);
            self.now = Snapshot {
                children,
                listings,
                views,
                ..nothing()
            };
            changed
        }

        /// What a view shows, and when that last changed; nothing, where it is none.
        fn seen(&self, view: &View) -> Option<(String, u64)> {
            let shown = self.now.view(view).ok()?;
            let mut list = Vec::new();
            shown
                .catalog
                .write_list(Primitive::Tool, Era::Legacy, &mut list);
            let list = String::from_utf8(list).unwrap();
            Some((list, shown.generations.of(Family::Tools)))
        }

        fn tools(&self, view: &View) -> (u64, *const Catalog) {
            let shown = self.now.view(view).unwrap();
            (shown.generations.of(Family::Tools), shown.catalog)
        }
    }

    fn child(name: &str) -> View {
        View::Child(name.into())
    }

    #[tokio::test]
    async fn a_merge_makes_only_those_views_anew_that_show_what_has_changed() {
        let both = children(&["a", "b"]);
        let (a, b) = (&both[0], &both[1]);
        let (old, new, other) = (listing("old"), listing("new"), listing("other"));
        let group = View::Group("g".into());
        let mut merges = Merges::new();
        merges.next(&[(a, &old), (b, &other)], &["b"]);
        let before = [&child("a"), &child("b"), &group].map(|view| merges.tools(view));

        assert!(merges.next(&[(a, &new), (b, &other)], &["b"]));

        let after = [&child("a"), &child("b"), &group].map(|view| merges.tools(view));
        assert!(after[0].0 > before[0].0);
        assert_eq!(after[1..], before[1..], "nothing of it was made again");
        // Another place in the file, and a listing that says the same.
        let again = listing("other");
        assert!(!merges.next(&[(b, &again), (a, &new)], &["b"]));
        let shown = merges.now.view(&group).unwrap();
        assert_eq!(shown.child(0).unwrap().name(), b.name());
        assert_eq!(shown.position(b.name()), Some(0));
        assert_eq!(shown.position(a.name()), None);

        assert!(merges.next(&[(b, &again), (a, &new)], &["a", "b"]));
        assert!(merges.tools(&group).0 > after[2].0);
    }

    #[tokio::test]
    async fn whatever_children_list_they_are_arranged_as_they_were() {
        let both = children(&["a", "b"]);
        let (a, b) = (&both[0], &both[1]);
        let (old, new, none) = (listing("old"), listing("new"), None);
        let mut merges = Merges::new();
        merges.next(&[(a, &old), (b, &none)], &["b"]);
        let before = std::mem::replace(&mut merges.now, nothing());
        let again = children(&["b"]);
        type Of<'a> = &'a [(&'a Arc<Child>, &'a Option<Arc<Listing>>)];
        let cases: [(Of<'_>, &[&str], bool); 5] = [
            (&[(a, &new), (b, &old)], &["b"], true),
            (&[(b, &none), (a, &old)], &["b"], false),
            (&[(a, &old)], &[], false),
            (&[(a, &old), (&again[0], &none)], &["b"], false),
            (&[(a, &old), (b, &none)], &["a", "b"], false),
        ];
        for (number, (of, group, expected)) in cases.into_iter().enumerate() {
            merges.next(of, group);
            let now = Snapshot {
                synonyms: Arc::clone(&before.synonyms),
                ..std::mem::replace(&mut merges.now, nothing())
            };
            assert_eq!(before.is_arranged_as(&now), expected, "{number}");
        }
        let other_words = nothing();
        assert!(!nothing().is_arranged_as(&other_words));
    }

    /// What becomes of one child in one merge.
    #[derive(Clone, Debug)]
    enum News {
        /// It lists this, which may be what it listed before.
        Lists(usize),
        /// It is not in the config any more.
        Goes,
        /// It stands elsewhere in the file.
        Moves(usize),
    }

    fn news() -> impl Strategy<Value = Vec<(usize, News)>> {
        let one = prop_oneof![
            4 => (0..3usize).prop_map(News::Lists),
            1 => Just(News::Goes),
            1 => (0..4usize).prop_map(News::Moves),
        ];
        proptest::collection::vec((0..4usize, one), 1..24)
    }

    #[tokio::test]
    async fn whatever_order_lists_come_and_go_in_the_last_of_them_are_seen() {
        let names = ["a", "b", "c", "d"];
        let all = children(&names);
        let group = ["a", "b", "c"];
        let mut views: Vec<View> = names.iter().map(|name| child(name)).collect();
        views.push(View::Group("g".into()));
        let run = |all_news: Vec<(usize, News)>| {
            let mut merges = Merges::new();
            // Of each child its place among all, and what it lists.
            let mut fleet: Vec<(usize, Option<Arc<Listing>>)> = Vec::new();
            let of = |fleet: &[(usize, Option<Arc<Listing>>)], merges: &mut Merges| {
                let of: Vec<_> = fleet.iter().map(|(it, list)| (&all[*it], list)).collect();
                merges.next(&of, &group)
            };
            for (child, news) in all_news {
                let was = fleet.iter().position(|(it, _)| *it == child);
                match (news, was) {
                    // First it is there, and has not been listed.
                    (News::Lists(_), None) => fleet.push((child, None)),
                    (News::Lists(list), Some(at)) => {
                        let tool = ["x", "y", "z"][list];
                        fleet[at].1 = listing(tool);
                    }
                    (News::Goes, Some(at)) => drop(fleet.remove(at)),
                    (News::Moves(to), Some(at)) => {
                        let moved = fleet.remove(at);
                        fleet.insert(to.min(fleet.len()), moved);
                    }
                    (_, None) => {}
                }
                let before: Vec<_> = views.iter().map(|view| merges.seen(view)).collect();
                let told = of(&fleet, &mut merges);
                let after = views.iter().map(|view| merges.seen(view));
                let pairs = before.into_iter().zip(after);
                let pairs: Vec<_> = pairs.filter_map(|(was, is)| was.zip(is)).collect();
                for (was, is) in &pairs {
                    prop_assert_eq!(was.0 == is.0, was.1 == is.1, "{:?} {:?}", was, is);
                }
                prop_assert_eq!(told, pairs.iter().any(|(was, is)| was.0 != is.0));
            }
            let mut fresh = Merges::new();
            of(&fleet, &mut fresh);
            let seen = |merges: &Merges| {
                let seen = views.iter().map(|view| Some(merges.seen(view)?.0));
                seen.collect::<Vec<_>>()
            };
            prop_assert_eq!(seen(&merges), seen(&fresh));
            Ok(())
        };
        // Each of them merges a dozen times.
        let config = ProptestConfig::with_cases(32);
        TestRunner::new(config).run(&news(), run).unwrap();
    }

    #[tokio::test]
    async fn a_view_that_comes_again_is_newer_than_it_was() {
        let both = children(&["a", "b"]);
        let (a, b) = (&both[0], &both[1]);
        let tools = listing("tool");
        let mut merges = Merges::new();
        merges.next(&[(a, &None), (b, &tools)], &["a"]);
        merges.next(&[(a, &tools), (b, &tools)], &["a"]);
        let before = merges.tools(&child("a")).0;
        merges.next(&[(b, &tools)], &[]);
        let gone = merges.now.view(&child("a")).map(|_| ());
        assert_eq!(gone, Err(NoView::Unknown));
        merges.next(&[(a, &tools), (b, &tools)], &["a"]);
        assert!(merges.tools(&child("a")).0 > before);
    }
}
