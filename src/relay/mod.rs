//! One request's way through, and the way back for what belongs to it.
//!
//! Owns: routing by name, the guard in front of a child, the edits between the
//! eras, the calls that are held until their client answers, and the one place where
//! a request is settled. Must never know how a client is connected: it is given a
//! frame and a place for what comes before the answer, and gives back the answer.

mod asking;
mod audit;
mod call;
mod deadline;
mod failure;
mod hearing;
mod held;
mod long;
mod method;
mod notify;
mod places;
mod request;
mod route;
mod running;
mod settle;
mod subscribe;

pub use audit::OwnCall;
pub use long::LongReply;
pub use method::Method;
pub use request::{Relay, Reply};
