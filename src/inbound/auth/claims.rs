//! The claims of a token that was checked, made into a [`Subject`].

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

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
}

impl Claims {
    /// Whose token it is.
    ///
    /// # Errors
    ///
    /// It is no access token, or it is nobody's.
    pub(super) fn subject(self, issuer: String) -> Result<Subject, Refusal> {
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
        let client = filled(self.azp).or_else(|| filled(self.client_id));
        let sub = filled(self.sub).unwrap_or_default();
        if sub.is_empty() && client.is_none() {
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
        Ok(Subject {
            issuer,
            sub,
            client,
            scopes,
            roles,
            groups: list(&self.groups),
            // Saturates, which is far enough away.
            expires: self.exp.map(|exp| exp as u64),
        })
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
        let claims: Claims = serde_json::from_value(claims).unwrap();
        claims
            .subject("i".to_owned())
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
                scopes: set(&["openid", "mcp"]),
                roles: set(&["admin", "tools/reader"]),
                groups: set(&["/staff"]),
                expires: Some(5),
            }
        );
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
