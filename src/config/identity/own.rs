//! The `auth` object of an entry: a token of its own.

use std::path::PathBuf;

use url::Url;

use super::token::{
    SecretSource, TokenDefaults, TokenPlace, TokenSettings, provider_url, resource,
};
use crate::config::{error::ConfigError, keys, reader::Reader};

/// What an entry's `auth` says; what it does not say, the `OIDC_…` variables do.
#[derive(Clone, Default)]
pub(in crate::config) struct OwnToken {
    audience: Option<String>,
    scope: Option<String>,
    resource: Option<String>,
    client_id: Option<String>,
    client_secret_file: Option<PathBuf>,
    token_url: Option<Url>,
}

impl OwnToken {
    /// Reads the object at `auth`. An empty text takes back what a variable says.
    pub(in crate::config) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut auth = reader.inner("auth", keys::ENTRY_AUTH)?;
        let own = Self {
            audience: auth.text("audience"),
            scope: auth.text("scope"),
            resource: checked(&mut auth, "resource", |text| match text {
                "" => Ok(String::new()),
                text => resource(text),
            }),
            client_id: auth.text("clientId"),
            client_secret_file: auth.text("clientSecretFile").map(PathBuf::from),
            token_url: checked(&mut auth, "tokenUrl", provider_url),
        };
        reader.absorb(auth);
        Some(own)
    }

    /// Reads the object at `auth.tokenExchange`. Who asks is the service: beside it stands
    /// nothing.
    pub(in crate::config) fn read_exchange(reader: &mut Reader<'_>) -> Option<Self> {
        let mut auth = reader.inner("auth", keys::ENTRY_AUTH)?;
        let exchange = auth
            .inner("tokenExchange", keys::TOKEN_EXCHANGE)
            .map(|mut inner| {
                let exchange = Self {
                    audience: inner.text("audience"),
                    scope: inner.text("scope"),
                    resource: checked(&mut inner, "resource", resource),
                    ..Self::default()
                };
                auth.absorb(inner);
                exchange
            });
        for key in keys::ENTRY_AUTH
            .iter()
            .filter(|key| **key != "tokenExchange")
        {
            if auth.field(key).is_some() {
                let written = auth.spelling(key);
                auth.refuse(written, "it has no meaning beside \"tokenExchange\"");
            }
        }
        reader.absorb(auth);
        exchange
    }

    /// What users' tokens are exchanged for, or what is missing. For whom it is meant says
    /// this alone: the service's own audience is another.
    pub(in crate::config) fn exchanged(
        &self,
        below: &TokenDefaults,
    ) -> Result<TokenSettings, String> {
        let audience = filled(self.audience.as_ref());
        if audience.is_none() && self.resource.is_none() {
            return Err(
                "\"auth.tokenExchange\" needs \"audience\" or \"resource\": for whom the tokens are meant"
                    .into(),
            );
        }
        if let Some(wrong) = &below.wrong {
            return Err(format!(
                "\"auth\" rests on a variable that cannot be used: {wrong}"
            ));
        }
        let token = below.service().map_err(|error| match error {
            ConfigError::Identity { missing, .. } => {
                format!("\"auth.tokenExchange\" needs {}", missing.join(", "))
            }
            other => other.to_string(),
        })?;
        Ok(TokenSettings {
            audience,
            scope: filled(self.scope.as_ref()),
            resource: self.resource.clone(),
            ..token
        })
    }

    /// The token to ask for, or what is missing.
    pub(in crate::config) fn over(&self, below: &TokenDefaults) -> Result<TokenSettings, String> {
        if let Some(wrong) = &below.wrong {
            return Err(format!(
                "\"auth\" rests on a variable that cannot be used: {wrong}"
            ));
        }
        let token_url = self.token_url.as_ref().or(below.token_url.as_ref());
        // An endpoint of its own may be another issuer's.
        let issuer = match self.token_url {
            Some(_) => None,
            None => below.issuer.as_ref(),
        };
        let place = TokenPlace::of(token_url, issuer).ok_or(
            "\"auth\" needs \"tokenUrl\" where neither OIDC_TOKEN_URL nor OIDC_ISSUER is set",
        )?;
        let client_id = filled(self.client_id.as_ref())
            .or_else(|| below.client_id.clone())
            .ok_or("\"auth\" needs \"clientId\" where OIDC_CLIENT_ID is not set")?;
        let credential = match &self.client_secret_file {
            Some(file) => below
                .method
                .with_secret(SecretSource::File("auth.clientSecretFile", file.clone())),
            None if self.is_another_client(below) => {
                return Err("\"auth\" needs \"clientSecretFile\": the service's own secret is not for another \"clientId\", nor for a \"tokenUrl\" of another provider".into());
            }
            None => below.credential.clone().ok_or(
                "\"auth\" needs \"clientSecretFile\" where neither OIDC_CLIENT_SECRET nor OIDC_CLIENT_SECRET_FILE is set",
            )?,
        };
        let resource = filled(self.resource.as_ref().or(below.resource.as_ref()));
        let audience = match &self.audience {
            Some(own) => filled(Some(own)),
            None => below.audience(resource.as_ref()),
        };
        Ok(TokenSettings {
            place,
            client_id,
            credential,
            audience,
            scope: filled(self.scope.as_ref().or(below.scope.as_ref())),
            resource,
            tls: below.tls.clone(),
        })
    }

    /// Whether the service's secret would come to somebody it is not for.
    fn is_another_client(&self, below: &TokenDefaults) -> bool {
        let id = filled(self.client_id.as_ref());
        let other_id = id.is_some_and(|own| Some(&own) != below.client_id.as_ref());
        let known = below.token_url.as_ref().or(below.issuer.as_ref());
        let other_origin = match (&self.token_url, known) {
            (Some(own), Some(known)) => own.origin() != known.origin(),
            (Some(_), None) => true,
            (None, _) => false,
        };
        other_id || other_origin
    }
}

