//! How often children have listed something to each user: what was gathered for one stays
//! true for as long as that does not move.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::protocol::User;

/// Users who share a number look for news of each other's, and find none.
const NUMBERS: usize = 1024;

/// A number for each user; clones are the same ones.
#[derive(Clone, Debug)]
pub struct UsersLists(Arc<Numbers>);

#[derive(Debug)]
struct Numbers {
    hasher: RandomState,
    all: [AtomicU64; NUMBERS],
}

impl UsersLists {
    /// How often something was listed to this user, or to another who shares its number.
    pub fn generation(&self, user: &User) -> u64 {
        self.of(user).load(Ordering::Acquire)
    }

    /// Something was listed to this user, and can be had.
    pub(super) fn moved(&self, user: &User) {
        self.of(user).fetch_add(1, Ordering::Release);
    }

    fn of(&self, user: &User) -> &AtomicU64 {
        let at = self.0.hasher.hash_one(user) % NUMBERS as u64;
        &self.0.all[at as usize]
    }
}

impl Default for UsersLists {
    fn default() -> Self {
        Self(Arc::new(Numbers {
            hasher: RandomState::new(),
            all: std::array::from_fn(|_| AtomicU64::new(0)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_to_a_user_moves_its_number() {
        let lists = UsersLists::default();
        let before = lists.generation(&User::Nobody);
        lists.moved(&User::Nobody);
        assert_ne!(lists.generation(&User::Nobody), before);
    }
}
