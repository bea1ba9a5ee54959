//! A multiplexer that runs somewhere, asked over HTTP.

use std::{fmt, path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};
use reqwest::{RequestBuilder, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use url::Url;

use super::{CliError, request::ModernRequest};
use crate::config::ShownUrl;

/// Where a multiplexer serves unless it is told otherwise.
const USUAL: &str = "http://127.0.0.1:8000";
/// How long a connection may take, and an answer that no child is asked for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which running multiplexer to ask.
#[derive(Args, Clone, Debug)]
pub(super) struct Where {
    /// Where it serves; the URL that clients have of it works too [default:
    /// $MCP_MULTIPLEXER_URL, then http://127.0.0.1:8000].
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The bearer token for it is in this file; or in the variable MCP_MULTIPLEXER_TOKEN.
    #[arg(long, value_name = "FILE", env = "MCP_MULTIPLEXER_TOKEN_FILE", value_parser = OsStringValueParser::new().map(PathBuf::from))]
    token_file: Option<PathBuf>,
}

/// A running multiplexer.
#[derive(Debug)]
pub(super) struct Instance {
    /// What its paths stand below; ends in a slash.
    base: Url,
    /// Where it takes requests.
    endpoint: Url,
    http: reqwest::Client,
    token: Option<SecretString>,
}

/// What it answered.
pub(super) struct Answered {
    url: Url,
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    url: Url,
    why: String,
    /// Whether there may be nobody.
    is_absent: bool,
}

impl Where {
    /// The one to ask. What is wrong with that is the caller's mistake.
    pub(super) async fn instance(&self) -> Result<Instance, CliError> {
        let address = self.url.clone();
        let address = address.or_else(|| variable("MCP_MULTIPLEXER_URL"));
        let token = self.token().await.map_err(CliError::into_input)?;
        Instance::at(address.as_deref().unwrap_or(USUAL), token).map_err(CliError::into_input)
    }

    async fn token(&self) -> Result<Option<SecretString>, CliError> {
        // A variable that is set to nothing is not set.
        let file = self.token_file.as_ref();
        let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else {
            return Ok(variable("MCP_MULTIPLEXER_TOKEN").map(SecretString::from));
        };
        let text = tokio::fs::read_to_string(file).await;
        let text = text.map_err(CliError::io(format!("--token-file {}", file.display())))?;
        Ok(Some(text.trim().into()))
    }
}

/// A variable's value; blank counts as unset.
pub(super) fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok()?;
    Some(value.trim().to_owned()).filter(|value| !value.is_empty())
}

