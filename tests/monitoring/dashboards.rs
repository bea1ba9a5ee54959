//! The dashboards name only what the program emits, and show it in words.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use regex::Regex;
use serde_json::Value;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana");

/// What no fleet of a test can be made to emit at once with everything else: a door
/// that is locked, and a process that is short of something.
const RARE: [&str; 4] = [
    "mcp_multiplexer_auth_requests_total",
    "mcp_multiplexer_auth_key_fetches_total",
    "mcp_multiplexer_auth_introspections_total",
    "mcp_multiplexer_refused_total",
];

/// One query of a panel.
#[derive(Debug)]
pub struct Query {
    /// The dashboard's file and the panel's title.
    panel: String,
    expr: String,
    legend: String,
}

impl Query {
    /// What it asks for, with a value in the place of each variable.
    pub fn with_variables(&self) -> String {
        let variables = [
            ("$__rate_interval", "1m"),
            ("$instance", ".*"),
            (r#"child="$child""#, r#"child=~".+""#),
        ];
        let expr = variables
            .iter()
            .fold(self.expr.clone(), |expr, (name, value)| {
                expr.replace(name, value)
            });
        assert!(!expr.contains('$'), "{}: {expr}", self.panel);
        expr
    }

    pub fn labels_of_legend(&self) -> Vec<String> {
        let named = Regex::new(r"\{\{\s*(\w+)\s*\}\}").expect("a pattern");
        let found = named.captures_iter(&self.legend);
        found.map(|found| found[1].to_owned()).collect()
    }

    pub fn needs_what_cannot_happen_here(&self) -> bool {
        let rare = RARE.iter().any(|name| self.expr.contains(name));
        rare && !self.expr.contains("or vector(0)")
    }
}

/// Every query of every dashboard.
pub fn queries() -> Vec<Query> {
    let boards = boards();
    let queries = boards.iter().flat_map(|(file, board)| {
        let panels = board["panels"].as_array().expect("panels");
        panels.iter().flat_map(move |panel| {
            let title = panel["title"].as_str().expect("a title");
            let targets = panel["targets"].as_array().cloned().unwrap_or_default();
            targets.into_iter().map(move |target| Query {
                panel: format!("{file}: {title}"),
                expr: target["expr"].as_str().expect("a query").to_owned(),
                legend: target["legendFormat"]
                    .as_str()
                    .expect("a legend")
                    .to_owned(),
            })
        })
    });
    queries.collect()
}

fn boards() -> BTreeMap<String, Value> {
    let files = fs::read_dir(FOLDER).expect("the dashboards");
    let paths = files.map(|file| file.expect("a file").path());
    let read = |path: &Path| {
        let text = fs::read_to_string(path).expect("text");
        let name = path.file_stem().expect("a name").to_string_lossy();
        let board = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name.into_owned(), board)
    };
    let json = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    json.map(|path| read(&path)).collect()
}

/// Every series there is, with its type and labels: the table of the reference, which
/// another test holds against the source.
fn documented() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/reference/metrics.md");
    let page = fs::read_to_string(page).expect("the reference");
    let codes = |cell: &str| -> Vec<String> {
        let codes = cell.split('`').skip(1).step_by(2);
        codes.map(str::to_owned).collect()
    };
    let rows = page.lines().filter(|line| line.starts_with("| `mcp_"));
    rows.map(|row| {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let labels = codes(cells[2]).into_iter().collect();
        (codes(cells[0]).remove(0), (cells[1].to_owned(), labels))
    })
    .collect()
}

