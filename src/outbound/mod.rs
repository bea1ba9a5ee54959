//! One child: its connection, breaker, limits and supervision.
//!
//! Owns: everything between a frame that is ready to be sent and the frames that
//! come back, and the task that keeps a child connected. The only user of rmcp's
//! client. Must never know how a client is connected (it is told who calls, where a
//! connection is not for all), or what other children there are: what must travel upward goes over channels
//! whose types live here.

mod at_work;
mod breaker;
mod cache;
mod challenged;
mod child;
mod connection;
mod control;
mod credentials;
mod dedicated;
mod demand;
mod elicited;
mod exchange;
mod failure;
mod http;
mod keeping;
mod link;
mod listener;
mod listening;
mod mask;
mod outside;
mod owner;
mod pause;
mod question;
mod room;
mod slots;
mod sse;
mod state;
mod stdio;
mod subscribing;
mod subscriptions;
mod supervisor;
mod unasked;
mod users_lists;
mod wishes;

pub use breaker::BreakerState;
pub use cache::CatalogCache;
pub use challenged::Challenged;
pub use child::Child;
pub use connection::{Connection, era_keys};
pub use credentials::Shown;
pub use demand::Need;
pub use exchange::{Exchange, LongAnswer, Outgoing, Part};
pub use failure::Failure;
pub use http::{HttpClient, TlsError};
pub use listener::{Listener, Update};
pub use question::{Question, taken_back};
pub use slots::Slot;
pub use state::{Phase, State};
pub use stdio::watchdog;
pub use subscriptions::{AllSubscriptions, Subscription, Subscriptions, Verdict};
pub use supervisor::Surroundings;
pub use unasked::ChildMessage;
pub use users_lists::UsersLists;

pub(crate) use connection::next_number;
pub(crate) use failure::seconds;

/// The largest message taken from a child, in bytes.
pub(crate) const MESSAGE_LIMIT: usize = 64 << 20;
/// Up to this an HTTP answer is gathered and sent whole, in bytes.
const GATHER_LIMIT: usize = 64 << 10;

/// The id, as JSON text, of this program's request of that number. A string, so
/// that it can never be one of rmcp's, which are numbers.
pub(crate) fn call_id(number: u64) -> String {
    format!("\"m{number}\"")
}

/// The number in an id or progress token (as JSON text) that [`call_id`] made.
fn call_number(id: &str) -> Option<u64> {
    id.strip_prefix("\"m")?.strip_suffix('"')?.parse().ok()
}
