//! The scenarios for servers: against a fixture that has all they ask for, alone, and
//! through the multiplexer. What passes alone is not to be lost on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    io::{self, Write as _},
};

use serde_json::json;

use super::known::KNOWN;
use crate::{
    peers::{
        conformance::{Checks, Suite},
        fixture,
    },
    support::{Door, Fleet, Multiplexer},
};

/// What is run: the suite, the end of its command line, and how many checks pass of a
/// server that passes all.
const RUNS: [(Suite, &[&str], u32); 4] = [
    (Suite::Stable, &[], 46),
    (Suite::Next, &["--spec-version", "2025-11-25"], 83),
    (Suite::Next, &["--spec-version", "2026-07-28"], 153),
    // Each scenario at the newest version it is for; and the extensions, which stand on
    // no version's time line.
    (Suite::Next, &[], 275),
];

/// What one target made of all runs: the checks by run and scenario.
type Results = BTreeMap<(usize, String), Checks>;

#[tokio::test]
async fn nothing_that_conforms_alone_is_lost_through_the_multiplexer() {
    let (alone, remote) = tokio::join!(fixture::over_http(), fixture::over_http());
    let (by_http, by_stdio) = tokio::join!(
        in_front_of(json!({"url": remote.mcp(), "prefix": ""})),
        in_front_of(json!({"command": fixture::program(), "args": ["stdio"], "prefix": ""})),
    );

    let direct = results(&alone.mcp()).await;
    let through = [
        ("HTTP", results(&by_http.url()).await),
        ("stdio", results(&by_stdio.url()).await),
    ];

    show(&table(&direct, &through));
    for (run, (suite, words, all)) in RUNS.iter().enumerate() {
        let checks = || direct.range((run, String::new())..(run + 1, String::new()));
        let passed: u32 = checks().map(|(_, checks)| checks.passed()).sum();
        let failed: u32 = checks().map(|(_, checks)| checks.failed()).sum();
        assert_eq!(
            (passed, failed),
            (*all, 0),
            "the fixture alone: {suite:?} {words:?}"
        );
    }
    let lost: Vec<(&str, BTreeSet<Lost>)> = through
        .iter()
        .map(|(name, results)| (*name, lost(&direct, results)))
        .collect();
    let mut faults = String::new();
    for (name, lost) in &lost {
        for Lost { scenario, check } in lost.iter().filter(|lost| !lost.is_known()) {
            let _ = writeln!(faults, "lost with a child over {name}: {scenario} {check}");
        }
    }
    let is_lost = |wanted: &Lost| lost.iter().any(|(_, lost)| lost.contains(wanted));
    for (scenario, checks, _) in KNOWN {
        for check in *checks {
            if !is_lost(&Lost::new(scenario, check)) {
                let _ = writeln!(faults, "no longer lost: {scenario} {check}");
            }
        }
    }
    assert!(faults.is_empty(), "{faults}");
}

/// A multiplexer with the fixture as its one child.
async fn in_front_of(entry: serde_json::Value) -> Multiplexer {
    let multiplexer = Fleet::new().entry("fixture", entry).over(Door::Http).await;
    multiplexer.all_ready().await;
    multiplexer
}

/// One run after the other: the suite has time limits of its own.
async fn results(url: &str) -> Results {
    let mut results = Results::new();
    for (run, (suite, words, _)) in RUNS.iter().enumerate() {
        let scenarios = suite.servers(url, words).await;
        results.extend(
            scenarios
                .into_iter()
                .map(|(name, checks)| ((run, name), checks)),
        );
    }
    results
}

/// A check that passes alone and not through the multiplexer.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Lost {
    scenario: String,
    check: String,
}

impl Lost {
    fn new(scenario: &str, check: &str) -> Self {
        Self {
            scenario: scenario.to_owned(),
            check: check.to_owned(),
        }
    }

    fn is_known(&self) -> bool {
        KNOWN.iter().any(|(scenario, checks, _)| {
            *scenario == self.scenario && checks.contains(&self.check.as_str())
        })
    }
}

fn lost(direct: &Results, through: &Results) -> BTreeSet<Lost> {
    let none = Checks::default();
    let mut lost = BTreeSet::new();
    for (run, checks) in direct {
        let after = through.get(run).unwrap_or(&none);
        for (check, before) in &checks.0 {
            let after = after.0.get(check).copied().unwrap_or_default();
            if after.passed < before.passed || after.failed > before.failed {
                lost.insert(Lost::new(&run.1, check));
            }
        }
        for check in after
            .0
            .keys()
            .filter(|check| !checks.0.contains_key(*check))
        {
            if after.0[check].failed > 0 {
                lost.insert(Lost::new(&run.1, check));
            }
        }
    }
    lost
}

/// Passed and failed checks, by scenario and target, and their sum for each run.
fn table(direct: &Results, through: &[(&str, Results); 2]) -> String {
    let mut table = String::new();
    let columns = [direct, &through[0].1, &through[1].1];
    for (run, (suite, words, _)) in RUNS.iter().enumerate() {
        let title = format!("{suite:?} {}", words.join(" "));
        let head = format!(
            "\n{title:<48}{:>11}{:>11}{:>11}\n",
            "alone", "HTTP", "stdio"
        );
        table.push_str(&head);
        let mut sums = [(0, 0); 3];
        let of_this_run = direct.keys().filter(|(at, _)| *at == run);
        for key in of_this_run {
            let _ = write!(table, "{:<48}", key.1);
            for (column, sum) in columns.iter().zip(&mut sums) {
                let checks = column.get(key);
                let counts = checks.map_or((0, 0), |checks| (checks.passed(), checks.failed()));
                *sum = (sum.0 + counts.0, sum.1 + counts.1);
                let _ = write!(table, "{:>11}", format!("{}/{}", counts.0, counts.1));
            }
            table.push('\n');
        }
        let _ = write!(table, "{:<48}", "all");
        for (passed, failed) in sums {
            let _ = write!(table, "{:>11}", format!("{passed}/{failed}"));
        }
        table.push('\n');
    }
    table
}

/// Past the capture of a test that passes: this is to be read.
fn show(table: &str) {
    let _ = io::stdout().lock().write_all(table.as_bytes());
}
