//! The tools of a multiplexer with all that is known of them, whatever mode it is in.

use serde_json::{Value, json, value::RawValue};

use super::{Answer, CliError, Multiplexer, odd};
use crate::{
    catalog::MetaTool,
    cli::request::ModernRequest,
    protocol::json::{self, Object},
};

/// So many definitions are asked for at once.
const AT_ONCE: usize = 100;

/// A tool of a child.
pub(in crate::cli) struct Definition {
    /// What clients call it.
    pub(in crate::cli) name: String,
    /// Whose it is; the prefix if only that is known.
    pub(in crate::cli) child: String,
    /// Its entry, as clients see it in a list.
    pub(in crate::cli) entry: String,
}

impl Definition {
    /// The first line of its description.
    pub(in crate::cli) fn summary(&self) -> String {
        let entry = Object::read(&self.entry).ok();
        let raw = entry.and_then(|entry| entry.get("description"));
        let raw = raw.filter(|raw| json::is_string(raw));
        let text = raw.map(json::unquote).unwrap_or_default();
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        line.unwrap_or_default().to_owned()
    }
}

impl Multiplexer {
    /// Every tool of every child.
    pub(in crate::cli) async fn definitions(&mut self) -> Result<Vec<Definition>, CliError> {
        let listed = self.listed().await?;
        let is_partly = listed
            .iter()
            .any(|tool| tool.name == MetaTool::ListCatalog.as_str());
        if matches!(self, Self::Running(_)) && is_partly {
            return self.cataloged().await;
        }
        let prefixes = self.prefixes().await;
        let tools = listed.into_iter();
        let tools = tools.filter(|tool| MetaTool::named(&tool.name).is_none());
        Ok(tools
            .map(|tool| Definition {
                child: child_of(&tool.name, &prefixes),
                ..tool
            })
            .collect())
    }

    /// One tool; `None` if there is no such.
    pub(in crate::cli) async fn definition(
        &mut self,
        name: &str,
    ) -> Result<Option<Definition>, CliError> {
        let listed = self.listed().await?;
        let is_partly = listed
            .iter()
            .any(|tool| tool.name == MetaTool::LoadTools.as_str());
        if let Some(tool) = listed.into_iter().find(|tool| tool.name == name) {
            return Ok(Some(tool));
        }
        match is_partly {
            true => Ok(self
                .loaded("", &[name.to_owned()])
                .await
                .ok()
                .and_then(|mut it| it.pop())),
            false => Ok(None),
        }
    }

    /// Calls a tool of the multiplexer's own; gives its structured answer.
    pub(in crate::cli) async fn ask_own(
        &mut self,
        tool: MetaTool,
        arguments: &Value,
    ) -> Result<Answer, CliError> {
        self.ask(&ModernRequest::call(tool.as_str(), &arguments.to_string()))
            .await
    }

    async fn listed(&mut self) -> Result<Vec<Definition>, CliError> {
        let answer = self.ask(&ModernRequest::list()).await?;
        read_tools(answer.result()?, "")
    }

    /// In dynamic mode the list holds a few only.
    async fn cataloged(&mut self) -> Result<Vec<Definition>, CliError> {
        let answer = self.ask_own(MetaTool::ListCatalog, &json!({})).await?;
        let children = answer.value()?["structuredContent"]["children"].take();
        let mut definitions = Vec::new();
        for child in children.as_array().into_iter().flatten() {
            let child = child["name"].as_str().unwrap_or_default();
            let mut offset = Some(0);
            while let Some(from) = offset {
                let asked = json!({"child": child, "offset": from});
                let answer = self.ask_own(MetaTool::ListCatalog, &asked).await?;
                let page = answer.value()?["structuredContent"].take();
                let names = page["tools"].as_array().into_iter().flatten();
                let names: Vec<String> = names
                    .filter_map(|tool| tool["name"].as_str())
                    .map(str::to_owned)
                    .collect();
                for names in names.chunks(AT_ONCE) {
                    definitions.extend(self.loaded(child, names).await?);
                }
                offset = page["next"].as_u64();
            }
        }
        Ok(definitions)
    }

    async fn loaded(&mut self, child: &str, names: &[String]) -> Result<Vec<Definition>, CliError> {
        let asked = json!({"names": names});
        let answer = self.ask_own(MetaTool::LoadTools, &asked).await?;
        let result = answer.result()?;
        let told = Object::read(result).map_err(odd)?;
        let structured = told.get("structuredContent").unwrap_or(r#"{"tools":[]}"#);
        read_tools(structured, child)
    }

    /// The prefix of each child's tools, and its name; none where `/status` is elsewhere.
    async fn prefixes(&self) -> Vec<(String, String)> {
        let status = self.status().await.unwrap_or_default();
        let children = status["children"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        children
            .map(|child| (text(&child["prefix"]), text(&child["name"])))
            .collect()
    }
}

/// The child whose prefix a public name has; of two the longer one.
fn child_of(name: &str, prefixes: &[(String, String)]) -> String {
    let own = prefixes.iter().filter(|(prefix, _)| {
        let rest = name.strip_prefix(prefix.as_str());
        !prefix.is_empty() && rest.is_some_and(|rest| rest.starts_with("__"))
    });
    let own = own.max_by_key(|(prefix, _)| prefix.len());
    match (own, prefixes) {
        (Some((_, child)), _) => child.clone(),
        // Nobody tells of children: the prefix stands for them.
        (None, []) => {
            let prefix = name.split_once("__").map(|(prefix, _)| prefix);
            prefix.unwrap_or_default().to_owned()
        }
        // One child without a prefix has all that is left.
        (None, prefixes) => {
            let mut bare = prefixes.iter().filter(|(prefix, _)| prefix.is_empty());
            match (bare.next(), bare.next()) {
                (Some((_, child)), None) => child.clone(),
                _ => String::new(),
            }
        }
    }
}

/// The entries of a `tools` list, as they stand.
fn read_tools(list: &str, child: &str) -> Result<Vec<Definition>, CliError> {
    let list = Object::read(list).map_err(odd)?;
    let tools: Vec<&RawValue> =
        serde_json::from_str(list.get("tools").unwrap_or("[]")).map_err(odd)?;
    let read = |tool: &RawValue| {
        let entry = Object::read(tool.get()).ok()?;
        let name = entry.get("name").filter(|raw| json::is_string(raw))?;
        Some(Definition {
            name: json::unquote(name).into_owned(),
            child: child.to_owned(),
            entry: tool.get().to_owned(),
        })
    };
    Ok(tools.into_iter().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_is_its_childs_by_the_longest_prefix() {
        let prefixes = [("a", "one"), ("a__b", "two"), ("", "bare")];
        let prefixes = prefixes.map(|(prefix, child)| (prefix.to_owned(), child.to_owned()));
        for (name, child) in [("a__x", "one"), ("a__b__x", "two"), ("x", "bare")] {
            assert_eq!(child_of(name, &prefixes), child, "{name}");
        }
        assert_eq!(child_of("x", &prefixes[..2]), "");
        assert_eq!(child_of("a__x", &[]), "a");
    }

    #[test]
    fn an_entry_is_kept_as_it_stands() {
        let tools = read_tools(
            r#"{"tools":[{"name":"a","description":"\n First.\nSecond.","x":1.10}, 5]}"#,
            "c",
        );
        let tools = tools.unwrap();
        assert_eq!(tools.len(), 1);
        assert!(tools[0].entry.contains("1.10"));
        assert_eq!(tools[0].summary(), "First.");
    }
}
