//! What to tell of the ways that tokens and secrets will go.

use url::Url;

use super::{Credential, IdentitySettings, ServiceSettings, TokenSettings};
use crate::config::{
    child::{AuthSettings, ChildSettings, TransportSettings},
    reach::Reach,
    warning::Warning,
};

/// Warns of children that get no token because of their host, and of secrets that
/// strangers could read on the way.
pub(in crate::config) fn warn(
    identity: &IdentitySettings,
    children: &[ChildSettings],
    warnings: &mut Vec<Warning>,
) {
    if let ServiceSettings::ClientCredentials(token) = &identity.service {
        warn_of_provider("the service identity", token, warnings);
    }
    for child in children.iter().filter(|child| child.disabled.is_none()) {
        let (TransportSettings::Http(remote) | TransportSettings::Sse(remote)) = &child.transport
        else {
            continue;
        };
        let entry = format!("entry {:?}", child.name.as_str());
        let header = match &child.auth {
            _ if remote.has_own_authorization() => Some("its Authorization header"),
            AuthSettings::Service if identity.service == ServiceSettings::None => None,
            AuthSettings::Service | AuthSettings::Own(_) | AuthSettings::Exchange(_)
                if identity
                    .hosts
                    .as_ref()
                    .is_some_and(|hosts| !hosts.allow(&remote.url)) =>
            {
                warnings.push(Warning::new(format!(
                    "{entry}: gets no token, since MCP_CLIENT_AUTH_HOSTS does not name its host"
                )));
                continue;
            }
            AuthSettings::Service | AuthSettings::Own(_) | AuthSettings::Exchange(_) => {
                Some("the token")
            }
            AuthSettings::Passthrough => Some("the token of each user"),
            AuthSettings::None => None,
        };
        if let Some(what) = header
            && Reach::is_clear_text(&remote.url)
        {
            warnings.push(Warning::new(format!(
                "{entry}: {what} travels in clear text to {}, where whoever is on the way can take it; use https",
                host(&remote.url)
            )));
        }
        if let AuthSettings::Own(token) | AuthSettings::Exchange(token) = &child.auth {
            warn_of_provider(&entry, token, warnings);
        }
    }
}

fn warn_of_provider(whose: &str, token: &TokenSettings, warnings: &mut Vec<Warning>) {
    let what = match token.credential {
        Credential::Basic(_) | Credential::Post(_) => "the client secret travels",
        Credential::Key { .. } => "tokens travel",
    };
    let urls = [token.place.token_url(), token.place.issuer()];
    if let Some(url) = urls
        .into_iter()
        .flatten()
        .find(|url| Reach::is_clear_text(url))
    {
        warnings.push(Warning::new(format!(
            "{whose}: {what} in clear text to {}, where whoever is on the way can take it; use https",
            host(url)
        )));
    }
}

fn host(url: &Url) -> &str {
    url.host_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use crate::config::Settings;

    fn warnings(url: &str, more: &str, env: &[(&str, &str)]) -> Vec<String> {
        let text = format!(r#"{{"mcpServers": {{"a": {{"url": "{url}"{more}}}}}}}"#);
        let service = [
            ("MCP_CLIENT_AUTH", "oidc-client-credentials"),
            ("OIDC_CLIENT_ID", "mux"),
            ("OIDC_CLIENT_SECRET", "hunter2"),
            ("OIDC_ISSUER", "https://id/realms/x"),
        ];
        let env: HashMap<String, String> = service
            .iter()
            .chain(env)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let settings = Settings::from_json(Path::new("c.json"), &text, &env).expect("valid");
        settings.warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_secret_in_clear_text_beyond_a_private_network_is_a_warning() {
        let header = r#", "headers": {"authorization": "Bearer x"}"#;
        for (url, more, count) in [
            ("http://agents.example.com/mcp", "", 1),
            ("http://agents.example.com/mcp", r#", "auth": "none""#, 0),
            ("http://agents.example.com/mcp", header, 1),
            ("https://agents.example.com/mcp", "", 0),
            ("http://agents:8000/mcp", "", 0),
            ("http://127.0.0.1:8000/mcp", "", 0),
        ] {
            let warnings = warnings(url, more, &[]);
            assert_eq!(warnings.len(), count, "{url} {more}: {warnings:?}");
        }
        let provider = [("OIDC_ISSUER", "http://id.example.com/realms/x")];
        let told = warnings("http://agents:8000/mcp", "", &provider);
        assert!(told[0].contains("client secret"), "{told:?}");
    }

    #[test]
    fn a_child_whose_host_is_not_named_is_told_that_it_gets_none() {
        let hosts = [("MCP_CLIENT_AUTH_HOSTS", "*.corp.example")];
        let told = warnings("http://agents.example.com/mcp", "", &hosts);
        assert!(
            told.len() == 1 && told[0].contains("gets no token"),
            "{told:?}"
        );
        assert!(warnings("https://a.corp.example/mcp", "", &hosts).is_empty());
    }
}
