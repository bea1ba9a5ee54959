//! What a child was asked of late, and how that went: for who looks at it, not for a
//! time series database.
//!
//! No clock ticks for it: a count finds its slot when something is counted or read.

use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use serde::Serialize;

use super::Outcome;
use crate::protocol::ChildName;

/// What one slot stands for.
const SLOT: Duration = Duration::from_secs(10);
/// How many there are: ten minutes.
pub const SLOTS: usize = 60;
/// The calls, and the errors, that a slot can count; then it stays there.
const MOST: u64 = (1 << 20) - 1;

/// Slots are numbered from here on. Number 0 is nobody's: so is a slot never used.
static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
/// By the name in the configuration, as the series are: a child that is exchanged, and
/// the sessions' own connections to it, are counted as one.
static TALLIES: LazyLock<DashMap<ChildName, Arc<Tally>>> = LazyLock::new(DashMap::new);

/// The requests of one child.
#[derive(Debug)]
pub struct Tally {
    /// Number of the slot, errors and calls of each, packed so that all change at once.
    slots: [AtomicU64; SLOTS],
    calls: AtomicU64,
    errors: AtomicU64,
    last_failure: ArcSwapOption<LastFailure>,
}

/// The last time that a child failed somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LastFailure {
    /// Unix time in seconds.
    pub at: u64,
    /// The kind, in the words of the metrics.
    pub kind: &'static str,
    /// What happened, in words for operators.
    pub reason: String,
    /// The child's own name for the tool that was called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

/// Requests by slots of ten seconds, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// The number of the last slot, the one that is being filled.
    pub slot: u64,
    /// Requests that ended in each.
    pub calls: Vec<u64>,
    /// Those of them that failed.
    pub errors: Vec<u64>,
}

impl Tally {
    /// That of the child of this name.
    pub(super) fn of(child: &ChildName) -> Arc<Self> {
        // Before anything is counted.
        LazyLock::force(&BEGAN);
        Arc::clone(&TALLIES.entry(child.clone()).or_default())
    }

    pub(super) fn count(&self, outcome: Outcome) {
        self.count_in(now(), is_error(outcome));
    }

    fn count_in(&self, slot: u64, error: bool) {
        let error = u64::from(error);
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.errors.fetch_add(error, Ordering::Relaxed);
        let place = &self.slots[index(slot)];
        let _ = place.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            let (of, errors, calls) = unpacked(packed);
            let (errors, calls) = if of == slot { (errors, calls) } else { (0, 0) };
            Some(pack(
                slot,
                (errors + error).min(MOST),
                (calls + 1).min(MOST),
            ))
        });
    }

    pub(super) fn failed(&self, kind: Outcome, reason: String, tool: Option<String>) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.last_failure.store(Some(Arc::new(LastFailure {
            at: now.map_or(0, |now| now.as_secs()),
            kind: kind.as_str(),
            reason,
            tool,
        })));
    }

    /// Requests that ended since the start of the process, and those that failed.
    pub fn totals(&self) -> (u64, u64) {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (read(&self.calls), read(&self.errors))
    }

    /// The last failure, unless there was none.
    pub fn last_failure(&self) -> Option<Arc<LastFailure>> {
        self.last_failure.load_full()
    }

    /// The last slots, so many of them.
    pub fn activity(&self, slots: usize) -> Activity {
        self.activity_until(now(), slots)
    }

    fn activity_until(&self, last: u64, slots: usize) -> Activity {
        let slots = slots.min(SLOTS) as u64;
        let counted = (0..slots).rev().map(|back| match last.checked_sub(back) {
            None | Some(0) => (0, 0),
            Some(slot) => match unpacked(self.slots[index(slot)].load(Ordering::Relaxed)) {
                (of, errors, calls) if of == slot => (calls, errors),
                _ => (0, 0),
            },
        });
        let (calls, errors) = counted.unzip();
        Activity {
            slot: last,
            calls,
            errors,
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            slots: [const { AtomicU64::new(0) }; SLOTS],
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            last_failure: ArcSwapOption::empty(),
        }
    }
}

/// Whether a client did not get what it asked for, and still wanted it.
fn is_error(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Ok | Outcome::Cancelled)
}

fn now() -> u64 {
    1 + BEGAN.elapsed().as_secs() / SLOT.as_secs()
}

fn index(slot: u64) -> usize {
    (slot % SLOTS as u64) as usize
}

fn pack(slot: u64, errors: u64, calls: u64) -> u64 {
    (slot << 40) | (errors << 20) | calls
}

fn unpacked(packed: u64) -> (u64, u64, u64) {
    (packed >> 40, (packed >> 20) & MOST, packed & MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_comes_round_again_begins_anew() {
        let tally = Tally::default();
        for slot in [1, 1, 2, 61] {
            tally.count_in(slot, slot == 2);
        }

        let activity = tally.activity_until(61, 60);

        assert_eq!(activity.slot, 61);
        assert_eq!(activity.calls.len(), 60);
        assert_eq!(activity.calls[0], 1, "slot 2, which is the oldest");
        assert_eq!(activity.errors[0], 1);
        assert_eq!(activity.calls[59], 1, "slot 61, in the place of slot 1");
        assert_eq!(activity.calls.iter().sum::<u64>(), 2);
        assert_eq!(tally.totals(), (4, 1));
    }

    #[test]
    fn what_was_counted_long_ago_is_not_shown_as_new() {
        let tally = Tally::default();
        tally.count_in(3, false);
        assert_eq!(tally.activity_until(3, 2).calls, [0, 1]);
        assert_eq!(tally.activity_until(4, 2).calls, [1, 0]);
        assert_eq!(tally.activity_until(63, 60).calls, [0; 60]);
    }

    #[test]
    fn a_slot_that_is_full_stays_full() {
        let tally = Tally::default();
        tally.slots[index(5)].store(pack(5, MOST, MOST), Ordering::Relaxed);
        tally.count_in(5, true);
        let activity = tally.activity_until(5, 1);
        assert_eq!((activity.calls[0], activity.errors[0]), (MOST, MOST));
    }

    #[test]
    fn a_call_that_was_taken_back_is_no_error() {
        let tally = Tally::default();
        for outcome in Outcome::ALL {
            tally.count(outcome);
        }
        assert_eq!(tally.totals(), (12, 10));
    }
}
