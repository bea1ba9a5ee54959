//! What a child asks of the client whose call it works on: in both eras on both sides,
//! over both transports, and with everything that goes wrong on the way.

#[path = "../door/issuer.rs"]
#[allow(dead_code, reason = "only a part of it is of use here")]
mod issuer;
#[path = "../peers/mod.rs"]
mod peers;
#[path = "../support/mod.rs"]
mod support;

mod elicited;
mod held;
mod matrix;
mod outside;
mod packed;
mod progress;
mod real;
mod talker;
mod trouble;

use support::{Child, Door, Era, Fleet, Multiplexer};

/// A child that asks.
fn asking(era: Era) -> Child {
    Child::of(era).named("ask")
}

/// One child that asks, behind HTTP.
async fn one(door: Door, child: Child) -> Multiplexer {
    let fleet = Fleet::new().with(door, "child", child);
    let mux = fleet.over(Door::Http).await;
    mux.until_ready("child").await;
    mux
}

/// The arguments of `ask` for a form, under this key, with these members besides.
fn form(key: &str, more: &str) -> String {
    format!(
        r#"{{"method":"elicitation/create","params":{{"message":"name?","requestedSchema":{{"type":"object","properties":{{}}}}}},"key":"{key}"{more}}}"#
    )
}

/// The child has heard that its question, or the call it belongs to, is over: whichever
/// it hears first ends the call.
async fn until_told(mux: &Multiplexer) {
    let journal = mux.journal("child");
    support::eventually("the child is told", async || {
        let told = [journal.of("answered"), journal.of("cancelled")].concat();
        (!told.is_empty()).then_some(())
    })
    .await;
}

/// Nobody works or waits any more.
async fn until_quiet(mux: &Multiplexer) {
    mux.until_child("child", "has nothing in flight", |child| {
        child["inFlight"] == 0 && child["queued"] == 0
    })
    .await;
}
