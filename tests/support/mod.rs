//! What the whole-program tests share: a fleet in a line, the multiplexer as a
//! process, clients of both eras that speak raw bytes, and waiting for events.
//!
//! ```ignore
//! let mux = Fleet::new()
//!     .stdio("clock", Child::legacy())
//!     .http("remote", Child::modern().sse())
//!     .over(Door::Http)
//!     .await;
//! let mut client = mux.client(Era::Modern).await;
//! let answer = client.call("clock__echo", r#"{"exact":1.10}"#).await;
//! assert_eq!(answer.structured(), r#"{"calls":1,"arguments":{"exact":1.10}}"#);
//! ```
//!
//! Nothing here sleeps and hopes: a test waits until something has happened, and
//! fails after [`wait::DEADLINE`], which no passing test comes near.

#![allow(
    dead_code,
    unused_imports,
    reason = "each test file uses its own part of this"
)]

pub mod child;
pub mod client;
pub mod fleet;
pub mod http;
pub mod journal;
pub mod metrics;
pub mod monster;
pub mod multiplexer;
pub mod pipe;
pub mod process;
pub mod provider;
pub mod wait;
pub mod wire;

pub use child::Child;
pub use client::{Client, Door, Era};
pub use fleet::Fleet;
pub use multiplexer::{Multiplexer, Output};
pub use provider::Provider;
pub use wait::eventually;
pub use wire::Answer;
