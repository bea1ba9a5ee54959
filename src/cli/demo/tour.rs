//! The walk: what the multiplexer promises, shown and checked step by step.
//!
//! It looks from outside, as any client and any operator would; only the two
//! accidents on the way are its own doing.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use url::Url;

use super::{
    client::{Client, Seen, until},
    http_child::Outage,
    out::{Ink, Out},
};
use crate::cli::CliError;

/// What a step shows, or what was seen instead.
type Shown = Result<String, Seen>;

/// A call that is still going on when its child is killed.
const SLOW: (&str, &str) = ("reports__slow_report", r#"{"seconds":60}"#);
const FORECAST: (&str, &str) = ("weather__forecast", r#"{"city":"Lisbon"}"#);
const WHOAMI: (&str, &str) = ("accounts__whoami", "{}");
const WORD_COUNT: (&str, &str) = (
    "reports__word_count",
    r#"{"text":"one server in front of many"}"#,
);
const TOOLS: [&str; 6] = [
    "accounts__whoami",
    "accounts__balance",
    "weather__cities",
    "weather__forecast",
    "reports__word_count",
    "reports__slow_report",
];

/// Whoever walks.
pub(super) struct Tour<'a> {
    pub(super) client: Client,
    /// The child that checks tokens, to be asked without one.
    pub(super) guarded: Url,
    /// Puts the weather out of order.
    pub(super) outage: Outage,
    pub(super) out: &'a Out,
}

impl Tour<'_> {
    /// Walks until the end, or the first step that does not hold.
    pub(super) async fn walk(&self) -> Result<(), CliError> {
        self.step("one list", self.one_list()).await?;
        self.step("over HTTP, modern", self.calls(FORECAST)).await?;
        self.step("over stdio, legacy", self.calls(WORD_COUNT))
            .await?;
        self.step("over HTTP, with a token", self.token_at_work())
            .await?;
        self.step("without the token", self.no_token()).await?;
        let killed = self.pid("reports").await;
        self.step("killed in mid-flight", self.kill(&killed))
            .await?;
        self.step("the others go on", self.others_go_on()).await?;
        self.step("it comes back", self.comes_back(&killed)).await?;
        self.step("503 again and again", self.breaker_opens())
            .await?;
        self.step("in /metrics", self.breaker("weather", 2)).await?;
        self.outage.set(false);
        self.step("a probe closes it", self.breaker("weather", 0))
            .await?;
        self.step("all is well", self.all_well()).await
    }

    async fn step(
        &self,
        name: &'static str,
        shown: impl Future<Output = Shown>,
    ) -> Result<(), CliError> {
        let out = self.out;
        let padded = format!("{name:<24}");
        match shown.await {
            Ok(shown) => out.line(format!("{} {padded} {shown}", out.paint(Ink::Good, "ok"))),
            Err(seen) => {
                out.line(format!("{} {padded}", out.paint(Ink::Bad, "no")))?;
                Err(CliError::Tour { step: name, seen })
            }
        }
    }

    async fn one_list(&self) -> Shown {
        let mut expected = TOOLS;
        expected.sort_unstable();
        until(async || {
            let mut listed = self.client.list().await?;
            listed.sort_unstable();
            if listed == expected {
                Ok(format!("{} tools of 3 children", listed.len()))
            } else {
                Err(format!("the tools {listed:?}"))
            }
        })
        .await
    }

    async fn calls(&self, (tool, arguments): (&str, &str)) -> Shown {
        let text = self.client.call_well(tool, arguments).await?;
        Ok(format!("{tool} says {text:?}"))
    }

    /// The client has sent no token; the child's answer names whose it got.
    async fn token_at_work(&self) -> Shown {
        let text = self.client.call_well(WHOAMI.0, WHOAMI.1).await?;
        let expected = "You are mcp-multiplexer, with a token for agent-services";
        if text.starts_with(expected) {
            self.calls(WHOAMI).await
        } else {
            Err(text)
        }
    }

    async fn no_token(&self) -> Shown {
        match self.client.knock(&self.guarded).await? {
            401 => Ok("accounts itself answers 401: the multiplexer brought the token".to_owned()),
            status => Err(format!("HTTP {status}")),
        }
    }

    /// Kills the process behind `reports` while a call is with it.
    async fn kill(&self, pid: &Result<i32, Seen>) -> Shown {
        let pid = pid.clone()?;
        let client = self.client.clone();
        let call = tokio::spawn(async move { client.call(SLOW.0, SLOW.1).await });
        until(async || {
            let child = self.client.child("reports").await?;
            if child["inFlight"] == 1 {
                Ok(())
            } else {
                Err(format!("no call in flight: {child}"))
            }
        })
        .await?;
        kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|error| format!("kill: {error}"))?;
        let called = call.await.map_err(|error| error.to_string())??;
        match called.failure.as_deref() {
            Some("transport") => Ok(format!("process {pid}, told as transport: {}", called.text)),
            other => Err(format!("a failure of kind {other:?}: {}", called.text)),
        }
    }

    async fn others_go_on(&self) -> Shown {
        self.client.call_well(FORECAST.0, FORECAST.1).await?;
        self.client.call_well(WHOAMI.0, WHOAMI.1).await?;
        Ok("weather and accounts answer".to_owned())
    }

    async fn comes_back(&self, killed: &Result<i32, Seen>) -> Shown {
        let killed = killed.clone()?;
        until(async || {
            let pid = self.pid("reports").await?;
            self.client.call_well(WORD_COUNT.0, WORD_COUNT.1).await?;
            if pid == killed {
                Err(format!("still process {pid}"))
            } else {
                Ok(format!("as process {pid}, and answers"))
            }
        })
        .await
    }

    /// Puts the weather out of order and calls until the multiplexer refuses.
    async fn breaker_opens(&self) -> Shown {
        self.outage.set(true);
        // A read-only call is repeated once: not each of these is one failure.
        for failures in 0..10 {
            let called = self.client.call(FORECAST.0, FORECAST.1).await?;
            match called.failure.as_deref() {
                Some("transport") => {}
                Some("circuit_open") if failures > 0 => {
                    self.client.call_well(WHOAMI.0, WHOAMI.1).await?;
                    return Ok(format!("then refused at once: {}", called.text));
                }
                other => return Err(format!("a failure of kind {other:?}: {}", called.text)),
            }
        }
        Err("no refusal after 10 failures".to_owned())
    }

    /// Waits until a child's breaker stands so in `/metrics`.
    async fn breaker(&self, child: &str, state: u8) -> Shown {
        let series = format!(r#"mcp_multiplexer_child_breaker_state{{child="{child}"}}"#);
        until(async || {
            let line = self.client.metric(&series).await?;
            if line.strip_prefix(&series).map(str::trim) == Some(&state.to_string()) {
                Ok(line)
            } else {
                Err(line)
            }
        })
        .await
    }

    async fn all_well(&self) -> Shown {
        let children = until(async || {
            let children = self.client.children().await?;
            if children.iter().all(is_well) {
                Ok(children.len())
            } else {
                Err(format!("children {children:?}"))
            }
        })
        .await?;
        for (tool, arguments) in [FORECAST, WHOAMI, WORD_COUNT] {
            self.client.call_well(tool, arguments).await?;
        }
        Ok(format!(
            "{children} children ready, every breaker closed, every call answered"
        ))
    }

    /// The process of a child that is ready.
    async fn pid(&self, child: &str) -> Result<i32, Seen> {
        let child = self.client.child(child).await?;
        let pid = child["pid"].as_i64().filter(|_| child["state"] == "ready");
        pid.and_then(|pid| i32::try_from(pid).ok())
            .ok_or_else(|| format!("no process: {child}"))
    }
}

fn is_well(child: &Value) -> bool {
    child["state"] == "ready" && child["breaker"] == "closed"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_step_that_does_not_hold_ends_the_tour_with_what_was_seen() {
        // Given a multiplexer that answers, but not as one.
        let (listener, url) = crate::cli::demo::http_child::listen().await.unwrap();
        crate::cli::demo::http_child::serve(listener, axum::Router::new());
        let tour = Tour {
            client: Client::new(url.clone()).unwrap(),
            guarded: url,
            outage: Outage::default(),
            out: &Out::new(),
        };
        let ended = tour.step("a call", tour.calls(FORECAST)).await;
        let told = ended.unwrap_err().to_string();
        assert!(
            told.starts_with("the tour stopped at \"a call\": seen was "),
            "{told}"
        );
    }
}
