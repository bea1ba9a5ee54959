//! Streams that this child lets go of before it has answered, for its client to come
//! back to (MCP 2025-11-25, SEP-1699).

use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::server::lock;

/// After how many milliseconds the client is to come back.
const RETRY_MS: u32 = 20;

/// What is still to be told, by the event after which it comes.
pub struct Parked<T> {
    next: AtomicU64,
    streams: Mutex<HashMap<String, T>>,
}

impl<T> Default for Parked<T> {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(0),
            streams: Mutex::default(),
        }
    }
}

impl<T> Parked<T> {
    /// Keeps a stream; the event that says where.
    pub fn park(&self, stream: T) -> String {
        let id = format!("parked-{}", self.next.fetch_add(1, Ordering::Relaxed));
        lock(&self.streams).insert(id.clone(), stream);
        format!("id: {id}\nretry: {RETRY_MS}\ndata: \n\n")
    }

    /// The stream that was kept there.
    pub fn take(&self, id: &str) -> Option<T> {
        lock(&self.streams).remove(id)
    }
}
