//! Clients of the official SDKs that get their tokens themselves.

use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use super::{Words, bare, node::node, python};
use crate::support::{
    pipe::{Log, Pipe},
    wait::soon,
};

/// An SDK that has OAuth code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OAuthClient {
    /// The one for Python.
    Python,
    /// The one for TypeScript, of version 2.
    TypeScript,
    /// The same of version 1, which does not compare issuers.
    OldTypeScript,
}

/// What became of a client.
#[derive(Debug)]
pub struct Walked {
    /// What its first call brought, as text, and the one after its token had expired for it.
    pub called: [String; 2],
    /// How many tokens it was given.
    pub tokens: u64,
    /// The pages it sent its person to.
    pub opened: Vec<String>,
}

impl OAuthClient {
    /// The newest ones.
    pub const STRICT: [Self; 2] = [Self::Python, Self::TypeScript];

    /// Lets it do what `task` says (see `oauth_client.py`). `person` is handed the pages it
    /// opens, and gives what the browser is sent to in the end.
    pub async fn walk(self, mut task: Value, person: impl AsyncFn(&str) -> String) -> Walked {
        let mut command = match self {
            Self::Python => python("oauth_client.py"),
            Self::TypeScript | Self::OldTypeScript => node("oauth_client.mjs"),
        };
        task["sdk"] = if self == Self::OldTypeScript { 1 } else { 2 }.into();
        command.arg(task.to_string());
        self.attend(command, person).await
    }

    async fn attend(self, mut command: Command, person: impl AsyncFn(&str) -> String) -> Walked {
        bare(&mut command).stdin(Stdio::piped());
        let mut process = command.spawn().expect("a client starts");
        let (err, _) = Log::gather(process.stderr.take().expect("stderr is piped"));
        let words = Words(err);
        let stdin = process.stdin.take().expect("stdin is piped");
        let stdout = process.stdout.take().expect("stdout is piped");
        let mut pipe = Pipe::new(stdin, stdout);
        let mut said = Value::Null;
        let mut opened = Vec::new();
        while said["tokens"].is_null() {
            let line = pipe.next().await.expect("a client says what happens");
            let line: Value = serde_json::from_str(&line).expect("a client prints JSON");
            match line["open"].as_str() {
                Some(page) => {
                    let back = person(page).await;
                    pipe.line(back).await;
                    opened.push(page.to_owned());
                }
                None => {
                    for (name, value) in line.as_object().expect("an object") {
                        said[name] = value.clone();
                    }
                }
            }
        }
        let status = soon("the end of a client", process.wait()).await;
        assert!(status.expect("an exit status").success(), "{self:?} failed");
        drop(words);
        let text = |name: &str| said[name].as_str().unwrap_or_default().to_owned();
        Walked {
            called: [text("called"), text("again")],
            tokens: said["tokens"].as_u64().unwrap_or_default(),
            opened,
        }
    }
}
