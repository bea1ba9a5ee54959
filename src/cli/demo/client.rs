//! The tour's eyes and hands: the multiplexer as anybody sees it over HTTP.

use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, sleep};
use url::Url;

use crate::cli::request::ModernRequest;

/// When a step gives up waiting. Long: a loaded machine is no fault of the program.
const DEADLINE: Duration = Duration::from_secs(60);
/// How often what cannot be waited for is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What was seen where something else was to be seen.
pub(super) type Seen = String;

/// A modern client of the multiplexer, and a reader of its operators' routes.
#[derive(Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    endpoint: Url,
}

/// What a call came to.
pub(super) struct Called {
    /// The first text of the result.
    pub(super) text: String,
    /// Whether the result says that it failed.
    pub(super) is_error: bool,
    /// The kind, where it is the multiplexer that says so.
    pub(super) failure: Option<String>,
}

impl Client {
    /// A client of the multiplexer that serves at `endpoint`.
    pub(super) fn new(endpoint: Url) -> Result<Self, Seen> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(DEADLINE)
            .build()
            .map_err(explain)?;
        Ok(Self { http, endpoint })
    }

    /// The public names of all tools.
    pub(super) async fn list(&self) -> Result<Vec<String>, Seen> {
        let result = self.result(&ModernRequest::list()).await?;
        let tools = result["tools"]
            .as_array()
            .ok_or_else(|| result.to_string())?;
        let names = tools.iter().filter_map(|tool| tool["name"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    /// Calls a tool. `arguments` is JSON text.
    pub(super) async fn call(&self, tool: &str, arguments: &str) -> Result<Called, Seen> {
        let result = self.result(&ModernRequest::call(tool, arguments)).await?;
        let failure = &result["_meta"]["io.mcp-multiplexer/failure"]["kind"];
        Ok(Called {
            text: text(&result["content"][0]["text"]),
            is_error: result["isError"] == true,
            failure: failure.as_str().map(str::to_owned),
        })
    }

    /// Calls a tool that must not fail; gives its text.
    pub(super) async fn call_well(&self, tool: &str, arguments: &str) -> Result<String, Seen> {
        let called = self.call(tool, arguments).await?;
        if called.is_error {
            Err(format!("{tool} failed: {}", called.text))
        } else {
            Ok(called.text)
        }
    }

    /// The status a POST of a list request is answered with at another address,
    /// without a token.
    pub(super) async fn knock(&self, url: &Url) -> Result<u16, Seen> {
        let response = self.send(url, &ModernRequest::list()).await?;
        Ok(response.status().as_u16())
    }

    /// One child in `/status`.
    pub(super) async fn child(&self, name: &str) -> Result<Value, Seen> {
        let children = self.children().await?;
        let child = children.iter().find(|child| child["name"] == name);
        child
            .cloned()
            .ok_or_else(|| format!("/status without {name}"))
    }

    /// All children in `/status`.
    pub(super) async fn children(&self) -> Result<Vec<Value>, Seen> {
        let status: Value = serde_json::from_str(&self.get("/status").await?)
            .map_err(|error| format!("/status: {error}"))?;
        match &status["children"] {
            Value::Array(children) => Ok(children.clone()),
            other => Err(format!("/status with children {other}")),
        }
    }

    /// The line of `/metrics` that begins so.
    pub(super) async fn metric(&self, series: &str) -> Result<String, Seen> {
        let metrics = self.get("/metrics").await?;
        let line = metrics.lines().find(|line| line.starts_with(series));
        line.map(str::to_owned)
            .ok_or_else(|| format!("/metrics without {series}"))
    }

    async fn get(&self, path: &str) -> Result<String, Seen> {
        let mut url = self.endpoint.clone();
        url.set_path(path);
        let response = self.http.get(url).send().await.map_err(explain)?;
        response.text().await.map_err(explain)
    }

    async fn result(&self, request: &ModernRequest) -> Result<Value, Seen> {
        let response = self.send(&self.endpoint, request).await?;
        let body = response.text().await.map_err(explain)?;
        let mut answer: Value = serde_json::from_str(message(&body))
            .map_err(|_| format!("an answer that is none: {body}"))?;
        match answer["result"].take() {
            Value::Null => Err(format!("an answer without a result: {body}")),
            result => Ok(result),
        }
    }

    async fn send(&self, url: &Url, request: &ModernRequest) -> Result<reqwest::Response, Seen> {
        let mut builder = self.http.post(url.clone()).body(request.body());
        for (name, value) in request.headers() {
            builder = builder.header(name, value);
        }
        builder.send().await.map_err(explain)
    }
}

/// Looks until there is something to be seen; what was seen instead, if it never is.
pub(super) async fn until<T>(mut look: impl AsyncFnMut() -> Result<T, Seen>) -> Result<T, Seen> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match look().await {
            Ok(seen) => return Ok(seen),
            Err(seen) if Instant::now() > deadline => {
                return Err(format!("{seen}, still after {} s", DEADLINE.as_secs()));
            }
            Err(_) => sleep(LOOK_AGAIN).await,
        }
    }
}

/// The message in a body: the last event of a stream, else all of it. An answer
/// that takes long comes as a stream.
fn message(body: &str) -> &str {
    let data = body
        .lines()
        .rev()
        .find_map(|line| line.strip_prefix("data:"));
    data.unwrap_or(body)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn explain(error: reqwest::Error) -> Seen {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_in_either_form() {
        assert_eq!(message(r#"{"id":1}"#), r#"{"id":1}"#);
        assert_eq!(
            message(": alive\n\nid: 7\ndata: {\"id\":1}\n\n"),
            " {\"id\":1}"
        );
    }
}
