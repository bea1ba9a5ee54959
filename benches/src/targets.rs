//! What is promised of the multiplexer, and what a run says of it.

use std::fmt::Write;

use crate::{
    message::Payload,
    report::{self, Sample, median},
    subjects::{BARE, DIRECT, FIXED, HTTP_LEGACY, HTTP_MODERN, LIST, MULTIPLEXER, STDIO_STDIO},
};

/// The peer that decodes what it passes on, and does so with the least.
const DECODES: &str = "mcp-proxy (Rust)";
const SMALL: Payload = Payload::Text(64);
const LARGE: Payload = Payload::Text(1 << 20);

/// A promise.
pub struct Target {
    pub what: String,
    /// The ratio that is promised: at least where `least`, else at most.
    pub ratio: f64,
    pub least: bool,
    /// By the calls at once.
    pub measured: Vec<(usize, f64)>,
}

impl Target {
    fn is_met(&self, ratio: f64) -> bool {
        match self.least {
            true => ratio >= self.ratio,
            false => ratio <= self.ratio,
        }
    }

    /// Whether all that was measured keeps the promise.
    pub fn holds(&self) -> bool {
        self.measured.iter().all(|(_, ratio)| self.is_met(*ratio))
    }

    /// The promise in a few signs.
    pub fn promise(&self) -> String {
        let sign = if self.least { '≥' } else { '≤' };
        format!("{sign} {}", self.ratio)
    }

    /// What was measured, for each number of calls at once.
    pub fn shown(&self) -> String {
        let each = self.measured.iter();
        let each: Vec<_> = each
            .map(|(c, ratio)| format!("{ratio:.2} (c={c})"))
            .collect();
        each.join(", ")
    }
}

/// All that these samples say something of.
pub fn of(samples: &[Sample]) -> Vec<Target> {
    let cpu = |it: &Sample| it.cpu;
    let p99 = |it: &Sample| Some(it.measured.p99);
    let rate = |it: &Sample| Some(it.measured.rate());
    let against = |what: &str, way, other, payload, only: &[usize], value: Value, ratio| Target {
        what: format!("{what}, {way}, {}", payload_of(way, payload)),
        ratio,
        least: false,
        measured: ratios(samples, way, other, payload, only, value),
    };
    let mut all = Vec::new();
    for way in [HTTP_LEGACY, HTTP_MODERN] {
        all.push(against(
            "CPU a call / bare",
            way,
            BARE,
            SMALL,
            &[],
            &cpu,
            1.5,
        ));
        all.push(against(
            "CPU a call / bare",
            way,
            BARE,
            LARGE,
            &[],
            &cpu,
            1.2,
        ));
        all.push(against("p99 / bare", way, BARE, SMALL, &[64], &p99, 1.5));
        all.push(Target {
            least: true,
            ..against("calls/s / bare", way, BARE, SMALL, &[16], &rate, 0.8)
        });
        all.push(Target {
            measured: added(samples, way),
            ..against("p50 added / by bare", way, BARE, SMALL, &[], &cpu, 1.5)
        });
    }
    let stdio = against(
        "CPU a call / bare",
        STDIO_STDIO,
        BARE,
        SMALL,
        &[],
        &cpu,
        1.5,
    );
    all.push(stdio);
    let peer = format!("CPU a call / {DECODES}");
    all.push(against(&peer, HTTP_LEGACY, DECODES, SMALL, &[], &cpu, 0.5));
    let lists = samples.iter().filter(|it| it.way == LIST);
    if let Some(list) = lists.map(|it| it.payload).max() {
        let p50 = |it: &Sample| Some(it.measured.p50);
        all.push(against(
            "time / the same bytes",
            LIST,
            FIXED,
            list,
            &[],
            &p50,
            1.3,
        ));
        all.push(against(
            "CPU / the same bytes",
            LIST,
            FIXED,
            list,
            &[],
            &cpu,
            1.3,
        ));
    }
    all.retain(|target| !target.measured.is_empty());
    all
}