impl Instance {
    /// The one at an address: `http://host:8000`, or the URL that clients have of it.
    pub(super) fn at(address: &str, token: Option<SecretString>) -> Result<Self, CliError> {
        let wrong = || {
            CliError::Usage(format!(
                "{address:?} is no address: expected one such as {USUAL}"
            ))
        };
        let url = Url::parse(address.trim())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(wrong)?;
        let base = base(url.clone());
        let is_endpoint = url.path_segments().is_some_and(|mut it| it.any(is_mcp));
        let endpoint = match is_endpoint {
            true => url,
            false => base.join("mcp").map_err(|_| wrong())?,
        };
        let mut http = reqwest::Client::builder()
            .connect_timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none());
        if is_here(&base) {
            http = http.no_proxy();
        }
        let http = http
            .build()
            .map_err(|error| CliError::Broken(format!("TLS cannot be set up: {error}")))?;
        Ok(Self {
            base,
            endpoint,
            http,
            token,
        })
    }

    /// Whether a token is shown to it.
    pub(super) fn is_shown_a_token(&self) -> bool {
        self.token.is_some()
    }

    /// The answer to a GET of one of its paths.
    pub(super) async fn get(&self, path: &str) -> Result<Answered, Unanswered> {
        let url = self.url(path);
        let request = self.http.get(url.clone()).timeout(PATIENCE);
        self.send(url, request).await
    }

    /// What `/status` says.
    pub(super) async fn status(&self) -> Result<Value, CliError> {
        let answered = self.get("status").await;
        let answered = answered.map_err(|why| why.with_hint(""))?;
        if !answered.status.is_success() {
            return Err(self.refused(&answered));
        }
        serde_json::from_slice(&answered.body).map_err(|_| {
            let url = ShownUrl(&answered.url);
            CliError::Broken(format!("{url}: the answer is not that of a multiplexer"))
        })
    }

    /// The answer to a request, which may take as long as its call.
    pub(super) async fn ask(&self, request: &ModernRequest) -> Result<Answered, CliError> {
        let url = self.endpoint.clone();
        let mut builder = self.http.post(url.clone()).body(request.body());
        for (name, value) in request.headers() {
            builder = builder.header(name, value);
        }
        let answered = self.send(url, builder).await;
        answered.map_err(|why| why.with_hint(", or pass --config FILE"))
    }

    /// What to tell somebody who was not let in, or has come to a wrong place.
    pub(super) fn refused(&self, answered: &Answered) -> CliError {
        let said = String::from_utf8_lossy(&answered.body);
        let said: String = said.trim().chars().take(200).collect();
        let hint = match (answered.status, &self.token) {
            (StatusCode::UNAUTHORIZED, None) => "\nhint: its door is locked: pass --token-file",
            (StatusCode::UNAUTHORIZED, Some(_)) => "\nhint: the token is not one of its issuer's",
            (StatusCode::FORBIDDEN, _) if answered.url != self.endpoint => {
                "\nhint: let this host in with --allowed-host, or ask by --admin-addr"
            }
            (StatusCode::NOT_FOUND, _) if answered.url == self.endpoint => {
                "\nhint: if this is its --admin-addr, clients are served elsewhere: pass that \
                 address as --url"
            }
            (StatusCode::NOT_FOUND, _) => {
                "\nhint: with --admin-addr it is there: pass that address as --url"
            }
            _ => "",
        };
        let (url, status) = (ShownUrl(&answered.url), answered.status);
        let text = format!("{url} answers {status}: {said}");
        CliError::Broken(format!("{}{hint}", text.trim_end_matches([' ', ':'])))
    }

    /// The URL of one of its paths.
    pub(super) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}{path}", self.base.path()));
        url
    }

    async fn send(&self, url: Url, request: RequestBuilder) -> Result<Answered, Unanswered> {
        let request = match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        };
        let answer = async {
            let response = request.send().await?;
            Ok((response.status(), response.bytes().await?))
        };
        match answer.await {
            Ok((status, body)) => Ok(Answered { url, status, body }),
            Err(error) => Err(Unanswered::because(url, &error)),
        }
    }
}

impl Unanswered {
    /// The last cause says most: `connection refused`.
    fn because(url: Url, error: &reqwest::Error) -> Self {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let why = match error.is_timeout() {
            true => format!("no answer within {} s", PATIENCE.as_secs()),
            false => cause.to_string(),
        };
        Self {
            url,
            why,
            is_absent: error.is_connect(),
        }
    }

    fn with_hint(self, else_do: &str) -> CliError {
        CliError::Broken(match self.is_absent {
            true => format!(
                "{self}\nhint: start one with `mcp-multiplexer --transport http`, or say with \
                 --url where it serves{else_do}"
            ),
            false => self.to_string(),
        })
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot reach {}: {}", ShownUrl(&self.url), self.why)
    }
}

/// What `/mcp` and its siblings stand below.
fn base(mut url: Url) -> Url {
    url.set_query(None);
    url.set_fragment(None);
    let above: Vec<_> = url
        .path_segments()
        .into_iter()
        .flatten()
        .take_while(|segment| !is_mcp(segment))
        .filter(|segment| !segment.is_empty())
        .collect();
    let path = match above.is_empty() {
        true => "/".to_owned(),
        false => format!("/{}/", above.join("/")),
    };
    url.set_path(&path);
    url
}

fn is_mcp(segment: &str) -> bool {
    segment == "mcp"
}

/// Whether it is on this machine, so that no proxy is asked.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_address_of_an_instance_leads_to_its_paths() {
        for (address, status, endpoint) in [
            ("http://h:1", "http://h:1/status", "http://h:1/mcp"),
            ("http://h:1/", "http://h:1/status", "http://h:1/mcp"),
            ("http://h:1/mcp", "http://h:1/status", "http://h:1/mcp"),
            (
                "http://h:1/mcp/group/dev",
                "http://h:1/status",
                "http://h:1/mcp/group/dev",
            ),
            (
                "https://h/tools/mcp?x#y",
                "https://h/tools/status",
                "https://h/tools/mcp?x#y",
            ),
            (
                "https://h/tools",
                "https://h/tools/status",
                "https://h/tools/mcp",
            ),
        ] {
            let instance = Instance::at(address, None).unwrap();
            assert_eq!(instance.url("status").as_str(), status);
            assert_eq!(instance.endpoint.as_str(), endpoint, "{address}");
        }
        for wrong in ["", "127.0.0.1:8000", "localhost:8000", "ftp://h", "http://"] {
            assert!(Instance::at(wrong, None).is_err(), "{wrong}");
        }
    }
}
