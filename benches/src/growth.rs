//! How the multiplexer grows: with children, with tools, with sessions that nobody uses.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use mcp_multiplexer::inbound::raise_open_files;
use serde::Serialize;
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::{
    crowd,
    guests::{self, Guests, Lister},
    many::all_ready,
    processes::{Server, start, start_configured},
    report, usage,
    web::Error,
};

/// The children that share all tools, where it is tools that are more and more.
const SHARING: usize = 10;
/// How long it may go on with what it has to do, before its rest is measured.
const SETTLE: Duration = Duration::from_secs(2);

/// Measures what more children, tools and idle sessions cost.
#[derive(Args, Debug)]
pub struct Growth {
    /// The multiplexer.
    #[arg(long, default_value = "target/release/mcp-multiplexer")]
    multiplexer: PathBuf,
    /// Where configurations and raw numbers go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// Children, each with one tool.
    #[arg(long, value_delimiter = ',', default_value = "1,10,57,100,1000")]
    children: Vec<usize>,
    /// Tools, of ten children together.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "10,100,1000,10000,100000"
    )]
    tools: Vec<usize>,
    /// Sessions of clients, in front of one child.
    #[arg(long, value_delimiter = ',', default_value = "1,100,1000,10000")]
    sessions: Vec<usize>,
    /// For how many seconds the rest is measured.
    #[arg(long, default_value_t = 10)]
    rest: u64,
    /// How many lists are asked for.
    #[arg(long, default_value_t = 15)]
    lists: usize,
}

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Children { streams: bool },
    Tools,
    Sessions { streams: bool },
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::Children { streams: false },
        Self::Children { streams: true },
        Self::Tools,
        Self::Sessions { streams: false },
        Self::Sessions { streams: true },
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Children { streams: false } => "children",
            Self::Children { streams: true } => "children, event streams",
            Self::Tools => "tools",
            Self::Sessions { streams: false } => "sessions",
            Self::Sessions { streams: true } => "sessions, event streams",
        }
    }
}

/// One size of one kind.
#[derive(Debug, Serialize)]
struct Grown {
    kind: &'static str,
    number: usize,
    /// From the start of the process until a list held everything, in milliseconds.
    first_list: f64,
    /// The median of a list's time after that, in milliseconds.
    list: f64,
    /// A list's bytes.
    list_bytes: usize,
    /// Resident memory, in bytes.
    memory: u64,
    /// CPU at rest, in milliseconds a second.
    cpu: f64,
    /// How often a second its threads wake up at rest.
    wakes: f64,
}

impl Growth {
    /// Measures everything, and prints the table.
    pub async fn run(self) -> Result<(), Error> {
        // Here too: a client of ten thousand sessions has as many connections.
        raise_open_files();
        let crowd = start(&[program()?, "crowd".to_owned()]).await?;
        let mut all = Vec::new();
        print!("{}", report::machine());
        for kind in Kind::ALL {
            let numbers = match kind {
                Kind::Children { .. } => &self.children,
                Kind::Tools => &self.tools,
                Kind::Sessions { .. } => &self.sessions,
            };
            println!("{}", head(kind));
            let mut first = None;
            for &number in numbers {
                let grown = self.measure(kind, number, &crowd).await?;
                println!("{}", row(&grown, first));
                first.get_or_insert((grown.number, grown.memory));
                all.push(grown);
            }
        }
        std::fs::write(
            self.out.join("growth.json"),
            serde_json::to_vec_pretty(&all)?,
        )?;
        Ok(())
    }

