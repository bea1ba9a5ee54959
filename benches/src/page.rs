//! A run as the book shows it: its part of a page, and the picture on it.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use crate::{
    chart,
    message::Payload,
    report::{self, Run, Sample, median},
    subjects::{HTTP_LEGACY, HTTP_MODERN, HTTP_STDIO, STDIO_STDIO, yardstick},
    targets,
    web::Error,
};

/// Calls at once, of what is shown for one number of them.
const SOME: usize = 16;
/// The same where it is about the tail of the times.
const MANY: usize = 64;
const BEGIN: &str = "<!-- begin: written by `benches page` -->\n";
const END: &str = "<!-- end -->\n";

/// Draws a run as SVG, on stdout.
#[derive(Args, Debug)]
pub struct Chart {
    /// Its raw numbers.
    raw: PathBuf,
    /// Calls at once.
    #[arg(long, default_value_t = SOME)]
    concurrency: usize,
}

/// Puts a run into the book.
#[derive(Args, Debug)]
pub struct Page {
    /// Its raw numbers.
    raw: PathBuf,
    /// The page, between whose marks it is put.
    #[arg(long, default_value = "docs/src/performance.md")]
    page: PathBuf,
    /// The picture.
    #[arg(long, default_value = "docs/src/pictures/performance.svg")]
    picture: PathBuf,
}

impl Chart {
    /// Prints the picture.
    pub fn run(&self) -> Result<(), Error> {
        println!("{}", chart::of(&read(&self.raw)?, self.concurrency)?);
        Ok(())
    }
}

impl Page {
    /// Writes the page and the picture.
    pub fn run(&self) -> Result<(), Error> {
        let run = read(&self.raw)?;
        fs::write(&self.picture, chart::of(&run, SOME)?)?;
        let page = fs::read_to_string(&self.page)?;
        let marks = page.split_once(BEGIN);
        let marks = marks.and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
        let (before, after) = marks.ok_or("the page has no marks")?;
        let page = format!("{before}{BEGIN}\n{}\n{END}{after}", part(&run));
        Ok(fs::write(&self.page, page)?)
    }
}

fn read(raw: &Path) -> Result<Run, Error> {
    Ok(serde_json::from_slice(&fs::read(raw)?)?)
}

/// The part of the page.
fn part(run: &Run) -> String {
    let mut out = format!(
        "{}.\n\n![CPU a call and calls a second of each proxy](pictures/performance.svg)\n\n{}\n",
        run.machine,
        promises(&run.samples)
    );
    if !run.peers.is_empty() {
        let _ = writeln!(out, "Peers: {}.\n", run.peers.join("; "));
    }
    for way in [HTTP_LEGACY, HTTP_MODERN, HTTP_STDIO, STDIO_STDIO] {
        if run.samples.iter().any(|it| it.way == way) {
            let _ = writeln!(out, "**{way}**\n\n{}", small(&run.samples, way));
            out.push_str(&larger(&run.samples, way));
        }
    }
    let _ = write!(
        out,
        "<details><summary>The whole table</summary>\n\n```text{}```\n\n</details>\n",
        report::table(&run.samples)
    );
    out
}

fn promises(samples: &[Sample]) -> String {
    let mut out = String::from("| promised | | measured | |\n|---|---|---|---|\n");
    for target in targets::of(samples) {
        let kept = if target.holds() { "kept" } else { "**missed**" };
        let (what, promise, shown) = (&target.what, target.promise(), target.shown());
        let _ = writeln!(out, "| {what} | {promise} | {shown} | {kept} |");
    }
    out
}

/// The smallest results, at every number of calls at once.
fn small(samples: &[Sample], way: &str) -> String {
    let its = || samples.iter().filter(|it| it.way == way);
    let Some(payload) = its().map(|it| it.payload).min() else {
        return String::new();
    };
    let mut each: Vec<_> = its().map(|it| it.concurrency).collect();
    each.sort_unstable();
    each.dedup();
    let mut out = format!("| {} |", payload.title());
    for c in &each {
        let _ = write!(out, " calls/s, c={c} |");
    }
    let _ = writeln!(
        out,
        " p50 µs, c={MANY} | p99 | p99.9 | CPU µs, c={SOME} | × bare | RSS MiB |\n|---|{}",
        "--:|".repeat(each.len() + 6)
    );
    for who in report::names(samples, way) {
        let of = |c| report::of(samples, way, who, payload, c);
        let rates = each
            .iter()
            .map(|c| shown(&of(*c), 0, |it| Some(it.measured.rate())));
        let rates: Vec<_> = rates.collect();
        let (some, many) = (of(SOME), of(MANY));
        let _ = writeln!(
            out,
            "| {who} | {} | {} | {} | {} | {} | {} | {} |",
            rates.join(" | "),
            shown(&many, 0, |it| Some(it.measured.p50)),
            shown(&many, 0, |it| Some(it.measured.p99)),
            shown(&many, 0, |it| it.measured.tail()),
            shown(&some, 0, |it| it.cpu),
            times(samples, way, who, payload),
            shown(&many, 0, |it| Some(it.memory? as f64 / 1_048_576.0)),
        );
    }
    out
}

/// The other results, at one number of calls at once.
fn larger(samples: &[Sample], way: &str) -> String {
    let its = samples.iter().filter(|it| it.way == way);
    let mut payloads: Vec<_> = its.map(|it| it.payload).collect();
    payloads.sort_unstable();
    payloads.dedup();
    let Some((_, payloads)) = payloads.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return String::new();
    };
    let mut out = format!("| c={SOME} |");
    for payload in payloads {
        let _ = write!(out, " {}: calls/s | CPU µs | × bare |", payload.title());
    }
    let _ = writeln!(out, "\n|---|{}", "--:|".repeat(payloads.len() * 3));
    for who in report::names(samples, way) {
        let _ = write!(out, "| {who} |");
        for payload in payloads {
            let of = report::of(samples, way, who, *payload, SOME);
            let _ = write!(
                out,
                " {} | {} | {} |",
                shown(&of, 0, |it| Some(it.measured.rate())),
                shown(&of, 0, |it| it.cpu),
                times(samples, way, who, *payload)
            );
        }
        out.push('\n');
    }
    out.push('\n');
    out
}

/// How many times the yardstick's CPU it takes.
fn times(samples: &[Sample], way: &str, who: &str, payload: Payload) -> String {
    let of = |who| report::of(samples, way, who, payload, SOME);
    let ratios = report::ratios(&of(who), &of(yardstick(way)), &|it| it.cpu);
    median(&ratios).map_or_else(|| "–".to_owned(), |median| format!("{median:.1}"))
}

fn shown(samples: &[&Sample], digits: usize, value: impl Fn(&Sample) -> Option<f64>) -> String {
    let values: Vec<_> = samples.iter().filter_map(|it| value(it)).collect();
    median(&values).map_or_else(|| "–".to_owned(), |median| format!("{median:.digits$}"))
}
