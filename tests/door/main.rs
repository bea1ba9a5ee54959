//! The locked door: who comes in, who does not, and what they are told.

#[path = "../support/mod.rs"]
mod support;

mod issuer;
mod knock;

mod attacks;
mod flood;
mod introspection;
mod keys;
mod metadata;
mod pages;
mod realm;
mod reload;
mod sessions;
mod settings;
