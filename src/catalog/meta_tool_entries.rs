//! What a client reads of our tools. It stands in the context of a model all the time, so
//! every word counts.

/// Their entries in a list, with commas between them, in the order of
/// [`MetaTool::ALL`](super::MetaTool::ALL).
pub const META_TOOL_ENTRIES: &str = concat!(
    r#"{"name":"find_tools","title":"Find tools","description":"Find tools by what they are for. Most tools here are not listed: search first, then load_tools or call_tool.","inputSchema":{"type":"object","properties":{"query":{"type":"string","description":"What the tool should do, in plain words"},"limit":{"type":"integer","minimum":1,"maximum":50,"default":8},"child":{"type":"string","description":"Only tools of this server"},"readOnly":{"type":"boolean","description":"Only tools that change nothing"}},"required":["query"],"additionalProperties":false},"annotations":{"readOnlyHint":true}},"#,
    r#"{"name":"list_catalog","title":"List the catalog","description":"List all servers; or, with child, the tools of one.","inputSchema":{"type":"object","properties":{"child":{"type":"string","description":"A server's name"},"offset":{"type":"integer","minimum":0,"description":"Where to go on"}},"additionalProperties":false},"annotations":{"readOnlyHint":true}},"#,
    r#"{"name":"load_tools","title":"Load tools","description":"Add tools, found by find_tools, to your list of tools.","inputSchema":{"type":"object","properties":{"names":{"type":"array","items":{"type":"string"},"minItems":1,"maxItems":100}},"required":["names"],"additionalProperties":false},"annotations":{"destructiveHint":false,"idempotentHint":true}},"#,
    r#"{"name":"unload_tools","title":"Unload tools","description":"Take loaded tools off your list again.","inputSchema":{"type":"object","properties":{"names":{"type":"array","items":{"type":"string"},"minItems":1,"maxItems":100}},"required":["names"],"additionalProperties":false},"annotations":{"destructiveHint":false,"idempotentHint":true}},"#,
    r#"{"name":"call_tool","title":"Call a tool","description":"Call any tool by its name, loaded or not; the result is the tool's own.","inputSchema":{"type":"object","properties":{"name":{"type":"string"},"arguments":{"type":"object","description":"What the tool itself takes"}},"required":["name"],"additionalProperties":false}},"#,
    r#"{"name":"multiplexer_status","title":"Status","description":"How the servers behind these tools are, and what you have loaded.","inputSchema":{"type":"object","additionalProperties":false},"annotations":{"readOnlyHint":true}}"#,
);

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::catalog::MetaTool;

    #[test]
    fn every_tool_of_ours_is_described() {
        let all: Vec<Value> = serde_json::from_str(&format!("[{META_TOOL_ENTRIES}]")).unwrap();
        let names: Vec<_> = all
            .iter()
            .map(|tool| tool["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, MetaTool::ALL.map(MetaTool::as_str));
        for tool in all {
            assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
        }
    }
}
