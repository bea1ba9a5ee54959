//! What a search costs: in a catalog much larger than most, as one client after the
//! other asks.

use std::{hint::black_box, time::Instant};

use clap::Args;
use mcp_multiplexer::{
    catalog::{
        Listing, Offer,
        search::{Filters, Index, Source, Synonyms},
    },
    protocol::ChildName,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::web::Error;

/// Measures the search for tools.
#[derive(Args, Debug)]
pub struct Search {
    /// How many tools there are.
    #[arg(long, default_value_t = 10_000)]
    tools: usize,
    /// How often every question is asked.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
}

#[derive(Deserialize)]
struct Child {
    name: String,
    description: String,
    tools: Vec<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Question {
    question: String,
}

impl Search {
    /// Prints how long the index takes to build, and a question to be answered.
    pub fn run(&self) -> Result<(), Error> {
        let fleet: Vec<Child> =
            serde_json::from_str(include_str!("../../tests/data/fleet57.json"))?;
        let questions: Vec<Question> =
            serde_json::from_str(include_str!("../../tests/data/questions.json"))?;
        let mut children = Vec::new();
        let mut missing = self.tools;
        // The same children again and again, under other names.
        for (copy, child) in (0..).flat_map(|copy| fleet.iter().map(move |it| (copy, it))) {
            if missing == 0 {
                break;
            }
            let tools: Vec<_> = child
                .tools
                .iter()
                .take(missing)
                .map(|it| it.get())
                .collect();
            missing -= tools.len();
            let json = format!(r#"{{"completes":false,"tools":[{}]}}"#, tools.join(","));
            let listing = Listing::read(&json).ok_or("the fleet cannot be read")?;
            let name: ChildName = format!("{}-{copy}", child.name).into();
            children.push((name, child.description.as_str(), listing));
        }
        let sources: Vec<_> = children
            .iter()
            .map(|(child, about, listing)| Source {
                offer: Offer {
                    child,
                    prefix: child.as_str(),
                    enabled: true,
                    listing: Some(listing),
                },
                about,
            })
            .collect();
        let started = Instant::now();
        let index = Index::build(&sources, 64);
        let built = started.elapsed();
        let synonyms = Synonyms::default();
        let mut taken = Vec::with_capacity(self.rounds * questions.len());
        for _ in 0..self.rounds {
            for Question { question } in &questions {
                let started = Instant::now();
                black_box(index.search(black_box(question), &synonyms, &Filters::default(), 5));
                taken.push(started.elapsed());
            }
        }
        taken.sort_unstable();
        let percentile = |percent: usize| taken.get(taken.len() * percent / 100);
        println!("{} tools, indexed in {built:.1?}", index.tools().len());
        if let (Some(p50), Some(p99)) = (percentile(50), percentile(99)) {
            println!("a search: p50 {p50:.1?}, p99 {p99:.1?}, of {}", taken.len());
        }
        Ok(())
    }
}
