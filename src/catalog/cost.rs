//! What a list costs the client that reads it.

use std::{collections::HashSet, iter::Sum, ops::Add};

use serde::{Deserialize, Serialize};

use super::Offer;
use crate::protocol::{ChildName, PublicName};

/// The size of a part of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Its bytes.
    pub bytes: usize,
    /// The tokens a model reads it as. Each has a tokenizer of its own, so this is an
    /// estimate.
    pub tokens: usize,
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes + other.bytes,
            tokens: self.tokens + other.tokens,
        }
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::default(), Add::add)
    }
}

/// Counts tokens. It is some twenty megabytes large and takes a tenth of a second to
/// make: make it beside the requests, and let go of it.
pub struct Tokenizer {
    #[cfg(feature = "tokenizer")]
    cl100k: Option<tiktoken_rs::CoreBPE>,
}

impl Tokenizer {
    /// The one of GPT-4, cl100k, whose counts are near those of the others in use.
    /// Without the feature `tokenizer` one that knows the mean only.
    pub fn load() -> Self {
        Self {
            #[cfg(feature = "tokenizer")]
            cl100k: tiktoken_rs::cl100k_base().ok(),
        }
    }

    /// What a text costs.
    pub fn cost(&self, text: &str) -> Cost {
        Cost {
            bytes: text.len(),
            tokens: self.tokens(text),
        }
    }

    fn tokens(&self, text: &str) -> usize {
        #[cfg(feature = "tokenizer")]
        if let Some(cl100k) = &self.cl100k {
            return cl100k.count_ordinary(text);
        }
        // The mean of lists of tools.
        (text.len() * 10).div_ceil(46)
    }
}

/// What one tool costs in a list.
#[derive(Clone, Debug)]
pub struct ToolCost<'a> {
    /// What clients call it.
    pub name: PublicName,
    /// Whose it is.
    pub child: &'a ChildName,
    /// With the comma after it.
    pub cost: Cost,
}

/// What each tool costs in a list, in the order of the offers.
pub fn by_tool<'a>(
    offers: &[Offer<'a>],
    max_name_length: usize,
    tokenizer: &Tokenizer,
) -> Vec<ToolCost<'a>> {
    let mut taken = HashSet::new();
    let mut costs = Vec::new();
    let mut text = Vec::new();
    for offer in offers {
        for (name, entry) in offer.named_tools(max_name_length) {
            if !taken.insert(name.clone()) {
                continue;
            }
            text.clear();
            entry.write_as(name.as_str(), &mut text);
            // Its comma, or the bracket after the last one.
            text.push(b',');
            costs.push(ToolCost {
                name,
                child: offer.child,
                cost: tokenizer.cost(&String::from_utf8_lossy(&text)),
            });
        }
    }
    costs
}

/// What the tools of each child cost in a list, in the order of the offers.
pub fn of_tools<'a>(
    offers: &[Offer<'a>],
    max_name_length: usize,
    tokenizer: &Tokenizer,
) -> Vec<(&'a ChildName, Cost)> {
    let tools = by_tool(offers, max_name_length, tokenizer);
    let of = |child: &ChildName| {
        let its_own = tools.iter().filter(|tool| tool.child == child);
        its_own.map(|tool| tool.cost).sum()
    };
    offers
        .iter()
        .map(|offer| (offer.child, of(offer.child)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{super::Listing, *};

    fn costs(tools: [&str; 2]) -> Vec<Cost> {
        let children: [ChildName; 2] = ["one".into(), "two".into()];
        let lists = tools.map(|tools| {
            Listing::read(&format!(r#"{{"completes":false,"tools":[{tools}]}}"#)).unwrap()
        });
        let offers: Vec<_> = children
            .iter()
            .zip(&lists)
            .map(|(child, listing)| Offer {
                child,
                prefix: "p",
                enabled: true,
                listing: Some(listing),
            })
            .collect();
        let costs = of_tools(&offers, 42, &Tokenizer::load());
        costs.into_iter().map(|(_, cost)| cost).collect()
    }

    #[test]
    fn a_tool_costs_what_a_client_sees_of_it() {
        let costs = costs([
            r#"{"name":"a"},{"name":"b"}"#,
            r#"{"name":"a"},{"name":"c"}"#,
        ]);
        let one = r#"{"name":"p__a"},"#.len();
        let bytes: Vec<_> = costs.iter().map(|cost| cost.bytes).collect();
        assert_eq!(
            bytes,
            [2 * one, one],
            "the name that is taken is not listed"
        );
        assert!(costs[0].tokens > costs[1].tokens && costs[1].tokens > 1);
    }

    #[test]
    fn a_tokenizer_counts_words_and_not_letters() {
        let tokenizer = Tokenizer::load();
        assert_eq!(tokenizer.cost("").tokens, 0);
        let text = "Search for the issues of a repository. ".repeat(100);
        let tokens = tokenizer.cost(&text).tokens;
        assert!((700..1_000).contains(&tokens), "{tokens}");
    }
}