    async fn measure(&self, kind: Kind, number: usize, crowd: &Server) -> Result<Grown, Error> {
        let (children, tools, streams, guests) = match kind {
            Kind::Children { streams } => (number, number, streams, 0),
            Kind::Tools => (SHARING.min(number), number, false, 0),
            Kind::Sessions { .. } => (1, 1, false, number),
        };
        let at = crowd.url.trim_end_matches("/mcp");
        let url = |child: usize| {
            // What cannot be shared evenly, the first ones have.
            let more = usize::from(child < tools % children);
            format!("{at}{}", crowd::path(tools / children + more, streams))
        };
        let entry = |n| (format!("child-{n}"), json!({"url": url(n)}));
        let entries: Map<String, Value> = (0..children).map(entry).collect();
        let folder = self.out.join("growth");
        std::fs::create_dir_all(&folder)?;
        let settings = json!({"mcpServers": entries});
        let began = Instant::now();
        let server = start_configured(&self.multiplexer, &folder, &settings, &crowd.url).await?;
        let mut lister = Lister::enter(&server.url).await?;
        while guests::tools(&lister.list().await?)? < tools {
            sleep(Duration::from_millis(10)).await;
        }
        let first_list = began.elapsed();
        all_ready(&server, children).await?;
        let _guests = match kind {
            Kind::Sessions { streams } => Some(Guests::enter(&server.url, guests, streams).await?),
            _ => None,
        };
        let mut times = Vec::new();
        let mut list_bytes = 0;
        for _ in 0..self.lists.max(1) {
            let began = Instant::now();
            list_bytes = lister.list().await?.len();
            times.push(millis(began.elapsed()));
        }
        sleep(SETTLE).await;
        let (cpu, wakes) = self.at_rest(server.pid).await?;
        Ok(Grown {
            kind: kind.name(),
            number,
            first_list: millis(first_list),
            list: report::median(&times).unwrap_or_default(),
            list_bytes,
            memory: usage::memory(server.pid)?,
            cpu,
            wakes,
        })
    }

    /// What a process does while nobody asks anything of it.
    async fn at_rest(&self, pid: u32) -> Result<(f64, f64), Error> {
        let (cpu, sleeps, began) = (usage::cpu(pid)?, usage::sleeps(pid)?, Instant::now());
        sleep(Duration::from_secs(self.rest)).await;
        let seconds = began.elapsed().as_secs_f64();
        let used = usage::cpu(pid)? - cpu;
        let woken = usage::sleeps(pid)?.saturating_sub(sleeps);
        Ok((millis(used) / seconds, woken as f64 / seconds))
    }
}

fn program() -> Result<String, Error> {
    Ok(std::env::current_exe()?.display().to_string())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn head(kind: Kind) -> String {
    format!(
        "\n{:<24}{:>14}{:>10}{:>12}{:>10}{:>12}{:>16}{:>10}",
        kind.name(),
        "first list ms",
        "list ms",
        "list KiB",
        "RSS MiB",
        "each KiB",
        "rest, ms CPU/s",
        "wakes/s"
    )
}

/// A line of the table; `first` is the number and the memory in the block's first one,
/// beside which a further one of the kind costs what it costs.
fn row(grown: &Grown, first: Option<(usize, u64)>) -> String {
    let each = first.and_then(|(number, memory)| {
        let more = grown.number.checked_sub(number).filter(|more| *more > 0)?;
        Some((grown.memory as f64 - memory as f64) / more as f64 / 1024.0)
    });
    format!(
        "{:<24}{:>14.0}{:>10.1}{:>12.1}{:>10.1}{:>12}{:>16.2}{:>10.1}",
        grown.number,
        grown.first_list,
        grown.list,
        grown.list_bytes as f64 / 1024.0,
        grown.memory as f64 / 1_048_576.0,
        each.map_or_else(|| "–".to_owned(), |each| format!("{each:.2}")),
        grown.cpu,
        grown.wakes,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_what_one_more_costs() {
        let grown = Grown {
            kind: "tools",
            number: 11,
            first_list: 1.0,
            list: 1.0,
            list_bytes: 1024,
            memory: 30 << 10,
            cpu: 0.5,
            wakes: 2.0,
        };
        assert!(row(&grown, Some((1, 10 << 10))).contains("2.00"));
        assert!(row(&grown, None).contains('–'));
    }
}
