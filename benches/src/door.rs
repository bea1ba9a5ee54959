//! What a flood of bad tokens does to callers who have good ones: the same load, without
//! the flood and with it, in turn.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    bench::Cell,
    flood::Refused,
    issuer::Issuer,
    load::Measured,
    message::{Era, PREFIX, Payload},
    processes::{self, Load, Server, Way, child, only, start, start_configured},
    report, usage,
    web::Error,
};

/// How long a flood has been on before anything is measured, and goes on after it.
const AROUND: Duration = Duration::from_millis(500);

/// Measures what a flood of bad tokens does to those who have good ones.
#[derive(Args, Debug)]
pub struct Door {
    /// The multiplexer.
    #[arg(long, default_value = "target/release/mcp-multiplexer")]
    multiplexer: PathBuf,
    /// Where its configuration goes.
    #[arg(long, default_value = "target/bench")]
    out: PathBuf,
    /// How often everything is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// For how long, each time.
    #[arg(long, default_value_t = 3000)]
    millis: u64,
    /// Valid calls at once.
    #[arg(long, default_value_t = 8)]
    concurrency: usize,
    /// Bad tokens a second.
    #[arg(long, default_value_t = 2000)]
    rate: u32,
}

/// One load, and what the multiplexer used meanwhile.
struct Round {
    measured: Measured,
    /// Microseconds of CPU.
    used: f64,
    flood: Option<Refused>,
}

impl Door {
    /// Runs everything and prints what came of it.
    pub async fn run(self) -> Result<(), Error> {
        let issuer = Issuer::start().await?;
        let folder = self.out.join("door");
        std::fs::create_dir_all(&folder)?;
        let tokens = folder.join("tokens");
        std::fs::write(&tokens, issuer.bad()?.join("\n"))?;
        let behind = start(&child("http", Era::Modern, &[Payload::Text(64)])?).await?;
        let entries = only(&Way::Http(behind.url.clone()));
        let config = json!({"mcpServers": entries, "auth": issuer.lock()});
        let began = Instant::now();
        let server = start_configured(&self.multiplexer, &folder, &config, &behind.url).await?;
        while issuer.fetches() == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        sleep(AROUND).await;
        let token = issuer.good()?;
        let before = usage::memory(server.pid)?;
        let mut rounds = Vec::new();
        for round in 0..self.rounds {
            eprintln!("round {} of {}", round + 1, self.rounds);
            let alone = self.measure(&server, &token, None).await?;
            let flooded = self.measure(&server, &token, Some(&tokens)).await?;
            rounds.push((alone, flooded));
        }
        print!("{}", report::machine());
        println!("{}", table(&rounds));
        println!(
            "{} key fetches in {:.0} s; {:+.1} MiB of resident memory",
            issuer.fetches(),
            began.elapsed().as_secs_f64(),
            (usage::memory(server.pid)? as f64 - before as f64) / 1_048_576.0
        );
        Ok(())
    }

    async fn measure(
        &self,
        server: &Server,
        token: &str,
        flood: Option<&PathBuf>,
    ) -> Result<Round, Error> {
        let cell = Cell {
            payload: Payload::Text(64),
            concurrency: self.concurrency,
        };
        let to = processes::Door::Http(server.url.clone());
        let options = ["--token", token];
        let load = Load::with(&options, &to, Era::Modern, PREFIX, cell, self.millis).await?;
        let flood = match flood {
            Some(tokens) => {
                let millis = self.millis + 2 * u64::try_from(AROUND.as_millis())?;
                let flood = Load::flood(&server.url, tokens, self.rate, millis).await?;
                let flood = tokio::spawn(flood.measure::<Refused>());
                sleep(AROUND).await;
                Some(flood)
            }
            None => None,
        };
        let before = usage::cpu(server.pid)?;
        let measured: Measured = load.measure().await?;
        let used = (usage::cpu(server.pid)? - before).as_secs_f64() * 1e6;
        let flood = match flood {
            Some(flood) => Some(flood.await??),
            None => None,
        };
        Ok(Round {
            measured,
            used,
            flood,
        })
    }
}

/// What came of it, for a person. The ratios are taken round by round, then the median.
fn table(rounds: &[(Round, Round)]) -> String {
    let row = |name: &str, pick: &dyn Fn(&Round) -> f64| {
        let alone = median(rounds.iter().map(|(alone, _)| pick(alone)).collect());
        let flooded = median(rounds.iter().map(|(_, flooded)| pick(flooded)).collect());
        let ratios = rounds
            .iter()
            .map(|(alone, flooded)| pick(flooded) / pick(alone));
        let ratio = median(ratios.collect());
        format!("{name:<16}{alone:>12.1}{flooded:>12.1}{ratio:>9.2}\n")
    };
    let head = format!("{:<16}{:>12}{:>12}{:>9}\n", "", "alone", "flooded", "ratio");
    let calls = row("calls/s", &|round| {
        round.measured.calls as f64 / round.measured.seconds
    });
    let p50 = row("p50 µs", &|round| round.measured.p50);
    let p99 = row("p99 µs", &|round| round.measured.p99);
    format!("{head}{calls}{p50}{p99}{}", refusals(rounds))
}

/// How many there were, and what one cost: what the multiplexer used beyond what the
/// calls cost it without a flood.
fn refusals(rounds: &[(Round, Round)]) -> String {
    let mut rate = Vec::new();
    let mut cost = Vec::new();
    let mut calls = Vec::new();
    let mut others = 0;
    for (alone, flooded) in rounds {
        let Some(flood) = &flooded.flood else {
            continue;
        };
        let refused = flood.statuses.get(&401).copied().unwrap_or_default();
        others += flood.statuses.values().sum::<usize>() - refused;
        let per_second = refused as f64 / flood.seconds;
        let each = alone.used / alone.measured.calls as f64;
        let beyond = flooded.used - each * flooded.measured.calls as f64;
        rate.push(per_second);
        calls.push(each);
        cost.push(beyond / (per_second * flooded.measured.seconds));
    }
    format!(
        "{:.0} refusals/s, {:.1} µs of CPU each (a call without a flood: {:.1}); {others} \
         answers that were no refusal\n",
        median(rate),
        median(cost),
        median(calls)
    )
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_rounds() {
        let round = |p50: f64| Round {
            measured: Measured {
                calls: 100,
                seconds: 1.0,
                p50,
                p99: 1.0,
                p999: 1.0,
            },
            used: 1000.0,
            flood: None,
        };
        let rounds = [1.0, 9.0, 3.0].map(|p50| (round(1.0), round(p50)));
        let shown = table(&rounds);
        let line = shown.lines().find(|line| line.starts_with("p50"));
        assert!(line.is_some_and(|line| line.ends_with("3.00")), "{shown}");
    }
}
