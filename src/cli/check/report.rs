//! What `check` prints.

use std::path::Path;

use serde::Serialize;

use crate::{
    cli::{
        CliError,
        out::{self, BAD, FAINT, Format, GOOD, HEADING, ODD, counted, styled},
    },
    config::Finding,
    protocol::Era,
};

/// What was found.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    config: String,
    pub(super) problems: Vec<Finding>,
    pub(super) warnings: Vec<Finding>,
    pub(super) children: Vec<Row>,
    /// Tools whose public name is not their whole name.
    pub(super) shortened: Vec<Shortened>,
    /// Names that two tools would have.
    pub(super) collisions: Vec<Taken>,
}

/// One child.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) prefix: String,
    pub(super) transport: &'static str,
    /// The command or the URL, without what may be secret in them.
    pub(super) target: Option<String>,
    /// Who the child is told we are.
    pub(super) auth: &'static str,
    pub(super) state: &'static str,
    pub(super) reason: Option<String>,
    pub(super) era: Option<Era>,
    #[serde(flatten)]
    pub(super) offers: Option<Offers>,
    /// From the start of the check until it was ready.
    pub(super) ms: Option<u64>,
}

/// What a child offers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Offers {
    pub(super) tools: usize,
    pub(super) resources: usize,
    pub(super) prompts: usize,
    /// What its tools cost in a list.
    pub(super) tokens: usize,
}

/// A name that did not fit.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shortened {
    pub(super) child: String,
    pub(super) tool: String,
    pub(super) name: String,
}

/// A name that was taken.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Taken {
    pub(super) name: String,
    pub(super) kept: String,
    pub(super) left_out: String,
}

impl Report {
    pub(super) fn new(path: &Path, problems: Vec<Finding>, warnings: Vec<Finding>) -> Self {
        Self {
            config: path.display().to_string(),
            problems,
            warnings,
            children: Vec::new(),
            shortened: Vec::new(),
            collisions: Vec::new(),
        }
    }

    pub(super) fn print(&self, format: Format) -> Result<(), CliError> {
        match format {
            Format::Json => out::print_json(self),
            Format::Text => out::print(&self.text()),
        }
    }

    fn text(&self) -> String {
        let mut parts = Vec::new();
        let findings = [
            (styled(BAD, "problem"), &self.problems),
            (styled(ODD, "warning"), &self.warnings),
        ];
        for (kind, findings) in findings {
            parts.extend(findings.iter().map(|found| self.finding(&kind, found)));
        }
        match self
            .children
            .iter()
            .any(|row| row.offers.is_some() || row.ms.is_some())
        {
            true => parts.push(self.live_table()),
            false if !self.children.is_empty() => parts.push(self.table()),
            false => {}
        }
        parts.extend(self.names());
        if self.problems.is_empty() {
            let used = self.children.iter().filter(|row| row.reason.is_none());
            parts.push(format!(
                "{}: {}, {}, {}",
                self.config,
                styled(GOOD, "no problems"),
                counted(self.warnings.len(), "warning", "warnings"),
                counted(used.count(), "child", "children"),
            ));
        }
        parts.join("\n\n")
    }

    /// As compilers do it, so that editors can jump there.
    fn finding(&self, kind: &str, found: &Finding) -> String {
        let Finding { line, column, .. } = found;
        let place = [*line, *column].into_iter().flatten();
        let place: String = place.map(|number| format!(":{number}")).collect();
        let mut text = format!("{}{place}: {kind}: ", self.config);
        if let Some(entry) = &found.entry {
            text.push_str(&format!("entry {entry:?}: "));
        }
        text.push_str(&found.message);
        if let Some(hint) = &found.hint {
            text.push_str(&format!("\n  {}: {hint}", styled(HEADING, "hint")));
        }
        text
    }

    fn table(&self) -> String {
        let rows = self.children.iter().map(|row| {
            [
                row.name.clone(),
                names_of(&row.prefix),
                row.transport.to_owned(),
                row.auth.to_owned(),
                state(row.state),
                row.target.clone().unwrap_or_default(),
            ]
        });
        out::table(
            [
                "child",
                "tools are named",
                "transport",
                "auth",
                "state",
                "target",
            ],
            &rows.collect::<Vec<_>>(),
        )
    }

    fn live_table(&self) -> String {
        let count = |value: Option<usize>| value.map_or("-".to_owned(), |value| value.to_string());
        let rows: Vec<_> = self
            .children
            .iter()
            .map(|row| {
                let offers = row.offers.as_ref();
                [
                    row.name.clone(),
                    names_of(&row.prefix),
                    row.transport.to_owned(),
                    row.era.map_or("-", era).to_owned(),
                    row.auth.to_owned(),
                    state(row.state),
                    count(offers.map(|offers| offers.tools)),
                    count(offers.map(|offers| offers.resources)),
                    count(offers.map(|offers| offers.prompts)),
                    count(offers.map(|offers| offers.tokens)),
                    row.ms.map_or("-".to_owned(), |ms| ms.to_string()),
                ]
            })
            .collect();
        let mut text = out::table(
            [
                "child",
                "tools are named",
                "transport",
                "era",
                "auth",
                "state",
                "tools",
                "resources",
                "prompts",
                "tokens",
                "ms",
            ],
            &rows,
        );
        let offers = self.children.iter().filter_map(|row| row.offers.as_ref());
        let (tools, tokens) = offers.fold((0, 0), |(tools, tokens), offers| {
            (tools + offers.tools, tokens + offers.tokens)
        });
        text.push_str(&styled(
            FAINT,
            format!(
                "\n{}, {tokens} tokens in a list of all of them",
                counted(tools, "tool", "tools")
            ),
        ));
        text
    }

    fn names(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if !self.shortened.is_empty() {
            let rows = self
                .shortened
                .iter()
                .map(|it| [it.child.clone(), it.tool.clone(), it.name.clone()]);
            let rows: Vec<_> = rows.collect();
            let told = "Names that were cut (a shorter \"prefix\" or a larger \"maxNameLength\" leaves more):";
            parts.push(format!(
                "{told}\n{}",
                out::table(["child", "tool", "public name"], &rows)
            ));
        }
        if !self.collisions.is_empty() {
            let rows = self
                .collisions
                .iter()
                .map(|it| [it.name.clone(), it.kept.clone(), it.left_out.clone()]);
            let rows: Vec<_> = rows.collect();
            let told = "Names that two children have (set another \"prefix\" for one of them):";
            parts.push(format!(
                "{told}\n{}",
                out::table(["public name", "kept for", "left out of"], &rows)
            ));
        }
        parts
    }
}

fn names_of(prefix: &str) -> String {
    match prefix {
        "" => "as they are".to_owned(),
        prefix => format!("{prefix}__…"),
    }
}

fn state(word: &str) -> String {
    let style = match word {
        "ready" | "idle" | "used" => GOOD,
        "off" => FAINT,
        _ => BAD,
    };
    styled(style, word)
}

fn era(era: Era) -> &'static str {
    match era {
        Era::Legacy => "legacy",
        Era::Modern => "modern",
    }
}
