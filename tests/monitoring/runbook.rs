//! Who is woken by an alert is told what to do.

use std::{fs, path::Path};

#[test]
fn every_alert_says_what_it_is_about_and_where_to_read_on() {
    let read = |path: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        fs::read_to_string(path).expect("a file")
    };
    let rules = read("deploy/prometheus/rules.yml");
    let runbook = read("docs/src/runbook.md");
    let alerts: Vec<_> = rules.split("- alert: ").skip(1).collect();
    let names: Vec<_> = alerts
        .iter()
        .map(|alert| alert.lines().next().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "McpServiceDown",
            "McpProbeFailed",
            "McpHighToolErrorRate",
            "McpHighToolLatencyP95",
            "McpChildBreakerOpen",
            "McpTokenExpiring",
            "McpConfigReloadFailed",
        ]
    );
    for (alert, name) in alerts.iter().zip(names) {
        let anchor = format!("docs/src/runbook.md#{}", name.to_lowercase());
        for wanted in ["summary: ", "description: ", &anchor] {
            assert!(alert.contains(wanted), "{name}: {wanted}");
        }
        assert!(runbook.contains(&format!("\n## {name}\n")), "{name}");
    }
}
