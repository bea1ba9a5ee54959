//! What the metrics say of each child's calls.

use std::{collections::HashMap, io};

use prometheus_parse::{Scrape, Value};

/// The calls of one child in a stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Traffic {
    pub(super) calls: f64,
    pub(super) errors: f64,
    /// Calls that took up to so many seconds, as (seconds, calls).
    took: Vec<(f64, f64)>,
}

impl Traffic {
    /// Reads an exposition, by child. What cannot be read counts nothing.
    pub(super) fn read(text: &str) -> HashMap<String, Self> {
        let lines = text.lines().map(|line| io::Result::Ok(line.to_owned()));
        let samples = Scrape::parse(lines).map(|scrape| scrape.samples);
        let mut children: HashMap<String, Self> = HashMap::new();
        for sample in samples.unwrap_or_default() {
            let Some(child) = sample.labels.get("child") else {
                continue;
            };
            match (sample.metric.as_str(), sample.value) {
                ("mcp_multiplexer_requests_total", Value::Counter(count)) => {
                    let traffic = children.entry(child.to_owned()).or_default();
                    traffic.calls += count;
                    // A client that goes away is no failure of the child.
                    if !matches!(sample.labels.get("outcome"), Some("ok" | "cancelled")) {
                        traffic.errors += count;
                    }
                }
                ("mcp_multiplexer_request_duration_seconds", Value::Histogram(buckets)) => {
                    let traffic = children.entry(child.to_owned()).or_default();
                    for bucket in buckets {
                        traffic.add(bucket.less_than, bucket.count);
                    }
                }
                _ => {}
            }
        }
        for traffic in children.values_mut() {
            traffic.took.sort_by(|a, b| a.0.total_cmp(&b.0));
        }
        children
    }

    /// Every method has the same buckets.
    fn add(&mut self, limit: f64, count: f64) {
        match self.took.iter_mut().find(|(known, _)| *known == limit) {
            Some((_, sum)) => *sum += count,
            None => self.took.push((limit, count)),
        }
    }

    /// What has come since another look. Counters that went back count from nothing.
    pub(super) fn since(&self, before: &Self) -> Self {
        if self.calls < before.calls {
            return self.clone();
        }
        let earlier = |limit: f64| {
            let bucket = before.took.iter().find(|(known, _)| *known == limit);
            bucket.map_or(0.0, |(_, count)| *count)
        };
        let took = self.took.iter();
        Self {
            calls: self.calls - before.calls,
            errors: (self.errors - before.errors).max(0.0),
            took: took
                .map(|(limit, count)| (*limit, (count - earlier(*limit)).max(0.0)))
                .collect(),
        }
    }

    /// The time within which 95 of 100 calls were answered, in seconds: as Prometheus
    /// estimates it, evenly within a bucket.
    pub(super) fn p95(&self) -> Option<f64> {
        let all = self.took.last().map(|(_, count)| *count)?;
        if all <= 0.0 {
            return None;
        }
        let rank = 0.95 * all;
        let at = self.took.iter().position(|(_, count)| *count >= rank)?;
        let (limit, count) = self.took[at];
        let (from, below) = match at.checked_sub(1) {
            Some(before) => self.took[before],
            None => (0.0, 0.0),
        };
        match limit.is_finite() {
            true => Some(from + (limit - from) * (rank - below) / (count - below)),
            // All that is known: it took longer than the last limit.
            false => Some(from),
        }
    }

    /// The share of calls that failed.
    pub(super) fn error_share(&self) -> Option<f64> {
        (self.calls > 0.0).then(|| self.errors / self.calls)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# TYPE mcp_multiplexer_requests_total counter
mcp_multiplexer_requests_total{child="a",method="tools/call",outcome="ok"} 90
mcp_multiplexer_requests_total{child="a",method="tools/call",outcome="timeout"} 8
mcp_multiplexer_requests_total{child="a",method="prompts/get",outcome="cancelled"} 2
# TYPE mcp_multiplexer_request_duration_seconds histogram
mcp_multiplexer_request_duration_seconds_bucket{child="a",method="tools/call",le="0.1"} 50
mcp_multiplexer_request_duration_seconds_bucket{child="a",method="tools/call",le="0.2"} 100
mcp_multiplexer_request_duration_seconds_bucket{child="a",method="tools/call",le="+Inf"} 100
mcp_multiplexer_request_duration_seconds_sum{child="a",method="tools/call"} 10
mcp_multiplexer_request_duration_seconds_count{child="a",method="tools/call"} 100
"#;

    #[test]
    fn calls_errors_and_p95_are_read_by_child() {
        let traffic = &Traffic::read(TEXT)["a"];
        assert_eq!((traffic.calls, traffic.errors), (100.0, 8.0));
        let p95 = traffic.p95().unwrap();
        assert!((p95 - 0.19).abs() < 1e-9, "{p95}");
        assert_eq!(traffic.error_share(), Some(0.08));
        assert!(Traffic::read("what is this").is_empty());
    }

    #[test]
    fn only_what_came_since_counts() {
        let before = Traffic::read(TEXT).remove("a").unwrap();
        let more = TEXT
            .replace("\"ok\"} 90", "\"ok\"} 95")
            .replace("le=\"+Inf\"} 100", "le=\"+Inf\"} 105");
        let since = Traffic::read(&more)["a"].since(&before);
        assert_eq!((since.calls, since.errors), (5.0, 0.0));
        assert_eq!(since.p95(), Some(0.2), "beyond the last limit");
        let nothing = before.since(&before);
        assert_eq!((nothing.p95(), nothing.error_share()), (None, None));
        let restarted = Traffic::default().since(&before);
        assert_eq!(restarted.calls, 0.0);
    }
}
