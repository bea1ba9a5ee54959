//! What one client has loaded.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::protocol::PublicName;

/// Tools that one session may have loaded.
const MOST: usize = 1_000;
/// How long their names may be in all, in bytes: seen alone a child's are as long as it
/// makes them, and there may be many sessions.
const LONGEST: usize = 128 << 10;

/// The tools that one session has loaded, by name only: what they are is looked up when
/// they are listed, so that they follow their children.
#[derive(Debug, Default)]
pub(in crate::inbound) struct Loaded(Mutex<HashSet<PublicName>>);

/// There would be too many.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Loaded {
    /// Adds all of them or, if they would be too many, none; gives those that are new.
    pub(super) fn add(&self, names: &[PublicName]) -> Result<Vec<PublicName>, TooMany> {
        let mut all = self.lock();
        let mut new: Vec<PublicName> = Vec::new();
        for name in names {
            if !all.contains(name) && !new.contains(name) {
                new.push(name.clone());
            }
        }
        let length = |names: &mut dyn Iterator<Item = &PublicName>| -> usize {
            names.map(|name| name.as_str().len()).sum()
        };
        let long = length(&mut all.iter().chain(&new)) > LONGEST;
        if long || all.len() + new.len() > MOST {
            return Err(TooMany);
        }
        all.extend(new.iter().cloned());
        Ok(new)
    }

    /// Takes all of them away or, if some are not there, none.
    ///
    /// # Errors
    ///
    /// Those that are not there.
    pub(super) fn remove(&self, names: &[String]) -> Result<(), Vec<String>> {
        let mut all = self.lock();
        let missing = names.iter().filter(|name| !all.contains(name.as_str()));
        let missing: Vec<String> = missing.cloned().collect();
        if !missing.is_empty() {
            return Err(missing);
        }
        for name in names {
            all.remove(name.as_str());
        }
        Ok(())
    }

    /// All of them.
    pub(super) fn all(&self) -> HashSet<PublicName> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<PublicName>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(range: std::ops::Range<usize>) -> Vec<PublicName> {
        range.map(|n| format!("t{n}").into()).collect()
    }

    #[test]
    fn all_or_nothing_is_loaded() {
        let loaded = Loaded::default();
        assert_eq!(loaded.add(&names(0..MOST)).unwrap().len(), MOST);
        assert_eq!(loaded.add(&names(MOST - 1..MOST + 1)), Err(TooMany));
        assert_eq!(loaded.all().len(), MOST);
        assert_eq!(loaded.add(&names(0..2)), Ok(vec![]));
    }

    #[test]
    fn long_names_are_sooner_too_many() {
        let loaded = Loaded::default();
        let long = |n: usize| PublicName::from(format!("{n}{}", "x".repeat(LONGEST / 2)));
        assert_eq!(loaded.add(&[long(1)]).unwrap().len(), 1);
        assert_eq!(loaded.add(&[long(2)]), Err(TooMany));
        assert_eq!(loaded.add(&names(0..9)).unwrap().len(), 9);
    }

    #[test]
    fn all_or_nothing_is_unloaded() {
        let loaded = Loaded::default();
        let twice = ["a".into(), "a".into(), "b".into()];
        assert_eq!(loaded.add(&twice).unwrap().len(), 2);
        let ask = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            loaded.remove(&names)
        };
        assert_eq!(ask(&["a", "c"]), Err(vec!["c".to_owned()]));
        assert_eq!(loaded.all().len(), 2);
        assert_eq!(ask(&["a", "a"]), Ok(()));
        assert_eq!(loaded.all(), HashSet::from(["b".into()]));
    }
}
