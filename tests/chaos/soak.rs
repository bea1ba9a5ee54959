//! A fleet of 57, and of children that are lazy or dedicated, under steady calls of
//! clients that come and go. Its children are killed, hung, restarted, upgraded, cut off,
//! made to lie and configured anew at random, always in the same order.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    env, fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use futures::future::join_all;
use nix::sys::signal::Signal;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::sleep};

use crate::{
    ledger::{Ledger, Trouble},
    load::{Caller, word},
    support::{
        Child, Door, Era, Fleet, Multiplexer,
        child::Remote,
        eventually,
        process::{Holdings, signal_if_alive},
    },
    watched::Watched,
    wire::Wire,
};

const REMOTE: usize = 30;
const LOCAL: usize = 27;
/// So many of each door.
const LAZY: usize = 2;
const DEDICATED: usize = 1;
/// After so many calls on average a client begins another session.
const CALLS_OF_A_SESSION: f64 = 50.0;
/// Each with children of its own, so that one child has one trouble at a time.
const TROUBLEMAKERS: usize = 3;
const SEED: u64 = 20_261_121;

/// How much of it there is.
struct Measure {
    lasts: Duration,
    clients: usize,
    /// What is carried there and back by a call, in bytes.
    sizes: &'static [usize],
    /// How long a call may take.
    patience: Duration,
    /// Whether it goes on for long enough to see that nothing grows.
    comes_to_rest: bool,
}

const USUAL: Measure = Measure {
    lasts: Duration::from_secs(60),
    clients: 8,
    sizes: &[64, 1 << 10, 16 << 10],
    patience: Duration::from_secs(3),
    comes_to_rest: false,
};

/// What `tests/run --long` asks for.
const LONG: Measure = Measure {
    lasts: Duration::from_secs(600),
    clients: 64,
    sizes: &[64, 1 << 10, 16 << 10, 128 << 10, 1 << 20],
    patience: Duration::from_secs(30),
    comes_to_rest: true,
};

#[tokio::test]
async fn every_call_is_answered_once_in_the_right_word_whatever_happens_to_the_children() {
    let long = env::var_os("LONG_TESTS").is_some();
    let measure = if long { LONG } else { USUAL };
    let (mux, mut remotes, children) = fleet(&measure).await;
    let (ledger, number) = (Ledger::default(), Cell::new(0));
    let stop = Cell::new(false);
    let before = Holdings::of(mux.pid());
    let config = Mutex::new(());

    let mut callers = Vec::new();
    for n in 0..measure.clients + TROUBLEMAKERS {
        callers.push(Caller::new(&mux, Era::ALL[n % 2], &ledger, &number).await);
    }
    let (clients, troublemakers) = callers.split_at(measure.clients);
    let calls = clients.iter().enumerate().map(|(n, caller)| {
        let (children, sizes, stop) = (&children, measure.sizes, &stop);
        async move {
            let mut random = StdRng::seed_from_u64(SEED + n as u64);
            while !stop.get() {
                caller.call_any(children, sizes, &mut random).await;
                if random.random_bool(1.0 / CALLS_OF_A_SESSION) {
                    caller.come_again().await;
                }
                // A client thinks between two calls.
                sleep(Duration::from_millis(10)).await;
            }
        }
    });
    let until = Instant::now() + measure.lasts;
    let mut of_each: Vec<Vec<Victim>> = (0..TROUBLEMAKERS).map(|_| Vec::new()).collect();
    for (n, name) in children.iter().enumerate() {
        let (remote, wire) = remotes.remove(name).unzip();
        of_each[n % TROUBLEMAKERS].push(Victim {
            name: name.clone(),
            era: mux.path(&format!("{name}.era")),
            remote: RefCell::new(remote),
            wire: wire.flatten(),
        });
    }
    let troubles = of_each.iter().zip(troublemakers).enumerate();
    let troubles = troubles.map(|(n, (victims, caller))| {
        let maker = Troublemaker {
            mux: &mux,
            caller,
            ledger: &ledger,
            config: &config,
            patience: measure.patience,
        };
        async move {
            let mut random = StdRng::seed_from_u64(SEED * 2 + n as u64);
            while Instant::now() < until {
                let victim = &victims[random.random_range(0..victims.len())];
                let trouble = Trouble::ALL[random.random_range(0..Trouble::ALL.len())];
                maker.make(trouble, victim, &mut random).await;
            }
        }
    });
    let (_, (), held) = tokio::join!(
        join_all(calls),
        async {
            join_all(troubles).await;
            stop.set(true);
        },
        Watched::watch(mux.pid(), until)
    );

    held.print(20);
    println!("soak: {} calls: {ledger}", number.get());
    println!("soak: before {before:?}");
    assert_eq!(ledger.complaints(), [""; 0]);
    for caller in &callers {
        caller.leave().await;
    }
    drop(callers);
    settled(&mux, &children).await;
    let slack = measure.clients.max(SLACK);
    let after = Holdings::until_back(mux.pid(), &before, slack).await;
    println!("soak: after  {after:?}");
    let differences = ledger.differences(&mux.metrics().await);
    assert_eq!(differences, [""; 0], "/metrics and what was counted here");
    for name in &children {
        assert_called_once(&mux, name);
    }
    if measure.comes_to_rest {
        held.assert_flat(slack);
    }
}

