//! The claims of a token that was checked, made into a [`Subject`].

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::refusal::{Reason, Refusal};
use crate::protocol::Subject;

/// What is read of a token, or of what its issuer says of it. Members whose shape no
/// standard fixes are taken as they come: what cannot be read gives no rights.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    pub(super) iss: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    azp: Option<String>,
    #[serde(default)]
    client_id: Option<String>,
    /// Where a client is that acts for itself, as Keycloak says it.
    #[serde(default, rename = "clientAddress")]
    client_address: Value,
    #[serde(default)]
    pub(super) exp: Option<f64>,
    #[serde(default)]
    scope: Value,
    #[serde(default)]
    scp: Value,
    #[serde(default)]
    roles: Value,
    #[serde(default)]
    groups: Value,
    /// Keycloak's.
    #[serde(default)]
    realm_access: Value,
    /// Keycloak's.
    #[serde(default)]
    resource_access: Value,
    /// Keycloak's word for the kind of a token.
    #[serde(default)]
    typ: Value,
    /// The same word of others: Cognito's in tokens, some issuers' of what they tell.
    #[serde(default)]
    token_use: Value,
    /// Only an ID token vouches for an access token (OpenID Connect Core, 3.1.3.6).
    #[serde(default)]
    at_hash: Value,
    /// What only the tokens of users have: a user's name, as introspection tells it, and…
    #[serde(default)]
    username: Value,
    /// …as OpenID does, where Keycloak says that a client acts for itself,…
    #[serde(default)]
    preferred_username: Value,
    /// …an address,…
    #[serde(default)]
    email: Value,
    /// …and the session of a login.
    #[serde(default)]
    sid: Value,
    /// Keycloak's older word for it.
    #[serde(default)]
    session_state: Value,
}

impl Claims {
    /// Whose token it is. A token without a subject is its client's, unless it looks like
    /// a user's: all users of that client would be one.
    ///
    /// # Errors
    ///
    /// It is no access token, or it is nobody's.
    pub(super) fn subject(self, issuer: String, token: &str) -> Result<Subject, Refusal> {
        let refuse = |why| Err(Refusal::new(Reason::Claims, why));
        let other_kinds = ["ID", "Refresh", "Offline", "Logout"];
        if self
            .typ
            .as_str()
            .is_some_and(|typ| other_kinds.contains(&typ))
        {
            return refuse("its claim \"typ\" says that it is no access token");
        }
        let says_access = |said: &str| said.starts_with("access");
        if !self.token_use.is_null() && !self.token_use.as_str().is_some_and(says_access) {
            return refuse("its claim \"token_use\" says that it is no access token");
        }
        if !self.at_hash.is_null() {
            return refuse("it is an ID token: it has the claim \"at_hash\"");
        }
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        let of_a_user = self.is_of_a_user();
        let (azp, client_id) = (filled(self.azp), filled(self.client_id));
        let service_account = |client: &String| {
            let username = self.preferred_username.as_str();
            let account = username.and_then(|name| name.strip_prefix("service-account-"));
            // An answer about a token names the client of whomever, and nobody has logged in.
            let logged_in = !self.sid.is_null() || !self.session_state.is_null();
            client_id.as_ref() == Some(client)
                && (self.client_address.is_string()
                    || !logged_in && account.is_some_and(|of| of.eq_ignore_ascii_case(client)))
        };
        let client = azp.or_else(|| client_id.clone());
        let sub = filled(self.sub).unwrap_or_default();
        // No user at all, the client's own name in the subject's place (RFC 9068, 2.2), or
        // an account that is the client's.
        let nobody_else = sub.is_empty() && !of_a_user;
        let acts_for_itself = client
            .as_ref()
            .is_some_and(|client| nobody_else || sub == *client || service_account(client));
        if nobody_else && client.is_none() {
            return refuse("it names neither a subject nor a client");
        }
        let mut scopes = words(&self.scope);
        scopes.extend(words(&self.scp));
        let mut roles = list(&self.roles);
        roles.extend(list(&self.realm_access["roles"]));
        if let Value::Object(clients) = &self.resource_access {
            for (name, access) in clients {
                let of_client = list(&access["roles"]);
                roles.extend(of_client.iter().map(|role| format!("{name}/{role}")));
            }
        }
        let nameless = sub.is_empty() && of_a_user && !acts_for_itself;
        Ok(Subject {
            nameless: nameless.then(|| Sha256::digest(token).into()),
            issuer,
            sub,
            client,
            acts_for_itself,
            scopes,
            roles,
            groups: list(&self.groups),
            // Saturates, which is far enough away.
            expires: self.exp.map(|exp| exp as u64),
        })
    }

