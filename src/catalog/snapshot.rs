//! The merged catalog: an immutable snapshot, swapped whole.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Listing, naming::public_name};
use crate::protocol::{ChildName, Era, OwnName, PublicName};

/// What ends a list in the modern era. It may be kept for five seconds: changes are
/// announced only to those who listen.
const MODERN_END: &str = r#"],"resultType":"complete","ttlMs":5000,"cacheScope":"private"}"#;

/// One child's part in a merge.
#[derive(Debug)]
pub struct Offer<'a> {
    /// The child.
    pub child: &'a ChildName,
    /// Its prefix; empty leaves its names as they are.
    pub prefix: &'a str,
    /// What it offers, filtered; `None` while it has never been listed.
    pub listing: Option<&'a Listing>,
}

/// Whose a public name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Position of the child among the offers of the merge.
    pub child: usize,
    /// What the child calls it.
    pub own: OwnName,
    /// Whether a call may be sent twice.
    pub repeatable: bool,
}

/// A tool that is left out because its public name was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The name both would have.
    pub name: PublicName,
    /// The child that keeps it: the first in file order.
    pub kept: ChildName,
    /// The child whose tool is left out.
    pub left_out: ChildName,
}

/// Everything all children offer, merged and named, with its lists ready to send.
#[derive(Debug, Default)]
pub struct Catalog {
    routes: HashMap<PublicName, Route>,
    collisions: Vec<Collision>,
    /// The entries as they stand in a list, in order, with commas between them.
    tools: Bytes,
}

impl Catalog {
    /// Merges the offers, in their order.
    pub fn merge(offers: &[Offer<'_>], max_name_length: usize) -> Self {
        let mut routes: HashMap<PublicName, Route> = HashMap::new();
        let mut collisions = Vec::new();
        let mut tools = Vec::new();
        for (child, offer) in offers.iter().enumerate() {
            for tool in offer.listing.iter().flat_map(|listing| &listing.tools) {
                let name = public_name(offer.prefix, tool.own.as_str(), max_name_length);
                if let Some(taken) = routes.get(&name) {
                    collisions.push(Collision {
                        kept: offers[taken.child].child.clone(),
                        left_out: offer.child.clone(),
                        name,
                    });
                    continue;
                }
                if !tools.is_empty() {
                    tools.push(b',');
                }
                tool.write_as(name.as_str(), &mut tools);
                let route = Route {
                    child,
                    own: tool.own.clone(),
                    repeatable: tool.repeatable,
                };
                routes.insert(name, route);
            }
        }
        Self {
            tools: tools.into(),
            routes,
            collisions,
        }
    }

    /// Whose tool this is.
    pub fn tool(&self, name: &str) -> Option<&Route> {
        self.routes.get(name)
    }

    /// Writes the result of `tools/list`: a copy of what was prepared.
    pub fn write_tool_list(&self, era: Era, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"tools\":[");
        out.extend_from_slice(&self.tools);
        out.extend_from_slice(match era {
            Era::Legacy => b"]}",
            Era::Modern => MODERN_END.as_bytes(),
        });
    }

    /// How many bytes the tools take in a list.
    pub fn tool_list_size(&self) -> usize {
        self.tools.len()
    }

    /// The tools left out because their names were taken.
    pub fn collisions(&self) -> &[Collision] {
        &self.collisions
    }

    /// Whether clients would see the same tools.
    pub fn lists_the_same_as(&self, other: &Self) -> bool {
        self.tools == other.tools
    }

    /// Up to three names that are most like `name`, the nearest first. Comparing is
    /// costly: a long name has none, and a large catalog is not searched to its end.
    pub fn closest(&self, name: &str) -> Vec<&PublicName> {
        const LIKE_ENOUGH: f64 = 0.7;
        const LONGEST: usize = 64;
        const MOST: usize = 2_000;
        if name.len() > LONGEST {
            return Vec::new();
        }
        let mut scored: Vec<_> = self
            .routes
            .keys()
            .take(MOST)
            .map(|known| (strsim::jaro_winkler(name, known.as_str()), known))
            .filter(|(score, _)| *score >= LIKE_ENOUGH)
            .collect();
        scored.sort_by(|(a, left), (b, right)| b.total_cmp(a).then_with(|| left.cmp(right)));
        scored.into_iter().take(3).map(|(_, name)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::listing::tests::page, *};

    fn listing(tools: &str) -> Listing {
        Listing {
            tools: page(tools).tools,
        }
    }

    fn merge(offers: &[(&str, &str, &Listing)]) -> Catalog {
        let names: Vec<ChildName> = offers.iter().map(|(child, ..)| (*child).into()).collect();
        let offers: Vec<_> = offers
            .iter()
            .zip(&names)
            .map(|((_, prefix, listing), child)| Offer {
                child,
                prefix,
                listing: Some(listing),
            })
            .collect();
        Catalog::merge(&offers, 42)
    }

    fn list(catalog: &Catalog, era: Era) -> String {
        let mut list = Vec::new();
        catalog.write_tool_list(era, &mut list);
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
            catalog.tool("two__x"),
            Some(&Route {
                child: 1,
                own: "x".into(),
                repeatable: false
            })
        );
    }

    #[test]
    fn the_first_in_the_file_keeps_a_name_and_the_other_is_told() {
        let (a, b) = (listing(r#"[{"name":"x"}]"#), listing(r#"[{"name":"x"}]"#));
        let catalog = merge(&[("one", "", &a), ("two", "", &b)]);
        assert_eq!(catalog.tool("x").unwrap().child, 0);
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
    fn a_modern_list_says_how_long_it_may_be_kept() {
        let catalog = merge(&[]);
        assert_eq!(
            list(&catalog, Era::Modern),
            r#"{"tools":[],"resultType":"complete","ttlMs":5000,"cacheScope":"private"}"#
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let a = listing(r#"[{"name":"search_code"},{"name":"search_issues"},{"name":"zzz"}]"#);
        let catalog = merge(&[("github", "github", &a)]);
        let closest = catalog.closest("github__serch_code");
        assert_eq!(closest[0].as_str(), "github__search_code");
        assert!(catalog.closest("qqqqqqqq").is_empty());
        assert!(
            catalog
                .closest(&"github__serch_code".repeat(100_000))
                .is_empty()
        );
    }
}
