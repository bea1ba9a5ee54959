//! Finding tools by what they are for.
//!
//! An [`Index`] is made of the same offers as the catalog and, like it, never changes:
//! it is built beside the requests and swapped whole.

mod question;
mod ranking;
mod synonyms;
mod tool;
mod words;

use std::collections::HashSet;

use ranking::{Field, Ranking};
pub use synonyms::Synonyms;
pub use tool::Tool;

use super::Offer;
use crate::protocol::ChildName;

/// One child's part in an index.
#[derive(Debug)]
pub struct Source<'a> {
    /// What the catalog is merged from.
    pub offer: Offer<'a>,
    /// What the child is, in its own words or the operator's; may be empty.
    pub about: &'a str,
}

/// What a search is limited to.
pub struct Filters<'a> {
    /// Tools of this child alone.
    pub child: Option<&'a str>,
    /// Tools alone that say that they change nothing.
    pub read_only: bool,
    /// Tools alone that may be called by the one who asks.
    pub callable: &'a dyn Fn(&Tool) -> bool,
    /// Whether a child can answer at this moment.
    pub ready: &'a dyn Fn(&ChildName) -> bool,
}

impl Default for Filters<'_> {
    /// Everything, from children that are all ready.
    fn default() -> Self {
        Self {
            child: None,
            read_only: false,
            callable: &|_| true,
            ready: &|_| true,
        }
    }
}

/// A tool that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit<'a> {
    /// The tool.
    pub tool: &'a Tool,
    /// How well it fits; of use beside other hits of the same search only.
    pub score: f32,
    /// Whether its child can answer at this moment.
    pub ready: bool,
}

/// The tools of all children, ready to be searched.
#[derive(Debug, Default)]
pub struct Index {
    tools: Vec<Tool>,
    ranking: Ranking,
}

/// What is searched. Descriptions repeat the words of names, and what a parameter says
/// of itself is often said of many. Who names a child means it.
const FIELDS: [Field; 7] = [
    field(0.3, 0.2), // name
    field(1.5, 0.4), // title
    field(1.5, 0.6), // description
    field(0.3, 0.6), // names of parameters
    field(0.1, 0.6), // their descriptions
    Field {
        alone: true,
        ..field(8.0, 0.0) // name of the child
    },
    field(0.6, 0.2), // what the child is
];

/// What a tool that changes nothing counts, beside one that may, for who wants to know...
const ASKED_TO_KNOW: f32 = 1.2;
/// ... and for who wants something done.
const ASKED_TO_DO: f32 = 0.8;

const fn field(weight: f32, by_length: f32) -> Field {
    Field {
        weight,
        by_length,
        alone: false,
    }
}

impl Index {
    /// Indexes the tools of the children, under the names the catalog gives them. A name
    /// that two children give is there twice: which of them is meant depends on where it
    /// is asked, so `callable` has to say.
    pub fn build(sources: &[Source<'_>], max_name_length: usize) -> Self {
        let mut tools = Vec::new();
        let mut read = Vec::new();
        for Source { offer, about } in sources {
            let mut taken = HashSet::new();
            for (name, entry) in offer.named_tools(max_name_length) {
                if taken.insert(name.clone()) {
                    let (tool, texts) = tool::read(name, offer.child, entry);
                    tools.push(tool);
                    read.push((entry.own.as_str(), texts, offer.child.as_str(), *about));
                }
            }
        }
        let texts: Vec<[&str; FIELDS.len()]> = read
            .iter()
            .map(|(own, texts, child, about)| {
                [
                    *own,
                    &texts.title,
                    &texts.description,
                    &texts.parameters,
                    &texts.hints,
                    *child,
                    *about,
                ]
            })
            .collect();
        Self {
            ranking: Ranking::build(FIELDS, &texts),
            tools,
        }
    }

    /// The tools that fit `question` best, at most `limit`, the best first; of equals
    /// the first in the file.
    pub fn search(
        &self,
        question: &str,
        synonyms: &Synonyms,
        filters: &Filters<'_>,
        limit: usize,
    ) -> Vec<Hit<'_>> {
        let keep = |at: usize| {
            let tool = &self.tools[at];
            filters
                .child
                .is_none_or(|child| tool.child.as_str() == child)
                && (tool.read_only || !filters.read_only)
                && (filters.callable)(tool)
        };
        let reading = match question::wants_to_know(question) {
            true => ASKED_TO_KNOW,
            false => ASKED_TO_DO,
        };
        let favour = |at: usize| match self.tools[at].read_only {
            true => reading,
            false => 1.0,
        };
        self.ranking
            .search(question, synonyms, keep, favour, limit)
            .into_iter()
            .map(|(at, score)| {
                let tool = &self.tools[at];
                let ready = (filters.ready)(&tool.child);
                Hit { tool, score, ready }
            })
            .collect()
    }

