//! The places in which calls wait for their clients. While there are some, whoever comes
//! has one. Where all are taken, who has the most gives up the call that has waited for
//! the longest time, to somebody who has less.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::protocol::{Caller, SubjectKey};

/// How many calls may be held.
pub(super) const MOST: usize = 1000;

/// The places, and who has them.
#[derive(Debug, Default)]
pub(super) struct Places(Mutex<Taken>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Who, usize>,
}

/// In whose share a call is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// Somebody whom the door knows, by whichever session.
    Subject(SubjectKey),
    Session(u64),
    /// Anybody else: a token that nobody has checked makes nobody another one.
    Anybody,
}

/// A place for one call. Its drop gives it back.
#[derive(Debug)]
pub(super) struct Room {
    places: Arc<Places>,
    who: Who,
}

impl Who {
    pub(super) fn of(caller: &Caller) -> Self {
        match (&caller.subject, &caller.session) {
            (Some(subject), _) => Self::Subject(subject.key()),
            (None, Some(session)) => Self::Session(session.number()),
            (None, None) => Self::Anybody,
        }
    }
}

impl Places {
    /// A place, if there is one.
    pub(super) fn take(self: &Arc<Self>, who: &Who) -> Option<Room> {
        let mut taken = self.lock();
        (taken.all < MOST).then(|| self.taken(&mut taken, who))
    }

    /// The place of a call that is given up, and may still be there for a moment.
    pub(super) fn take_over(self: &Arc<Self>, who: &Who) -> Room {
        self.taken(&mut self.lock(), who)
    }

    /// Which of these calls is given up to this one; `None` where nobody has more than it
    /// would have then. They are numbered in their order.
    pub(super) fn given_up<'a>(
        &self,
        who: &Who,
        held: impl Iterator<Item = (u64, &'a Who)>,
    ) -> Option<u64> {
        let taken = self.lock();
        let share = |who: &Who| taken.by.get(who).copied().unwrap_or(0);
        let most = held.max_by_key(|(number, who)| (share(who), Reverse(*number)));
        let (number, _) = most.filter(|(_, has)| share(has) > share(who) + 1)?;
        Some(number)
    }

    fn taken(self: &Arc<Self>, taken: &mut Taken, who: &Who) -> Room {
        taken.all += 1;
        *taken.by.entry(who.clone()).or_default() += 1;
        Room {
            places: Arc::clone(self),
            who: who.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.all -= 1;
        if let Some(share) = taken.by.get_mut(&self.who) {
            *share -= 1;
            if *share == 0 {
                taken.by.remove(&self.who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Bearer, Era, SessionKey, Subject, View};

    #[test]
    fn only_who_is_known_and_a_session_have_a_share_of_their_own() {
        let nobody = Caller::nobody(Era::Modern, View::All);
        let bearing = |token: &str| Caller {
            bearer: Some(Bearer::new(token)),
            ..nobody.clone()
        };
        assert_eq!(Who::of(&bearing("one")), Who::of(&bearing("two")));
        let session = Caller {
            session: Some(SessionKey::begin()),
            ..bearing("one")
        };
        assert_ne!(Who::of(&session), Who::of(&nobody));
        let known = |session| Caller {
            subject: Some(Arc::new(Subject::default())),
            session,
            ..nobody.clone()
        };
        let by_session = known(Some(SessionKey::begin()));
        assert_eq!(Who::of(&by_session), Who::of(&known(None)));
        assert_ne!(Who::of(&by_session), Who::of(&nobody));
    }

    #[test]
    fn there_is_room_for_so_many_and_then_for_who_has_less() {
        let places = Arc::<Places>::default();
        let of = Who::Session;
        let mut held: Vec<_> = (0..MOST as u64)
            .map(|number| {
                let who = of(u64::from(number < 3));
                (number, places.take(&who).unwrap(), who)
            })
            .collect();
        assert!(places.take(&of(7)).is_none());
        let given_up = |held: &[(u64, Room, Who)], who| {
            let held = held.iter().map(|(number, _, who)| (*number, who));
            places.given_up(&of(who), held)
        };
        assert_eq!(given_up(&held, 0), None, "nobody has more");
        for who in [1, 7] {
            assert_eq!(given_up(&held, who), Some(3), "the oldest of who has most");
        }

        let (_, room, _) = held.remove(3);
        let another = places.take_over(&of(7));
        drop(room);
        assert!(places.take(&of(7)).is_none());
        drop(another);
        assert!(places.take(&of(7)).is_some());
        drop(held);
        assert!(places.lock().by.is_empty());
    }
}
