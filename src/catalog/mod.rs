//! What the children offer: entries, names, filters, and their merged snapshot.
//!
//! Owns: how a public name is made, which entries a filter lets through, and the
//! immutable [`Catalog`] with its prepared bytes. Pure data: it must never know a
//! connection, a clock or a client.

mod filter;
mod listing;
mod naming;
mod snapshot;

pub use filter::Filter;
pub use listing::{Listing, ListingError, Page, Tool};
pub use naming::public_name;
pub use snapshot::{Catalog, Collision, Offer, Route};
