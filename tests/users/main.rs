//! Children that know their users: each user has a connection of its own, with its own
//! token or one that was given for it, and sees and hears nothing of another's.

#[path = "../door/issuer.rs"]
#[allow(dead_code, reason = "only a part of it is of use here")]
mod issuer;
#[path = "../support/mod.rs"]
mod support;

mod house;
mod service;

mod exchange;
mod isolation;
mod own;
mod passthrough;
mod shares;
