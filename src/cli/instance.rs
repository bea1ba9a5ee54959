//! A multiplexer that runs somewhere, asked over HTTP.

use std::time::Duration;

use reqwest::StatusCode;
use url::Url;

use super::CliError;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running multiplexer.
#[derive(Debug)]
pub(super) struct Instance {
    /// What its paths stand below; ends in a slash.
    base: Url,
    client: reqwest::Client,
}

impl Instance {
    /// The one at an address: `http://host:8000`, or the URL that clients have of it.
    pub(super) fn at(address: &str) -> Result<Self, CliError> {
        let url = Url::parse(address.trim())
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                CliError::Usage(format!(
                    "{address:?} is no address: expected one such as http://127.0.0.1:8000"
                ))
            })?;
        let mut client = reqwest::Client::builder()
            .timeout(PATIENCE)
            .redirect(reqwest::redirect::Policy::none());
        if is_here(&url) {
            client = client.no_proxy();
        }
        let client = client
            .build()
            .map_err(|error| CliError::Broken(format!("TLS cannot be set up: {error}")))?;
        Ok(Self {
            base: base(url),
            client,
        })
    }

    /// The answer to a GET of one of its paths, or why there is none.
    pub(super) async fn get(&self, path: &str) -> Result<(StatusCode, String), String> {
        let url = self.url(path)?;
        let failed = |error: reqwest::Error| told(&url, &error);
        let answer = self.client.get(url.clone()).send().await.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        Ok((status, text))
    }

    /// The URL of one of its paths.
    pub(super) fn url(&self, path: &str) -> Result<Url, String> {
        self.base.join(path).map_err(|error| error.to_string())
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
        .take_while(|segment| *segment != "mcp")
        .filter(|segment| !segment.is_empty())
        .collect();
    let path = match above.is_empty() {
        true => "/".to_owned(),
        false => format!("/{}/", above.join("/")),
    };
    url.set_path(&path);
    url
}

/// Whether it is on this machine, so that no proxy is asked.
pub(super) fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// The last cause says most: `connection refused`.
fn told(url: &Url, error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let why = match error.is_timeout() {
        true => format!("no answer within {} s", PATIENCE.as_secs()),
        false => cause.to_string(),
    };
    format!("{}: {why}", crate::config::ShownUrl(url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_address_of_an_instance_leads_to_its_paths() {
        for (address, status) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000/status"),
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/status"),
            ("http://h:1/mcp", "http://h:1/status"),
            ("http://h:1/mcp/group/dev?x#y", "http://h:1/status"),
            ("https://h/tools/mcp", "https://h/tools/status"),
            ("https://h/tools", "https://h/tools/status"),
        ] {
            let instance = Instance::at(address).unwrap();
            assert_eq!(instance.url("status").unwrap().as_str(), status);
        }
        for wrong in ["", "127.0.0.1:8000", "localhost:8000", "ftp://h", "http://"] {
            assert!(Instance::at(wrong).is_err(), "{wrong}");
        }
    }
}
