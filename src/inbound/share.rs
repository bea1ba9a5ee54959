//! How many sessions each user has: nobody who is known keeps the others out.

use std::sync::Arc;

use dashmap::DashMap;

use crate::protocol::SubjectKey;

/// Sessions that one user may have open.
const MOST: usize = 10_000;

/// The shares of all users; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares(Arc<DashMap<SubjectKey, usize>>);

/// One place in a user's share. Its drop gives it back.
#[derive(Debug)]
pub(super) struct Share {
    all: Shares,
    owner: SubjectKey,
}

impl Shares {
    /// One more for this user; `None` where that is too many.
    pub(super) fn take(&self, owner: &SubjectKey) -> Option<Share> {
        let mut has = self.0.entry(owner.clone()).or_default();
        if *has >= MOST {
            return None;
        }
        *has += 1;
        Some(Share {
            all: self.clone(),
            owner: owner.clone(),
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.all.0.remove_if_mut(&self.owner, |_, has| {
            *has -= 1;
            *has == 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Subject;

    #[test]
    fn nobody_has_more_than_its_share() {
        let shares = Shares::default();
        let of = |sub: &str| {
            let subject = Subject {
                sub: sub.into(),
                ..Subject::default()
            };
            subject.key()
        };
        let mut taken: Vec<_> = (0..MOST)
            .map(|_| shares.take(&of("greedy")).unwrap())
            .collect();
        assert!(shares.take(&of("greedy")).is_none());
        assert!(shares.take(&of("other")).is_some());
        taken.pop();
        let again = shares.take(&of("greedy")).unwrap();
        assert!(shares.take(&of("greedy")).is_none());
        drop((taken, again));
        assert!(shares.0.is_empty());
    }
}
