//! Whose a connection is that not all share.

use super::Failure;
use crate::{
    config::{AuthSettings, ChildSettings, SessionMode},
    protocol::{Caller, SessionKey, SubjectKey, User},
};

/// Who has a connection of its own: a session, a user, or a user in a session.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) session: Option<SessionKey>,
    pub(super) user: Option<User>,
    /// In whose share of the connections it is.
    pub(super) subject: Option<SubjectKey>,
}

/// Which owner it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OwnerKey {
    session: Option<u64>,
    user: Option<User>,
}

impl OwnerKey {
    /// The user, if it is one's.
    pub(super) fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }
}

impl Owner {
    /// Whose connection this caller's requests go by; `None`: the one that all share.
    ///
    /// # Errors
    ///
    /// `unauthorized`, where the child is to know its users and this one is not known.
    pub(super) fn of(settings: &ChildSettings, caller: &Caller) -> Result<Option<Self>, Failure> {
        let by_session = settings.session == SessionMode::Dedicated;
        let subject = caller.subject.as_ref().map(|subject| subject.key());
        let session = caller.session.clone().filter(|_| by_session);
        if settings.is_per_user() {
            if subject.is_none() && matches!(settings.auth, AuthSettings::Exchange(_)) {
                return Err(Failure {
                    blameless: true,
                    ..Failure::unauthorized(
                        "is called with a token for each user, and this caller has shown none \
                         that was checked",
                    )
                });
            }
            let user = Some(caller.user());
            return Ok(Some(Self {
                session,
                user,
                subject,
            }));
        }
        // A client without a session is known by its subject, where there is one.
        let user = match (&session, &subject) {
            (None, Some(subject)) if by_session => Some(User::Subject(subject.clone())),
            _ => None,
        };
        let owned = session.is_some() || user.is_some();
        Ok(owned.then_some(Self {
            session,
            user,
            subject,
        }))
    }

    /// Which one it is.
    pub(super) fn key(&self) -> OwnerKey {
        OwnerKey {
            session: self.session.as_ref().map(SessionKey::number),
            user: self.user.clone(),
        }
    }

    /// Whether it is over, and its connection with it. A user never is.
    pub(super) fn is_over(&self) -> bool {
        self.session.as_ref().is_some_and(SessionKey::is_over)
    }

    /// Waits until it is over.
    pub(super) async fn over(&self) {
        match &self.session {
            Some(session) => session.over().await,
            None => std::future::pending().await,
        }
    }
}
