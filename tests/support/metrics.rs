//! One reading of `/metrics`.

use std::collections::HashMap;

/// The text of a scrape.
pub struct Metrics(pub String);

impl Metrics {
    /// The value of the series of this name (without our prefix) that carries all
    /// these labels, and maybe others.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.series(name, labels).next()
    }

    /// The sum over all series of this name that carry these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.series(name, labels).sum()
    }

    /// Every series of this name, with its labels. No label holds a comma or a quote.
    pub fn all(&self, name: &str) -> Vec<(HashMap<String, String>, f64)> {
        let begin = format!("mcp_multiplexer_{name}{{");
        let series = self.0.lines().filter_map(|line| {
            let (labels, value) = line.strip_prefix(&begin)?.rsplit_once("} ")?;
            let labels = labels.split(',').filter_map(|label| {
                let (name, value) = label.split_once('=')?;
                Some((name.to_owned(), value.trim_matches('"').to_owned()))
            });
            Some((labels.collect(), value.parse().ok()?))
        });
        series.collect()
    }

    fn series<'a>(&'a self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = f64> + 'a {
        let name = format!("mcp_multiplexer_{name}");
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!(r#"{label}="{value}""#))
            .collect();
        self.0.lines().filter_map(move |line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (found, found_labels) = series.split_once('{').unwrap_or((series, ""));
            let fits = found == name && labels.iter().all(|label| found_labels.contains(label));
            fits.then(|| value.parse().ok())?
        })
    }
}
