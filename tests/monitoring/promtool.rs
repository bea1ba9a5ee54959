//! Prometheus' own tool, from Debian's package.

use std::{
    env, fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::json;

/// The alerts, as they are shipped.
pub const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/rules.yml");

/// A program of the package: installed, or unpacked by `tests/run`.
pub fn program(name: &str) -> PathBuf {
    let unpacked = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/prometheus/usr/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let mut folders = env::split_paths(&path).chain([PathBuf::from(unpacked)]);
    let found = folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()));
    found.unwrap_or_else(|| panic!("no {name}: tests/run installs it"))
}

/// What it says, and whether all is well.
pub fn promtool(words: &[&str], input: &str) -> (bool, String) {
    let mut process = Command::new(program("promtool"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    let mut stdin = process.stdin.take().expect("a pipe");
    // One that does not read its input has it all the same.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = process.wait_with_output().expect("promtool ends");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Holds that after twenty minutes of these series exactly these alerts ring, each with
/// the labels that are given beside those of the target.
#[track_caller]
pub fn assert_ringing(series: &[(String, String)], alerts: &[String]) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.yml");
    let series: Vec<_> = series
        .iter()
        .map(|(series, values)| json!({"series": series, "values": values}))
        .collect();
    let expected: Vec<_> = alerts
        .iter()
        .map(|labels| json!({"labels": format!("ALERTS{{{labels}}}"), "value": 1}))
        .collect();
    let test = json!({
        "rule_files": [RULES],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [{
                "expr": r#"ALERTS{alertstate="firing"}"#,
                "eval_time": "20m",
                "exp_samples": expected,
            }],
        }],
    });
    fs::write(&path, test.to_string()).expect("a file");
    let (well, said) = promtool(&["test", "rules", &text(&path)], "");
    assert!(well, "{said}");
}

pub fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// An alert that rings, with these labels beside the target's.
pub fn ringing(alert: &str, severity: &str, labels: &[(&str, &str)]) -> String {
    let mut all = format!(
        r#"alertname="{alert}",alertstate="firing",severity="{severity}",job="mcp-multiplexer""#
    );
    if !labels.iter().any(|(name, _)| *name == "instance") {
        all.push_str(r#",instance="mux:8000""#);
    }
    for (name, value) in labels {
        all.push_str(&format!(r#",{name}="{value}""#));
    }
    all
}
