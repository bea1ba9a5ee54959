//! The run: who is measured, in which order, and the table at its end.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use clap::Args;

use crate::{
    load::Measured,
    many::Many,
    message::{Era, PREFIX},
    processes::{Load, Server, Way, child, only, start, start_bare, start_multiplexer},
    report::{self, Sample},
    usage,
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
    #[arg(long, default_value_t = 700)]
    millis: u64,
    /// Calls at once.
    #[arg(long, value_delimiter = ',', default_value = "1,8,64")]
    concurrency: Vec<usize>,
    /// Lengths of a result's text.
    #[arg(long, value_delimiter = ',', default_value = "64,102400")]
    bytes: Vec<usize>,
    /// Children of the multiplexer whose memory is measured; 0 for none.
    #[arg(long, default_value_t = 1000)]
    children: usize,
    /// Only what has this in its name, and what that is compared with.
    #[arg(long, default_value = "")]
    only: String,
}

/// What is asked of everybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub bytes: usize,
    pub concurrency: usize,
}

/// Who is measured.
struct Subject {
    name: String,
    /// Clients and child speak the same.
    era: Era,
    url: String,
    prefix: &'static str,
    /// `None` for the child itself, which is no proxy.
    proxy: Option<Server>,
}

impl Bench {
    /// Runs everything and prints the table.
    pub async fn run(self) -> Result<(), Error> {
        std::fs::create_dir_all(&self.out)?;
        let (_children, subjects) = self.subjects().await?;
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
                    samples.push(self.measure(&subjects[at], cell, round).await?);
                }
            }
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let raw = self.out.join(format!("{}.json", now.as_secs()));
        std::fs::write(&raw, serde_json::to_vec_pretty(&samples)?)?;
        print!("{}", report::machine());
        println!("{}", report::table(&samples));
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
            let served = start(&child("http", era, &[64])?).await?;
            let folder = self.folder(name, self.children)?;
            let builds = [Some(&self.multiplexer), self.beside.as_ref()];
            for program in builds.into_iter().flatten() {
                let url = &served.url;
                measured.push(Many::measure(name, program, &folder, url, self.children).await?);
            }
        }
        Ok(measured)
    }

    fn cells(&self) -> impl Iterator<Item = Cell> {
        self.bytes.iter().flat_map(|&bytes| {
            let each = self.concurrency.iter();
            each.map(move |&concurrency| Cell { bytes, concurrency })
        })
    }

    async fn measure(&self, subject: &Subject, cell: Cell, round: usize) -> Result<Sample, Error> {
        let Subject {
            name, era, prefix, ..
        } = subject;
        let load = Load::start(&subject.url, *era, prefix, cell, self.millis).await?;
        let pid = subject.proxy.as_ref().map(|proxy| proxy.pid);
        let before = pid.map(usage::cpu).transpose()?.unwrap_or_default();
        let measured: Measured = load.measure().await?;
        let after = pid.map(usage::cpu).transpose()?.unwrap_or_default();
        let used = (after - before).as_secs_f64() * 1e6;
        Ok(Sample {
            subject: name.clone(),
            bytes: cell.bytes,
            concurrency: cell.concurrency,
            round,
            calls_per_second: measured.calls as f64 / measured.seconds,
            cpu: pid.map(|_| used / measured.calls as f64),
            memory: pid.map(usage::memory).transpose()?,
            measured,
        })
    }

    /// Starts everybody. The first server of each way is what the proxies are in
    /// front of.
    async fn subjects(&self) -> Result<(Vec<Server>, Vec<Subject>), Error> {
        let mut children = Vec::new();
        let mut subjects = Vec::new();
        for era in [Era::Legacy, Era::Modern] {
            let served = start(&child("http", era, &self.bytes)?).await?;
            let name = match era {
                Era::Legacy => "http, legacy",
                Era::Modern => "http, modern",
            };
            if era == Era::Legacy {
                subjects.push(Subject {
                    name: "direct: the child alone".to_owned(),
                    era,
                    url: served.url.clone(),
                    prefix: "",
                    proxy: None,
                });
            }
            let way = Way::Http(served.url.clone());
            subjects.extend(self.proxies(name, era, &way, &served.url).await?);
            children.push(served);
        }
        let way = Way::Stdio(child("stdio", Era::Legacy, &self.bytes)?);
        let issuer = &children[0].url;
        subjects.extend(
            self.proxies("stdio, legacy", Era::Legacy, &way, issuer)
                .await?,
        );
        Ok((children, subjects))
    }

    /// The bare proxy and the multiplexer in front of one child.
    async fn proxies(
        &self,
        name: &str,
        era: Era,
        way: &Way,
        issuer: &str,
    ) -> Result<Vec<Subject>, Error> {
        if !name.contains(&self.only) {
            return Ok(Vec::new());
        }
        let subject = |kind: &str, proxy: Server| Subject {
            name: format!("{kind} → {name}"),
            era,
            url: proxy.url.clone(),
            prefix: PREFIX,
            proxy: Some(proxy),
        };
        let mut subjects = vec![subject(report::BARE, start_bare(way).await?)];
        let builds = [
            ("multiplexer", Some(&self.multiplexer)),
            ("beside", self.beside.as_ref()),
        ];
        for (kind, program) in builds {
            if let Some(program) = program {
                let folder = self.folder(kind, subjects.len())?;
                let server = start_multiplexer(program, &folder, only(way), issuer).await?;
                subjects.push(subject(kind, server));
            }
        }
        Ok(subjects)
    }

    fn folder(&self, kind: &str, number: usize) -> Result<PathBuf, Error> {
        let folder = Path::new(&self.out).join(format!("{kind}-{number}"));
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}
