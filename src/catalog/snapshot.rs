//! The merged catalog: an immutable snapshot, swapped whole.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use super::{
    Extensions, Family, Hints, Listing, Mirrors, Offer, Placed, Primitive, instructions,
    list::{List, begin_list, end_list},
    naming::public_name,
    resources::{self, Resources, scheme},
};
use crate::protocol::{ChildName, Era, OwnName, PublicName};

/// Whose a public name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Position of the child among the offers of the merge.
    pub child: usize,
    /// What the child calls it.
    pub own: OwnName,
    /// Whether a request for it may be sent twice.
    pub repeatable: bool,
    /// What it says it does, if it is a tool.
    pub hints: Hints,
    /// The arguments that are told in headers too, if any are.
    pub mirrors: Option<Arc<Mirrors>>,
}

/// A tool or prompt that is left out because its public name was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The name both would have.
    pub name: PublicName,
    /// The child that keeps it: the first in file order.
    pub kept: ChildName,
    /// The child whose entry is left out.
    pub left_out: ChildName,
}

/// Everything some children offer, merged and named, with its lists ready to send.
#[derive(Debug)]
pub struct Catalog {
    tools: HashMap<PublicName, Route>,
    prompts: HashMap<PublicName, Route>,
    resources: Resources,
    collisions: Vec<Collision>,
    offered: [bool; Family::ALL.len()],
    completes: bool,
    subscribes: bool,
    extensions: Extensions,
    instructions: Option<String>,
    lists: Lists,
}

/// The lists.
#[derive(Debug)]
enum Lists {
    Joined([List; Primitive::ALL.len()]),
    /// Those of the one child, which are not kept twice.
    AsListed(Arc<Listing>),
}

impl Catalog {
    /// What one child offers, under its own names: nothing is in its way.
    pub fn alone(child: &ChildName, listing: Arc<Listing>) -> Self {
        let named = |primitive: Primitive| {
            let mut routes = HashMap::new();
            for entry in listing.of(primitive) {
                routes
                    .entry(entry.own.as_str().into())
                    .or_insert_with(|| Route {
                        child: 0,
                        own: entry.own.clone(),
                        repeatable: entry.repeatable,
                        hints: entry.hints,
                        mirrors: entry.mirrors.clone().unwrap_or_default(),
                    });
            }
            routes
        };
        let offer = Offer {
            child,
            prefix: "",
            enabled: true,
            listing: Some(&listing),
        };
        Self {
            tools: named(Primitive::Tool),
            prompts: named(Primitive::Prompt),
            resources: Resources::of_one(0),
            collisions: Vec::new(),
            offered: Family::ALL.map(|family| listing.offers(family)),
            completes: listing.completes,
            subscribes: listing.profile.subscribes(),
            instructions: None,
            extensions: Extensions::merge(&[offer]),
            lists: Lists::AsListed(listing),
        }
    }