    /// All tools, in the order of the file.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Listing, *};

    fn listing(tools: &str) -> Listing {
        Listing::read(&format!(r#"{{"completes":false,"tools":[{tools}]}}"#)).unwrap()
    }

    /// Two children whose names of tools begin with `p`; the first has `x` and `y`, the
    /// other, of the same prefix, `x` and `z`.
    fn index() -> Index {
        let lists = [
            listing(
                r#"{"name":"x","description":"lists people","annotations":{"readOnlyHint":true}},{"name":"y","description":"deletes people"}"#,
            ),
            listing(
                r#"{"name":"x","description":"lists cities"},{"name":"z","description":"lists people"}"#,
            ),
        ];
        let children: [ChildName; 2] = ["one".into(), "two".into()];
        let sources: Vec<_> = children
            .iter()
            .zip(&lists)
            .map(|(child, listing)| Source {
                offer: Offer {
                    child,
                    prefix: "p",
                    enabled: true,
                    listing: Some(listing),
                },
                about: "Registry",
            })
            .collect();
        Index::build(&sources, 42)
    }

    /// A name that two children give is the first one's.
    fn as_listed() -> Filters<'static> {
        Filters {
            callable: &|tool| tool.child.as_str() == "one" || tool.name.as_str() != "p__x",
            ..Filters::default()
        }
    }

    fn search<'a>(
        index: &'a Index,
        question: &str,
        filters: &Filters<'_>,
        limit: usize,
    ) -> Vec<Hit<'a>> {
        index.search(question, &Synonyms::default(), filters, limit)
    }

    fn names<'a>(hits: &[Hit<'a>]) -> Vec<&'a str> {
        hits.iter().map(|hit| hit.tool.name.as_str()).collect()
    }

    #[test]
    fn a_name_that_two_children_give_is_found_where_it_is_called() {
        let index = index();
        assert_eq!(
            names(&search(&index, "cities", &Filters::default(), 9)),
            ["p__x"]
        );
        assert!(search(&index, "cities", &as_listed(), 9).is_empty());
    }

    #[test]
    fn of_what_fits_alike_the_first_in_the_file_stands_first() {
        let index = index();
        let hits = search(&index, "registry", &as_listed(), 9);
        assert_eq!(names(&hits), ["p__x", "p__y", "p__z"]);
        assert_eq!(
            names(&search(&index, "registry", &as_listed(), 2)),
            names(&hits[..2])
        );
    }

    #[test]
    fn a_filter_lets_through_what_it_names() {
        let index = index();
        for (filters, expected) in [
            (as_listed(), vec!["p__x", "p__z", "p__y"]),
            (
                Filters {
                    child: Some("two"),
                    ..as_listed()
                },
                vec!["p__z"],
            ),
            (
                Filters {
                    child: Some("none"),
                    ..as_listed()
                },
                vec![],
            ),
            (
                Filters {
                    read_only: true,
                    ..as_listed()
                },
                vec!["p__x"],
            ),
            (
                Filters {
                    callable: &|tool| tool.name.as_str() != "p__x",
                    ..as_listed()
                },
                vec!["p__z", "p__y"],
            ),
        ] {
            assert_eq!(names(&search(&index, "list people", &filters, 9)), expected);
        }
    }

    #[test]
    fn a_hit_says_whether_its_child_is_ready() {
        let index = index();
        let filters = Filters {
            ready: &|child| child.as_str() == "two",
            ..as_listed()
        };
        let hits = search(&index, "list people", &filters, 2);
        assert_eq!(
            hits.iter().map(|hit| hit.ready).collect::<Vec<_>>(),
            [false, true]
        );
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let index = Index::default();
        assert!(search(&index, "people", &as_listed(), 9).is_empty());
        assert!(search(&super::tests::index(), "people", &as_listed(), 0).is_empty());
    }
}
