//! The run: in which order everybody is measured, and the table at its end.

use std::{fmt, path::PathBuf, time::SystemTime};

use clap::Args;

use crate::{
    load::Measured,
    many::Many,
    message::{Era, Payload},
    processes::{child, start},
    report::{self, Run, Sample},
    subjects::{LIST, Makers, Subject},
    targets,
    web::Error,
};

/// Measures everything, side by side.
#[derive(Args, Debug)]
pub struct Bench {
    /// The multiplexer.
    #[arg(long)]
    multiplexer: PathBuf,
    /// Another build of it, to be measured beside it.
    #[arg(long)]
    beside: Option<PathBuf>,
    /// Where configurations and raw numbers go.
    #[arg(long)]
    out: PathBuf,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// For how long, each time.
    #[arg(long, default_value_t = 400)]
    millis: u64,
    /// Calls at once.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256")]
    concurrency: Vec<usize>,
    /// Results: the length of a text, `rows:` and how many, or `tools:` and how many are
    /// listed.
    #[arg(
        long,
        alias = "bytes",
        value_delimiter = ',',
        default_value = "64,4096,102400,1048576,rows:1000,tools:10000"
    )]
    payloads: Vec<Payload>,
    /// Children of the multiplexer whose memory is measured; 0 for none.
    #[arg(long, default_value_t = 1000)]
    children: usize,
    /// Where the peers are installed.
    #[arg(long, env = "BENCH_PEERS", default_value = ".cache/bench-peers")]
    peers: PathBuf,
    /// Only the ways with this in their name, such as "http, legacy".
    #[arg(long, default_value = "")]
    only: String,
}

/// Measures the list of many tools, and nothing else.
#[derive(Args, Debug)]
pub struct List {
    /// The multiplexer.
    #[arg(long, default_value = "target/release/mcp-multiplexer")]
    multiplexer: PathBuf,
    /// Where configurations and raw numbers go.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// How many tools there are.
    #[arg(long, default_value_t = 10_000)]
    tools: usize,
    /// How often it is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// For how long, each time.
    #[arg(long, default_value_t = 2000)]
    millis: u64,
}

impl List {
    /// Runs it and prints the table.
    pub async fn run(self) -> Result<(), Error> {
        let bench = Bench {
            multiplexer: self.multiplexer,
            beside: None,
            out: self.out,
            rounds: self.rounds,
            millis: self.millis,
            concurrency: vec![1, 16],
            payloads: vec![Payload::Tools(self.tools)],
            children: 0,
            peers: PathBuf::new(),
            only: LIST.to_owned(),
        };
        bench.run().await
    }
}

/// What is asked of everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub payload: Payload,
    pub concurrency: usize,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, c={}", self.payload.title(), self.concurrency)
    }
}

impl Bench {
    /// Runs everything and prints the table.
    pub async fn run(self) -> Result<(), Error> {
        std::fs::create_dir_all(&self.out)?;
        let makers = Makers {
            multiplexer: &self.multiplexer,
            beside: self.beside.as_deref(),
            out: &self.out,
            payloads: &self.payloads,
            only: &self.only,
            peers: &self.peers,
        };
        let (_children, subjects) = makers.start().await?;
        let mut samples = Vec::new();
        for round in 0..self.rounds {
            eprintln!("round {} of {}", round + 1, self.rounds);
            for cell in self.cells() {
                // To and fro, so that a machine that grows slower is no one's loss.
                for turn in 0..subjects.len() {
                    let at = match round % 2 {
                        0 => turn,
                        _ => subjects.len() - 1 - turn,
                    };
                    let subject = &subjects[at];
                    if subject.is_asked(cell) {
                        samples.push(self.measure(subject, cell, round).await?);
                    }
                }
            }
        }
        drop(subjects);
        let run = Run {
            machine: report::machine(),
            peers: makers.installed(),
            samples,
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let raw = self.out.join(format!("{}.json", now.as_secs()));
        std::fs::write(&raw, serde_json::to_vec_pretty(&run)?)?;
        println!("{}", run.machine);
        println!("peers: {}", run.peers.join(", "));
        println!("{}", report::table(&run.samples));
        println!("{}", targets::table(&run.samples));
        for many in self.many().await? {
            println!("{}", many.line());
        }
        println!("\nraw numbers: {}", raw.display());
        Ok(())
    }

    /// What a child costs that nobody calls.
    async fn many(&self) -> Result<Vec<Many>, Error> {
        let mut measured = Vec::new();
        let eras = [("http, legacy", Era::Legacy), ("http, modern", Era::Modern)];
        for (name, era) in eras {
            if self.children == 0 || !name.contains(&self.only) {
                continue;
            }
            let served = start(&child("http", era, &[Payload::Text(64)])?).await?;
            let folder = self.out.join(format!("many-{}", era.word()));
            std::fs::create_dir_all(&folder)?;
            let builds = [Some(&self.multiplexer), self.beside.as_ref()];
            for program in builds.into_iter().flatten() {
                let url = &served.url;
                measured.push(Many::measure(name, program, &folder, url, self.children).await?);
            }
        }
        Ok(measured)
    }

    fn cells(&self) -> impl Iterator<Item = Cell> {
        self.payloads.iter().flat_map(|&payload| {
            let each = self.concurrency.iter();
            each.map(move |&concurrency| Cell {
                payload,
                concurrency,
            })
        })
    }

    async fn measure(&self, subject: &Subject, cell: Cell, round: usize) -> Result<Sample, Error> {
        let mut load = subject.load(cell, self.millis).await?;
        let before = subject.used(&load)?;
        let measured: Measured = load.go().await?;
        let after = subject.used(&load)?;
        let cpu = before.zip(after).map(|(before, after)| {
            after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / measured.calls as f64
        });
        Ok(Sample {
            who: subject.who.clone(),
            way: subject.way.to_owned(),
            payload: cell.payload,
            concurrency: cell.concurrency,
            round,
            cpu,
            memory: after.map(|after| after.memory),
            measured,
        })
    }
}