fn checked<T>(
    reader: &mut Reader<'_>,
    key: &'static str,
    check: impl FnOnce(&str) -> Result<T, String>,
) -> Option<T> {
    let text = reader.text(key)?;
    match check(text.trim()) {
        Ok(value) => Some(value),
        Err(why) => {
            let written = reader.spelling(key);
            reader.refuse(written, &why);
            None
        }
    }
}

fn filled(text: Option<&String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, path::Path};

    use super::*;
    use crate::config::{AuthSettings, Credential, Settings};

    const SERVICE: [(&str, &str); 3] = [
        ("OIDC_CLIENT_ID", "mux"),
        ("OIDC_CLIENT_SECRET", "hunter2"),
        ("OIDC_TOKEN_URL", "https://id/realms/x/token"),
    ];

    fn of(auth: &str, env: &[(&str, &str)]) -> Result<TokenSettings, String> {
        let text = format!(r#"{{"mcpServers": {{"a": {{"url": "https://h", "auth": {auth}}}}}}}"#);
        let env: HashMap<String, String> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut settings = Settings::from_json(Path::new("c.json"), &text, &env).expect("valid");
        let child = settings.children.remove(0);
        match (child.disabled, child.auth) {
            (Some(reason), _) => Err(reason),
            (None, AuthSettings::Own(token)) => Ok((*token).clone()),
            (None, other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_it_does_not_say_comes_from_the_variables_also_where_the_service_is_off() {
        let token = of(r#"{"audience": "billing", "scope": ""}"#, &SERVICE).expect("complete");
        assert_eq!(token.audience.as_deref(), Some("billing"));
        assert_eq!(token.client_id, "mux");
        assert_eq!(token.scope, None);
        assert!(matches!(token.credential, Credential::Basic(_)));
    }

    #[test]
    fn an_empty_text_takes_back_what_a_variable_says() {
        let env = [SERVICE.as_slice(), &[("OIDC_RESOURCE", "https://r")]].concat();
        let token = of(r#"{"audience": "", "resource": ""}"#, &env).expect("complete");
        assert_eq!((token.audience, token.resource), (None, None));
    }

    #[test]
    fn a_resource_takes_the_place_of_the_default_audience() {
        let token = of(r#"{"resource": "https://r"}"#, &SERVICE).expect("complete");
        assert_eq!(token.audience, None);
        let set = [SERVICE.as_slice(), &[("OIDC_AUDIENCE", "x")]].concat();
        let token = of(r#"{"resource": "https://r"}"#, &set).expect("complete");
        assert_eq!(token.audience.as_deref(), Some("x"));
    }

    #[test]
    fn a_variable_that_cannot_be_used_is_a_reason_for_who_rests_on_it() {
        for name in [
            "OIDC_CLIENT_AUTH_METHOD",
            "OIDC_TLS_VERIFY",
            "OIDC_RESOURCE",
        ] {
            let env = [SERVICE.as_slice(), &[(name, "hunter3")]].concat();
            let problem = of(r#"{"audience": "x"}"#, &env).expect_err(name);
            assert!(
                problem.contains(name) && !problem.contains("hunter3"),
                "{problem}"
            );
        }
    }

    #[test]
    fn the_services_secret_goes_to_nobody_else() {
        for auth in [
            r#"{"clientId": "other"}"#,
            r#"{"tokenUrl": "https://elsewhere/token"}"#,
        ] {
            let problem = of(auth, &SERVICE).expect_err(auth);
            assert!(problem.contains("clientSecretFile"), "{problem}");
        }
        let same = r#"{"clientId": "mux", "tokenUrl": "https://id/realms/y/token"}"#;
        assert!(of(same, &SERVICE).is_ok());
        let own = r#"{"clientId": "other", "clientSecretFile": "/run/secrets/other"}"#;
        assert!(of(own, &SERVICE).is_ok());
    }

    #[test]
    fn what_is_missing_disables_the_child_and_is_named() {
        let problem = of(r#"{"audience": "x"}"#, &[]).expect_err("incomplete");
        assert!(problem.contains("tokenUrl"), "{problem}");
        let problem = of(r#"{"resource": "no uri"}"#, &SERVICE).expect_err("no URI");
        assert!(problem.contains("auth.resource"), "{problem}");
        let secret = r#"{"tokenUrl": "https://me:hunter3@id/token"}"#;
        let problem = of(secret, &SERVICE).expect_err("userinfo");
        assert!(!problem.contains("hunter3"), "{problem}");
    }

    fn exchanged(exchange: &str, env: &[(&str, &str)]) -> Result<TokenSettings, String> {
        let text = format!(
            r#"{{"auth": {{"issuer": "https://id"}}, "publicUrl": "https://me",
                "mcpServers": {{"a": {{"url": "https://h", "auth": {{"tokenExchange": {exchange}}}}}}}}}"#
        );
        let env: HashMap<String, String> = env
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut settings = Settings::from_json(Path::new("c.json"), &text, &env).expect("valid");
        let child = settings.children.remove(0);
        match (child.disabled, child.auth) {
            (Some(reason), _) => Err(reason),
            (None, AuthSettings::Exchange(token)) => Ok((*token).clone()),
            (None, other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_token_is_exchanged_as_the_service_for_what_the_entry_says_alone() {
        let env = [
            SERVICE.as_slice(),
            &[
                ("OIDC_AUDIENCE", "x"),
                ("OIDC_SCOPE", "y"),
                ("OIDC_RESOURCE", "https://r"),
            ],
        ]
        .concat();
        let token = exchanged(r#"{"audience": "billing"}"#, &env).expect("complete");
        assert_eq!(token.audience.as_deref(), Some("billing"));
        assert_eq!((token.scope, token.resource), (None, None));
        assert_eq!(token.client_id, "mux");
        let token = exchanged(r#"{"resource": "https://b"}"#, &env).expect("complete");
        assert_eq!(
            (token.audience, token.resource.as_deref()),
            (None, Some("https://b"))
        );
    }

    #[test]
    fn what_an_exchange_lacks_is_named() {
        for (exchange, part) in [
            ("{}", "\"audience\" or \"resource\""),
            (r#"{"resource": "no uri"}"#, "tokenExchange.resource"),
            (r#"{"audience": "x", "clientId": "y"}"#, "a"),
        ] {
            match exchanged(exchange, &SERVICE) {
                Err(problem) => assert!(problem.contains(part), "{problem}"),
                // A key that is not known is a warning.
                Ok(token) => assert_eq!(token.client_id, "mux", "{exchange}"),
            }
        }
        let problem = exchanged(r#"{"audience": "x"}"#, &[]).expect_err("incomplete");
        for part in ["OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET", "OIDC_TOKEN_URL"] {
            assert!(problem.contains(part), "{problem}");
        }
    }
}