#[test]
fn every_query_names_series_and_labels_that_the_program_emits() {
    let documented = documented();
    assert!(documented.len() > 20, "{documented:?}");
    let selector = Regex::new(r"(mcp_multiplexer_\w+)(?:\{([^}]*)\})?").expect("a pattern");
    let matcher = Regex::new(r#"(\w+)\s*(?:=~|!~|!=|=)\s*""#).expect("a pattern");
    let grouping = Regex::new(r"\b(?:by|on) \(([^)]*)\)").expect("a pattern");
    let queries = queries();
    assert!(queries.len() > 40, "{queries:?}");
    for query in &queries {
        let mut labels: BTreeSet<String> = BTreeSet::from(["instance".into(), "job".into()]);
        let mut named = Vec::new();
        for found in selector.captures_iter(&query.expr) {
            let name = &found[1];
            let histogram = name
                .strip_suffix("_bucket")
                .filter(|family| documented.contains_key(*family));
            let (kind, own) = documented
                .get(histogram.unwrap_or(name))
                .unwrap_or_else(|| panic!("{}: {name}", query.panel));
            assert_eq!(histogram.is_some(), kind == "histogram", "{query:?}");
            labels.extend(own.iter().cloned());
            labels.extend(histogram.map(|_| "le".to_owned()));
            let matchers = found.get(2).map_or("", |matchers| matchers.as_str());
            named.extend(matcher.captures_iter(matchers).map(|it| it[1].to_owned()));
        }
        assert!(labels.len() > 2 || query.expr.contains("mcp_"), "{query:?}");
        for group in grouping.captures_iter(&query.expr) {
            named.extend(group[1].split(", ").map(str::to_owned));
        }
        named.extend(query.labels_of_legend());
        for label in named {
            assert!(labels.contains(&label), "{label} in {query:?}");
        }
        assert!(!query.legend.is_empty(), "{query:?}");
    }
}

#[test]
fn every_dashboard_stands_by_itself_and_asks_the_data_source_that_is_chosen() {
    let boards = boards();
    let names: Vec<_> = boards.keys().map(String::as_str).collect();
    assert_eq!(names, ["child", "fleet", "identity"]);
    let uids: BTreeSet<_> = boards.values().map(|board| board["uid"].as_str()).collect();
    assert_eq!(uids.len(), boards.len());
    for (name, board) in &boards {
        let variables = board["templating"]["list"].as_array().expect("variables");
        assert_eq!(variables[0]["type"], "datasource", "{name}");
        let known: Vec<_> = variables
            .iter()
            .map(|variable| variable["name"].as_str().expect("a name"))
            .collect();
        let mut ids = BTreeSet::new();
        for panel in board["panels"].as_array().expect("panels") {
            let title = panel["title"].as_str().expect("a title");
            assert!(ids.insert(panel["id"].as_u64()), "{name}: {title}");
            if panel["type"] == "row" {
                continue;
            }
            for target in panel["targets"].as_array().expect("targets") {
                assert_eq!(
                    target["datasource"]["uid"], "${datasource}",
                    "{name}: {title}"
                );
                let expr = target["expr"].as_str().expect("a query");
                for used in expr.split('$').skip(1) {
                    let end = used.find(|c: char| !c.is_alphanumeric() && c != '_');
                    let used = &used[..end.unwrap_or(used.len())];
                    let there = known.contains(&used) || used == "__rate_interval";
                    assert!(there, "{name}: {title}: ${used}");
                }
            }
        }
    }
}

#[test]
fn what_is_good_and_what_is_bad_have_their_colours_in_every_panel() {
    let mut seen = 0;
    for (name, board) in &boards() {
        for panel in board["panels"].as_array().expect("panels") {
            let targets = panel["targets"].as_array().cloned().unwrap_or_default();
            for target in targets {
                let legend = target["legendFormat"].as_str().expect("a legend");
                let words: &[(&str, &str)] = match legend {
                    it if it.contains("{{outcome}}") => &[
                        ("ok", "green"),
                        ("circuit_open", "red"),
                        ("tool_error", "red"),
                        ("cancelled", "#8e8e8e"),
                    ],
                    it if it.contains("{{to}}") => &[
                        ("closed", "green"),
                        ("half_open", "yellow"),
                        ("open", "red"),
                    ],
                    _ => continue,
                };
                seen += 1;
                let legend = legend.replace("{{outcome}}", "{{to}}");
                for (word, colour) in words {
                    let shown = legend.replace("{{to}}", word);
                    let title = &panel["title"];
                    assert_eq!(
                        colour_of(panel, &shown),
                        *colour,
                        "{name}: {title}: {shown}"
                    );
                }
            }
        }
    }
    assert!(seen >= 10, "{seen}");
}

/// The colour of a series by its name: the last rule that fits it counts.
fn colour_of<'a>(panel: &'a Value, series: &str) -> &'a str {
    let rules = panel["fieldConfig"]["overrides"].as_array().expect("rules");
    let fits = |rule: &&Value| {
        let pattern = rule["matcher"]["options"].as_str().expect("a pattern");
        let pattern = pattern.trim_matches('/');
        Regex::new(pattern).expect("a pattern").is_match(series)
    };
    let rule = rules.iter().rfind(fits).expect("a rule that fits");
    let colour = &rule["properties"][0]["value"]["fixedColor"];
    colour.as_str().expect("a colour")
}
