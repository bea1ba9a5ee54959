//! One MCP server in front of many.
//!
//! A *client* connects to the multiplexer; a *child* is one entry of
//! `mcp_config.json`. A request walks in at [`inbound`], goes through [`relay`] to
//! the child's connection in [`outbound`], and walks back the same way.
//!
//! # The house
//!
//! Each folder imports only those below it in this list. What must travel upward
//! travels as a value over a channel, a `watch` or an `ArcSwap`, whose types live
//! below.
//!
//! | folder | what happens there |
//! |---|---|
//! | `cli` | one file per command: flags, exit codes, what people read |
//! | [`inbound`] | clients come in: HTTP, stdio, sessions, who may enter, the tools of our own, `/status` and its page, `/metrics` |
//! | [`relay`] | one request's way through, and the way back for what belongs to it |
//! | [`fleet`] | all children together: start, reload, merge, the snapshot, the search |
//! | [`outbound`] | one child: connection, breaker, limits, supervision |
//! | [`identity`] | the service token: mint, refresh, hand out |
//! | [`policy`] | who may know of what, and call it: policies in Cedar |
//! | [`catalog`] | entries, names, filters, search, what lists cost: pure data |
//! | [`telemetry`] | metric handles, outcomes, logs, traces |
//! | [`config`] | `mcp_config.json` and the environment, made into one `Settings` |
//! | [`protocol`] | frames and their splicing, the eras, the types of names |
//!
//! # The life of one call
//!
//! 1. **Admit.** A door, [`inbound::serve_http`] or [`inbound::serve_stdio`], takes a
//!    message; over HTTP the [`inbound::Entrance`] checks where it comes from, and the
//!    [`inbound::Guard`] who sends it.
//! 2. **Read.** [`protocol::Frame::read`] reads the envelope and
//!    [`protocol::request::Params::read`] the few keys we route by. [`inbound::Dispatch`]
//!    hands what names one thing of a child to [`relay::Relay::carry`]; a call of one of
//!    our own tools is answered there, and `call_tool` holds another call.
//! 3. **Route.** The name is looked up in the [`fleet::Snapshot`] of this moment, as far as
//!    what the caller is [`fleet::Permitted`] reaches.
//! 4. **Guard.** [`outbound::Child::callable`] gives the connection or the reason why
//!    not; [`outbound::Child::slot`] waits for a free place.
//! 5. **Send.** [`protocol::request::Params::edit`] splices name, id and token, with
//!    traces [`protocol::TraceContext::put_into`] the place in them, and
//!    [`outbound::Connection::call`] writes the frame.
//! 6. **Stream back.** [`outbound::Exchange::next`] gives progress, messages and the
//!    answer, which [`protocol::answer::to_client`] puts under the client's id.
//!    What the child asks meanwhile, an [`outbound::Question`], goes to a legacy client as
//!    a request of ours; for a modern one the call is held until its retry brings the
//!    answers.
//! 7. **Settle.** A settlement in [`relay`] tells breaker, metrics and log, once. Its drop
//!    settles what nobody settled: the client is gone.
//!
//! # Invariants
//!
//! - **Frames are never decoded.** What a call carries passes byte for byte; only the
//!   envelope and the keys named above are read, and only they are spliced.
//! - **One owner per state.** A task owns it and is told over a channel, or it is an
//!   immutable snapshot, swapped whole. No lock is held across an `.await`.
//! - **One predicate per question.** What a call is refused by, what `/status` shows
//!   and what `/metrics` says are read from the same place.
//! - **What a caller may see and call** is asked of [`fleet::Permitted`] alone: by lists,
//!   search, loading, status and routing.
//! - **What a child shows one user stands in that user's snapshot alone**,
//!   [`fleet::Fleet::snapshot_for`]; a user's token goes by that user's own connection.
//! - **A call is sent once**, unless it certainly was not executed or may be repeated.
//! - **Who must never know:** `protocol` who sends a message, `config` what a child
//!   answers, `policy` a request, `catalog` any I/O, `identity` children, `outbound` how a
//!   client is connected, `fleet` a client or a frame, `relay` how a client is connected,
//!   `inbound` how a child is. rmcp's client is used in `outbound` alone.
//! - **Secrets are shown nowhere:** in no log line, error, status or `Debug`.
pub mod catalog;
mod cli;
pub mod config;
pub mod fleet;
#[cfg(test)]
mod fuzz;
pub mod identity;
pub mod inbound;
pub mod outbound;
pub mod policy;
pub mod protocol;
pub mod relay;
pub mod telemetry;

pub use cli::{CliError, run};
