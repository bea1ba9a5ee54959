//! The multiplexer as its commands see it: one that runs, or one that is started from a
//! configuration for as long as the command takes.
//!
//! Both are spoken to in frames, so that what a child says is shown as it came.

mod definitions;
mod http;
mod own;

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use serde_json::Value;

pub(super) use definitions::Definition;

use self::{http::Running, own::Own};
use super::out::Format;
use super::{
    CliError,
    instance::{Where, variable},
    request::ModernRequest,
};
use crate::{
    protocol::{Frame, Kind, json::Object},
    telemetry::{LogFormat, LogGuard, init_logs},
};

/// Which multiplexer to ask.
#[derive(Args, Clone, Debug)]
pub(super) struct Through {
    #[command(flatten)]
    running: Where,
    /// Ask none that runs: start the children of this configuration, and end them after.
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    config: Option<PathBuf>,
    /// Take variables that the environment does not have from this file: NAME=value, line
    /// by line.
    #[arg(long, value_name = "FILE", requires = "config")]
    env_file: Option<PathBuf>,
    /// The shape of what is printed.
    #[arg(long, value_enum, default_value = "text")]
    pub(super) format: Format,
}

/// The multiplexer that is asked.
pub(super) enum Multiplexer {
    /// One that runs.
    Running(Running),
    /// One of our own, over the children of a configuration.
    Own(Box<Own>),
}

/// What a request was answered with.
pub(super) struct Answer(Frame);

impl Through {
    /// Logs what a command that prints data may say besides: what is broken. What is odd
    /// it says itself.
    pub(super) fn logs() -> Result<LogGuard, CliError> {
        let filter = variable("RUST_LOG");
        init_logs(LogFormat::Text, Some(filter.as_deref().unwrap_or("error")))
            .map_err(|error| CliError::Usage(format!("RUST_LOG: {error}")).into_input())
    }

    /// The multiplexer to be asked. One of our own waits until every child has been
    /// tried, or until the tool is there that alone is `wanted`.
    pub(super) async fn open(&self, wanted: Option<&str>) -> Result<Multiplexer, CliError> {
        match &self.config {
            Some(config) => {
                let own = Own::start(config, self.env_file.as_deref(), wanted).await?;
                Ok(Multiplexer::Own(Box::new(own)))
            }
            None => Ok(Multiplexer::Running(Running(
                self.running.instance().await?,
            ))),
        }
    }
}

impl Multiplexer {
    /// Sends a request, and gives what it was answered with.
    pub(super) async fn ask(&mut self, request: &ModernRequest) -> Result<Answer, CliError> {
        match self {
            Self::Running(running) => running.ask(request).await,
            Self::Own(own) => own.ask(request).await,
        }
        .map(Answer)
    }

    /// What `/status` says.
    pub(super) async fn status(&self) -> Result<Value, CliError> {
        match self {
            Self::Running(running) => running.status().await,
            Self::Own(own) => own.status(),
        }
    }

    /// Ends what was started for the command.
    pub(super) async fn end(self) {
        if let Self::Own(own) = self {
            own.end().await;
        }
    }
}

impl Answer {
    /// The result as it stands.
    pub(super) fn result(&self) -> Result<&str, CliError> {
        let body = self.0.body().unwrap_or("{}");
        if self.0.kind() != Kind::Error {
            return Ok(body);
        }
        let error = Object::read(body).ok();
        let message = error.as_ref().and_then(|error| error.get("message"));
        let message = message.map(crate::protocol::json::unquote);
        Err(CliError::Broken(message.map_or_else(
            || format!("the multiplexer answers with an error: {body}"),
            |message| message.into_owned(),
        )))
    }

    /// The result, read: of a tool of the multiplexer's own.
    pub(super) fn value(&self) -> Result<Value, CliError> {
        serde_json::from_str(self.result()?).map_err(odd)
    }

    /// Whether there is no such tool or method.
    pub(super) fn is_unknown(&self) -> bool {
        let body = self.0.body_object();
        let code = body.as_ref().and_then(|error| error.get("code"));
        self.0.kind() == Kind::Error && matches!(code, Some("-32601" | "-32602"))
    }
}

/// An answer that cannot be read.
fn odd(error: impl std::fmt::Display) -> CliError {
    CliError::Broken(format!("the answer cannot be read: {error}"))
}

/// The frame in a body.
fn frame(body: Bytes) -> Result<Frame, CliError> {
    Frame::read(body).map_err(odd)
}
