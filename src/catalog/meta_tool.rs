//! The tools that are the multiplexer's own.

/// A tool that finds, loads or calls the tools of children, or tells of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the words say it")]
pub enum MetaTool {
    FindTools,
    ListCatalog,
    LoadTools,
    UnloadTools,
    CallTool,
    Status,
}

impl MetaTool {
    /// All of them, as they are listed.
    pub const ALL: [Self; 6] = [
        Self::FindTools,
        Self::ListCatalog,
        Self::LoadTools,
        Self::UnloadTools,
        Self::CallTool,
        Self::Status,
    ];

    /// The one that clients call so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tool| tool.as_str() == name)
    }

    /// What clients call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FindTools => "find_tools",
            Self::ListCatalog => "list_catalog",
            Self::LoadTools => "load_tools",
            Self::UnloadTools => "unload_tools",
            Self::CallTool => "call_tool",
            Self::Status => "multiplexer_status",
        }
    }
}