    fn is_of_a_user(&self) -> bool {
        [
            &self.username,
            &self.preferred_username,
            &self.email,
            &self.sid,
            &self.session_state,
        ]
        .into_iter()
        .any(|claim| !claim.is_null())
    }
}

/// Words separated by spaces, or a list of them.
fn words(value: &Value) -> BTreeSet<String> {
    match value {
        Value::String(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
        other => list(other),
    }
}

fn list(value: &Value) -> BTreeSet<String> {
    let items = value.as_array().into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn subject(claims: Value) -> Result<Subject, Reason> {
        by(claims, "token")
    }

    fn by(claims: Value, token: &str) -> Result<Subject, Reason> {
        let claims: Claims = serde_json::from_value(claims).unwrap();
        claims
            .subject("i".to_owned(), token)
            .map_err(|refusal| refusal.reason)
    }

    #[test]
    fn a_keycloak_token_tells_client_scopes_roles_and_groups() {
        let subject = subject(json!({
            "sub": "s", "azp": "c", "scope": "openid mcp", "typ": "Bearer", "exp": 5,
            "realm_access": {"roles": ["admin"]},
            "resource_access": {"tools": {"roles": ["reader"]}, "odd": 3},
            "groups": ["/staff", 7]
        }))
        .unwrap();
        let set = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        assert_eq!(
            subject,
            Subject {
                issuer: "i".into(),
                sub: "s".into(),
                client: Some("c".into()),
                acts_for_itself: false,
                scopes: set(&["openid", "mcp"]),
                roles: set(&["admin", "tools/reader"]),
                groups: set(&["/staff"]),
                expires: Some(5),
                nameless: None,
            }
        );
    }

    #[test]
    fn a_client_that_acts_for_itself_is_told_from_whom_it_acts_for() {
        for (claims, itself) in [
            (json!({"azp": "c"}), true),
            (json!({"azp": "c", "sid": "x"}), false),
            (json!({"sub": "c", "client_id": "c"}), true),
            (
                json!({"sub": "7", "azp": "c", "client_id": "c", "preferred_username": "service-account-c"}),
                true,
            ),
            (
                json!({"sub": "7", "azp": "c", "client_id": "c", "clientAddress": "127.0.0.1"}),
                true,
            ),
            (
                json!({"sub": "7", "azp": "c", "preferred_username": "service-account-c"}),
                false,
            ),
            (
                json!({"sub": "7", "azp": "c", "client_id": "c", "preferred_username": "service-account-d"}),
                false,
            ),
            (json!({"sub": "7", "azp": "c", "client_id": "c"}), false),
            (json!({"sub": "7"}), false),
        ] {
            let subject = subject(claims.clone()).unwrap();
            assert_eq!(subject.acts_for_itself, itself, "{claims}");
        }
    }

    #[test]
    fn a_client_without_a_subject_is_itself_and_its_nameless_users_are_not_one() {
        let key = |claims: &Value, token| by(claims.clone(), token).unwrap().key();
        for same in [json!({"client_id": "c"}), json!({"sub": "s", "sid": "x"})] {
            assert_eq!(key(&same, "one"), key(&same, "two"), "{same}");
        }
        for user in [
            json!({"client_id": "c", "sid": "x"}),
            json!({"client_id": "c", "username": "u"}),
            json!({"preferred_username": "u"}),
        ] {
            assert_eq!(key(&user, "one"), key(&user, "one"), "{user}");
            assert_ne!(key(&user, "one"), key(&user, "two"), "{user}");
        }
    }

    #[test]
    fn other_tokens_and_nobodys_are_refused() {
        for claims in [
            json!({}),
            json!({"sub": ""}),
            json!({"sub": "s", "typ": "ID"}),
            json!({"sub": "s", "typ": "Refresh"}),
            json!({"sub": "s", "token_use": "refresh_token"}),
            json!({"sub": "s", "token_use": "id"}),
            json!({"sub": "s", "token_use": 1}),
            json!({"sub": "s", "at_hash": "x"}),
        ] {
            assert_eq!(subject(claims.clone()), Err(Reason::Claims), "{claims}");
        }
        assert!(subject(json!({"client_id": "c", "scp": ["a"]})).is_ok());
        for good in ["access", "access_token"] {
            assert!(subject(json!({"sub": "s", "token_use": good})).is_ok());
        }
    }
}
