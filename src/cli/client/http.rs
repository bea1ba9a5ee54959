//! A multiplexer that runs, over HTTP.

use std::time::Duration;

use bytes::Bytes;
use reqwest::{RequestBuilder, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::{CliError, ModernRequest, frame, odd};
use crate::{cli::instance::is_here, protocol::Frame};

/// How long a connection may take. An answer may take as long as its call.
const CONNECT: Duration = Duration::from_secs(10);

/// Where it serves, and with what we come in.
pub(in crate::cli) struct Running {
    http: reqwest::Client,
    url: Url,
    token: Option<SecretString>,
}

impl Running {
    pub(super) fn at(url: Url, token: Option<SecretString>) -> Result<Self, CliError> {
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none());
        if is_here(&url) {
            http = http.no_proxy();
        }
        let http = http
            .build()
            .map_err(|error| CliError::Broken(error.to_string()))?;
        Ok(Self { http, url, token })
    }

    pub(super) async fn ask(&self, request: &ModernRequest) -> Result<Frame, CliError> {
        let mut builder = self.http.post(self.url.clone()).body(request.body());
        for (name, value) in request.headers() {
            builder = builder.header(name, value);
        }
        let response = self.send(builder).await?;
        let status = response.status();
        let body = response.bytes().await.map_err(odd)?;
        match frame(answer_in(&body)) {
            Ok(answer) => Ok(answer),
            // A door that stands before the multiplexer answers in words of its own.
            Err(_) if !status.is_success() => Err(self.refused(status, &body)),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn status(&self) -> Result<Value, CliError> {
        let mut url = self.url.clone();
        url.set_path("/status");
        url.set_query(None);
        let response = self.send(self.http.get(url)).await?;
        let status = response.status();
        let body = response.bytes().await.map_err(odd)?;
        match status {
            StatusCode::NOT_FOUND => Err(CliError::Broken(format!(
                "{} has no /status beside it: with --admin-addr it stands elsewhere\n\
                 hint: pass --config FILE",
                self.url
            ))),
            _ if !status.is_success() => Err(self.refused(status, &body)),
            _ => serde_json::from_slice(&body).map_err(odd),
        }
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, CliError> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        request.send().await.map_err(|error| {
            let error = error.without_url();
            let mut why = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(deeper) = source {
                why = deeper.to_string();
                source = deeper.source();
            }
            let hint = match error.is_connect() {
                true => {
                    "\nhint: start one with `mcp-multiplexer --transport http`, name another \
                     with --url, or pass --config FILE"
                }
                false => "",
            };
            CliError::Broken(format!("cannot reach {}: {why}{hint}", self.url))
        })
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> CliError {
        let said = String::from_utf8_lossy(body);
        let said: String = said.trim().chars().take(200).collect();
        let hint = match (status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => "\nhint: its door is locked: pass --token-file",
            (StatusCode::UNAUTHORIZED, Some(_)) => "\nhint: the token is not one of its issuer's",
            _ => "",
        };
        CliError::Broken(format!("{} answers {status}: {said}{hint}", self.url))
    }
}

/// The answer in a body: the last event of a stream, else all of it.
fn answer_in(body: &Bytes) -> Bytes {
    let data = body.split(|byte| *byte == b'\n').rev();
    let data = data.filter_map(|line| line.strip_prefix(b"data:"));
    match data.map(<[u8]>::trim_ascii).find(|line| !line.is_empty()) {
        Some(data) => body.slice_ref(data),
        None => body.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_in_either_form() {
        for (body, answer) in [
            (r#"{"id":1}"#, r#"{"id":1}"#),
            (
                ": alive\n\nid: 7\r\ndata: {\"id\":1}\r\n\r\n",
                r#"{"id":1}"#,
            ),
            (
                "data: {\"method\":\"x\"}\n\ndata: {\"id\":1}\n\n",
                r#"{"id":1}"#,
            ),
        ] {
            assert_eq!(answer_in(&Bytes::from(body)), answer);
        }
    }
}
