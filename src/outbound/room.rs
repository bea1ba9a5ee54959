//! Which connection makes room for another, where there are as many as may be.
//!
//! A user who is known may have three quarters of the room, so that others find some.
//! Beyond that, who has the most gives up the one that was not asked for the longest
//! time, if nobody needs it: what a user's connection keeps can be had again, and what a
//! session's keeps is given up for somebody who has less.

use std::{cmp::Reverse, collections::HashMap};

use tokio::time::Instant;

use super::Failure;
use crate::protocol::SubjectKey;

/// A connection that has a place.
#[derive(Debug)]
pub(super) struct Place<K> {
    /// Which one it is.
    pub(super) key: K,
    /// In whose share it is; those of whom nothing is known are one.
    pub(super) subject: Option<SubjectKey>,
    /// Whether the child may keep something for its client that is lost with it.
    pub(super) keeps_state: bool,
    /// Whether a call needs it now.
    pub(super) is_needed: bool,
    pub(super) asked_for: Instant,
}

/// Which of these makes room for one more of this subject's; `None`: there is room.
///
/// # Errors
///
/// `busy`, where none can.
pub(super) fn made_for<K>(
    subject: Option<&SubjectKey>,
    most: usize,
    taken: Vec<Place<K>>,
) -> Result<Option<K>, Failure> {
    let mut shares: HashMap<Option<&SubjectKey>, usize> = HashMap::new();
    for place in &taken {
        *shares.entry(place.subject.as_ref()).or_default() += 1;
    }
    let own_share = shares.get(&subject).copied().unwrap_or(0);
    let most_of_one = match subject {
        Some(_) => (most * 3 / 4).max(1),
        None => most,
    };
    let is_over_share = own_share >= most_of_one;
    let is_full = taken.len() >= most;
    if !is_over_share && !is_full {
        return Ok(None);
    }
    let share = |place: &Place<K>| shares.get(&place.subject.as_ref()).copied();
    let may_go = |place: &&Place<K>| {
        let is_its = place.subject.as_ref() == subject;
        let is_fair = match place.keeps_state {
            false => !is_over_share || is_its,
            true => !is_over_share && !is_its && share(place) > Some(own_share + 1),
        };
        is_fair && !place.is_needed
    };
    let candidates = taken.iter().enumerate().filter(|(_, place)| may_go(place));
    let chosen = candidates.max_by_key(|(_, place)| (share(place), Reverse(place.asked_for)));
    let chosen = chosen.map(|(at, _)| at);
    let count = taken.len();
    let chosen = chosen.and_then(|at| taken.into_iter().nth(at));
    match chosen {
        Some(place) => Ok(Some(place.key)),
        None if is_full => Err(Failure::busy(format!(
            "gives each client session a connection of its own, and {count} sessions have one \
             already"
        ))),
        None => Err(Failure::busy(format!(
            "gives clients connections of their own, and this user has {own_share} already"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::protocol::Subject;

    fn subject(sub: &str) -> SubjectKey {
        Subject {
            sub: sub.into(),
            ..Subject::default()
        }
        .key()
    }

    /// Places by their numbers, the oldest first.
    fn taken(of: &[&str], keeps_state: bool, needed: &[usize]) -> Vec<Place<usize>> {
        let now = Instant::now();
        let places = of.iter().enumerate().map(|(key, sub)| Place {
            key,
            subject: Some(subject(sub)),
            keeps_state,
            is_needed: needed.contains(&key),
            asked_for: now + Duration::from_secs(key as u64),
        });
        places.collect()
    }

    fn made(sub: &str, most: usize, taken: Vec<Place<usize>>) -> Result<Option<usize>, String> {
        made_for(Some(&subject(sub)), most, taken).map_err(|failure| failure.reason)
    }

    #[test]
    fn nobody_who_is_known_has_more_than_three_quarters() {
        for (most, share) in [(1, 1), (2, 1), (4, 3), (32, 24)] {
            let before = taken(&vec!["a"; share - 1], true, &[]);
            assert_eq!(made("a", most, before), Ok(None), "{most}");
            let before = taken(&vec!["a"; share], true, &[]);
            assert!(made("a", most, before).is_err(), "{most}");
        }
        let anybody = |count: usize| {
            let mut places = taken(&vec!["a"; count], true, &[]);
            places.iter_mut().for_each(|place| place.subject = None);
            made_for(None, 4, places).is_ok()
        };
        assert!(anybody(3) && !anybody(4));
    }

    #[test]
    fn who_has_the_most_gives_up_what_was_not_asked_for_the_longest() {
        let places = || ["b", "a", "a", "a"];
        assert_eq!(made("c", 4, taken(&places(), true, &[])), Ok(Some(1)));
        assert_eq!(made("c", 4, taken(&places(), true, &[1, 2])), Ok(Some(3)));
        let needed = taken(&places(), true, &[1, 2, 3]);
        assert!(made("c", 4, needed).unwrap_err().contains("4 sessions"));
    }

    #[test]
    fn what_a_session_keeps_is_given_up_for_who_has_less_alone() {
        assert!(made("c", 2, taken(&["a", "b"], true, &[])).is_err());
        assert_eq!(made("c", 2, taken(&["a", "b"], false, &[])), Ok(Some(0)));
        assert!(made("b", 4, taken(&["b", "b", "a", "a"], true, &[])).is_err());
    }
}
