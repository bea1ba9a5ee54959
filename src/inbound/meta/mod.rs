//! The multiplexer's own tools: a few by which a client finds, loads and calls all others.
//!
//! They are answered here and never by a child; `call_tool` alone is carried to one.

mod call;
mod find;
mod input;
mod list;
mod load;
mod loaded;
mod offers;
mod status;

use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;

use self::call::NotCarried;
pub(super) use self::loaded::Loaded;
use super::dispatch::{Dispatch, Requester};
use crate::{
    catalog::{AlwaysListed, MetaTool},
    config::{Mode, Settings},
    fleet::{Permitted, Shown, Snapshot},
    protocol::{Era, Frame, TraceContext, error::result_answer, json::quote, request::Params},
    relay::Reply,
    telemetry::Outcome,
};

/// What is shown where not everything is.
#[derive(Debug)]
pub(super) struct Meta {
    mode: Mode,
    always: AlwaysListed,
}

/// What a tool of ours has to say: structured content (JSON text, an object), or what is
/// wrong with its call, in words that a model can act on.
type Said = Result<String, String>;

/// One call of a tool of ours.
struct Asked<'a> {
    dispatch: &'a Dispatch,
    meta: &'a Meta,
    frame: &'a Frame,
    /// Where the HTTP request that brought it stands in a trace.
    trace: Option<&'a TraceContext>,
    requester: &'a Requester<'a>,
    asides: &'a mpsc::Sender<Bytes>,
}

/// What the caller sees at the moment of a call.
struct Sight<'a> {
    shown: Shown<'a>,
    permitted: Permitted<'a>,
}

impl Meta {
    /// What these settings offer; `None` where that is everything, and nothing of ours.
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        settings.offers_meta_tools().then(|| Self {
            mode: settings.mode,
            always: AlwaysListed::new(&settings.always_load, &settings.always_on),
        })
    }

    /// What clients are told of how to use it all, before what the children say.
    pub(super) fn instructions(&self, of_children: Option<String>) -> Option<String> {
        const HOW: &str = "Only a few tools are listed at first. find_tools finds the others by \
             what they are for, load_tools lists them, and call_tool calls one that is not \
             listed.\n";
        match (self.mode, of_children) {
            (Mode::Eager, said) => said,
            (Mode::Dynamic, None) => Some(HOW.to_owned()),
            (Mode::Dynamic, Some(said)) => Some(format!("{HOW}\n{said}")),
        }
    }

    /// Answers a call of a tool of ours.
    pub(super) async fn call(
        &self,
        dispatch: &Dispatch,
        tool: MetaTool,
        (frame, params): (&Frame, &Params),
        requester: &Requester<'_>,
        asides: &mpsc::Sender<Bytes>,
    ) -> Reply {
        let asked = Asked {
            dispatch,
            meta: self,
            frame,
            trace: params.trace.as_ref(),
            requester,
            asides,
        };
        let began = Instant::now();
        let mut unreadable = String::new();
        if tool == MetaTool::CallTool {
            match asked.call_tool().await {
                // It has a line of its own, as the call that it holds.
                Ok(reply) => return reply,
                Err(NotCarried::Unknown(wrong)) => return Reply::Whole(asked.answer(&Err(wrong))),
                Err(NotCarried::Unreadable(wrong)) => unreadable = wrong,
            }
        }
        let own_call = dispatch
            .relay
            .own_call(tool.as_str(), began, frame, &requester.caller);
        let said = match tool {
            MetaTool::CallTool => Err(unreadable),
            MetaTool::FindTools => asked.find_tools().await,
            MetaTool::ListCatalog => asked.list_catalog().await,
            MetaTool::LoadTools => asked.load_tools().await,
            MetaTool::UnloadTools => asked.unload_tools().await,
            MetaTool::Status => asked.status(),
        };
        let outcome = match &said {
            Ok(_) => Outcome::Ok,
            Err(_) => Outcome::ToolError,
        };
        own_call.answered(outcome);
        Reply::Whole(asked.answer(&said))
    }
}

impl Asked<'_> {
    /// Waits for children that list something for the first time, as a list does: to all,
    /// or to this caller.
    async fn everything_listed(&self) {
        let Dispatch { fleet, .. } = self.dispatch;
        let caller = &self.requester.caller;
        fleet.settled().await;
        fleet.asked_first(&caller.view, caller).await;
    }

    /// What the caller sees of this snapshot.
    fn sight<'s>(&self, snapshot: &'s Snapshot) -> Result<Sight<'s>, String> {
        let caller = &self.requester.caller;
        let shown = snapshot.view(&caller.view);
        let shown = shown.map_err(|_| "What this address shows is gone.")?;
        Ok(Sight {
            permitted: shown.permitted(caller.subject.as_ref()),
            shown,
        })
    }

    /// The answer as a result: a structured one stands in its text too, for clients that
    /// read nothing else (MCP, "Structured Content").
    fn answer(&self, said: &Said) -> Bytes {
        let complete = match self.requester.caller.era {
            Era::Modern => r#","resultType":"complete""#,
            Era::Legacy => "",
        };
        let (text, rest) = match said {
            Ok(structured) => (structured, format!(r#","structuredContent":{structured}"#)),
            Err(wrong) => (wrong, r#","isError":true"#.to_owned()),
        };
        let text = quote(text);
        let result = format!(r#"{{"content":[{{"type":"text","text":{text}}}]{rest}{complete}}}"#);
        result_answer(self.frame.id().unwrap_or("null"), &result).into_bytes()
    }
}

/// A structured answer as its text.
fn structured(answer: &impl serde::Serialize) -> Said {
    serde_json::to_string(answer).map_err(|error| error.to_string())
}
