//! What one client has subscribed to, and what it is to be told of.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture, stream};
use tokio::time::Instant;

use crate::{
    outbound::{Listener, Subscription},
    protocol::{
        Caller, Frame,
        error::{RpcError, code},
    },
    relay::Relay,
};

/// Subscriptions that one client may have.
const MOST: usize = 1_000;
/// Children that are asked at once, for a client that names many resources.
const AT_ONCE: usize = 16;

/// The subscriptions of one client. Its drop ends them.
#[derive(Debug, Default)]
pub(super) struct Subscribed {
    /// Where updates wait for the client.
    pub(super) listener: Listener,
    /// By the URI as the client knows it.
    all: Mutex<HashMap<String, Subscription>>,
}

impl Subscribed {
    /// Subscribes to one resource.
    ///
    /// # Errors
    ///
    /// The answer to the request of this `id` that says why not.
    pub(super) async fn subscribe(
        &self,
        relay: &Relay,
        uri: &str,
        id: &str,
        caller: &Caller,
    ) -> Result<(), Frame> {
        {
            let all = self.lock();
            if all.len() >= MOST && !all.contains_key(uri) {
                return Err(too_many().answer(Some(id)));
            }
        }
        let subscription = relay.subscribe(uri, id, caller, &self.listener).await?;
        // The one before goes after it: the child need not be asked twice.
        let before = self.lock().insert(uri.to_owned(), subscription);
        drop(before);
        if caller.session.as_ref().is_some_and(|it| it.is_over()) {
            self.end_all();
        }
        Ok(())
    }

    /// Subscribes to as many of these as their children take within `patience`; gives
    /// them in this order.
    ///
    /// # Errors
    ///
    /// When they are too many.
    pub(super) async fn subscribe_all(
        &self,
        relay: &Relay,
        uris: &[String],
        caller: &Caller,
        patience: Duration,
    ) -> Result<Vec<String>, RpcError> {
        if uris.len() > MOST {
            return Err(too_many());
        }
        let until = Instant::now() + patience;
        // Boxed: the compiler cannot tell otherwise that they may go to another thread.
        let mut asked: Vec<BoxFuture<'_, Option<String>>> = Vec::with_capacity(uris.len());
        for uri in uris {
            let taken = self.subscribe(relay, uri, "null", caller);
            asked.push(Box::pin(async move {
                let taken = tokio::time::timeout_at(until, taken).await;
                matches!(taken, Ok(Ok(()))).then(|| uri.clone())
            }));
        }
        let taken: Vec<Option<String>> = stream::iter(asked).buffered(AT_ONCE).collect().await;
        Ok(taken.into_iter().flatten().collect())
    }

    /// Ends one, if there is one.
    pub(super) fn unsubscribe(&self, uri: &str) {
        let ended = self.lock().remove(uri);
        drop(ended);
    }

    /// Ends all of them: the client is gone.
    pub(super) fn end_all(&self) {
        let ended = std::mem::take(&mut *self.lock());
        drop(ended);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Subscription>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_many() -> RpcError {
    let sentence = format!("a client may have at most {MOST} subscriptions");
    RpcError::new(code::INVALID_PARAMS, sentence)
}
