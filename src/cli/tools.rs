//! `tools`: what there is to call, and what its list costs a client.

use std::{cmp::Reverse, collections::HashMap, time::Duration};

use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use super::{
    CliError,
    client::{Definition, Multiplexer, Through},
    out::{self, Format, counted, pretty},
    patience::Patience,
};
use crate::catalog::cost::{Cost, Tokenizer};

/// How long the multiplexer may count.
const COUNTING: Duration = Duration::from_secs(60);
/// How often it is asked whether it has.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// List the tools of all children, or of one; with --cost, what their list costs.
///
/// A model reads the whole list of tools before it does anything: --cost tells how many
/// tokens that is for each child, and how many are left in dynamic mode. Counted with a
/// tokenizer of GPT-4; each model has its own, so it is an estimate.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer tools
  mcp-multiplexer tools github --format json
  mcp-multiplexer tools --cost --config mcp_config.json

Exit status:
  0  they are listed
  1  no multiplexer answers as it should
  2  the command line or the settings are wrong, or there is no such child")]
pub(super) struct Tools {
    /// Only the tools of this child.
    child: Option<String>,
    /// What the list costs a client, by child; with a child, by tool.
    #[arg(long)]
    cost: bool,
    #[command(flatten)]
    through: Through,
}

/// One line of what `--cost` prints.
#[derive(Serialize)]
struct Priced {
    name: String,
    tools: usize,
    #[serde(flatten)]
    cost: Cost,
}

impl Tools {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let _logs = Through::logs()?;
        let mut multiplexer = self.through.open(None).await?;
        let done = self.answer(&mut multiplexer).await;
        multiplexer.end().await;
        done
    }

    async fn answer(&self, multiplexer: &mut Multiplexer) -> Result<(), CliError> {
        let tools = match &self.child {
            None => multiplexer.definitions().await?,
            Some(child) => of_child(multiplexer, child).await?,
        };
        let text = match (self.cost, &self.child) {
            (false, _) => self.listed(&tools)?,
            (true, Some(_)) => self.costs_of(&tools)?,
            (true, None) => {
                let dynamic = dynamic(multiplexer).await;
                let dynamic = dynamic.inspect_err(|error| out::tell(&format!("warning: {error}")));
                self.costs(&tools, dynamic.ok())?
            }
        };
        out::write(text.as_bytes())
    }

    fn listed(&self, tools: &[Definition]) -> Result<String, CliError> {
        if self.through.format == Format::Json {
            let tools = tools.iter().map(|tool| {
                json!({"name": tool.name, "child": tool.child, "description": tool.summary()})
            });
            return pretty(&json!({"tools": tools.collect::<Vec<_>>()}));
        }
        let width = width(tools.iter().map(|tool| tool.name.as_str()));
        let mut text = String::new();
        for tool in tools {
            let line = format!("{:width$}  {}", tool.name, tool.summary());
            text.push_str(line.trim_end());
            text.push('\n');
        }
        out::tell(&counted(tools.len(), "tool", "tools"));
        Ok(text)
    }

    /// By child.
    fn costs(&self, tools: &[Definition], dynamic: Option<Cost>) -> Result<String, CliError> {
        let (children, eager) = priced(tools, |tool| &tool.child);
        if self.through.format == Format::Json {
            let cost = json!({"eager": eager, "dynamic": dynamic});
            return pretty(&json!({"children": children, "cost": cost}));
        }
        let mut rest = vec![Priced {
            tools: tools.len(),
            ..Priced::of("eager mode", eager)
        }];
        rest.extend(dynamic.map(|cost| Priced::of("dynamic mode", cost)));
        let mut text = table("child", &children, &rest);
        if let Some(saved) = dynamic.and_then(|it| saved(eager.tokens, it.tokens)) {
            text.push_str(&format!("\ndynamic mode saves {saved} % of the tokens\n"));
        }
        Ok(text)
    }

    /// By tool.
    fn costs_of(&self, tools: &[Definition]) -> Result<String, CliError> {
        let (priced, all) = priced(tools, |tool| &tool.name);
        if self.through.format == Format::Json {
            return pretty(&json!({"tools": priced, "cost": all}));
        }
        let all = Priced {
            tools: tools.len(),
            ..Priced::of("all", all)
        };
        Ok(table("tool", &priced, &[all]))
    }
}

impl Priced {
    fn of(name: &str, cost: Cost) -> Self {
        Self {
            name: name.to_owned(),
            tools: 0,
            cost,
        }
    }
}

