//! `status`: how a running multiplexer and its children are.

mod sample;
mod screen;
mod traffic;
mod view;

use std::{
    collections::VecDeque,
    io::{IsTerminal, stdout},
    time::Duration,
};

use clap::Args;
use serde_json::Value;

use super::{
    CliError,
    instance::{Instance, Where},
    out::{self, Format},
    patience::Patience,
    running::{END_OR_HANGUP, signalled},
};
use crate::config::ShownUrl;
use sample::Sample;
use screen::Screen;
use view::View;

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);
/// Rates are taken over so many looks: calm, and not slow to tell.
const WINDOW: usize = 16;

/// Show a running multiplexer's children, breakers, traffic and token.
///
/// Calls, errors and p95 are those since it started; with --watch those of the last
/// seconds.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer status
  mcp-multiplexer status --watch --url http://mcp.internal:8000
  mcp-multiplexer status --format json | jq '.children[] | select(.state != \"ready\")'

Exit status:
  0  it is shown; with --watch, ended by a signal
  1  it cannot be reached, or does not answer as it should
  2  the command line is wrong")]
pub(super) struct Status {
    #[command(flatten)]
    running: Where,
    /// Go on showing it, until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// The shape of what is printed; with --watch JSON is one line for each look.
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

impl Status {
    pub(super) async fn run(self) -> Result<(), CliError> {
        let instance = self.running.instance().await?;
        let waiting = format!("waiting for {}", ShownUrl(&instance.url("status")));
        let first = Patience::during(&waiting, Sample::take(&instance)).await?;
        match withheld(&first, &instance) {
            Some(why) if !self.has_screen() => out::tell(&format!("note: {why}")),
            _ => {}
        }
        if self.watch {
            return self.watch(&instance, first).await;
        }
        match self.format {
            Format::Json => out::print_json(&first.json(None)),
            Format::Text => out::print(&View::of(&first, None).text()),
        }
    }

    fn has_screen(&self) -> bool {
        self.watch && self.format == Format::Text && stdout().is_terminal()
    }

    async fn watch(&self, instance: &Instance, first: Sample) -> Result<(), CliError> {
        let mut screen = self
            .has_screen()
            .then(Screen::enter)
            .transpose()
            .map_err(CliError::io("the terminal"))?;
        let ended = signalled(END_OR_HANGUP);
        tokio::pin!(ended);
        let mut samples = VecDeque::from([first]);
        let mut trouble = None;
        loop {
            if let (Some(now), Some(before)) = (samples.back(), samples.front()) {
                let before = (samples.len() > 1).then_some(before);
                let notes = [withheld(now, instance), trouble.as_deref()];
                self.show(screen.as_mut(), now, before, notes)?;
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = &mut ended => return Ok(()),
            }
            let sample = tokio::select! {
                sample = Sample::take(instance) => sample,
                () = &mut ended => return Ok(()),
            };
            trouble = match sample {
                Ok(sample) => {
                    // Another process counts from nothing.
                    if samples
                        .back()
                        .is_some_and(|last| sample.restarted_since(last))
                    {
                        samples.clear();
                    }
                    samples.push_back(sample);
                    None
                }
                Err(why) => Some(why.to_string()),
            };
            while samples.len() > WINDOW {
                samples.pop_front();
            }
        }
    }

    fn show(
        &self,
        screen: Option<&mut Screen>,
        now: &Sample,
        before: Option<&Sample>,
        [withheld, trouble]: [Option<&str>; 2],
    ) -> Result<(), CliError> {
        let view = View::of(now, before);
        match (screen, self.format) {
            (Some(screen), _) => screen
                .draw(&view.screen(withheld, trouble, Screen::rows()))
                .map_err(CliError::io("the terminal")),
            (None, Format::Text) => out::print(&view.line(trouble)),
            (None, Format::Json) => {
                let mut told = now.json(before);
                told["notReached"] = trouble.map_or(Value::Null, Value::from);
                out::print(&told.to_string())
            }
        }
    }
}

/// Why no reasons are told, where none are.
fn withheld(now: &Sample, instance: &Instance) -> Option<&'static str> {
    now.is_without_reasons()
        .then(|| match instance.is_shown_a_token() {
            false => "reasons are withheld from strangers: show a token with --token-file",
            true => "reasons are withheld: the token shown does not open its door",
        })
}
