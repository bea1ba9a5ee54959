//! The requests that are carried to a child: those that name one thing of it, and
//! those that only a child can understand.

use crate::{
    catalog::Primitive,
    protocol::{
        Era,
        request::{Params, Reference},
    },
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
    /// `tasks/get`
    GetTask,
    /// `tasks/update` (2026-07-28)
    UpdateTask,
    /// `tasks/cancel`
    CancelTask,
    /// `tasks/result` (2025-11-25)
    TaskResult,
    /// One that the specification does not know.
    Other,
    /// `resources/subscribe`, of which the child is told only once for all clients.
    Subscribe,
}

impl Method {
    /// Those that are carried as they come.
    const CARRIED: [Self; 8] = [
        Self::CallTool,
        Self::GetPrompt,
        Self::ReadResource,
        Self::Complete,
        Self::GetTask,
        Self::UpdateTask,
        Self::CancelTask,
        Self::TaskResult,
    ];

    /// The method of this name, if this era has it and its requests are carried as they
    /// come.
    pub fn of(name: &str, era: Era) -> Option<Self> {
        let named = Self::CARRIED.into_iter().find(|it| it.as_str() == name)?;
        let other_era = match era {
            Era::Legacy => Self::UpdateTask,
            Era::Modern => Self::TaskResult,
        };
        (named != other_era).then_some(named)
    }

    /// Its name, in metrics too: the names of unknown ones are without number.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CallTool => "tools/call",
            Self::GetPrompt => "prompts/get",
            Self::ReadResource => "resources/read",
            Self::Complete => "completion/complete",
            Self::GetTask => "tasks/get",
            Self::UpdateTask => "tasks/update",
            Self::CancelTask => "tasks/cancel",
            Self::TaskResult => "tasks/result",
            Self::Other => "other",
            Self::Subscribe => "resources/subscribe",
        }
    }

    /// Whether what a request names is a task.
    pub(super) fn is_of_tasks(self) -> bool {
        match self {
            Self::GetTask | Self::UpdateTask | Self::CancelTask | Self::TaskResult => true,
            Self::CallTool
            | Self::GetPrompt
            | Self::ReadResource
            | Self::Complete
            | Self::Other
            | Self::Subscribe => false,
        }
    }

    /// What a request names, as far as it stands in a list: no task does.
    pub(super) fn names(self, params: &Params) -> Primitive {
        match (self, params.reference) {
            (Self::CallTool, _) => Primitive::Tool,
            (Self::GetPrompt, _) | (Self::Complete, Some(Reference::Prompt)) => Primitive::Prompt,
            (Self::ReadResource | Self::Subscribe, _) | (Self::Other, Some(_)) => {
                Primitive::Resource
            }
            (Self::Complete, _) => Primitive::Template,
            (Self::GetTask | Self::UpdateTask | Self::CancelTask | Self::TaskResult, _)
            | (Self::Other, None) => Primitive::Tool,
        }
    }
}
