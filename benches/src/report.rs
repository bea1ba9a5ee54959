//! Samples, and the table made of them.

use std::{collections::BTreeMap, fmt::Write, fs};

use serde::{Deserialize, Serialize};

use crate::{load::Measured, message::Payload, subjects::yardstick};

/// All numbers of a run, as they are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    /// What it was measured on.
    pub machine: String,
    /// The peers with their versions, and those that are not there.
    pub peers: Vec<String>,
    pub samples: Vec<Sample>,
}

/// One subject, measured once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub who: String,
    pub way: String,
    pub payload: Payload,
    pub concurrency: usize,
    pub round: usize,
    /// Of the proxy, in microseconds a call.
    pub cpu: Option<f64>,
    /// Of the proxy, in bytes.
    pub memory: Option<u64>,
    #[serde(flatten)]
    pub measured: Measured,
}

/// What the numbers were measured on.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or_default()
        .trim_start_matches(['\t', ':', ' ']);
    let compiler = std::env::var("BENCH_RUSTC").unwrap_or_default();
    format!(
        "{cores} cores ({model}), Linux {}, {compiler}",
        // Without what its builder calls it.
        kernel.trim().split('-').next().unwrap_or_default()
    )
}

/// One row for each subject, in blocks of one payload and concurrency.
pub fn table(samples: &[Sample]) -> String {
    let mut blocks: BTreeMap<(Payload, usize), Vec<(&str, &str)>> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.round == 0) {
        let block = blocks.entry((sample.payload, sample.concurrency));
        block.or_default().push((&sample.way, &sample.who));
    }
    let mut out = String::new();
    for ((payload, concurrency), subjects) in blocks {
        let _ = writeln!(
            out,
            "\n{:<46}{:>14}{:>9}{:>9}{:>9}{:>15}{:>8}{:>9}",
            format!("{}, c={concurrency}", payload.title()),
            "calls/s",
            "p50 µs",
            "p99 µs",
            "p99.9 µs",
            "CPU µs/call",
            "× bare",
            "RSS MiB"
        );
        for (way, who) in subjects {
            let of = |who| of(samples, way, who, payload, concurrency);
            let _ = writeln!(
                out,
                "{way:<22}{who:<24}{}",
                row(&of(who), &of(yardstick(way)))
            );
        }
    }
    out
}

/// The samples of one row.
pub fn of<'a>(
    samples: &'a [Sample],
    way: &str,
    who: &str,
    payload: Payload,
    concurrency: usize,
) -> Vec<&'a Sample> {
    let row = samples.iter().filter(|it| it.way == way && it.who == who);
    let cell = row.filter(|it| (it.payload, it.concurrency) == (payload, concurrency));
    cell.collect()
}

/// Who was measured on this way, in this order.
pub fn names<'a>(samples: &'a [Sample], way: &str) -> Vec<&'a str> {
    let mut names: Vec<&str> = Vec::new();
    for sample in samples.iter().filter(|it| it.way == way) {
        if !names.contains(&&*sample.who) {
            names.push(&sample.who);
        }
    }
    names
}

/// What the one divided by the other gives, round by round: what slowed one of them then,
/// slowed both.
pub fn ratios(
    ones: &[&Sample],
    others: &[&Sample],
    value: &dyn Fn(&Sample) -> Option<f64>,
) -> Vec<f64> {
    let rounds = ones.iter().filter_map(|one| {
        let other = others.iter().find(|it| it.round == one.round)?;
        Some(value(one)? / value(other)?)
    });
    rounds.collect()
}

fn row(samples: &[&Sample], bare: &[&Sample]) -> String {
    let all = |value: &dyn Fn(&Sample) -> Option<f64>| -> Vec<f64> {
        samples.iter().filter_map(|sample| value(sample)).collect()
    };
    let cpu = all(&|sample| sample.cpu);
    let ratios = ratios(samples, bare, &|sample| sample.cpu);
    let shown = |values: &[f64], digits: usize| match median(values) {
        Some(median) => format!("{median:.digits$}"),
        None => "–".to_owned(),
    };
    let spread = |values: &[f64]| match half_range(values) {
        Some(half) => format!(" ±{:>2.0}%", half * 100.0),
        None => String::new(),
    };
    let rate = all(&|sample| Some(sample.measured.rate()));
    format!(
        "{:>14}{:>9}{:>9}{:>9}{:>15}{:>8}{:>9}",
        shown(&rate, 0) + &spread(&rate),
        shown(&all(&|sample| Some(sample.measured.p50)), 0),
        shown(&all(&|sample| Some(sample.measured.p99)), 0),
        shown(&all(&|sample| sample.measured.tail()), 0),
        shown(&cpu, 1) + &spread(&cpu),
        shown(&ratios, 2),
        shown(&all(&|sample| Some(sample.memory? as f64 / 1_048_576.0)), 1),
    )
}

/// The one in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let above = sorted.get(sorted.len() / 2)?;
    let below = sorted.get((sorted.len() - 1) / 2)?;
    Some(f64::midpoint(*above, *below))
}

/// Half the way from the least to the greatest, as a share of the median.
pub fn half_range(values: &[f64]) -> Option<f64> {
    let least = values.iter().copied().reduce(f64::min)?;
    let greatest = values.iter().copied().reduce(f64::max)?;
    Some((greatest - least) / 2.0 / median(values)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle_and_the_spread_around_it() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0]), Some(1.5));
        assert_eq!(median(&[]), None);
        assert_eq!(half_range(&[9.0, 10.0, 11.0]), Some(0.1));
    }
}
