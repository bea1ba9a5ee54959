//! All identities of this process: the service's, and those of children that need a
//! token of their own.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio_util::sync::CancellationToken;
use url::Url;

use super::{
    Identity,
    basic::Basic,
    bearer_file::BearerFile,
    error::IdentityError,
    exchange::Exchange,
    handle::Line,
    mint::ClientCredentials,
    status::{IdentitiesStatus, IdentityStatus, SERVICE, Terms},
};
use crate::{
    config::{AuthSettings, IdentitySettings, ServiceSettings, TokenHosts, TokenSettings},
    protocol::ChildName,
};

/// Hands out identities; clones are the same registry.
#[derive(Clone)]
pub struct Identities(Arc<Inner>);

struct Inner {
    service: Identity,
    settings: ServiceSettings,
    about: IdentityStatus,
    hosts: Option<TokenHosts>,
    own: Mutex<Vec<Own>>,
    shutdown: CancellationToken,
}

/// A token that children have asked for; its task ends with the last of them.
struct Own {
    token: Arc<TokenSettings>,
    line: Weak<Line>,
}

impl Identities {
    /// Starts the service identity, if there is one.
    ///
    /// # Errors
    ///
    /// When it can never work as it is configured. A provider that is down is none.
    pub fn start(
        settings: &IdentitySettings,
        shutdown: CancellationToken,
    ) -> Result<Self, IdentityError> {
        let about = IdentityStatus::new(SERVICE, Terms::of_service(&settings.service));
        let service = match &settings.service {
            ServiceSettings::None => Identity::off(),
            ServiceSettings::ClientCredentials(token) => Identity::keep(
                ClientCredentials::new(token)?,
                about.clone(),
                shutdown.clone(),
            ),
            ServiceSettings::BearerFile(path) => Identity::keep(
                BearerFile::new(path.clone()),
                about.clone(),
                shutdown.clone(),
            ),
            ServiceSettings::Basic { username, password } => Identity::keep(
                Basic::new(username.clone(), password.clone()),
                about.clone(),
                shutdown.clone(),
            ),
        };
        Ok(Self(Arc::new(Inner {
            service,
            settings: settings.service.clone(),
            about,
            hosts: settings.hosts.clone(),
            own: Mutex::default(),
            shutdown,
        })))
    }

    /// The identity for requests to a remote child without an `Authorization` of its
    /// own; one that is off, where it is to get none. To be held for as long as
    /// requests go there: equal tokens of children that are there at one time are one.
    ///
    /// # Errors
    ///
    /// When a token of its own can never be had as it is configured.
    pub fn of(
        &self,
        child: &ChildName,
        auth: &AuthSettings,
        url: &Url,
    ) -> Result<Identity, IdentityError> {
        let may = |hosts: &TokenHosts| hosts.allow(url);
        match auth {
            _ if !self.0.hosts.as_ref().is_none_or(may) => Ok(Identity::off()),
            AuthSettings::Service => Ok(self.0.service.clone()),
            AuthSettings::Own(token) => self.own(child, token),
            AuthSettings::None | AuthSettings::Exchange(_) | AuthSettings::Passthrough => {
                Ok(Identity::off())
            }
        }
    }

