//! Every call that was made, counted as the multiplexer has to have counted it, and
//! held against what was being done to its child.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fmt,
    time::Instant,
};

use crate::{figures::Figures, support::metrics::Metrics};

/// What is done to a child.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Trouble {
    /// Ended with SIGKILL.
    Killed,
    /// Stopped, and continued or killed later.
    Hung,
    /// Ended with SIGTERM.
    Restarted,
    /// Ended, and back in the other era.
    Upgraded,
    /// Its entry in the config is another one.
    Reconfigured,
    /// Its connections are cut, or its sessions and streams are lost.
    Cut,
    /// It answers what is no answer, or somebody else's, or an error, or twice.
    Lying,
}

impl Trouble {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Killed,
        Self::Hung,
        Self::Restarted,
        Self::Upgraded,
        Self::Reconfigured,
        Self::Cut,
        Self::Lying,
    ];

    /// What a call may be told that met this, beside `ok`.
    fn words(self) -> &'static [&'static str] {
        match self {
            Self::Killed | Self::Restarted | Self::Cut => {
                &["transport", "unavailable", "circuit_open"]
            }
            // The child's own refusal of what it does not speak any more.
            Self::Upgraded => &["transport", "unavailable", "circuit_open", "rpc_error"],
            Self::Hung => &[
                "timeout",
                "busy",
                "transport",
                "unavailable",
                "circuit_open",
            ],
            Self::Lying => &[
                "protocol",
                "unauthorized",
                "rpc_error",
                "timeout",
                "busy",
                "transport",
                "unavailable",
                "circuit_open",
            ],
            // The next one is there before this one goes.
            Self::Reconfigured => &[],
        }
    }
}

/// A time of trouble; it has no end yet, or had one.
struct Spell {
    trouble: Trouble,
    began: Instant,
    ended: Option<Instant>,
}

/// The books.
#[derive(Default)]
pub struct Ledger {
    counts: RefCell<BTreeMap<(String, String), u64>>,
    spells: RefCell<HashMap<String, Vec<Spell>>>,
    complaints: RefCell<Vec<String>>,
    answered: RefCell<Figures>,
}

impl Ledger {
    /// From now on this child is in trouble.
    pub fn begins(&self, child: &str, trouble: Trouble) {
        let spell = Spell {
            trouble,
            began: Instant::now(),
            ended: None,
        };
        let mut spells = self.spells.borrow_mut();
        spells.entry(child.to_owned()).or_default().push(spell);
    }

    /// From now on it is not.
    pub fn ends(&self, child: &str) {
        let mut spells = self.spells.borrow_mut();
        let last = spells.get_mut(child).and_then(|spells| spells.last_mut());
        last.expect("a child in trouble").ended = Some(Instant::now());
    }

    /// A call that began then has just been answered with this word.
    pub fn note(&self, child: &str, began: Instant, word: &str, frame: &str) {
        let mut counts = self.counts.borrow_mut();
        *counts
            .entry((child.to_owned(), word.to_owned()))
            .or_default() += 1;
        if word == "ok" {
            return self.answered.borrow_mut().note(began.elapsed());
        }
        let spells = self.spells.borrow();
        let met: Vec<&Spell> = spells
            .get(child)
            .into_iter()
            .flatten()
            .filter(|spell| spell.ended.is_none_or(|ended| ended >= began))
            .collect();
        if !met
            .iter()
            .any(|spell| spell.trouble.words().contains(&word))
        {
            let met: Vec<String> = met
                .iter()
                .map(|spell| format!("{:?} since {:?}", spell.trouble, spell.began.elapsed()))
                .collect();
            let took = began.elapsed();
            self.complain(format!("{child} {met:?}: {word} after {took:?}: {frame}"));
        }
    }

    /// Something that must not be.
    pub fn complain(&self, what: String) {
        self.complaints.borrow_mut().push(what);
    }

    /// What must not have been, at most as much of it as a person reads.
    pub fn complaints(&self) -> Vec<String> {
        let complaints = self.complaints.borrow();
        let shown = complaints.iter().take(20).cloned();
        let more = complaints.len().saturating_sub(20);
        shown
            .chain((more > 0).then(|| format!("and {more} more")))
            .collect()
    }

    /// Whether `/metrics` has counted the same, no call more and none less.
    pub fn differences(&self, metrics: &Metrics) -> Vec<String> {
        let mut counted = BTreeMap::new();
        for (labels, value) in metrics.all("requests_total") {
            let label = |name: &str| labels.get(name).cloned().unwrap_or_default();
            if label("method") == "tools/call" && value > 0.0 {
                *counted
                    .entry((label("child"), label("outcome")))
                    .or_default() += value as u64;
            }
        }
        let counts = self.counts.borrow();
        let keys = counts.keys().chain(counted.keys());
        let mut differences: Vec<String> = keys
            .filter(|key| counts.get(key) != counted.get(key))
            .map(|key| format!("{key:?}: {:?}, not {:?}", counted.get(key), counts.get(key)))
            .collect();
        differences.dedup();
        differences
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words: BTreeMap<String, u64> = BTreeMap::new();
        for ((_, word), count) in self.counts.borrow().iter() {
            *words.entry(word.clone()).or_default() += count;
        }
        let mut troubles: BTreeMap<Trouble, u64> = BTreeMap::new();
        for spell in self.spells.borrow().values().flatten() {
            *troubles.entry(spell.trouble).or_default() += 1;
        }
        let answered = self.answered.borrow();
        write!(
            f,
            "troubles {troubles:?}, answers {words:?}; ok: {answered}"
        )
    }
}
