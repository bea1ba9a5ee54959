//! Finding a tool among six hundred: what is asked in `tests/data/questions.json` is
//! found in the fleet of `tests/data/fleet57.json`.
//!
//! A third of the questions is held out: it is not looked at while the search is tuned.
//! `SEARCH_TUNING=1` leaves it out.

use std::{
    collections::HashSet,
    env,
    io::{self, Write as _},
};

use heck::ToSnakeCase;
use mcp_multiplexer::{
    catalog::{
        Listing, Offer,
        cost::{self, Cost, Tokenizer},
        search::{Filters, Index, Source, Synonyms},
    },
    protocol::ChildName,
};
use rust_stemmers::{Algorithm, Stemmer};
use serde::Deserialize;
use serde_json::value::RawValue;

const MAX_NAME_LENGTH: usize = 64;

#[derive(Deserialize)]
struct Question {
    question: String,
    /// Tools that answer it equally well, as `child/tool`.
    answers: Vec<String>,
    held_out: bool,
}

/// A child as the data has it.
#[derive(Deserialize)]
struct Described {
    name: String,
    description: String,
    tools: Vec<Box<RawValue>>,
}

/// How often the right tool stood first, and among the first five.
#[derive(Default)]
struct Recall {
    asked: usize,
    first: usize,
    among_five: usize,
}

/// Past the capture of a test that passes: this is to be read.
macro_rules! show {
    ($($told:tt)*) => {{
        let told = format!($($told)*);
        let _ = writeln!(io::stdout().lock(), "{told}");
    }};
}

impl Recall {
    fn count(&mut self, rank: Option<usize>) {
        self.asked += 1;
        self.first += usize::from(rank == Some(0));
        self.among_five += usize::from(rank.is_some_and(|rank| rank < 5));
    }

    fn print(&self, of: &str) {
        show!(
            "{of:<28} {:>4} questions  recall@1 {:.3}  recall@5 {:.3}",
            self.asked,
            self.first as f64 / self.asked as f64,
            self.among_five as f64 / self.asked as f64
        );
    }

    fn assert_at_least(&self, of: &str, first: usize, among_five: usize) {
        let percent = |count: usize| count * 100 / self.asked;
        assert!(percent(self.first) >= first, "recall@1 of {of}");
        assert!(percent(self.among_five) >= among_five, "recall@5 of {of}");
    }
}

fn fleet() -> Vec<(ChildName, String, Listing)> {
    let fleet: Vec<Described> =
        serde_json::from_str(include_str!("data/fleet57.json")).expect("a fleet");
    let listing = |child: &Described| {
        let tools: Vec<_> = child.tools.iter().map(|tool| tool.get()).collect();
        let json = format!(r#"{{"completes":false,"tools":[{}]}}"#, tools.join(","));
        Listing::read(&json).expect("a listing")
    };
    fleet
        .iter()
        .map(|it| (it.name.as_str().into(), it.description.clone(), listing(it)))
        .collect()
}

fn offer((child, _, listing): &(ChildName, String, Listing)) -> Offer<'_> {
    Offer {
        child,
        prefix: child.as_str(),
        enabled: true,
        listing: Some(listing),
    }
}

fn index(fleet: &[(ChildName, String, Listing)]) -> Index {
    let sources: Vec<_> = fleet
        .iter()
        .map(|it| Source {
            offer: offer(it),
            about: &it.1,
        })
        .collect();
    Index::build(&sources, MAX_NAME_LENGTH)
}

fn questions() -> Vec<Question> {
    serde_json::from_str(include_str!("data/questions.json")).expect("questions")
}

#[test]
fn what_is_asked_for_is_found() {
    let fleet = fleet();
    let index = index(&fleet);
    assert_eq!((fleet.len(), index.tools().len()), (57, 600));
    let synonyms = Synonyms::default();
    let questions = questions();
    let tuning = env::var_os("SEARCH_TUNING").is_some();
    let (mut all, mut held_out) = (Recall::default(), Recall::default());
    for question in questions.iter().filter(|it| !(tuning && it.held_out)) {
        let hits = index.search(&question.question, &synonyms, &Filters::default(), 5);
        let right: HashSet<String> = question
            .answers
            .iter()
            .map(|answer| answer.replacen('/', "__", 1))
            .collect();
        let rank = hits
            .iter()
            .position(|hit| right.contains(hit.tool.name.as_str()));
        all.count(rank);
        if question.held_out {
            held_out.count(rank);
        }
        if rank != Some(0) {
            let found: Vec<_> = hits
                .iter()
                .map(|hit| format!("{} {:.1}", hit.tool.name, hit.score))
                .collect();
            show!(
                "{}{} → {}\n    {}",
                rank.map_or("missing: ".to_owned(), |rank| format!("at {}: ", rank + 1)),
                question.question,
                question.answers.join(" or "),
                found.join(", ")
            );
        }
    }
    all.print("all");
    all.assert_at_least("all", 80, 95);
    if !tuning {
        held_out.print("held out");
        held_out.assert_at_least("those held out", 80, 95);
    }
}

#[test]
fn half_of_the_questions_share_no_word_with_the_name_of_the_tool() {
    let stemmer = Stemmer::create(Algorithm::English);
    let stems = |text: &str| -> HashSet<String> {
        let words = text.to_snake_case();
        let stems = words.split('_').map(|word| stemmer.stem(word).into_owned());
        stems.filter(|stem| !stem.is_empty()).collect()
    };
    let questions = questions();
    let strange = questions.iter().filter(|it| {
        let asked = stems(&it.question);
        let names = it.answers.iter().filter_map(|it| it.split_once('/'));
        names
            .map(|(_, tool)| stems(tool))
            .all(|name| name.is_disjoint(&asked))
    });
    let strange = strange.count();
    show!(
        "{strange} of {} share no word with the name",
        questions.len()
    );
    assert!(questions.len() >= 120 && strange * 2 >= questions.len());
    let held_out = questions.iter().filter(|it| it.held_out).count();
    assert_eq!(held_out, questions.len() / 3);
}

#[test]
fn what_the_list_of_the_fleet_costs_is_told_by_child() {
    let fleet = fleet();
    let offers: Vec<_> = fleet.iter().map(offer).collect();
    let costs = cost::of_tools(&offers, MAX_NAME_LENGTH, &Tokenizer::load());
    let total: Cost = costs.iter().map(|(_, cost)| *cost).sum();
    show!(
        "the whole list: {} bytes, {} tokens",
        total.bytes,
        total.tokens
    );
    assert_eq!(costs.len(), 57);
    assert!(
        costs
            .iter()
            .all(|(_, cost)| 0 < cost.tokens && cost.tokens < cost.bytes)
    );
    // A tokenizer of lists of tools takes three to six bytes for a token.
    assert!((3..6).contains(&(total.bytes / total.tokens)));
}
