//! The kinds of things a child offers.

/// A kind of thing that is listed (MCP, "Server Features").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Primitive {
    /// Called with `tools/call`.
    Tool,
    /// Got with `prompts/get`.
    Prompt,
    /// Read with `resources/read`.
    Resource,
    /// What the URIs of further resources look like (RFC 6570).
    Template,
}

impl Primitive {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Tool, Self::Prompt, Self::Resource, Self::Template];

    /// The primitive that this method lists.
    pub fn listed_by(method: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|primitive| primitive.list_method() == method)
    }

    /// The method that lists them.
    pub fn list_method(self) -> &'static str {
        match self {
            Self::Tool => "tools/list",
            Self::Prompt => "prompts/list",
            Self::Resource => "resources/list",
            Self::Template => "resources/templates/list",
        }
    }

    /// What it changes together with.
    pub fn family(self) -> Family {
        match self {
            Self::Tool => Family::Tools,
            Self::Prompt => Family::Prompts,
            Self::Resource | Self::Template => Family::Resources,
        }
    }

    /// The key of the list in its result.
    pub fn list_key(self) -> &'static str {
        match self {
            Self::Tool => "tools",
            Self::Prompt => "prompts",
            Self::Resource => "resources",
            Self::Template => "resourceTemplates",
        }
    }

    /// The key of an entry that identifies it.
    pub(super) fn name_key(self) -> &'static str {
        match self {
            Self::Tool | Self::Prompt => "name",
            Self::Resource => "uri",
            Self::Template => "uriTemplate",
        }
    }
}

/// What changes together: a change of any of these is told by one notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Tools.
    Tools,
    /// Prompts.
    Prompts,
    /// Resources and their templates.
    Resources,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tools, Self::Prompts, Self::Resources];

    /// The notification that its lists have changed.
    pub fn list_changed(self) -> &'static str {
        match self {
            Self::Tools => "notifications/tools/list_changed",
            Self::Prompts => "notifications/prompts/list_changed",
            Self::Resources => "notifications/resources/list_changed",
        }
    }
}