    /// Merges the offers, in their order.
    pub fn merge(offers: &[Offer<'_>], max_name_length: usize) -> Self {
        let mut resources = Resources::merge(offers);
        let mut collisions = Vec::new();
        let mut named = |primitive: Primitive, resources: &mut Resources| {
            let mut routes: HashMap<PublicName, Route> = HashMap::new();
            let mut list = List::default();
            for (child, offer) in offers.iter().enumerate() {
                for entry in offer
                    .listing
                    .iter()
                    .flat_map(|listing| listing.of(primitive))
                {
                    let name = public_name(offer.prefix, entry.own.as_str(), max_name_length);
                    if let Some(taken) = routes.get(&name) {
                        collisions.push(Collision {
                            kept: offers[taken.child].child.clone(),
                            left_out: offer.child.clone(),
                            name,
                        });
                        continue;
                    }
                    let shown_by = entry.shown_by();
                    let elsewhere = shown_by.and_then(|uri| resources.shows(uri, child));
                    list.append((child, entry), name.clone(), |out| {
                        entry.write(name.as_str(), elsewhere.as_deref(), out);
                    });
                    let route = Route {
                        child,
                        own: entry.own.clone(),
                        repeatable: entry.repeatable,
                        hints: entry.hints,
                        mirrors: entry.mirrors.clone().unwrap_or_default(),
                    };
                    routes.insert(name, route);
                }
            }
            (routes, list.finish())
        };
        let (tools, tool_list) = named(Primitive::Tool, &mut resources);
        let (prompts, prompt_list) = named(Primitive::Prompt, &mut resources);
        let listings = || offers.iter().filter_map(|offer| offer.listing);
        let offered = Family::ALL.map(|family| listings().any(|it| it.offers(family)));
        let completes = listings().any(|listing| listing.completes);
        let subscribes = listings().any(|listing| listing.profile.subscribes());
        let [resource_list, template_list] = std::mem::take(&mut resources.lists);
        Self {
            tools,
            prompts,
            resources,
            collisions,
            offered,
            completes,
            subscribes,
            extensions: Extensions::merge(offers),
            instructions: instructions::merged(offers),
            lists: Lists::Joined([
                tool_list,
                prompt_list,
                resource_list.finish(),
                template_list.finish(),
            ]),
        }
    }

    /// Whose this is: of a tool or prompt the public name, of a resource the URI.
    pub fn route(&self, primitive: Primitive, name: &str) -> Option<Route> {
        match primitive {
            Primitive::Tool => self.tools.get(name).cloned(),
            Primitive::Prompt => self.prompts.get(name).cloned(),
            Primitive::Resource | Primitive::Template => {
                let brought = || {
                    let child = self.extensions.brings(scheme(name)?)?;
                    Some(resources::route(&name.into(), child))
                };
                self.resources.owner(name).or_else(brought)
            }
        }
    }

    /// Every tool, in the order of the list.
    pub fn tools(&self) -> impl Iterator<Item = Placed<'_>> {
        self.entries(Primitive::Tool)
    }

