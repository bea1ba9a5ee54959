//! How it is shown: a table, a screen that stays, or one line.

use std::time::Duration;

use super::sample::{Child, Identity, Sample};
use crate::cli::{
    out::{self, BAD, FAINT, GOOD, HEADING, ODD, counted, styled},
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
        let children: Vec<_> = self.now.status.children.iter().collect();
        let mut parts = vec![self.head().join("\n"), self.table(&children)];
        let troubles: Vec<_> = children.into_iter().filter_map(trouble).collect();
        if !troubles.is_empty() {
            parts.push(troubles.join("\n"));
        }
        parts.join("\n\n")
    }

    /// As much of it as so many rows hold, as something that goes on: what is in trouble
    /// first, and of what is left out how it is.
    pub(super) fn screen(
        &self,
        withheld: Option<&str>,
        trouble: Option<&str>,
        rows: usize,
    ) -> String {
        let head = self.head().join("\n");
        let mut foot = withheld.map_or_else(String::new, |why| styled(ODD, why) + "\n");
        foot.push_str(&match trouble {
            Some(why) => styled(BAD, format!("not reached: {}", first_line(why))),
            None => styled(FAINT, "every second; Ctrl-C ends"),
        });
        let mut children: Vec<_> = self.now.status.children.iter().collect();
        children.sort_by_key(|child| rank(child));
        let mut troubles: Vec<_> = children.iter().filter_map(|it| self::trouble(it)).collect();
        // Two parts are parted by an empty line, and the table has a heading.
        let mut room = rows.saturating_sub(head.lines().count() + foot.lines().count() + 3);
        if children.len() + troubles.len() + 1 > room {
            // That some are disabled is told by the table.
            let used = children.iter().filter(|child| child.state != "disabled");
            troubles = used.filter_map(|child| self::trouble(child)).collect();
            cut(&mut troubles, room / 2);
        }
        if !troubles.is_empty() {
            room = room.saturating_sub(troubles.len() + 1);
        }
        let shown = match children.len() <= room {
            true => children.len(),
            false => room.saturating_sub(1),
        };
        let (shown, others) = children.split_at(shown);
        let mut table = self.table(shown);
        if !others.is_empty() {
            table.push_str(&format!("\n{}", summary(others)));
        }
        let parts = [head, table, troubles.join("\n"), foot].into_iter();
        let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
        parts.join("\n\n")
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

    fn table(&self, children: &[&Child]) -> String {
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
        let rows: Vec<_> = children.iter().map(|child| self.row(child)).collect();
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

/// What needs an eye comes first.
fn rank(child: &Child) -> u8 {
    match child.state.as_str() {
        "disabled" => 4,
        "connecting" => 2,
        "ready" | "idle" if child.breaker == "closed" => 3,
        "ready" | "idle" => 1,
        _ => 0,
    }
}

/// Leaves so many reasons; the last line tells how many were left out.
fn cut(reasons: &mut Vec<String>, most: usize) {
    if reasons.len() > most {
        let left = reasons.split_off(most.saturating_sub(1)).len();
        let what = counted(left, "more reason", "more reasons");
        reasons.push(styled(FAINT, format!("… {what}")));
    }
}

/// How the children are that are not shown.
fn summary(others: &[&Child]) -> String {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for child in others {
        let word = match rank(child) {
            1 => child.breaker.as_str(),
            _ => child.state.as_str(),
        };
        match counts.iter_mut().find(|(known, _)| *known == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    let how = match counts.as_slice() {
        [(word, _)] => format!("all {word}"),
        counts => {
            let counts = counts.iter().map(|(word, count)| format!("{count} {word}"));
            counts.collect::<Vec<_>>().join(", ")
        }
    };
    styled(FAINT, format!("… {} more, {how}", others.len()))
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

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;
    use serde_json::{Value, json};

    use super::*;

    const ROWS: usize = 24;

    fn child(name: impl Into<String>, state: &str, breaker: &str) -> Value {
        let reason = (state == "down").then_some("connection refused");
        json!({
            "name": name.into(), "state": state, "breaker": breaker, "transport": "http",
            "reason": reason,
        })
    }

    fn screen(children: &[Value], rows: usize) -> Vec<String> {
        screen_of_stranger(children, None, rows)
    }

    fn screen_of_stranger(children: &[Value], why: Option<&str>, rows: usize) -> Vec<String> {
        let status = json!({
            "version": "1", "config": {"path": "c.json", "lastReload": {"ok": true}},
            "children": children,
        });
        let sample = Sample::read(status, b"").expect("a status");
        let text = View::of(&sample, None).screen(why, None, rows);
        let lines = text.lines().map(|line| strip_str(line).to_string());
        lines.collect()
    }

    /// A fleet of which these are in trouble and all others are ready.
    fn fleet(all: usize, down: usize, open: usize) -> Vec<Value> {
        let children = (0..all).map(|at| match at {
            at if at >= all - down => child(format!("down{at}"), "down", "open"),
            at if at >= all - down - open => child(format!("open{at}"), "ready", "open"),
            at => child(format!("good{at}"), "ready", "closed"),
        });
        children.collect()
    }

    #[test]
    fn a_fleet_that_fits_is_shown_whole() {
        let lines = screen(&fleet(5, 1, 0), ROWS);
        assert_eq!(lines.iter().filter(|it| it.starts_with("good")).count(), 4);
        assert!(!lines.iter().any(|line| line.contains('…')), "{lines:#?}");
        assert!(lines.contains(&"down4: connection refused".to_owned()));
    }

    #[test]
    fn of_a_fleet_that_does_not_fit_trouble_and_its_reasons_are_shown() {
        let lines = screen(&fleet(57, 2, 1), ROWS);
        assert_eq!(lines.len(), ROWS, "{lines:#?}");
        let heading = lines.iter().position(|it| it.starts_with("child"));
        let first = heading.expect("a table") + 1;
        for (at, name) in ["down55", "down56", "open54", "good0"].iter().enumerate() {
            assert!(lines[first + at].starts_with(name), "{lines:#?}");
        }
        let shown = lines.iter().filter(|it| it.starts_with("good")).count();
        let summary = format!("… {} more, all ready", 54 - shown);
        assert!(lines.contains(&summary), "{summary}: {lines:#?}");
        for name in ["down55", "down56"] {
            assert!(lines.contains(&format!("{name}: connection refused")));
        }
        assert_eq!(lines[ROWS - 1], "every second; Ctrl-C ends");
    }

    #[test]
    fn what_is_disabled_takes_no_room_from_what_is_not() {
        let mut children = fleet(57, 2, 0);
        for child in &mut children[..40] {
            (child["state"], child["reason"]) =
                ("disabled".into(), "disabled in the config".into());
        }
        let lines = screen(&children, ROWS);
        assert_eq!(lines.len(), ROWS, "{lines:#?}");
        assert!(!lines.iter().any(|line| line.contains("in the config")));
        let shown = lines.iter().filter(|it| it.starts_with("good")).count();
        assert!(shown > 10, "{lines:#?}");
    }

    #[test]
    fn that_reasons_are_withheld_stays_on_the_screen() {
        let lines = screen_of_stranger(&fleet(57, 2, 1), Some("withheld"), ROWS);
        assert_eq!(lines.len(), ROWS, "{lines:#?}");
        assert_eq!(lines[ROWS - 2], "withheld");
    }

    #[test]
    fn where_all_is_in_trouble_what_is_left_out_is_told() {
        let lines = screen(&fleet(57, 55, 2), ROWS);
        assert_eq!(lines.len(), ROWS, "{lines:#?}");
        let told = |part: &str| lines.iter().any(|line| line.ends_with(part));
        assert!(told(" down, 2 open"), "{lines:#?}");
        assert!(told(" more reasons"), "{lines:#?}");
        assert_eq!(lines[ROWS - 1], "every second; Ctrl-C ends");
    }

    #[test]
    fn a_screen_of_any_height_ends_in_its_foot() {
        for rows in 0..60 {
            let lines = screen(&fleet(57, 9, 3), rows);
            assert!(rows < 9 || lines.len() <= rows, "{rows}: {lines:#?}");
            assert_eq!(lines.last().expect("a line"), "every second; Ctrl-C ends");
        }
    }
}
