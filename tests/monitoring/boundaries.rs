//! When each alert begins to ring, to the quarter of a minute, and what it says then.

use std::{collections::BTreeMap, fs};

use serde_json::json;

use super::promtool::{RULES, promtool, text};

/// What Prometheus adds to every series it scrapes.
const TARGET: [(&str, &str); 2] = [("instance", "mux:8000"), ("job", "mcp-multiplexer")];

/// An alert about series that are sampled every 15 s, from a time zero on.
struct Case {
    alert: &'static str,
    severity: &'static str,
    /// Their names with labels beside those of the target, and their values.
    series: &'static [(&'static str, &'static str)],
    /// Quiet then, and ringing 15 s later.
    quiet_at: &'static str,
    rings_at: &'static str,
    /// Those of the alert beside the target's, if it is about one.
    labels: &'static [(&'static str, &'static str)],
    of_target: bool,
    /// What stands for the value in the texts, and what becomes of it.
    value: (&'static str, &'static str),
}

const PLAIN: Case = Case {
    alert: "",
    severity: "warning",
    series: &[],
    quiet_at: "",
    rings_at: "",
    labels: &[],
    of_target: true,
    value: ("", ""),
};

const CASES: [Case; 9] = [
    Case {
        alert: "McpServiceDown",
        severity: "critical",
        series: &[(
            r#"mcp_multiplexer_child_up{child="a",transport="http""#,
            "0x99",
        )],
        quiet_at: "1m45s",
        rings_at: "2m",
        labels: &[("child", "a"), ("transport", "http")],
        ..PLAIN
    },
    Case {
        alert: "McpProbeFailed",
        severity: "critical",
        series: &[("up{", "0x99")],
        quiet_at: "45s",
        rings_at: "1m",
        ..PLAIN
    },
    Case {
        alert: "McpProbeMissing",
        severity: "critical",
        series: &[(r#"up{elsewhere="yes""#, "_ _ _ _")],
        quiet_at: "4m45s",
        rings_at: "5m",
        of_target: false,
        ..PLAIN
    },
    // A rate has its first value with the second sample.
    Case {
        alert: "McpHighToolErrorRate",
        series: &[
            (
                r#"mcp_multiplexer_tool_calls_total{child="a",outcome="ok""#,
                "0+89x99",
            ),
            (
                r#"mcp_multiplexer_tool_calls_total{child="a",outcome="tool_error""#,
                "0+11x99",
            ),
            (
                r#"mcp_multiplexer_tool_calls_total{child="b",outcome="ok""#,
                "0+91x99",
            ),
            (
                r#"mcp_multiplexer_tool_calls_total{child="b",outcome="tool_error""#,
                "0+9x99",
            ),
        ],
        quiet_at: "5m",
        rings_at: "5m15s",
        labels: &[("child", "a")],
        value: ("{{ $value | humanizePercentage }}", "11%"),
        ..PLAIN
    },
    Case {
        alert: "McpHighToolLatencyP95",
        series: &[
            (
                r#"mcp_multiplexer_tool_call_duration_seconds_bucket{child="a",le="5""#,
                "0+90x99",
            ),
            (
                r#"mcp_multiplexer_tool_call_duration_seconds_bucket{child="a",le="10""#,
                "0+100x99",
            ),
            (
                r#"mcp_multiplexer_tool_call_duration_seconds_bucket{child="a",le="+Inf""#,
                "0+100x99",
            ),
        ],
        quiet_at: "10m",
        rings_at: "10m15s",
        labels: &[("child", "a")],
        value: ("{{ $value | humanizeDuration }}", "7.5s"),
        ..PLAIN
    },
    Case {
        alert: "McpChildBreakerOpen",
        series: &[(
            r#"mcp_multiplexer_child_breaker_state{child="a""#,
            "2 1 2 1x99",
        )],
        quiet_at: "45s",
        rings_at: "1m",
        labels: &[("child", "a")],
        ..PLAIN
    },
    // A tenth of 300 s is left at 270 s.
    Case {
        alert: "McpTokenExpiring",
        severity: "critical",
        series: &[
            (
                r#"mcp_multiplexer_token_minted_timestamp_seconds{identity="service""#,
                "0x99",
            ),
            (
                r#"mcp_multiplexer_token_expiry_timestamp_seconds{identity="service""#,
                "300x99",
            ),
        ],
        quiet_at: "4m30s",
        rings_at: "4m45s",
        labels: &[("identity", "service")],
        ..PLAIN
    },
    Case {
        alert: "McpConfigReloadFailed",
        series: &[
            ("mcp_multiplexer_config_last_reload_successful{", "0x99"),
            ("mcp_multiplexer_policy_last_reload_successful{", "0x99"),
        ],
        quiet_at: "45s",
        rings_at: "1m",
        ..PLAIN
    },
    Case {
        alert: "McpConfigReloadFailed",
        series: &[
            ("mcp_multiplexer_config_last_reload_successful{", "1x99"),
            ("mcp_multiplexer_policy_last_reload_successful{", "0x99"),
        ],
        quiet_at: "45s",
        rings_at: "1m",
        ..PLAIN
    },
];

impl Case {
    fn series(&self) -> Vec<serde_json::Value> {
        let series = self.series.iter().map(|(series, values)| {
            let comma = if series.ends_with('{') { "" } else { "," };
            let target = match self.of_target {
                true => TARGET
                    .map(|(name, value)| format!(r#"{name}="{value}""#))
                    .join(","),
                false => r#"job="another""#.to_owned(),
            };
            json!({"series": format!("{series}{comma}{target}}}"), "values": values})
        });
        series.collect()
    }

    fn labels(&self) -> BTreeMap<&str, &str> {
        let target = TARGET.iter().filter(|_| self.of_target);
        let own = self.labels.iter().chain(target).copied();
        own.chain([("severity", self.severity)]).collect()
    }

    /// Its texts in the rules, with what stands in them for labels and value.
    fn annotations(&self) -> BTreeMap<&str, String> {
        let rules = fs::read_to_string(RULES).expect("the rules");
        let (_, rule) = rules
            .split_once(&format!("- alert: {}\n", self.alert))
            .expect("the alert");
        let (_, rule) = rule.split_once("annotations:\n").expect("annotations");
        let between = |from: &str, to: &str| {
            let (_, rest) = rule.split_once(from).expect(from);
            let lines = rest.split(to).next().expect("a text").lines();
            let mut text = lines.map(str::trim).collect::<Vec<_>>().join(" ");
            for (name, value) in self.labels() {
                text = text.replace(&format!("{{{{ $labels.{name} }}}}"), value);
            }
            if !self.value.0.is_empty() {
                text = text.replace(self.value.0, self.value.1);
            }
            assert!(!text.contains("{{"), "{}: {text}", self.alert);
            text.trim().to_owned()
        };
        BTreeMap::from([
            ("summary", between("summary: \"", "\"\n")),
            ("description", between("description: >-\n", "runbook_url:")),
            ("runbook_url", between("runbook_url: ", "\n")),
        ])
    }
}

#[test]
fn each_alert_rings_when_its_time_is_over_and_says_what_it_is_about() {
    let tests = CASES.iter().map(|case| {
        let ringing = json!({"exp_labels": case.labels(), "exp_annotations": case.annotations()});
        json!({
            "name": case.alert,
            "interval": "15s",
            "input_series": case.series(),
            "alert_rule_test": [
                {"eval_time": case.quiet_at, "alertname": case.alert, "exp_alerts": []},
                {"eval_time": case.rings_at, "alertname": case.alert, "exp_alerts": [ringing]},
            ],
        })
    });
    let tests = json!({
        "rule_files": [RULES],
        "evaluation_interval": "15s",
        "tests": tests.collect::<Vec<_>>(),
    });
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.yml");
    fs::write(&path, tests.to_string()).expect("a file");
    let (well, said) = promtool(&["test", "rules", &text(&path)], "");
    assert!(well, "{said}");

    let rules = fs::read_to_string(RULES).expect("the rules");
    for alert in rules.split("- alert: ").skip(1) {
        let name = alert.lines().next().expect("a name");
        assert!(CASES.iter().any(|case| case.alert == name), "{name}");
    }
}
