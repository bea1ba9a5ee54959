//! `call_tool`: a call in a call.

use super::{Asked, input};
use crate::{
    catalog::MetaTool,
    protocol::{Frame, json::quote, request::Params, splice::Splice},
    relay::{Method, Reply},
};

/// Why a call in a call goes nowhere, in words that a model can act on.
pub(super) enum NotCarried {
    /// Nobody has what it names, which is written down where that is wanted.
    Unknown(String),
    /// It cannot be made out.
    Unreadable(String),
}

impl From<String> for NotCarried {
    fn from(why: String) -> Self {
        Self::Unreadable(why)
    }
}

impl Asked<'_> {
    /// Carries the call that this one holds, as if the client had made it itself: what it
    /// brings is the child's word for word.
    pub(super) async fn call_tool(&self) -> Result<Reply, NotCarried> {
        let input: input::Call<'_> = self.input()?;
        if MetaTool::named(&input.name).is_some() {
            let why = format!("{} is called by itself, not through call_tool.", input.name);
            return Err(why.into());
        }
        let arguments = input.arguments.map_or("{}", |raw| raw.get());
        let (frame, params) = self.unpacked(&input.name, arguments)?;
        let Asked {
            dispatch,
            requester,
            ..
        } = self;
        let caller = &requester.caller;
        if let Some(unknown) = dispatch.relay.unknown_tool(&frame, &params, caller).await {
            let why = format!("{} find_tools knows what there is.", unknown.message);
            return Err(NotCarried::Unknown(why));
        }
        let carried = dispatch
            .relay
            .carry(Method::CallTool, &frame, &params, caller, self.asides);
        Ok(carried.await)
    }

    /// The call that this one holds: under the same id, with everything else that stands
    /// beside name and arguments. Not under its headers: they are made for what the client
    /// saw listed, which is `call_tool`.
    fn unpacked(&self, name: &str, arguments: &str) -> Result<(Frame, Params), String> {
        let unreadable = || "The call cannot be read.".to_owned();
        let params = self.frame.body_object().ok_or_else(unreadable)?;
        let outer = params.get("name").ok_or_else(unreadable)?;
        let mut splice = Splice::of(self.frame.bytes());
        splice.replace(self.frame.range_of(outer), quote(name));
        if let Some(held) = params.get("arguments") {
            splice.replace(self.frame.range_of(held), arguments);
        }
        let frame = Frame::read(splice.finish()).map_err(|error| error.to_string())?;
        let params = Params::read(&frame, Method::CallTool.as_str());
        let mut params = params.map_err(|error| error.message)?;
        params.trace = self.trace.cloned();
        Ok((frame, params))
    }
}
