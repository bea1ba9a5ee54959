//! How it is shown: a table, a screen that stays, or one line.

use std::time::Duration;

use super::sample::{Child, Identity, Sample};
use crate::cli::{
    out::{self, BAD, FAINT, GOOD, HEADING, ODD, styled},
    token::words,
};

/// One look, and the one that rates are taken from.
pub(super) struct View<'a> {
    now: &'a Sample,
    before: Option<&'a Sample>,
}

impl<'a> View<'a> {
    pub(super) fn of(now: &'a Sample, before: Option<&'a Sample>) -> Self {
        Self { now, before }
    }

    /// All of it.
    pub(super) fn text(&self) -> String {
        let mut parts = vec![self.head().join("\n"), self.table()];
        let troubles: Vec<_> = self
            .now
            .status
            .children
            .iter()
            .filter_map(trouble)
            .collect();
        if !troubles.is_empty() {
            parts.push(troubles.join("\n"));
        }
        parts.join("\n\n")
    }

    /// All of it, as something that goes on.
    pub(super) fn screen(&self, trouble: Option<&str>) -> String {
        let last = match trouble {
            Some(why) => styled(BAD, format!("not reached: {}", first_line(why))),
            None => styled(FAINT, "every second; Ctrl-C ends"),
        };
        format!("{}\n\n{last}", self.text())
    }

    /// The same in one line, for a log.
    pub(super) fn line(&self, trouble: Option<&str>) -> String {
        if let Some(why) = trouble {
            return styled(BAD, format!("not reached: {}", first_line(why)));
        }
        let children = &self.now.status.children;
        let used = children.iter().filter(|child| child.state != "disabled");
        let (serving, others): (Vec<_>, Vec<_>) = used.partition(|child| serves(child));
        let mut line = format!(
            "{} of {} ready",
            serving.len(),
            serving.len() + others.len()
        );
        let (calls, errors) = children.iter().fold((0.0, 0.0), |(calls, errors), child| {
            let traffic = self.now.since(self.before, &child.name).unwrap_or_default();
            (calls + traffic.calls, errors + traffic.errors)
        });
        if let Some(before) = self.before {
            let seconds = self.now.seconds_since(before);
            line.push_str(&format!(
                ", {:.1} calls/s, {errors} failed",
                calls / seconds
            ));
        }
        for child in others {
            line.push_str(&format!("; {} {}", child.name, child.state));
        }
        line
    }

    fn head(&self) -> Vec<String> {
        let status = &self.now.status;
        let mut lines = vec![format!(
            "{} {}, up {}, {}, {}",
            styled(HEADING, "mcp-multiplexer"),
            status.version,
            words(Duration::from_secs(status.uptime_seconds)),
            status.transport,
            status.mode,
        )];
        let config = &status.config;
        let mut line = format!("config  generation {}", config.generation);
        if !config.path.is_empty() {
            line.push_str(&format!(", {}", config.path));
        }
        if !config.last_reload.ok {
            let why = config
                .last_reload
                .error
                .as_deref()
                .unwrap_or("it cannot be used");
            line.push_str(&format!(
                "\n        {}",
                styled(BAD, format!("not reloaded: {why}"))
            ));
        }
        lines.push(line);
        let own = status.identity.own.iter();
        lines.extend([&status.identity].into_iter().chain(own).filter_map(token));
        lines
    }

    fn table(&self) -> String {
        let rate = match self.before {
            Some(_) => "calls/s",
            None => "calls",
        };
        let heading = [
            "child",
            "state",
            "breaker",
            "transport",
            "era",
            "tools",
            "running",
            "waiting",
            rate,
            "errors",
            "p95",
            "restarts",
        ];
        let rows: Vec<_> = self
            .now
            .status
            .children
            .iter()
            .map(|child| self.row(child))
            .collect();
        out::table(heading, &rows)
    }

    fn row(&self, child: &Child) -> [String; 12] {
        let traffic = self.now.since(self.before, &child.name).unwrap_or_default();
        let calls = match self.before {
            Some(before) => format!("{:.1}", traffic.calls / self.now.seconds_since(before)),
            None => traffic.calls.to_string(),
        };
        let nothing = || styled(FAINT, "-");
        let errors = match traffic.error_share() {
            None => nothing(),
            Some(share) => {
                let style = if share > 0.0 { ODD } else { GOOD };
                styled(style, format!("{:.1} %", share * 100.0))
            }
        };
        [
            child.name.clone(),
            styled(state_style(child), &child.state),
            styled(
                if child.breaker == "closed" { GOOD } else { BAD },
                &child.breaker,
            ),
            child.transport.clone(),
            child.era.clone().unwrap_or_else(nothing),
            child.tools.to_string(),
            child.in_flight.to_string(),
            child.queued.to_string(),
            calls,
            errors,
            traffic.p95().map_or_else(nothing, time),
            child.restarts.to_string(),
        ]
    }
}

fn serves(child: &Child) -> bool {
    matches!(child.state.as_str(), "ready" | "idle")
}

fn state_style(child: &Child) -> anstyle::Style {
    match child.state.as_str() {
        "ready" | "idle" => GOOD,
        "connecting" => ODD,
        "disabled" => FAINT,
        _ => BAD,
    }
}

fn trouble(child: &Child) -> Option<String> {
    let reason = child.reason.as_ref().filter(|_| !serves(child))?;
    let retry = child.next_retry_ms.map(|ms| {
        let wait = words(Duration::from_millis(ms));
        format!(" (tried again in {wait})")
    });
    Some(format!(
        "{}: {reason}{}",
        styled(HEADING, &child.name),
        retry.unwrap_or_default()
    ))
}

fn token(identity: &Identity) -> Option<String> {
    if identity.mode.is_empty() || identity.mode == "none" {
        return None;
    }
    let life = match identity.expires_in_seconds {
        Some(0) => styled(BAD, "expired"),
        Some(seconds) => {
            let style = if seconds < 60 { ODD } else { GOOD };
            styled(
                style,
                format!("valid for {}", words(Duration::from_secs(seconds))),
            )
        }
        None if identity.last_error.is_some() => styled(BAD, "none"),
        None => "no expiry known".to_owned(),
    };
    let mut line = format!(
        "token   {}: {}, {life}, {} minted, {} failed",
        identity.name, identity.mode, identity.mints, identity.failures
    );
    if let Some(error) = &identity.last_error {
        line.push_str(&format!("\n        {}", styled(BAD, error)));
    }
    Some(line)
}

fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 1.0 => format!("{:.0} ms", seconds * 1000.0),
        seconds => format!("{seconds:.1} s"),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