    /// What exchanges the tokens of a child's users, if its entry asks for that; `None`
    /// too where it is to get none.
    ///
    /// # Errors
    ///
    /// When no token can ever be exchanged as it is configured.
    pub fn exchange(
        &self,
        child: &ChildName,
        auth: &AuthSettings,
        url: &Url,
    ) -> Result<Option<Exchange>, IdentityError> {
        let may = |hosts: &TokenHosts| hosts.allow(url);
        match auth {
            AuthSettings::Exchange(token) if self.0.hosts.as_ref().is_none_or(may) => {
                Exchange::new(child.as_str(), token).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn own(
        &self,
        child: &ChildName,
        token: &Arc<TokenSettings>,
    ) -> Result<Identity, IdentityError> {
        if matches!(&self.0.settings, ServiceSettings::ClientCredentials(service) if **service == **token)
        {
            return Ok(self.0.service.clone());
        }
        let mut own = self.0.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|own| own.line.strong_count() > 0);
        let same = own.iter().find(|own| own.token == *token);
        if let Some(there) = same.and_then(|own| Identity::upgrade(&own.line)) {
            return Ok(there);
        }
        let identity = Identity::keep(
            ClientCredentials::new(token)?,
            IdentityStatus::new(&free_name(child, &own), Terms::of_token(token)),
            self.0.shutdown.clone(),
        );
        own.push(Own {
            token: Arc::clone(token),
            line: identity.downgrade(),
        });
        Ok(identity)
    }

    /// All of them as operators see them.
    pub fn status(&self) -> IdentitiesStatus {
        let service = self.0.service.status();
        IdentitiesStatus {
            service: service.unwrap_or_else(|| self.0.about.clone()),
            own: self.in_use().iter().filter_map(Identity::status).collect(),
        }
    }

    /// Writes their gauges, into the recorder that is set.
    pub fn write_gauges(&self) {
        self.0.service.write_gauges();
        for identity in self.in_use() {
            identity.write_gauges();
        }
    }

    fn in_use(&self) -> Vec<Identity> {
        let own = self.0.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.iter()
            .filter_map(|own| Identity::upgrade(&own.line))
            .collect()
    }
}

/// The child's name, made different where it is taken: by a token that the child asked
/// for under another configuration and others still use, or by the service.
fn free_name(child: &ChildName, own: &[Own]) -> Arc<str> {
    let taken: Vec<Arc<str>> = own
        .iter()
        .filter_map(|own| Some(Identity::upgrade(&own.line)?.status()?.name))
        .chain([SERVICE.into()])
        .collect();
    let mut name: Arc<str> = child.as_str().into();
    for n in 2.. {
        if !taken.contains(&name) {
            break;
        }
        name = format!("{child}-{n}").into();
    }
    name
}

impl fmt::Debug for Identities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identities").field(&self.status()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::testing::settings;

    const URL: &str = "http://127.0.0.1:1/mcp";

    fn registry(hosts: Option<&str>) -> Identities {
        let settings = IdentitySettings {
            service: ServiceSettings::ClientCredentials(Box::new(settings(
                "http://127.0.0.1:1/token",
            ))),
            hosts: hosts.map(|globs| TokenHosts::new(globs).unwrap()),
        };
        Identities::start(&settings, CancellationToken::new()).unwrap()
    }

    fn own(audience: &str) -> AuthSettings {
        AuthSettings::Own(Arc::new(TokenSettings {
            audience: Some(audience.into()),
            ..settings("http://127.0.0.1:1/token")
        }))
    }

    fn name(identities: &Identities, child: &str, auth: &AuthSettings) -> Option<String> {
        let identity = identities.of(&child.into(), auth, &URL.parse().unwrap());
        identity
            .unwrap()
            .status()
            .map(|status| status.name.to_string())
    }

    #[tokio::test]
    async fn equal_tokens_are_one_for_as_long_as_somebody_holds_it() {
        let identities = registry(None);
        let url = URL.parse().unwrap();
        let of =
            |child: &str, audience| identities.of(&child.into(), &own(audience), &url).unwrap();
        let a = of("a", "x");
        assert_eq!(name(&identities, "b", &own("x")).as_deref(), Some("a"));
        assert_eq!(name(&identities, "c", &own("y")).as_deref(), Some("c"));
        drop(a);
        assert_eq!(name(&identities, "b", &own("x")).as_deref(), Some("b"));
        assert!(identities.status().own.is_empty());
    }

    #[tokio::test]
    async fn two_tokens_never_have_one_name() {
        let identities = registry(None);
        let url = URL.parse().unwrap();
        let of = |child: &str, audience| {
            let identity = identities.of(&child.into(), &own(audience), &url).unwrap();
            let name = identity.status().unwrap().name.to_string();
            (identity, name)
        };
        let first = of("billing", "x");
        let (second, reserved) = (of("billing", "y"), of("service", "z"));
        assert_eq!(first.1, "billing");
        assert_eq!(second.1, "billing-2");
        assert_eq!(reserved.1, "service-2");
    }

    #[tokio::test]
    async fn a_token_that_is_the_services_is_the_services() {
        let identities = registry(None);
        let same = own("agent-services");
        assert_eq!(name(&identities, "a", &same).as_deref(), Some("service"));
    }

    #[tokio::test]
    async fn a_child_gets_what_its_entry_asks_for() {
        let identities = registry(None);
        let of = |auth| name(&identities, "a", &auth);
        assert_eq!(of(AuthSettings::Service).as_deref(), Some("service"));
        assert_eq!(of(AuthSettings::None), None);
        assert_eq!(of(AuthSettings::Passthrough), None);
    }

    #[tokio::test]
    async fn no_token_goes_to_a_host_that_is_not_named() {
        let identities = registry(Some("*.corp.example"));
        assert_eq!(name(&identities, "a", &AuthSettings::Service), None);
        assert_eq!(name(&identities, "a", &own("x")), None);
        let identities = registry(Some("127.0.0.*"));
        assert!(name(&identities, "a", &AuthSettings::Service).is_some());
    }
}
