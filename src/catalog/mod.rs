//! What the children offer: entries, names, filters, and their merged snapshot.
//!
//! Owns: how a public name is made, which entries a filter lets through, and the
//! immutable [`Catalog`] with its prepared bytes, how a tool is found ([`search`]) and
//! what a list [costs](cost). Pure data: it must never know a connection, a clock or a
//! client.

pub mod cost;
mod entry;
mod filter;
mod listing;
mod naming;
mod primitive;
mod resources;
pub mod search;
mod snapshot;
mod template;

pub use entry::Entry;
pub use filter::Filter;
pub use listing::{Listing, ListingError, Page};
pub use naming::public_name;
pub use primitive::{Family, Primitive};
pub use snapshot::{Catalog, Collision, Offer, Route};
