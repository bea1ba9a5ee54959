//! Every version of a client with every version of a child, over both transports on
//! both sides: everything the protocol has goes through each of the 36 combinations.

#[path = "../peers/mod.rs"]
mod peers;
#[path = "../support/mod.rs"]
mod support;

mod client;
mod sdks;
mod unknown;
mod walk;

use std::{fmt, thread};

use client::Client;
use support::{Child, Door, Era, Fleet, Multiplexer};

/// The versions that the combinations are made of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Version {
    June2025,
    November2025,
    July2026,
}

impl Version {
    const ALL: [Self; 3] = [Self::June2025, Self::November2025, Self::July2026];

    fn as_str(self) -> &'static str {
        match self {
            Self::June2025 => "2025-06-18",
            Self::November2025 => "2025-11-25",
            Self::July2026 => "2026-07-28",
        }
    }

    fn era(self) -> Era {
        if self == Self::July2026 {
            Era::Modern
        } else {
            Era::Legacy
        }
    }
}

/// One child of the fleet.
#[derive(Clone, Copy, Debug)]
struct Member {
    version: Version,
    door: Door,
}

impl Member {
    /// All six.
    fn all() -> impl Iterator<Item = Self> {
        let of = |version| Door::ALL.map(|door| Self { version, door });
        Version::ALL.into_iter().flat_map(of)
    }

    /// Its name, which is its prefix.
    fn name(self) -> String {
        let version = self.version.as_str().replace('-', "_");
        match self.door {
            Door::Stdio => format!("pipe_{version}"),
            Door::Http => format!("web_{version}"),
        }
    }

    /// The public name of one of its tools or prompts.
    fn public(self, own: &str) -> String {
        format!("{}__{own}", self.name())
    }

    /// Its resource.
    fn uri(self) -> String {
        format!("test://{}", self.name())
    }

    /// How it is started.
    fn child(self) -> Child {
        let child = Child::of(self.version.era())
            .flag("--subscribe")
            .flag("--contents")
            .option("--resource", self.uri());
        let child = ["ask", "update", "say"]
            .into_iter()
            .fold(child, Child::named);
        match self.version.era() {
            Era::Legacy => child.option("--version", self.version.as_str()),
            Era::Modern => child,
        }
    }
}

/// All six children behind one multiplexer.
async fn fleet(door: Door) -> Multiplexer {
    let fleet = Member::all().fold(Fleet::new(), |fleet, it| {
        fleet.with(it.door, &it.name(), it.child())
    });
    let mux = fleet.over(door).await;
    mux.all_ready().await;
    mux
}

/// What is being done, told when it fails.
struct Doing(String);

impl Doing {
    fn now(what: impl fmt::Display) -> Self {
        Self(what.to_string())
    }
}

impl Drop for Doing {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- failed: {}", self.0);
        }
    }
}

async fn walks_everywhere(version: Version, door: Door) {
    let mut mux = fleet(door).await;
    let mut client = Client::of(&mut mux, version, door).await;
    walk::everywhere(&mux, &mut client).await;
}

#[tokio::test]
async fn a_client_of_2025_06_18_over_stdio_walks_through_every_child() {
    walks_everywhere(Version::June2025, Door::Stdio).await;
}

#[tokio::test]
async fn a_client_of_2025_06_18_over_http_walks_through_every_child() {
    walks_everywhere(Version::June2025, Door::Http).await;
}

#[tokio::test]
async fn a_client_of_2025_11_25_over_stdio_walks_through_every_child() {
    walks_everywhere(Version::November2025, Door::Stdio).await;
}

#[tokio::test]
async fn a_client_of_2025_11_25_over_http_walks_through_every_child() {
    walks_everywhere(Version::November2025, Door::Http).await;
}

#[tokio::test]
async fn a_client_of_2026_07_28_over_stdio_walks_through_every_child() {
    walks_everywhere(Version::July2026, Door::Stdio).await;
}

#[tokio::test]
async fn a_client_of_2026_07_28_over_http_walks_through_every_child() {
    walks_everywhere(Version::July2026, Door::Http).await;
}