/// The lazy ones are idle, and all others ready.
async fn settled(mux: &Multiplexer, children: &[String]) {
    for name in children {
        let state = match name.starts_with("lazy") {
            true => "idle",
            false => "ready",
        };
        mux.until_child(name, state, |child| child["state"] == state)
            .await;
    }
}

/// Those that listen, and by what they are reached, if it can be cut.
type Remotes = HashMap<String, (Remote, Option<Wire>)>;

/// All of them, settled, with every clock short.
async fn fleet(measure: &Measure) -> (Multiplexer, Remotes, Vec<String>) {
    let times = |n: u128| format!("{}ms", measure.patience.as_millis() * n);
    let mut fleet = Fleet::new().top(
        "defaults",
        json!({
            "timeout": times(2),
            "callTimeout": times(1),
            "queueTimeout": times(1),
            "breaker": {"failures": 5, "cooldown": "100ms", "maxCooldown": "400ms"},
            "restart": {"backoff": "20ms", "maxBackoff": "200ms", "stable": "2s"},
        }),
    );
    let mut names = Vec::new();
    let mut wires = HashMap::new();
    let kinds = [
        ("remote", Door::Http, REMOTE),
        ("local", Door::Stdio, LOCAL),
        ("lazy-remote", Door::Http, LAZY),
        ("lazy-local", Door::Stdio, LAZY),
        (DEDICATED_REMOTE, Door::Http, DEDICATED),
        (DEDICATED_LOCAL, Door::Stdio, DEDICATED),
    ];
    let all = kinds
        .into_iter()
        .flat_map(|(kind, door, count)| (0..count).map(move |_| (kind, door)));
    for (n, (kind, door)) in all.enumerate() {
        let name = format!("{kind}-{n:02}");
        let era = fleet.path(&format!("{name}.era"));
        fs::write(&era, ["legacy", "modern"][n % 2]).expect("the era can be written");
        let child = Child::default().named("behave");
        let child = child.option("--era-file", era.display());
        // Every other one: a port where nobody listens is another failure than a way
        // that leads nowhere.
        let child = match (door, n % 4) {
            (Door::Http, 0 | 1) => {
                let wire = Wire::open().await;
                let child = child.key("url", wire.url());
                wires.insert(name.clone(), wire);
                child
            }
            _ => child,
        };
        let child = if n % 3 == 0 { child.sse() } else { child };
        let child = match kind {
            "lazy-remote" | "lazy-local" => child.key("lazy", true).key("idleTimeout", "500ms"),
            DEDICATED_REMOTE | DEDICATED_LOCAL => child
                .key("session", "dedicated")
                .key("idleTimeout", "500ms"),
            _ => child,
        };
        fleet = fleet.with(door, &name, child);
        names.push(name);
    }
    let mut mux = fleet.over(Door::Http).await;
    let mut remotes = HashMap::new();
    for name in &names {
        if let Some(remote) = mux.take_remote(name) {
            let wire = wires.remove(name);
            if let Some(wire) = &wire {
                wire.lead_to(&remote.address());
            }
            remotes.insert(name.clone(), (remote, wire));
        }
    }
    settled(&mux, &names).await;
    (mux, remotes, names)
}

