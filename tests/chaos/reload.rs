//! The config is exchanged again and again while its unchanged children are called.

use std::cell::Cell;

use futures::future::join_all;
use rand::{SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    ledger::Ledger,
    load::Caller,
    support::{Child, Door, Era, Fleet, Multiplexer, eventually},
};

const RELOADS: u64 = 20;
const CLIENTS: usize = 4;

#[tokio::test]
async fn no_call_to_an_unchanged_child_fails() {
    let mut fleet = Fleet::new();
    let mut same = Vec::new();
    for door in Door::ALL {
        for era in Era::ALL {
            let name = format!("{door:?}-{era:?}").to_lowercase();
            fleet = fleet.with(door, &name, Child::of(era));
            same.push(name);
        }
    }
    let mux = fleet
        .stdio("changed", Child::legacy())
        .stdio("now-and-then", Child::modern())
        .over(Door::Http)
        .await;
    mux.all_ready().await;
    let before = processes(&mux, &same).await;
    let (ledger, number) = (Ledger::default(), Cell::new(0));
    let stop = Cell::new(false);
    let mut callers = Vec::new();
    for n in 0..CLIENTS {
        callers.push(Caller::new(&mux, Era::ALL[n % 2], &ledger, &number).await);
    }

    let calls = callers.iter().enumerate().map(|(n, caller)| {
        let (same, stop) = (&same, &stop);
        async move {
            let mut random = StdRng::seed_from_u64(n as u64);
            while !stop.get() {
                caller.call_any(same, &[64], &mut random).await;
            }
        }
    });
    tokio::join!(join_all(calls), async {
        for n in 0..RELOADS {
            reload(&mux, n).await;
        }
        stop.set(true);
    });

    println!("{RELOADS} reloads: {ledger}");
    assert_eq!(ledger.complaints(), [""; 0]);
    assert_eq!(ledger.differences(&mux.metrics().await), [""; 0]);
    assert_eq!(processes(&mux, &same).await, before, "the same processes");
    for name in &same {
        let restarts = mux.child(name).await["restarts"].clone();
        assert_eq!(restarts, 0, "{name} kept its connection");
    }
}

/// One child changes, one comes and goes; then nothing can be read at all.
async fn reload(mux: &Multiplexer, n: u64) {
    let path = mux.path("mcp_config.json");
    let text = std::fs::read_to_string(path).expect("the config");
    let mut config: Value = serde_json::from_str(&text).expect("the config is JSON");
    let servers = config["mcpServers"].as_object_mut().expect("servers");
    servers["changed"]["env"] = json!({"ROUND": n.to_string()});
    match servers.remove("now-and-then") {
        Some(entry) => {
            servers.insert("then-again".to_owned(), entry);
        }
        None => {
            let entry = servers.remove("then-again").expect("one of the two");
            servers.insert("now-and-then".to_owned(), entry);
        }
    }
    let generation = generation(mux).await;
    mux.write_config("{ half a");
    eventually("a reload that fails", async || {
        let last = mux.status().await["config"]["lastReload"]["ok"].clone();
        (last == false).then_some(())
    })
    .await;
    mux.write_config(&config.to_string());
    mux.until_generation(generation + 1).await;
    mux.until_ready("changed").await;
}

async fn generation(mux: &Multiplexer) -> u64 {
    let status = mux.status().await;
    status["config"]["generation"].as_u64().expect("a number")
}

async fn processes(mux: &Multiplexer, names: &[String]) -> Vec<Value> {
    let mut pids = Vec::new();
    for name in names {
        pids.push(mux.child(name).await["pid"].clone());
    }
    pids
}
