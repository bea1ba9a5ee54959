//! What `demo` prints: how the children started, and what to try.

use std::time::SystemTime;

use super::out::{Ink, Out};
use crate::{
    cli::{CliError, request::ModernRequest},
    outbound::{Child, Phase},
};

/// Prints a line per child, with the time it took since `began`.
pub(super) fn table<'a>(
    out: &Out,
    children: impl Iterator<Item = &'a Child>,
    began: SystemTime,
) -> Result<(), CliError> {
    let heading = row("name", "transport", "state", "tools", "ms");
    out.line(out.paint(Ink::Strong, &heading))?;
    for child in children {
        out.line(line(out, child, began))?;
    }
    Ok(())
}

fn line(out: &Out, child: &Child, began: SystemTime) -> String {
    let state = child.state();
    let tools = child.listing().map_or(0, |listing| listing.tools().len());
    let took = state.since.duration_since(began).unwrap_or_default();
    let line = row(
        child.name().as_str(),
        child.transport(),
        state.phase.as_str(),
        &tools.to_string(),
        &took.as_millis().to_string(),
    );
    let ink = match state.phase {
        Phase::Ready => Ink::Good,
        _ => Ink::Bad,
    };
    let reason = state.reason.as_deref().unwrap_or_default();
    format!("{}  {reason}", out.paint(ink, &line))
        .trim_end()
        .to_owned()
}

fn row(name: &str, transport: &str, state: &str, tools: &str, took: &str) -> String {
    format!("{name:<10}{transport:<11}{state:<12}{tools:>5}{took:>7}")
}

/// Prints what to try on a multiplexer at `endpoint`, each to be pasted as it is.
pub(super) fn commands(out: &Out, endpoint: &str) -> Result<(), CliError> {
    let forecast = ModernRequest::call("weather__forecast", r#"{"city":"Lisbon"}"#);
    let metrics = endpoint.replace("/mcp", "/metrics");
    let all = [
        (
            "List the tools of all children:",
            ModernRequest::list().curl(endpoint),
        ),
        ("Call one of them:", forecast.curl(endpoint)),
        (
            "See what has been counted:",
            format!("curl -s {metrics} | grep -E '^mcp_multiplexer_(child|requests|token)'"),
        ),
        (
            "Let Claude Code use them; this goes into ~/.claude.json:",
            snippet(endpoint),
        ),
    ];
    for (what, command) in all {
        out.line("")?;
        out.line(out.paint(Ink::Strong, what))?;
        out.line(command)?;
    }
    Ok(())
}

fn snippet(endpoint: &str) -> String {
    format!(
        r#"{{
  "mcpServers": {{
    "demo": {{"type": "http", "url": "{endpoint}"}}
  }}
}}"#
    )
}