    /// All of these, in the order of the list.
    pub fn entries(&self, primitive: Primitive) -> impl Iterator<Item = Placed<'_>> {
        let (joined, alone) = match &self.lists {
            Lists::Joined(lists) => (Some(&lists[primitive as usize]), &[][..]),
            Lists::AsListed(listing) => (None, listing.of(primitive)),
        };
        let joined = joined.into_iter().flat_map(List::placed);
        joined.chain(alone.iter().map(|entry| Placed {
            name: Cow::Owned(entry.own.as_str().into()),
            child: 0,
            own: &entry.own,
            hints: entry.hints,
            entry: entry.bytes(),
        }))
    }

    /// Writes the result of a request that lists, which holds `ours` first (entries with
    /// commas between them), and of all others those that `keep` names.
    pub fn write_some(
        &self,
        primitive: Primitive,
        ours: &str,
        keep: impl Fn(&Placed<'_>) -> bool,
        era: Era,
        out: &mut Vec<u8>,
    ) {
        begin_list(primitive, out);
        out.extend_from_slice(ours.as_bytes());
        let mut is_first = ours.is_empty();
        for placed in self.entries(primitive).filter(|placed| keep(placed)) {
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            out.extend_from_slice(placed.entry);
        }
        end_list(era, out);
    }

    /// Writes the result of a request that lists: a copy of what was prepared.
    pub fn write_list(&self, primitive: Primitive, era: Era, out: &mut Vec<u8>) {
        begin_list(primitive, out);
        match &self.lists {
            Lists::Joined(lists) => out.extend_from_slice(&lists[primitive as usize].text),
            Lists::AsListed(listing) => {
                for (place, entry) in listing.of(primitive).iter().enumerate() {
                    if place > 0 {
                        out.push(b',');
                    }
                    entry.write_as(entry.own.as_str(), out);
                }
            }
        }
        end_list(era, out);
    }

    /// How many bytes the entries take in a list.
    pub fn list_size(&self, primitive: Primitive) -> usize {
        match &self.lists {
            Lists::Joined(lists) => lists[primitive as usize].text.len(),
            Lists::AsListed(listing) => {
                let entries = listing.of(primitive).iter();
                entries.map(|entry| entry.size() + 1).sum()
            }
        }
    }

    /// Whether any child offers these at all.
    pub fn offers(&self, family: Family) -> bool {
        self.offered[family as usize]
    }

    /// Whether any child completes arguments.
    pub fn completes(&self) -> bool {
        self.completes
    }

    /// What children declare beyond the specification.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// Whether any child tells when a resource has changed that was subscribed to.
    pub fn subscribes(&self) -> bool {
        self.subscribes
    }

    /// What clients are told of how to use all this.
    pub fn instructions(&self) -> Option<&str> {
        self.instructions.as_deref()
    }

    /// What is left out because its name was taken.
    pub fn collisions(&self) -> &[Collision] {
        &self.collisions
    }

    /// Whether clients would see the same entries.
    pub fn lists_the_same_as(&self, other: &Self, family: Family) -> bool {
        match (&self.lists, &other.lists) {
            (Lists::Joined(these), Lists::Joined(those)) => {
                let mut lists = Primitive::ALL
                    .into_iter()
                    .filter(|it| it.family() == family);
                lists.all(|list| these[list as usize].text == those[list as usize].text)
            }
            (Lists::AsListed(this), Lists::AsListed(that)) => this.lists_the_same_as(that, family),
            _ => false,
        }
    }

    /// Up to three names that are most like `name`, the nearest first. Comparing is
    /// costly: a long name has none, and a large catalog is not searched to its end. Only
    /// what `shows` lets through is told.
    pub fn closest(
        &self,
        primitive: Primitive,
        name: &str,
        shows: impl Fn(&str, &Route) -> bool,
    ) -> Vec<&str> {
        const LIKE_ENOUGH: f64 = 0.7;
        const LONGEST: usize = 64;
        const MOST: usize = 2_000;
        let names = match primitive {
            Primitive::Tool => &self.tools,
            Primitive::Prompt => &self.prompts,
            Primitive::Resource | Primitive::Template => return Vec::new(),
        };
        if name.len() > LONGEST {
            return Vec::new();
        }
        let scored = names.iter().take(MOST).filter_map(|(known, route)| {
            let known = known.as_str();
            let score = strsim::jaro_winkler(name, known);
            (score >= LIKE_ENOUGH && shows(known, route)).then_some((score, known))
        });
        let mut scored: Vec<_> = scored.collect();
        scored.sort_by(|(a, left), (b, right)| b.total_cmp(a).then_with(|| left.cmp(right)));
        scored.into_iter().take(3).map(|(_, name)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::Page, *};
    use crate::protocol::Frame;

    fn listing(tools: &str) -> Listing {
        with(Primitive::Tool, tools)
    }

    fn with(primitive: Primitive, entries: &str) -> Listing {
        let key = primitive.list_key();
        let frame = Frame::made(format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"{key}":{entries}}}}}"#
        ));
        let mut listing = Listing::default();
        listing.extend(primitive, Page::read(primitive, &frame).unwrap().entries);
        listing
    }

    fn merge(offers: &[(&str, &str, &Listing)]) -> Catalog {
        let names: Vec<ChildName> = offers.iter().map(|(child, ..)| (*child).into()).collect();
        let offers: Vec<_> = offers
            .iter()
            .zip(&names)
            .map(|((_, prefix, listing), child)| Offer {
                child,
                prefix,
                enabled: true,
                listing: Some(listing),
            })
            .collect();
        Catalog::merge(&offers, 42)
    }

    fn list(catalog: &Catalog, era: Era) -> String {
        list_of(Primitive::Tool, catalog, era)
    }

    fn list_of(primitive: Primitive, catalog: &Catalog, era: Era) -> String {
        let mut list = Vec::new();
        catalog.write_list(primitive, era, &mut list);
        String::from_utf8(list).unwrap()
    }

    #[test]
    fn tools_stand_in_file_order_under_their_public_names() {
        let (a, b) = (
            listing(r#"[{"name":"x"},{"name":"y","t":1}]"#),
            listing(r#"[{"name":"x"}]"#),
        );
        let catalog = merge(&[("one", "one", &a), ("two", "two", &b)]);
        assert_eq!(
            list(&catalog, Era::Legacy),
            r#"{"tools":[{"name":"one__x"},{"name":"one__y","t":1},{"name":"two__x"}]}"#
        );
        assert_eq!(
            catalog.route(Primitive::Tool, "two__x"),
            Some(Route {
                child: 1,
                own: "x".into(),
                repeatable: false,
                hints: Hints::default(),
                mirrors: None
            })
        );
    }

    #[test]
    fn a_part_of_the_list_is_cut_out_of_the_whole() {
        let (a, b) = (
            listing(r#"[{"name":"x"},{"name":"y","t":1}]"#),
            listing(r#"[{"name":"x"}, {"name":"z"}]"#),
        );
        let merged = merge(&[("one", "", &a), ("two", "", &b)]);
        let alone = Catalog::alone(&"one".into(), Arc::new(a));
        let some = |catalog: &Catalog, ours, names: &[&str]| {
            let mut out = Vec::new();
            let keep = |tool: &Placed<'_>| names.contains(&tool.name.as_str());
            catalog.write_some(Primitive::Tool, ours, keep, Era::Legacy, &mut out);
            String::from_utf8(out).unwrap()
        };
        let z_and_y = r#"{"tools":[{"name":"y","t":1},{"name":"z"}]}"#;
        assert_eq!(some(&merged, "", &["z", "y"]), z_and_y);
        assert_eq!(
            some(&merged, "{}", &["x"]),
            r#"{"tools":[{},{"name":"x"}]}"#
        );
        assert_eq!(some(&merged, "{}", &[]), r#"{"tools":[{}]}"#);
        let y = r#"{"tools":[{"name":"y","t":1}]}"#;
        assert_eq!(some(&alone, "", &["y"]), y);
        let mut children = merged.tools().map(|tool| tool.child);
        assert!(children.by_ref().eq([0, 0, 1]));
    }

    #[test]
    fn the_first_in_the_file_keeps_a_name_and_the_other_is_told() {
        let (a, b) = (listing(r#"[{"name":"x"}]"#), listing(r#"[{"name":"x"}]"#));
        let catalog = merge(&[("one", "", &a), ("two", "", &b)]);
        assert_eq!(catalog.route(Primitive::Tool, "x").unwrap().child, 0);
        assert_eq!(
            catalog.collisions(),
            [Collision {
                name: "x".into(),
                kept: "one".into(),
                left_out: "two".into()
            }]
        );
    }

    #[test]
    fn prompts_are_named_like_tools_and_apart_from_them() {
        let tool = listing(r#"[{"name":"x"}]"#);
        let prompt = with(Primitive::Prompt, r#"[{"name":"x","arguments":[]}]"#);
        let catalog = merge(&[("one", "p", &tool), ("two", "p", &prompt)]);
        assert_eq!(
            list_of(Primitive::Prompt, &catalog, Era::Legacy),
            r#"{"prompts":[{"name":"p__x","arguments":[]}]}"#
        );
        assert_eq!(catalog.route(Primitive::Prompt, "p__x").unwrap().child, 1);
        assert!(catalog.collisions().is_empty());
    }

    #[test]
    fn a_uri_stays_as_it_is_and_a_second_owner_is_read_by_an_alias() {
        let entry = r#"[{"uri":"file:///a","name":"a"}]"#;
        let (a, b) = (
            with(Primitive::Resource, entry),
            with(Primitive::Resource, entry),
        );
        let catalog = merge(&[("one", "one", &a), ("two", "my_two", &b)]);
        assert_eq!(
            list_of(Primitive::Resource, &catalog, Era::Legacy),
            r#"{"resources":[{"uri":"file:///a","name":"a"},{"uri":"mux+my-two://file:///a","name":"a"}]}"#
        );
        let owner = |uri| {
            let route = catalog.route(Primitive::Resource, uri)?;
            Some((route.child, route.own.to_string()))
        };
        assert_eq!(owner("file:///a"), Some((0, "file:///a".into())));
        assert_eq!(
            owner("mux+my-two://file:///a"),
            Some((1, "file:///a".into()))
        );
        assert_eq!(owner("mux+one://file:///b"), Some((0, "file:///b".into())));
        assert_eq!(owner("file:///b"), None, "two children have the scheme");
    }

    #[test]
    fn a_uri_that_is_not_listed_belongs_to_its_template_or_to_the_only_child_of_its_scheme() {
        let template = with(
            Primitive::Template,
            r#"[{"uriTemplate":"db://{table}/rows","name":"rows"}]"#,
        );
        let listed = with(Primitive::Resource, r#"[{"uri":"note:1","name":"n"}]"#);
        let catalog = merge(&[("one", "one", &template), ("two", "two", &listed)]);
        let owner = |uri| {
            catalog
                .route(Primitive::Resource, uri)
                .map(|route| route.child)
        };
        assert_eq!(owner("db://users/rows"), Some(0));
        assert_eq!(owner("note:2"), Some(1));
        assert_eq!(owner("file:///a"), None);
    }

    #[test]
    fn what_nobody_lists_is_of_the_one_child_that_can_have_it() {
        let listed = || with(Primitive::Resource, r#"[{"uri":"file:///a","name":"a"}]"#);
        let (one, mut two) = (listed(), listed());
        fn owner_of(uri: &str, offers: &[(&str, &str, &Listing)]) -> Option<usize> {
            let route = merge(offers).route(Primitive::Resource, uri)?;
            Some(route.child)
        }
        fn owner(offers: &[(&str, &str, &Listing)]) -> Option<usize> {
            owner_of("skill://x", offers)
        }
        let tools = listing(r#"[{"name":"x"}]"#);
        assert_eq!(owner(&[("t", "t", &tools), ("one", "one", &one)]), Some(1));
        assert_eq!(owner(&[("one", "one", &one), ("two", "two", &two)]), None);
        let extensions = serde_json::json!({"io.modelcontextprotocol/skills": {}});
        two.profile
            .capabilities
            .insert("extensions".to_owned(), extensions);
        let both = [("one", "one", &one), ("two", "two", &two)];
        assert_eq!(owner(&both), Some(1));
        assert_eq!(owner_of("nobody://x", &both), None);
    }

    #[test]
    fn a_tool_keeps_its_way_to_the_resource_that_shows_it() {
        let tool = r#"[{"name":"x","_meta":{"ui":{"resourceUri":"ui://app"},"n":1.0,"ui/resourceUri":"ui://app"}}]"#;
        let (a, b) = (listing(tool), listing(tool));
        let catalog = merge(&[("one", "one", &a), ("two", "two", &b)]);
        assert_eq!(
            list(&catalog, Era::Legacy),
            r#"{"tools":[{"name":"one__x","_meta":{"ui":{"resourceUri":"ui://app"},"n":1.0,"ui/resourceUri":"ui://app"}},{"name":"two__x","_meta":{"ui":{"resourceUri":"mux+two://ui://app"},"n":1.0,"ui/resourceUri":"mux+two://ui://app"}}]}"#
        );
        let route = catalog
            .route(Primitive::Resource, "mux+two://ui://app")
            .unwrap();
        assert_eq!((route.child, route.own.as_str()), (1, "ui://app"));
        assert_eq!(
            catalog
                .route(Primitive::Resource, "ui://app")
                .unwrap()
                .child,
            0
        );
    }

    /// A prefix, and the names of some tools, of which several children may have the same.
    fn offered() -> impl Strategy<Value = (String, Vec<String>)> {
        let tool = prop_oneof!["[ab]{1,2}", "[a-c]{40,42}", "[é. ]{1,2}"];
        ("[pq]{0,2}", proptest::collection::vec(tool, 0..4))
    }

    proptest! {
        /// Those who are there already keep their names when others come or go.
        #[test]
        fn a_name_depends_on_its_child_alone_and_goes_to_the_first_in_the_file(
            all in proptest::collection::vec((offered(), any::<bool>()), 0..5),
        ) {
            let listed = |tools: &[String]| {
                let entries = tools.iter().map(|name| format!(r#"{{"name":"{name}"}}"#));
                let entries: Vec<_> = entries.collect();
                listing(&format!("[{}]", entries.join(",")))
            };
            let listings: Vec<_> = all.iter().map(|((_, tools), _)| listed(tools)).collect();
            let names: Vec<_> = (0..all.len()).map(|n| n.to_string()).collect();
            let offers = |some: bool| {
                let all = names.iter().zip(&all).zip(&listings);
                let here = all.filter(|((_, (_, stays)), _)| !some || *stays);
                let offers = here.map(|((name, ((prefix, _), _)), list)| {
                    (name.as_str(), prefix.as_str(), list)
                });
                offers.collect::<Vec<_>>()
            };
            let shown = |offers: &[(&str, &str, &Listing)]| {
                let catalog = merge(offers);
                let tools = catalog.tools().map(|tool| {
                    let child = offers[tool.child].0.to_owned();
                    (tool.name.to_string(), (child, tool.own.to_string()))
                });
                (tools.collect::<HashMap<_, _>>(), catalog)
            };
            let (all_offers, some_offers) = (offers(false), offers(true));
            let (whole, catalog) = shown(&all_offers);
            let (part, _) = shown(&some_offers);

            for (child, prefix, listing) in &all_offers {
                for entry in listing.tools() {
                    let name = public_name(prefix, entry.own.as_str(), 42);
                    let (owner, own) = &whole[name.as_str()];
                    let route = catalog.route(Primitive::Tool, name.as_str()).unwrap();
                    prop_assert_eq!((all_offers[route.child].0, route.own.as_str()), (&**owner, &**own));
                    // Or it was left out for one before it, and that is told.
                    let keeps = (&**owner, &**own) == (*child, entry.own.as_str());
                    let told = catalog.collisions().iter().any(|it| {
                        (it.kept.as_str(), it.left_out.as_str(), &it.name) == (owner, child, &name)
                    });
                    prop_assert!(keeps || told);
                    prop_assert!(owner.parse::<usize>().unwrap() <= child.parse().unwrap());
                }
            }
            for (name, of) in whole {
                let stays = some_offers.iter().any(|(child, ..)| *child == of.0);
                prop_assert!(!stays || part.get(&name) == Some(&of), "{} {:?}", name, part.get(&name));
            }
        }
    }

    #[test]
    fn a_modern_list_says_how_long_it_may_be_kept() {
        let catalog = merge(&[]);
        assert_eq!(
            list(&catalog, Era::Modern),
            r#"{"tools":[],"resultType":"complete","ttlMs":5000,"cacheScope":"private"}"#
        );
    }

    #[test]
    fn alone_a_child_has_its_own_names_and_every_uri() {
        let mut tools = listing(r#"[ {"name" : "x","n":1.0}, {"name":"y"}]"#);
        let page = with(Primitive::Prompt, r#"[{"name":"x"}]"#);
        tools.extend(
            Primitive::Prompt,
            page.of(Primitive::Prompt).iter().cloned(),
        );
        let catalog = Catalog::alone(&"one".into(), Arc::new(tools));
        let listed = r#"{"tools":[{"name" : "x","n":1.0},{"name":"y"}]}"#;
        assert_eq!(list(&catalog, Era::Legacy), listed);
        assert_eq!(
            list_of(Primitive::Template, &catalog, Era::Legacy),
            r#"{"resourceTemplates":[]}"#
        );
        let own = |primitive, name| catalog.route(primitive, name).map(|it| it.own.to_string());
        assert_eq!(own(Primitive::Tool, "y"), Some("y".into()));
        assert_eq!(own(Primitive::Tool, "one__y"), None);
        assert_eq!(own(Primitive::Prompt, "x"), Some("x".into()));
        let alias = "mux+one://a:b";
        assert_eq!(own(Primitive::Resource, alias), Some(alias.into()));
        assert!(catalog.offers(Family::Prompts) && !catalog.offers(Family::Resources));
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let a = listing(r#"[{"name":"search_code"},{"name":"search_issues"},{"name":"zzz"}]"#);
        let catalog = merge(&[("github", "github", &a)]);
        let closest = catalog.closest(Primitive::Tool, "github__serch_code", |_, _| true);
        assert_eq!(closest[0], "github__search_code");
        for far in ["qqqqqqqq", &"github__serch_code".repeat(100_000)] {
            assert!(
                catalog
                    .closest(Primitive::Tool, far, |_, _| true)
                    .is_empty()
            );
        }
        let hidden = |name: &str, _: &Route| name != "github__search_code";
        let closest = catalog.closest(Primitive::Tool, "github__serch_code", hidden);
        assert_eq!(closest[0], "github__search_issues");
    }
}