/// The least a trouble lasts, and the most a child hangs.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(15);
const DEDICATED_REMOTE: &str = "dedicated-remote";
const DEDICATED_LOCAL: &str = "dedicated-local";
/// Open files beside those that were there: connections kept for the next request.
const SLACK: usize = 8;

/// A child that is made trouble.
struct Victim {
    name: String,
    /// The file that says which era it speaks from its next start on.
    era: PathBuf,
    remote: RefCell<Option<Remote>>,
    wire: Option<Wire>,
}

struct Troublemaker<'a> {
    mux: &'a Multiplexer,
    caller: &'a Caller<'a>,
    ledger: &'a Ledger,
    /// Whoever holds this may write the config.
    config: &'a Mutex<()>,
    patience: Duration,
}

impl Troublemaker<'_> {
    /// Makes trouble, and waits until the child has got over it.
    async fn make(&self, trouble: Trouble, victim: &Victim, random: &mut StdRng) {
        let Victim { name, .. } = victim;
        let pid = self.served_by(name).await;
        let pid = pid.expect("a child that is not in trouble");
        self.ledger.begins(name, trouble);
        let mut other = true;
        match trouble {
            Trouble::Killed => self.end(victim, pid, Signal::SIGKILL, random).await,
            Trouble::Restarted => self.end(victim, pid, Signal::SIGTERM, random).await,
            // One process of several is not an upgrade, and the one that lies is this
            // caller's.
            Trouble::Upgraded | Trouble::Lying if name.starts_with(DEDICATED_LOCAL) => {
                self.end(victim, pid, Signal::SIGKILL, random).await;
            }
            Trouble::Upgraded => {
                let spoken = fs::read_to_string(&victim.era).expect("an era");
                let next = ["legacy", "modern"][usize::from(spoken == "legacy")];
                fs::write(&victim.era, next).expect("the era can be written");
                self.end(victim, pid, Signal::SIGKILL, random).await;
            }
            Trouble::Hung => {
                signal_if_alive(pid, Signal::SIGSTOP);
                let longest = (self.patience * 3 / 2).min(LONGEST);
                sleep(random.random_range(SHORTEST..longest)).await;
                other = random.random_bool(0.5);
                match other {
                    true => self.end(victim, pid, Signal::SIGKILL, random).await,
                    false => signal_if_alive(pid, Signal::SIGCONT),
                }
            }
            Trouble::Reconfigured => {
                self.reconfigure(name, random).await;
                other = victim.remote.borrow().is_none();
            }
            Trouble::Cut => other = self.cut(victim, pid, random).await,
            Trouble::Lying => other = self.lie(victim, pid, random).await,
        }
        eventually(&format!("{name} has got over {trouble:?}"), async || {
            let now = self.served_by(name).await?;
            let child = self.mux.child(name).await;
            let well = child["state"] == "ready" && child["breaker"] == "closed";
            (well && !(other && now == pid)).then_some(())
        })
        .await;
        self.ledger.ends(name);
    }

    /// Ends a child's process; where nobody else does, starts the next after a while.
    async fn end(&self, victim: &Victim, pid: u32, signal: Signal, random: &mut StdRng) {
        signal_if_alive(pid, signal);
        // Its own troublemaker is the only one who has to do with it.
        let remote = victim.remote.borrow_mut().take();
        if let Some(mut remote) = remote {
            remote.stop().await;
            sleep(Duration::from_millis(random.random_range(0..500))).await;
            remote.restart().await;
            victim.remote.replace(Some(remote));
        }
    }

    /// Cuts the child's connections a few times, or has it lose its sessions and streams.
    /// Whether it is another process then: a pipe ends with its process only.
    async fn cut(&self, victim: &Victim, pid: u32, random: &mut StdRng) -> bool {
        let remote = victim.remote.borrow_mut().take();
        let Some(remote) = remote else {
            self.end(victim, pid, Signal::SIGKILL, random).await;
            return true;
        };
        for _ in 0..random.random_range(1..4) {
            match &victim.wire {
                Some(wire) => wire.cut(),
                None => {
                    remote.forget_sessions().await;
                    remote.end_streams().await;
                }
            }
            sleep(random.random_range(SHORTEST / 10..SHORTEST * 3)).await;
        }
        victim.remote.replace(Some(remote));
        false
    }

    /// Has the child answer otherwise than it should, for a while. Whether it is another
    /// process then: only one that listens is reached by other ways than its answers.
    async fn lie(&self, victim: &Victim, pid: u32, random: &mut StdRng) -> bool {
        let lies = ["garbage", "not-json-rpc", "twice", "stray"];
        let statuses = ["server-error", "unauthorized", "too-many", "html"];
        let remote = victim.remote.borrow_mut().take();
        let which = match &remote {
            Some(_) => random.random_range(0..lies.len() + statuses.len()),
            None => random.random_range(0..lies.len()),
        };
        let lie = lies.iter().chain(&statuses).nth(which);
        let lie = lie.expect("one of them");
        let lasts = random.random_range(SHORTEST..SHORTEST * 10);
        match remote {
            Some(remote) => {
                remote.behave(lie).await;
                sleep(lasts).await;
                remote.behave("healthy").await;
                victim.remote.replace(Some(remote));
                false
            }
            None => {
                let arguments = json!({"behaviour": lie}).to_string();
                self.caller.call(&victim.name, "behave", &arguments).await;
                sleep(lasts).await;
                self.end(victim, pid, Signal::SIGKILL, random).await;
                true
            }
        }
    }

    /// Exchanges the child's entry for another, which has to be connected anew.
    async fn reconfigure(&self, name: &str, random: &mut StdRng) {
        let _mine = self.config.lock().await;
        let path = self.mux.path("mcp_config.json");
        let text = fs::read_to_string(&path).expect("the config");
        let mut config: Value = serde_json::from_str(&text).expect("the config is JSON");
        let entry = &mut config["mcpServers"][name];
        let mark = random.random::<u32>().to_string();
        match entry.get("url") {
            Some(_) => entry["headers"] = json!({"X-Mark": mark}),
            None => entry["env"] = json!({"MARK": mark}),
        }
        let generation = self.generation().await;
        let new = path.with_extension("new");
        fs::write(&new, config.to_string()).expect("the config can be written");
        fs::rename(&new, &path).expect("the config can be exchanged");
        eventually("the next generation of the config", async || {
            (self.generation().await > generation).then_some(())
        })
        .await;
    }

    async fn generation(&self) -> u64 {
        let status = self.mux.status().await;
        status["config"]["generation"].as_u64().expect("a number")
    }

    /// The process that answers now, if one does.
    async fn served_by(&self, name: &str) -> Option<u32> {
        let answer = self.caller.call(name, "identity", "{}").await;
        if word(&answer) != "ok" {
            return None;
        }
        let pid = answer.content()["pid"].as_u64();
        pid.and_then(|pid| u32::try_from(pid).ok())
    }
}

/// Whatever became of a call, it was not carried out twice.
fn assert_called_once(mux: &Multiplexer, name: &str) {
    let mut seen = HashMap::new();
    for event in mux.journal(name).of("slow") {
        *seen.entry(event["key"].to_string()).or_insert(0) += 1;
    }
    seen.retain(|_, times| *times > 1);
    assert!(seen.is_empty(), "{name} was asked twice: {seen:?}");
}
