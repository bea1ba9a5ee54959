//! The service identity: one token for the fleet, and one more for each child that
//! asks for another.
//!
//! **What it is for.** Children that check JWTs stay reachable without anyone
//! touching a token: it is minted with the OAuth 2.0 client-credentials grant,
//! refreshed before it runs out, and minted anew when a child refuses it.
//!
//! **What it owns.** The tokens, the client secrets and the connections to the
//! identity provider. For each distinct token one task, the keeper, owns it and does
//! every mint; whoever needs the token holds an [`Identity`], which reads an
//! immutable snapshot. So any number of callers cause one mint. [`Identities`] hands
//! them out. [`Trial`] mints one apart from all this, for an operator to look at.
//!
//! Beside it stands what whoever checks the tokens of others needs of their issuers:
//! [`KeyServer`] for their keys, [`Introspector`] for what they say of a token. And
//! [`platform_tls`], whom all connections of the process trust.
//!
//! **What it must never know.** Children, requests, clients. Who gets the
//! header (a remote child without an `Authorization` of its own) is decided
//! where requests are sent.
//!
//! The promises, in the order in which they matter:
//!
//! - No call hangs on the identity provider: with a valid token
//!   [`Identity::header`] returns without waiting, without one it waits 2 s at
//!   most and then goes without.
//! - A token serves until it expires, whatever happens to its refresh.
//! - The provider is never hammered: one mint at a time, a backoff after every
//!   failure, at most one forced mint in 5 s.
//! - No token and no secret is in any log line, error, status or `Debug`.
//!
//! Time is monotonic: setting the clock does not matter. A machine that was
//! asleep may hold a token for valid which is not; the child's 401 heals that.

mod advice;
mod answer;
mod assertion;
mod authorization_server;
mod backoff;
mod basic;
mod bearer_file;
mod claims;
mod discovery;
mod doubts;
mod error;
mod exchange;
mod file;
mod handle;
mod introspection;
mod keeper;
mod keys;
mod lifetime;
mod mint;
mod proof;
mod provider;
mod registry;
mod series;
mod status;
#[cfg(test)]
mod testing;
mod token;
mod trial;
mod trust;

pub use advice::Whose;
pub use authorization_server::{AuthorizationServer, Registered, ServerDocument, ServerError};
pub use claims::Claims;
pub use error::IdentityError;
pub use exchange::{Exchange, ExchangeError};
pub use handle::Identity;
pub use introspection::{IntrospectionError, Introspector};
pub use keys::{KeyDocument, KeyError, KeyServer};
pub use registry::Identities;
pub use status::{IdentitiesStatus, IdentityStatus, Terms};
pub use token::ServiceToken;
pub use trial::{Asked, Mistake, Sample, Trial};
pub use trust::platform_tls;

pub(crate) use series::describe;
