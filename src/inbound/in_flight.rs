//! The requests of one client that are being worked on, to cancel them by id.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
};

use futures::future::{AbortHandle, AbortRegistration, Abortable};

/// The requests in flight, by id as it stands.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<HashMap<Arc<str>, AbortHandle>>);

/// One of them, whose work has not begun.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    place: Place<'a>,
    until_cancelled: AbortRegistration,
}

/// Where a request stands. Its drop takes it out.
#[derive(Debug)]
struct Place<'a> {
    all: &'a InFlight,
    id: Arc<str>,
}

impl InFlight {
    /// Enters a request; `None` if one of this id is being worked on.
    pub(super) fn enter(&self, id: &str) -> Option<Entry<'_>> {
        let mut all = self.lock();
        if all.contains_key(id) {
            return None;
        }
        let id = Arc::<str>::from(id);
        let (cancel, until_cancelled) = AbortHandle::new_pair();
        all.insert(Arc::clone(&id), cancel);
        Some(Entry {
            place: Place { all: self, id },
            until_cancelled,
        })
    }

    /// The client takes a request back. One that has been answered is no longer
    /// here: that is a race the protocol allows.
    pub(super) fn cancel(&self, id: &str) {
        if let Some(request) = self.lock().get(id) {
            request.abort();
        }
    }

    /// The client is gone.
    pub(super) fn cancel_all(&self) {
        self.lock().values().for_each(AbortHandle::abort);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, AbortHandle>> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Entry<'_> {
    /// Runs the request's work, and takes it out; `None` if it is cancelled first. The work
    /// comes by pointer: by value it would be held, and copied, several times over.
    pub(super) async fn unless_cancelled<T>(
        self,
        work: Pin<&mut impl Future<Output = T>>,
    ) -> Option<T> {
        let _place = self.place;
        Abortable::new(work, self.until_cancelled).await.ok()
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn a_request_can_be_taken_back_until_it_is_answered() {
        let all = InFlight::default();
        let entry = all.enter("7").unwrap();
        assert!(all.enter("7").is_none());
        assert!(all.enter("\"7\"").is_some());
        all.cancel("7");
        assert_eq!(
            entry
                .unless_cancelled(pin!(std::future::pending::<()>()))
                .await,
            None
        );
        assert!(all.is_empty());
    }
}
