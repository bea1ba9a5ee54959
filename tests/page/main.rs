//! The status page: what it is sent, to whom, and what a browser makes of it.

#[path = "../door/issuer.rs"]
#[allow(dead_code, reason = "the door's tests use all of it")]
mod issuer;
#[path = "../door/knock.rs"]
#[allow(dead_code, reason = "the door's tests use all of it")]
mod knock;
#[path = "../peers/mod.rs"]
mod peers;
#[path = "../support/mod.rs"]
mod support;

mod crowd;
mod events;
mod sent;

/// Everything that needs a browser: `tests/run` leaves out what is below this name where
/// Chromium cannot be had.
#[path = "."]
mod chromium {
    mod hostile;
    mod live;
    mod looks;
    mod pictures;
    mod reach;
}
