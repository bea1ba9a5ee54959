//! What is told of the resource to whoever asks (RFC 9728).

use url::Url;

use crate::config::{keys, reader::Reader, transport::web_url};

/// The parts of the metadata that do not depend on the path asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataSettings {
    /// `resource_name`: for people.
    pub name: Option<String>,
    /// `authorization_servers`: who issues tokens.
    pub authorization_servers: Vec<String>,
    /// `bearer_methods_supported`.
    pub bearer_methods: Vec<String>,
    /// `scopes_supported`.
    pub scopes: Vec<String>,
    /// `resource_documentation`: a page for developers.
    pub documentation: Option<Url>,
    /// `resource_policy_uri`: what a client may do with the resource's data.
    pub policy: Option<Url>,
}

/// What the file or the environment says of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Layer {
    pub(super) resource: Option<Url>,
    name: Option<String>,
    authorization_servers: Option<Vec<String>>,
    bearer_methods: Option<Vec<String>>,
    scopes: Option<Vec<String>>,
    documentation: Option<Url>,
    policy: Option<Url>,
}

impl Layer {
    /// Reads `resourceMetadata`, or the variables that stand for it.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            resource: url(reader, "resource"),
            name: reader.text("resourceName"),
            authorization_servers: filled(reader.texts("authorizationServers")),
            bearer_methods: filled(reader.texts("bearerMethodsSupported")),
            scopes: filled(reader.texts("scopesSupported")),
            documentation: url(reader, "resourceDocumentation"),
            policy: url(reader, "resourcePolicyUri"),
        }
    }

    /// Reads it where it stands within `auth`.
    pub(super) fn read_in(auth: &mut Reader<'_>) -> Self {
        let Some(mut reader) = auth.inner("resourceMetadata", keys::AUTH_METADATA) else {
            return Self::default();
        };
        let layer = Self::read(&mut reader);
        auth.absorb(reader);
        layer
    }

    pub(super) fn over(self, lower: Self) -> Self {
        Self {
            resource: self.resource.or(lower.resource),
            name: self.name.or(lower.name),
            authorization_servers: self.authorization_servers.or(lower.authorization_servers),
            bearer_methods: self.bearer_methods.or(lower.bearer_methods),
            scopes: self.scopes.or(lower.scopes),
            documentation: self.documentation.or(lower.documentation),
            policy: self.policy.or(lower.policy),
        }
    }

    /// With what a lock says by itself: its issuers and the scopes it requires. Without
    /// a lock there is something to tell only if somebody else guards the door, and
    /// authorization servers are named.
    pub(super) fn resolve(
        self,
        issuers: Option<Vec<String>>,
        required_scopes: Vec<String>,
    ) -> Option<MetadataSettings> {
        Some(MetadataSettings {
            name: self.name,
            authorization_servers: self.authorization_servers.or(issuers)?,
            bearer_methods: self.bearer_methods.unwrap_or_else(|| vec!["header".into()]),
            scopes: self.scopes.unwrap_or(required_scopes),
            documentation: self.documentation,
            policy: self.policy,
        })
    }
}

fn filled(list: Option<Vec<String>>) -> Option<Vec<String>> {
    let list: Vec<_> = list?
        .into_iter()
        .map(|one| one.trim().to_owned())
        .filter(|one| !one.is_empty())
        .collect();
    (!list.is_empty()).then_some(list)
}

fn url(reader: &mut Reader<'_>, key: &'static str) -> Option<Url> {
    let text = reader.text(key)?;
    match web_url(&text) {
        Ok(url) if url.fragment().is_none() && url.username().is_empty() => Some(url),
        Ok(_) => {
            let written = reader.spelling(key);
            reader.refuse(written, "it must not have a fragment or a user");
            None
        }
        Err(why) => {
            let written = reader.spelling(key);
            reader.refuse(written, &why);
            None
        }
    }
}
