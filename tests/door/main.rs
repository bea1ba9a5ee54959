//! The locked door: who comes in, who does not, and what they are told.

#[path = "../support/mod.rs"]
mod support;

mod issuer;
mod knock;

mod attacks;
mod commands;
mod expiry;
mod flood;
mod introspection;
mod keys;
mod metadata;
mod pages;
mod raw;
mod realm;
mod reload;
mod replay;
mod routes;
mod sessions;
mod settings;