/// What the tools cost by what they have in common, the dearest first; and all together.
fn priced<'a>(
    tools: &'a [Definition],
    by: impl Fn(&'a Definition) -> &'a str,
) -> (Vec<Priced>, Cost) {
    let tokenizer = Tokenizer::load();
    let mut rows: Vec<Priced> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for tool in tools {
        // With the comma after it, as it stands in a list.
        let cost = tokenizer.cost(&format!("{},", tool.entry));
        let place = *places.entry(by(tool)).or_insert_with(|| {
            rows.push(Priced::of(by(tool), Cost::default()));
            rows.len() - 1
        });
        if let Some(row) = rows.get_mut(place) {
            row.tools += 1;
            row.cost = row.cost + cost;
        }
    }
    let all = rows.iter().map(|row| row.cost).sum();
    rows.sort_by_key(|row| Reverse(row.cost.tokens));
    (rows, all)
}

/// What dynamic mode costs, once the multiplexer has counted.
async fn dynamic(multiplexer: &Multiplexer) -> Result<Cost, CliError> {
    let counting = async {
        let deadline = Instant::now() + COUNTING;
        loop {
            let mut status = multiplexer.status().await?;
            let cost = status["cost"]["dynamic"].take();
            match serde_json::from_value(cost) {
                Ok(cost) => return Ok(cost),
                Err(_) if Instant::now() < deadline => tokio::time::sleep(ASK_AGAIN).await,
                Err(_) => {
                    let why = "the multiplexer does not tell what dynamic mode costs";
                    return Err(CliError::Broken(why.to_owned()));
                }
            }
        }
    };
    Patience::during("counting", counting).await
}

/// The tools of one child.
async fn of_child(multiplexer: &mut Multiplexer, child: &str) -> Result<Vec<Definition>, CliError> {
    let mut tools = multiplexer.definitions().await?;
    let known: Vec<String> = match multiplexer.status().await {
        Ok(status) => {
            let children = status["children"].as_array().into_iter().flatten();
            let names = children.filter_map(|child| child["name"].as_str());
            names.map(str::to_owned).collect()
        }
        Err(_) => tools.iter().map(|tool| tool.child.clone()).collect(),
    };
    if !known.iter().any(|name| name == child) {
        let near = known
            .iter()
            .min_by_key(|name| strsim::osa_distance(name, child))
            .map_or_else(String::new, |name| format!("; the nearest is {name:?}"));
        let what = format!("there is no child {child:?}{near}");
        return Err(CliError::Usage(what).into_input());
    }
    tools.retain(|tool| tool.child == child);
    Ok(tools)
}

/// Rows with a heading, a line below them, and totals.
fn table(heading: &str, rows: &[Priced], totals: &[Priced]) -> String {
    let all = || rows.iter().chain(totals);
    let name = width(all().map(|row| row.name.as_str()).chain([heading]));
    let line = |[title, tools, bytes, tokens]: [&str; 4]| {
        format!("{title:name$}  {tools:>7}  {bytes:>11}  {tokens:>9}\n")
    };
    let row = |row: &Priced| {
        let tools = match row.tools {
            0 => String::new(),
            tools => grouped(tools),
        };
        let Cost { bytes, tokens } = row.cost;
        line([&row.name, &tools, &grouped(bytes), &grouped(tokens)])
    };
    let mut text = line([heading, "tools", "bytes", "tokens"]);
    let below = "─".repeat(text.trim_end().chars().count());
    rows.iter().for_each(|it| text.push_str(&row(it)));
    text.push_str(&format!("{below}\n"));
    totals.iter().for_each(|it| text.push_str(&row(it)));
    text
}

/// How much less the one is, in whole percent.
fn saved(of: usize, left: usize) -> Option<usize> {
    (0 < of && left < of).then(|| (of - left) * 100 / of)
}

/// `12345` as `12,345`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn width<'a>(texts: impl Iterator<Item = &'a str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1234567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn what_is_saved_is_a_part_of_the_whole() {
        assert_eq!(saved(40_000, 1_000), Some(97));
        assert_eq!(saved(0, 700), None);
        assert_eq!(saved(300, 700), None);
    }

    #[test]
    fn a_table_stands_in_columns() {
        let cost = Cost {
            bytes: 1234,
            tokens: 300,
        };
        let row = |name, tools| Priced {
            tools,
            ..Priced::of(name, cost)
        };
        let table = table("child", &[row("github", 9)], &[row("all", 0)]);
        let widths: Vec<_> = table.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{table}");
        assert!(
            table.contains("github        9        1,234        300"),
            "{table}"
        );
    }
}
