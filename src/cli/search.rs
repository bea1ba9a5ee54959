//! `search`: tools by what they are for.

use clap::Args;
use serde_json::{Value, json};

use super::{
    CliError,
    client::{Definition, Multiplexer, Through},
    out::{self, Format},
};
use crate::{
    catalog::{
        Listing, MetaTool, Offer,
        search::{Filters, Index, Source, Synonyms},
    },
    protocol::ChildName,
};

/// Find tools by what they are for.
///
/// Searches as find_tools does: by name, title, description, parameters and child.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer search open a pull request
  mcp-multiplexer search --read-only --child github issues with a label
  mcp-multiplexer search send mail --config mcp_config.json --format json

Exit status:
  0  something fits
  1  nothing fits, or no multiplexer answers as it should
  2  the command line or the settings are wrong")]
pub(super) struct Search {
    /// What the tool should do, in plain words.
    #[arg(required = true, value_name = "WORDS")]
    words: Vec<String>,
    /// So many at most.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=50))]
    limit: u8,
    /// Only tools of this child.
    #[arg(long, value_name = "NAME")]
    child: Option<String>,
    /// Only tools that change nothing.
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    through: Through,
}

impl Search {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let _logs = Through::logs()?;
        let mut multiplexer = self.through.open(None).await?;
        let found = self.find(&mut multiplexer).await;
        multiplexer.end().await;
        let found = found?;
        let tools = found["tools"].as_array().cloned().unwrap_or_default();
        match self.through.format {
            Format::Json => out::print_json(&json!({"tools": tools})),
            Format::Text => out::write(tools.iter().map(told).collect::<String>().as_bytes()),
        }?;
        match tools.is_empty() {
            true => Err(CliError::Broken(
                "nothing fits: say it in other words".to_owned(),
            )),
            false => Ok(()),
        }
    }

    async fn find(&self, multiplexer: &mut Multiplexer) -> Result<Value, CliError> {
        let mut asked = json!({
            "query": self.words.join(" "),
            "limit": self.limit,
            "readOnly": self.read_only,
        });
        if let Some(child) = &self.child {
            asked["child"] = child.as_str().into();
        }
        let answer = multiplexer.ask_own(MetaTool::FindTools, &asked).await?;
        if answer.is_unknown() {
            // Eager mode offers no search: it is made here.
            let tools = multiplexer.definitions().await?;
            let status = multiplexer.status().await.unwrap_or_default();
            return Ok(self.find_among(&tools, &status));
        }
        let mut result = answer.value()?;
        if result["isError"] == true {
            let said = result["content"][0]["text"].as_str().unwrap_or_default();
            return Err(CliError::Usage(said.to_owned()).into_input());
        }
        Ok(result["structuredContent"].take())
    }

    fn find_among(&self, tools: &[Definition], status: &Value) -> Value {
        let mut by_child: Vec<(ChildName, Vec<&str>)> = Vec::new();
        for tool in tools {
            match by_child
                .iter_mut()
                .find(|(child, _)| child.as_str() == tool.child)
            {
                Some((_, entries)) => entries.push(&tool.entry),
                None => by_child.push((tool.child.as_str().into(), vec![&tool.entry])),
            }
        }
        let listings: Vec<Option<Listing>> = by_child
            .iter()
            .map(|(_, entries)| {
                let tools = entries.join(",");
                Listing::read(&format!(r#"{{"completes":false,"tools":[{tools}]}}"#))
            })
            .collect();
        let sources: Vec<Source<'_>> = by_child
            .iter()
            .zip(&listings)
            .map(|((child, _), listing)| Source {
                offer: Offer {
                    child,
                    prefix: "",
                    enabled: true,
                    listing: listing.as_ref(),
                },
                about: "",
            })
            .collect();
        // Where that is not told, nothing is known against it.
        let ready = |name: &ChildName| {
            let mut children = status["children"].as_array().into_iter().flatten();
            let child = children.find(|child| child["name"] == name.as_str());
            child.is_none_or(|child| {
                matches!(child["state"].as_str(), Some("ready" | "idle"))
                    && child["breaker"] == "closed"
            })
        };
        let filters = Filters {
            child: self.child.as_deref(),
            read_only: self.read_only,
            ready: &ready,
            ..Filters::default()
        };
        let index = Index::build(&sources, usize::MAX);
        let question = self.words.join(" ");
        let hits = index.search(&question, &Synonyms::default(), &filters, self.limit.into());
        let tools = hits.iter().map(|hit| {
            json!({
                "name": hit.tool.name,
                "child": hit.tool.child,
                "score": (f64::from(hit.score) * 100.0).round() / 100.0,
                "description": hit.tool.summary,
                "parameters": hit.tool.parameters,
                "ready": hit.ready,
                "readOnly": hit.tool.read_only,
            })
        });
        json!({"tools": tools.collect::<Vec<_>>()})
    }
}

/// A tool that was found, for people.
fn told(tool: &Value) -> String {
    let text = |key: &str| tool[key].as_str().unwrap_or_default();
    let mut lines = vec![text("name").to_owned()];
    if tool["ready"] == false {
        lines[0].push_str(&format!("  ({} is not ready)", text("child")));
    }
    for key in ["description", "parameters"] {
        if !text(key).is_empty() {
            lines.push(format!("    {}", text(key)));
        }
    }
    lines.join("\n") + "\n"
}
