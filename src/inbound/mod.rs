//! Clients come in: over HTTP or stdio, with or without a session.
//!
//! Owns: the two doors, who may enter, how many at once, what a client has told of itself and
//! loaded, the tools of our own, what operators see, and the answers that need no child. Speaks frames only. Must never know how a child is
//! connected.

mod accept;
mod admin;
mod answers;
mod auth;
mod cors;
mod dispatch;
mod entrance;
mod expiry;
mod http;
mod in_flight;
mod introduction;
mod listen;
mod meta;
mod negotiate;
mod overload;
mod page;
mod part;
mod pipes;
mod refused;
mod resume;
mod session;
mod session_id;
mod share;
mod stdio;
mod stream;
mod subscribed;
mod unread;

pub use admin::{About, Admin};
pub use auth::{Guard, GuardError};
pub use dispatch::Dispatch;
pub use entrance::Entrance;
pub use http::serve as serve_http;
pub use overload::{Overload, Shortage, raise_open_files};
pub use pipes::{stdin, stdout};
pub use session::Sessions;
pub use stdio::serve as serve_stdio;

/// The largest message taken from a client, in bytes.
const BODY_LIMIT: usize = 4 << 20;
/// How many messages before an answer may wait for a client to take them.
const ASIDES: usize = 64;
