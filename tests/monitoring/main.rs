//! What operators see: alerts, dashboards and traces, each held against what the real
//! program emits.

#[allow(dead_code, reason = "shared with the tests of the door")]
#[path = "../door/issuer.rs"]
mod issuer;
#[allow(dead_code, reason = "shared with the tests of the door")]
#[path = "../door/knock.rs"]
mod knock;
#[path = "../support/mod.rs"]
mod support;

mod compat;
mod dashboards;
mod runbook;
mod scrape;
mod traces;

/// Everything that needs Prometheus: `tests/run` leaves out what is below this name
/// where it cannot be had.
#[path = "."]
mod prometheus {
    mod boundaries;
    mod promtool;
    mod rules;
    mod server;
    mod watching;
}
