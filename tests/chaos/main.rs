//! Children die, hang, lie and flood, one by one and all at once: every call is
//! answered exactly once and in the right words, the others notice nothing, and what
//! was lost comes back by itself.
//!
//! What is measured is printed (`--nocapture`); what is asserted holds on a machine
//! that has other things to do.

#[path = "../support/mod.rs"]
mod support;

mod figures;
mod killed;
mod ledger;
mod load;
mod misbehaving;
mod recovery;
mod reload;
mod soak;
mod strict;
mod thousand;
mod watched;
mod wire;
