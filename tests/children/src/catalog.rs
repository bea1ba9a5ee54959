//! What `tools/list` shows: entries kept as the bytes they are listed as.

use std::fs;

use crate::{message::quoted, options::Options};

/// The built-in tools and what each is for.
const BUILT_IN: &[(&str, &str)] = &[
    ("echo", "Returns the arguments byte for byte."),
    (
        "received",
        "Returns the params, the id and the headers this request came with.",
    ),
    ("raw", "Returns the bytes of --result-file as its result."),
    (
        "slow",
        "Answers after {ms} or once the file {until} exists.",
    ),
    (
        "progress",
        "Sends {n} progress notifications, then answers.",
    ),
    ("log", "Sends a log message with {data}, then answers."),
    ("add_tool", "Adds a tool {name} and tells the clients."),
    ("fail", "Fails as a tool does."),
    ("rpc_error", "Fails with a JSON-RPC error."),
    ("exit", "Ends the process in the middle of the call."),
    (
        "identity",
        "Tells the process id and a hash of the Authorization header.",
    ),
    (
        "env",
        "Lists the names of this process's environment variables.",
    ),
];

/// One tool: its name and its entry's bytes.
struct Tool {
    name: String,
    entry: String,
}

/// Everything this child lists, in order.
pub struct Catalog {
    tools: Vec<Tool>,
    page_size: usize,
}

impl Catalog {
    /// The tools the command line asks for.
    pub fn new(options: &Options) -> Self {
        let mut tools = Vec::new();
        if !options.bare {
            tools.extend(BUILT_IN.iter().map(|(name, purpose)| tool(name, purpose)));
        }
        tools.extend(
            options
                .named
                .iter()
                .map(|name| tool(name, "Does what echo does.")),
        );
        tools.extend((0..options.tools).map(|n| tool(&format!("filler_{n:04}"), "One of many.")));
        if let Some(path) = &options.tools_file {
            let text = fs::read_to_string(path)
                .unwrap_or_else(|error| panic!("tools file {}: {error}", path.display()));
            tools.extend(text.lines().map(verbatim));
        }
        Self {
            tools,
            page_size: options.page_size,
        }
    }

    /// Whether a tool of this name is listed beside the built-in ones.
    pub fn lists(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name == name)
    }

    /// Lists one tool more.
    pub fn add(&mut self, name: &str) {
        self.tools.push(tool(name, "Came later."));
    }

    /// The entries of the page at `cursor`, joined, and the cursor of the next page.
    /// `None` for a cursor this child never gave out.
    pub fn page(&self, cursor: Option<&str>) -> Option<(String, Option<String>)> {
        let start = match cursor {
            None => 0,
            Some(cursor) => cursor.strip_prefix("from ")?.parse().ok()?,
        };
        let rest = self.tools.get(start..)?;
        let size = if self.page_size == 0 {
            rest.len()
        } else {
            self.page_size.min(rest.len())
        };
        let entries: Vec<&str> = rest[..size]
            .iter()
            .map(|tool| tool.entry.as_str())
            .collect();
        let next = (size < rest.len()).then(|| format!("from {}", start + size));
        Some((entries.join(","), next))
    }
}

fn tool(name: &str, purpose: &str) -> Tool {
    Tool {
        name: name.to_owned(),
        entry: format!(
            r#"{{"name":{},"description":{},"inputSchema":{{"type":"object"}}}}"#,
            quoted(name),
            quoted(purpose),
        ),
    }
}

/// A line of the tools file: a name, a tab, and the entry to list as it stands. The
/// entry is not read for its name, since it may hold what no parser takes.
fn verbatim(line: &str) -> Tool {
    let (name, entry) = line
        .split_once('\t')
        .unwrap_or_else(|| panic!("tools file: no tab in {line}"));
    Tool {
        name: name.to_owned(),
        entry: entry.to_owned(),
    }
}