/// The promises as lines for a person.
pub fn table(samples: &[Sample]) -> String {
    let mut out = String::new();
    for target in of(samples) {
        let kept = if target.holds() { "kept" } else { "MISSED" };
        let (what, promise, shown) = (&target.what, target.promise(), target.shown());
        let _ = writeln!(out, "{kept:<8}{what:<62}{promise:<7}{shown}");
    }
    out
}

type Value<'a> = &'a dyn Fn(&Sample) -> Option<f64>;

fn payload_of(way: &str, payload: Payload) -> String {
    match way {
        LIST => payload.title(),
        _ => format!("{} results", payload.title()),
    }
}

/// The multiplexer's value divided by another's, round by round, then the median: for all
/// numbers of calls at once, or only some.
fn ratios(
    samples: &[Sample],
    way: &str,
    other: &str,
    payload: Payload,
    only: &[usize],
    value: Value,
) -> Vec<(usize, f64)> {
    let each = concurrencies(samples).into_iter();
    let each = each.filter(|c| only.is_empty() || only.contains(c));
    let ratio = |c| {
        let of = |who| report::of(samples, way, who, payload, c);
        let ratios = report::ratios(&of(MULTIPLEXER), &of(other), value);
        Some((c, median(&ratios)?))
    };
    each.filter_map(ratio).collect()
}

/// What the multiplexer adds to the median of one call at a time, divided by what the
/// bare proxy adds. A round in which that adds nothing has nothing to divide by.
fn added(samples: &[Sample], way: &str) -> Vec<(usize, f64)> {
    let of = |who| report::of(samples, way, who, SMALL, 1);
    let direct = of(DIRECT);
    let added = |it: &Sample| {
        let direct = direct.iter().find(|direct| direct.round == it.round)?;
        Some(it.measured.p50 - direct.measured.p50)
    };
    let mut bare = of(BARE);
    bare.retain(|it| added(it).is_some_and(|added| added > 0.0));
    let ratios = report::ratios(&of(MULTIPLEXER), &bare, &added);
    median(&ratios)
        .map(|ratio| (1, ratio))
        .into_iter()
        .collect()
}

fn concurrencies(samples: &[Sample]) -> Vec<usize> {
    let mut all: Vec<_> = samples.iter().map(|it| it.concurrency).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Measured;

    fn sample(who: &str, p50: f64, cpu: f64) -> Sample {
        Sample {
            who: who.to_owned(),
            way: HTTP_LEGACY.to_owned(),
            payload: SMALL,
            concurrency: 1,
            round: 0,
            cpu: Some(cpu),
            memory: None,
            measured: Measured {
                p50,
                ..Measured::default()
            },
        }
    }

    #[test]
    fn what_is_added_is_what_lies_above_the_child_alone() {
        let samples = [
            sample(DIRECT, 100.0, 0.0),
            sample(BARE, 140.0, 40.0),
            sample(MULTIPLEXER, 160.0, 80.0),
        ];
        let targets = of(&samples);
        let shown: Vec<_> = targets.iter().map(|it| (it.shown(), it.holds())).collect();
        assert_eq!(shown[0], ("2.00 (c=1)".to_owned(), false));
        assert_eq!(shown[1], ("1.50 (c=1)".to_owned(), true));
        assert_eq!(targets.len(), 2);
    }

    #[test]
    fn a_round_in_which_the_bare_proxy_adds_nothing_says_nothing() {
        let round = |round, p50s: [f64; 3]| {
            let who = [DIRECT, BARE, MULTIPLEXER].into_iter().zip(p50s);
            let samples = who.map(move |(who, p50)| Sample {
                round,
                ..sample(who, p50, 40.0)
            });
            samples.collect::<Vec<_>>()
        };
        let noisy = [
            round(0, [100.0, 90.0, 160.0]),
            round(1, [100.0, 100.0, 160.0]),
        ];
        assert_eq!(added(&noisy.concat(), HTTP_LEGACY), []);
        let clear = round(2, [100.0, 120.0, 150.0]);
        let all = [noisy.concat(), clear].concat();
        assert_eq!(added(&all, HTTP_LEGACY), [(1, 2.5)]);
    }
}
