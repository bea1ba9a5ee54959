//! `call`: one call of one tool.

mod arguments;

use clap::Args;
use serde_json::value::RawValue;

use self::arguments::Given;
use super::{
    CliError,
    client::{Multiplexer, Through},
    out::{self, Format},
    patience::Patience,
    request::ModernRequest,
};
use crate::protocol::json::{self, Object};

/// Call a tool, and print what it gives.
///
/// Arguments are key=value, typed as the tool's input schema says: numbers, true and
/// false as such, arrays and objects as JSON. Or all of them at once with --args. What
/// the tool gives is printed as it comes: with --format json the result itself, byte for
/// byte. Exits with 1 if the call has failed.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer call time__convert_time time=15:00 source_timezone=Europe/Oslo
  mcp-multiplexer call github__list_issues --args '{\"owner\":\"o\",\"repo\":\"r\"}'
  mcp-multiplexer call fs__read_file path=notes.txt --config mcp_config.json

Exit status:
  0  the tool has done it
  1  it has failed, or no multiplexer answers as it should
  2  the command line, the arguments or the settings are wrong")]
pub(super) struct Call {
    /// The tool, as clients call it.
    tool: String,
    /// Its arguments.
    #[arg(value_name = "KEY=VALUE", conflicts_with = "args")]
    arguments: Vec<Given>,
    /// Its arguments, all in one JSON object.
    #[arg(long, value_name = "JSON", value_parser = arguments::object)]
    args: Option<String>,
    #[command(flatten)]
    through: Through,
}

impl Call {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let _logs = Through::logs()?;
        let mut multiplexer = self.through.open(Some(&self.tool)).await?;
        let done = self.call(&mut multiplexer).await;
        multiplexer.end().await;
        done
    }

    async fn call(&self, multiplexer: &mut Multiplexer) -> Result<(), CliError> {
        let arguments = match &self.args {
            Some(object) => object.clone(),
            None if self.arguments.is_empty() => "{}".to_owned(),
            None => {
                let tool = multiplexer.definition(&self.tool).await?;
                let entry = tool.map(|tool| tool.entry).unwrap_or_default();
                // What nobody lists is refused by the call, which names the nearest.
                arguments::typed(&self.arguments, &entry).map_err(|wrong| {
                    CliError::Usage(format!("{}: {wrong}", self.tool)).into_input()
                })?
            }
        };
        let request = ModernRequest::call(&self.tool, &arguments);
        let waiting = format!("waiting for {}", self.tool);
        let answer = Patience::during(&waiting, multiplexer.ask(&request)).await?;
        let result = answer.result()?;
        let text = match self.through.format {
            Format::Json => format!("{result}\n"),
            Format::Text => told(result),
        };
        // The status answers also those who read no further.
        let printed = out::write(text.as_bytes());
        let said = Object::read(result).ok();
        match said.and_then(|said| said.get("isError")) {
            Some("true") => Err(CliError::ToolFailed(self.tool.clone())),
            _ => printed,
        }
    }
}

/// A result, for people: its texts, else its structured content as it stands.
fn told(result: &str) -> String {
    let Ok(result) = Object::read(result) else {
        return String::new();
    };
    let contents = result.get("content").and_then(elements).unwrap_or_default();
    match (contents.is_empty(), result.get("structuredContent")) {
        (true, Some(structured)) => format!("{structured}\n"),
        _ => contents.iter().map(|content| one(content) + "\n").collect(),
    }
}

fn elements(list: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(list).ok()
}

/// One part of it: what is no text is named.
fn one(content: &RawValue) -> String {
    let text = |holder: &Object<'_>, key| {
        let raw = holder.get(key).filter(|raw| json::is_string(raw))?;
        Some(json::unquote(raw).into_owned())
    };
    let Ok(content) = Object::read(content.get()) else {
        return content.get().to_owned();
    };
    let resource = content
        .get("resource")
        .and_then(|raw| Object::read(raw).ok());
    let holders = || [Some(&content), resource.as_ref()].into_iter().flatten();
    if let Some(said) = holders().find_map(|holder| text(holder, "text")) {
        return said;
    }
    let kind = text(&content, "type").unwrap_or_else(|| "content".to_owned());
    let about = ["mimeType", "uri"];
    let about = about.map(|key| holders().find_map(|holder| text(holder, key)));
    let known: Vec<String> = [Some(kind)].into_iter().chain(about).flatten().collect();
    format!("[{}: see --format json]", known.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_is_told_in_its_texts() {
        let result = r#"{"content": [
            {"type": "text", "text": "a\nb"},
            {"type": "image", "mimeType": "image/png", "data": "AAAA"},
            {"type": "resource", "resource": {"uri": "x:/y", "text": "inside"}}
        ]}"#;
        let expected = "a\nb\n[image image/png: see --format json]\ninside\n";
        assert_eq!(told(result), expected);
        let structured = r#"{"content":[],"structuredContent":{"n": 1.10}}"#;
        assert_eq!(told(structured), "{\"n\": 1.10}\n");
        assert_eq!(told("{}"), "");
    }
}
