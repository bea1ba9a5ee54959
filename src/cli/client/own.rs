//! A multiplexer of our own, over the children of a configuration, for one command.
//!
//! It has no door to the outside: what it is asked goes through a pipe within the process.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    time::Instant,
};

use super::{CliError, ModernRequest, frame, odd};
use crate::{
    catalog::Primitive,
    cli::{out, patience::Patience, reload::checked, started::Started},
    config::{ConfigError, Mode, ProcessEnvironment, Settings, locate},
    fleet::{Snapshot, standing},
    inbound::{Dispatch, serve_stdio},
    outbound::{Child, Phase},
    protocol::{
        Frame,
        lines::{Line, LineReader},
    },
};

/// What may be on its way through the pipe.
const PIPE: usize = 64 * 1024;
/// The largest answer: as large as the largest message of a child.
const LARGEST: usize = 64 << 20;
/// How long children are waited for: a first `npx` downloads.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often what nobody tells of is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A fleet, and both ends of the way to it.
pub(in crate::cli) struct Own {
    started: Started,
    requests: WriteHalf<DuplexStream>,
    answers: LineReader<ReadHalf<DuplexStream>>,
}

impl Own {
    /// Starts the children, and waits for them.
    pub(super) async fn start(
        config: &Path,
        env_file: Option<&Path>,
        wanted: Option<&str>,
    ) -> Result<Self, CliError> {
        let settings = load(config, env_file).map_err(|it| CliError::from(it).into_input())?;
        // Everything is listed, and can be searched.
        let mut settings = checked(settings, Some(Mode::Eager), None);
        settings.meta_tools = true;
        for warning in &settings.warnings {
            out::tell(&format!("warning: {warning}"));
        }
        let started = Started::of(&settings)?;
        let fleet = Arc::clone(&started.fleet);
        let dispatch = Dispatch::new(fleet, &settings, started.shutdown.clone());
        let (ours, theirs) = duplex(PIPE);
        let (their_requests, their_answers) = split(theirs);
        tokio::spawn(serve_stdio(dispatch, their_requests, their_answers));
        let (answers, requests) = split(ours);
        let own = Self {
            started,
            requests,
            answers: LineReader::new(answers, LARGEST),
        };
        own.await_children(wanted).await;
        Ok(own)
    }

    /// Waits until every child has been tried, or the wanted tool is there.
    async fn await_children(&self, wanted: Option<&str>) {
        let deadline = Instant::now() + PATIENCE;
        let mut patience = Patience::new();
        loop {
            let snapshot = self.started.fleet.snapshot();
            let missing = awaited(&snapshot);
            let is_there = |name| snapshot.catalog.route(Primitive::Tool, name).is_some();
            if wanted.is_some_and(is_there) {
                return patience.over();
            }
            if missing.is_empty() || Instant::now() >= deadline {
                patience.over();
                return tell_of_absent(&snapshot);
            }
            patience.wait_for(&format!("waiting for {}", missing.join(", ")));
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    pub(super) async fn ask(&mut self, request: &ModernRequest) -> Result<Frame, CliError> {
        let line = format!("{}\n", request.body());
        let sent = self.requests.write_all(line.as_bytes()).await;
        sent.map_err(CliError::io("the multiplexer"))?;
        loop {
            match self.answers.next().await.map_err(odd)? {
                Some(Line::Whole(line)) => {
                    let message = frame(line)?;
                    // What is told beside the answer has a method.
                    if message.method().is_none() {
                        return Ok(message);
                    }
                }
                Some(Line::TooLong(_)) => return Err(odd("it is too large")),
                None => return Err(odd("there is none")),
            }
        }
    }

    pub(super) fn status(&self) -> Result<Value, CliError> {
        let children = serde_json::to_value(self.started.fleet.status()).map_err(odd)?;
        let cost = serde_json::to_value(self.started.fleet.costs()).map_err(odd)?;
        Ok(json!({"mode": Mode::Eager.as_str(), "children": children, "cost": cost}))
    }

    /// Ends the children.
    pub(super) async fn end(self) {
        self.started.end().await;
    }
}

fn load(config: &Path, env_file: Option<&Path>) -> Result<Settings, ConfigError> {
    let environment = ProcessEnvironment::with(env_file)?;
    Settings::load(&locate(Some(config), &environment)?, &environment)
}

/// The children that may still come.
fn awaited(snapshot: &Snapshot) -> Vec<&str> {
    let all = snapshot.children.iter().zip(&snapshot.listings);
    let missing = all.filter(|(child, listing)| {
        let (phase, _) = standing(child, listing.is_some());
        let is_being_listed = child.state().phase.serves() && listing.is_none();
        phase != Phase::Disabled && (!child.state().attempted || is_being_listed)
    });
    missing.map(|(child, _)| child.name().as_str()).collect()
}

/// Says which children have nothing to offer, and why.
fn tell_of_absent(snapshot: &Snapshot) {
    let absent = |child: &&Arc<Child>| {
        matches!(
            child.state().phase,
            Phase::Down | Phase::Connecting | Phase::Disabled
        )
    };
    for child in snapshot.children.iter().filter(absent) {
        let state = child.state();
        let why = state
            .told_in_full()
            .unwrap_or_else(|| "no answer yet".to_owned());
        out::tell(&format!("warning: without {}: {why}", child.name()));
    }
}
