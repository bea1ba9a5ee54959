//! What the children offer: entries, names, filters, and their merged snapshot.
//!
//! Owns: how a public name is made, which entries a filter lets through, and the
//! immutable [`Catalog`] with its prepared bytes, how a tool is found ([`search`]) and
//! what a list [costs](cost). Pure data: it must never know a connection, a clock or a
//! client.

mod always;
pub mod cost;
mod entry;
mod extensions;
mod filter;
mod instructions;
mod list;
mod listing;
mod meta_tool;
mod meta_tool_entries;
mod mirrors;
mod naming;
mod offer;
mod primitive;
mod profile;
mod resources;
pub mod search;
mod snapshot;
mod template;

pub use always::AlwaysListed;
pub use entry::{Entry, Hints};
pub use extensions::{Extensions, Taker};
pub use filter::Filter;
pub use instructions::merged as instructions;
pub use list::Placed;
pub use listing::{Listing, ListingError, Page, Unfit};
pub use meta_tool::MetaTool;
pub use meta_tool_entries::META_TOOL_ENTRIES;
pub use mirrors::{Mirrored, Mirrors};
pub use naming::public_name;
pub use offer::Offer;
pub use primitive::{Family, Primitive};
pub use profile::Profile;
pub use snapshot::{Catalog, Collision, Route};
