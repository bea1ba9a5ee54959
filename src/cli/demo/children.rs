//! The three children: one open, one behind a token, one a process.

use std::time::Duration;

use serde_json::{Value, json};

use super::server::{Call, Toolbox, failed, text, tool};
use crate::protocol::{Era, error::RpcError};

/// Open to everybody, over HTTP, modern.
pub(super) struct Weather;

const FORECASTS: [(&str, &str); 4] = [
    ("Lisbon", "sunny, 24 °C, a light breeze from the sea"),
    ("Oslo", "clear and cold, -3 °C"),
    ("Quito", "sun until noon, then thunderstorms, 19 °C"),
    ("Zürich", "fog in the morning, 11 °C"),
];

impl Toolbox for Weather {
    const NAME: &'static str = "weather";
    const ERA: Era = Era::Modern;

    fn tools() -> Vec<Value> {
        vec![
            tool(
                "cities",
                "The cities there is a forecast for.",
                json!({}),
                true,
            ),
            tool(
                "forecast",
                "Tomorrow's weather in a city.",
                json!({"city": {"type": "string"}}),
                true,
            ),
        ]
    }

    async fn call(&self, call: &Call<'_>) -> Result<Value, RpcError> {
        match call.tool {
            "cities" => Ok(text(FORECASTS.map(|(city, _)| city).join(", "))),
            "forecast" => {
                let asked = call.text("city")?;
                let known = FORECASTS.iter().find(|(city, _)| *city == asked);
                Ok(match known {
                    Some((city, weather)) => text(format!("{city}: {weather}")),
                    None => failed(format!("There is no forecast for {asked:?}; call cities.")),
                })
            }
            _ => Err(call.unknown()),
        }
    }
}

/// Behind a token, over HTTP, legacy. It answers as whoever the token names.
pub(super) struct Accounts;

impl Toolbox for Accounts {
    const NAME: &'static str = "accounts";
    const ERA: Era = Era::Legacy;

    fn tools() -> Vec<Value> {
        vec![
            tool(
                "whoami",
                "Whom the token of this call names.",
                json!({}),
                true,
            ),
            tool(
                "balance",
                "The balance of one of the caller's accounts.",
                json!({"account": {"type": "string", "enum": ["current", "savings"]}}),
                true,
            ),
        ]
    }

    async fn call(&self, call: &Call<'_>) -> Result<Value, RpcError> {
        let Some(caller) = call.caller() else {
            return Ok(failed("This call came without a token."));
        };
        match call.tool {
            "whoami" => Ok(text(format!(
                "You are {}, with a token for {} from {}",
                caller.sub, caller.aud, caller.iss
            ))),
            "balance" => Ok(match call.text("account")? {
                "current" => text(format!("1204.50 EUR on {}'s current account", caller.sub)),
                "savings" => text(format!("80000.00 EUR on {}'s savings account", caller.sub)),
                other => failed(format!("{} has no account {other:?}.", caller.sub)),
            }),
            _ => Err(call.unknown()),
        }
    }
}

/// A process, over stdio, legacy.
pub(super) struct Reports;

/// In seconds: a report nobody waits for any more is given up by itself.
const LONGEST_REPORT: u64 = 60;

impl Toolbox for Reports {
    const NAME: &'static str = "reports";
    const ERA: Era = Era::Legacy;

    fn tools() -> Vec<Value> {
        vec![
            tool(
                "word_count",
                "Counts the words of a text.",
                json!({"text": {"type": "string"}}),
                true,
            ),
            // Not read-only: a call of it must never be repeated.
            tool(
                "slow_report",
                "Writes a report, which takes its time; tells its progress each second.",
                json!({"seconds": {"type": "integer", "minimum": 1, "maximum": LONGEST_REPORT}}),
                false,
            ),
        ]
    }

    async fn call(&self, call: &Call<'_>) -> Result<Value, RpcError> {
        match call.tool {
            "word_count" => {
                let words = call.text("text")?.split_whitespace().count();
                Ok(text(format!("{words} words")))
            }
            "slow_report" => {
                let seconds = call.count("seconds")?.min(LONGEST_REPORT);
                for second in 1..=seconds {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    call.progressed(second, seconds).await;
                }
                Ok(text(format!("A report of {seconds} seconds' work")))
            }
            _ => Err(call.unknown()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::{
        cli::demo::server::{Around, answer},
        protocol::Frame,
    };

    #[tokio::test]
    async fn progress_is_told_to_whoever_asked_for_it() {
        let (asides, mut heard) = mpsc::channel(4);
        let around = Around {
            caller: None,
            asides: Some(asides),
        };
        let params =
            r#"{"name":"slow_report","arguments":{"seconds":1},"_meta":{"progressToken":"m1"}}"#;
        let request =
            format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{params}}}"#);
        tokio::time::pause();
        answer(&Reports, &Frame::made(request), &around).await;
        let progress = heard.try_recv().unwrap();
        assert_eq!(
            progress.body(),
            Some(r#"{"progressToken":"m1","progress":1,"total":1}"#)
        );
    }
}
