//! The requests of one client that are being worked on, to cancel them by id.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use tokio_util::sync::CancellationToken;

/// The requests in flight, by id as it stands.
#[derive(Debug, Default)]
pub(super) struct InFlight(Mutex<HashMap<Box<str>, CancellationToken>>);

/// One of them. Its drop takes it out.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    all: &'a InFlight,
    id: Box<str>,
    cancelled: CancellationToken,
}

impl InFlight {
    /// Enters a request; `None` if one of this id is being worked on.
    pub(super) fn enter(&self, id: &str) -> Option<Entry<'_>> {
        let cancelled = CancellationToken::new();
        let mut all = self.lock();
        if all.contains_key(id) {
            return None;
        }
        all.insert(id.into(), cancelled.clone());
        Some(Entry {
            all: self,
            id: id.into(),
            cancelled,
        })
    }

    /// The client takes a request back. One that has been answered is no longer
    /// here: that is a race the protocol allows.
    pub(super) fn cancel(&self, id: &str) {
        if let Some(request) = self.lock().get(id) {
            request.cancel();
        }
    }

    /// The client is gone.
    pub(super) fn cancel_all(&self) {
        self.lock().values().for_each(CancellationToken::cancel);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, CancellationToken>> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Entry<'_> {
    /// Runs the request's work; `None` if it is cancelled first.
    pub(super) async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.cancelled.run_until_cancelled(work).await
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_can_be_taken_back_until_it_is_answered() {
        let all = InFlight::default();
        let entry = all.enter("7").unwrap();
        assert!(all.enter("7").is_none());
        assert!(all.enter("\"7\"").is_some());
        all.cancel("7");
        assert_eq!(
            entry.unless_cancelled(std::future::pending::<()>()).await,
            None
        );
        drop(entry);
        assert!(all.is_empty());
    }
}
