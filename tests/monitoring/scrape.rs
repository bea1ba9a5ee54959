//! One reading of `/metrics`, series by series.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::support::Multiplexer;

/// What Prometheus adds to every series it scrapes.
const TARGET: &str = r#"instance="mux:8000",job="mcp-multiplexer""#;

/// A scrape, and when it was made.
pub struct Scrape {
    pub text: String,
    /// Unix time in seconds.
    at: f64,
}

/// One series of a scrape.
pub struct Series {
    pub name: String,
    /// As they stand between the braces.
    labels: String,
    pub value: f64,
}

impl Series {
    /// As Prometheus knows it.
    pub fn of_target(&self) -> String {
        let comma = if self.labels.is_empty() { "" } else { "," };
        format!("{}{{{}{comma}{TARGET}}}", self.name, self.labels)
    }
}

impl Scrape {
    /// What the program says now.
    pub async fn of(mux: &Multiplexer) -> Self {
        let text = mux.metrics().await.0;
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            text,
            at: since.expect("a time after 1970").as_secs_f64(),
        }
    }

    /// Every series, a histogram's each by itself.
    pub fn series(&self) -> Vec<Series> {
        let lines = self.text.lines().filter(|line| !line.starts_with('#'));
        let series = lines.filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            Some(Series {
                name: name.to_owned(),
                labels: labels.strip_suffix('}')?.to_owned(),
                value: value.parse().ok()?,
            })
        });
        series.collect()
    }

    /// Every series as a rule test reads it, for a world in which what happened between
    /// `before` and this scrape happens every minute: its name, and its values. Time
    /// begins with this scrape.
    pub fn going_on_since(&self, before: &Self) -> Vec<(String, String)> {
        const MINUTES: u32 = 40;
        let old: BTreeMap<_, _> = before
            .series()
            .into_iter()
            .map(|series| (series.of_target(), series.value))
            .collect();
        let counted: Vec<_> = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
            .filter(|(_, kind)| *kind != "gauge")
            .map(|(name, _)| name)
            .collect();
        let is_counted = |name: &str| {
            let family = ["_bucket", "_count", "_sum"];
            let family = family.iter().find_map(|end| name.strip_suffix(end));
            counted.contains(&name) || family.is_some_and(|family| counted.contains(&family))
        };
        let values = |series: &Series| {
            let key = series.of_target();
            let value = match series.name.ends_with("_timestamp_seconds") {
                true => series.value - self.at,
                false => series.value,
            };
            let step = match is_counted(&series.name) {
                true => value - old.get(&key).copied().unwrap_or(0.0),
                false => 0.0,
            };
            (key, format!("{value:.6}+{step:.6}x{MINUTES}"))
        };
        self.series().iter().map(values).collect()
    }

    /// Seconds for which the token is still good, if there ever was one.
    pub fn left_of_token(&self) -> Option<f64> {
        let all = self.series();
        let expiry = all
            .iter()
            .find(|series| series.name == "mcp_multiplexer_token_expiry_timestamp_seconds")?;
        Some(expiry.value - self.at)
    }
}
