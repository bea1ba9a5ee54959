//! Who has used a connection that several share.
//!
//! What a child says outside of any request it may say of anybody's work. Where callers
//! are told apart, such words go to the one who has used the connection, as long as there
//! is only one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::protocol::{Caller, User};

/// Who has used a connection since it was made; clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct AtWork(Arc<Mutex<Whose>>);

/// Whose what a child says outside of any request may be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Whose {
    /// Nobody's in particular.
    #[default]
    Everybodys,
    /// Only this one's.
    Only(User),
    /// That of several: nobody knows whose.
    Unknown,
}

impl AtWork {
    /// This caller uses it. Those who are not told apart are one.
    pub(super) fn uses(&self, caller: &Caller) {
        if !caller.told_apart {
            return;
        }
        let mut whose = self.lock();
        // Who has a token that was not believed is nobody.
        let user = match caller.subject {
            Some(_) => caller.user(),
            None => User::Nobody,
        };
        match &*whose {
            Whose::Everybodys => *whose = Whose::Only(user),
            Whose::Only(only) if *only != user => *whose = Whose::Unknown,
            Whose::Only(_) | Whose::Unknown => {}
        }
    }

    /// Whose something is that the child says now.
    pub(super) fn whose(&self) -> Whose {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Whose> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Era, Subject, View};

    fn caller(sub: Option<&str>, told_apart: bool) -> Caller {
        let subject = sub.map(|sub| Subject {
            sub: sub.into(),
            ..Subject::default()
        });
        Caller {
            subject: subject.map(Arc::new),
            told_apart,
            ..Caller::nobody(Era::Legacy, View::All)
        }
    }

    #[test]
    fn what_several_have_used_speaks_for_none_of_them() {
        let at_work = AtWork::default();
        at_work.uses(&caller(None, false));
        assert_eq!(at_work.whose(), Whose::Everybodys);
        let (one, nobody) = (caller(Some("one"), true), caller(None, true));
        for _ in 0..2 {
            at_work.uses(&one);
            assert_eq!(at_work.whose(), Whose::Only(one.user()));
        }
        at_work.uses(&nobody);
        at_work.uses(&one);
        assert_eq!(at_work.whose(), Whose::Unknown);
    }
}
