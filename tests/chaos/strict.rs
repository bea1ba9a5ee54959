//! A client that believes nothing: each answer is to a request that is open, and the
//! only one to it.

use std::{collections::HashSet, time::Duration};

use tokio::time::timeout;

use crate::support::{
    Answer,
    client::{call_params, with_modern_meta},
    pipe::Pipe,
    wire::{member, method},
};

/// A modern client on a multiplexer's standard streams, with many calls at once.
pub struct Strict {
    pipe: Pipe,
    last_id: u64,
    open: HashSet<u64>,
}

/// Many times what any answer takes, and less than anything that would be waited for in
/// vain: a call's timeout, a pause between attempts.
const PROMPT: Duration = Duration::from_secs(10);

impl Strict {
    /// A client on these streams.
    pub fn new(pipe: Pipe) -> Self {
        Self {
            pipe,
            last_id: 0,
            open: HashSet::new(),
        }
    }

    /// Calls a tool and does not wait. Gives the request's id.
    pub async fn begin(&mut self, tool: &str, arguments: &str) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        let params = with_modern_meta(&call_params(tool, arguments));
        self.open.insert(id);
        self.pipe
            .line(format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{params}}}"#
            ))
            .await;
        id
    }

    /// Whatever is answered next.
    pub async fn come(&mut self) -> String {
        loop {
            let frame = self.pipe.next().await.expect("stdout stays open");
            if method(&frame).is_none() {
                return frame;
            }
        }
    }

    /// The next answer, to whichever request, which has to come promptly.
    pub async fn next(&mut self) -> Answer {
        let answer = timeout(PROMPT, self.come());
        let frame = answer.await.expect("an answer, promptly");
        let id = member(&frame, "id").and_then(|id| id.parse().ok());
        let wanted = id.is_some_and(|id| self.open.remove(&id));
        assert!(wanted, "an answer to no request that is open: {frame}");
        Answer {
            frame,
            before: Vec::new(),
        }
    }

    /// Calls a tool while no other call is open.
    pub async fn call(&mut self, tool: &str, arguments: &str) -> Answer {
        assert!(self.open.is_empty(), "one call at a time");
        self.begin(tool, arguments).await;
        self.next().await
    }
}
