//! The requests that are carried to a child: those that name one thing of it, and
//! those that only a child can understand.

use crate::{
    catalog::Primitive,
    protocol::request::{Params, Reference},
};

/// A method whose requests are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `tools/call`
    CallTool,
    /// `prompts/get`
    GetPrompt,
    /// `resources/read`
    ReadResource,
    /// `completion/complete`
    Complete,
    /// One that the specification does not know.
    Other,
    /// `resources/subscribe`, of which the child is told only once for all clients.
    Subscribe,
}

impl Method {
    /// Those that are carried as they come.
    const CARRIED: [Self; 4] = [
        Self::CallTool,
        Self::GetPrompt,
        Self::ReadResource,
        Self::Complete,
    ];

    /// The method of this name, if its requests are carried as they come.
    pub fn of(name: &str) -> Option<Self> {
        Self::CARRIED
            .into_iter()
            .find(|method| method.as_str() == name)
    }

    /// Its name, in metrics too: the names of unknown ones are without number.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallTool => "tools/call",
            Self::GetPrompt => "prompts/get",
            Self::ReadResource => "resources/read",
            Self::Complete => "completion/complete",
            Self::Other => "other",
            Self::Subscribe => "resources/subscribe",
        }
    }

    /// What a request names.
    pub(super) fn names(self, params: &Params) -> Primitive {
        match (self, params.reference) {
            (Self::CallTool, _) => Primitive::Tool,
            (Self::GetPrompt, _) | (Self::Complete, Some(Reference::Prompt)) => Primitive::Prompt,
            (Self::ReadResource | Self::Subscribe, _) | (Self::Other, Some(_)) => {
                Primitive::Resource
            }
            (Self::Complete, _) => Primitive::Template,
            (Self::Other, None) => Primitive::Tool,
        }
    }
}
