use std::time::Duration;

use super::*;
use crate::identity::testing::{SECRET, settings};

fn asked() -> TokenSettings {
    TokenSettings {
        scope: Some("tools".into()),
        ..settings("https://id/realms/x/token")
    }
}

fn with_key() -> TokenSettings {
    TokenSettings {
        credential: Credential::Key {
            file: "key.pem".into(),
            id: None,
        },
        ..asked()
    }
}

fn plain() -> TokenSettings {
    settings("http://id/token")
}

fn refused(code: &str, description: &str) -> MintError {
    MintError::Refused {
        code: code.into(),
        description: Some(description.into()),
    }
}

fn unreachable(cause: &str) -> MintError {
    let cause = cause.into();
    ProviderError::Unreachable { cause }.into()
}

fn status(status: StatusCode) -> MintError {
    ProviderError::Status {
        status,
        retry_after: None,
    }
    .into()
}

#[test]
fn what_keycloak_refuses_is_told_by_what_to_change_there() {
    let same = "Invalid client or Invalid client credentials";
    let account = "Client not enabled to retrieve service account";
    let public = "Public client not allowed to retrieve service account";
    for (error, asked, parts) in [
        (
            refused("unauthorized_client", account),
            asked(),
            &["Service accounts roles"][..],
        ),
        (
            refused("unauthorized_client", public),
            asked(),
            &["Client authentication"],
        ),
        (
            refused("unauthorized_client", same),
            asked(),
            &["OIDC_CLIENT_SECRET", "Credentials"],
        ),
        (
            refused("invalid_client", same),
            asked(),
            &["mcp-multiplexer", "disabled", "secret"],
        ),
        (refused("Realm does not exist", ""), asked(), &["/realms/"]),
        (
            refused("invalid_scope", "Invalid scopes: tools"),
            asked(),
            &["\"tools\"", "OIDC_SCOPE"],
        ),
        (
            refused("invalid_client", same),
            with_key(),
            &["OIDC_CLIENT_KEY_FILE", "clocks"],
        ),
        (
            refused("invalid_client", "Token is not active"),
            with_key(),
            &["clocks", "NTP"],
        ),
    ] {
        let told = advice(&error, Some(&asked), Whose::Service).join("\n");
        for part in parts {
            assert!(told.contains(part), "{error}: {told}");
        }
    }
}

#[test]
fn the_settings_of_an_entry_are_called_as_in_the_entry() {
    let file = SecretSource::File("auth.clientSecretFile", "/run/secrets/x".into());
    let asked = TokenSettings {
        credential: Credential::Post(file),
        ..asked()
    };
    for (error, parts) in [
        (
            refused("unauthorized_client", ""),
            &["auth.clientSecretFile"][..],
        ),
        (refused("invalid_client", ""), &["auth.clientSecretFile"]),
        (refused("invalid_scope", ""), &["auth.scope"]),
        (
            refused("invalid_target", ""),
            &["auth.resource", "auth.audience"],
        ),
        (MintError::NoToken, &["auth.tokenUrl"]),
    ] {
        let told = advice(&error, Some(&asked), Whose::Entry).join("\n");
        for part in parts {
            assert!(told.contains(part), "{error}: {told}");
        }
        assert!(!told.contains("OIDC_"), "{error}: {told}");
    }
}

#[test]
fn a_secret_is_wrong_only_where_the_provider_knows_the_client() {
    let told = advice(
        &refused("unauthorized_client", "x"),
        Some(&asked()),
        Whose::Service,
    );
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(!told[0].contains("disabled"), "{told:?}");
}

#[test]
fn a_provider_that_cannot_be_spoken_to_is_told_by_the_cause() {
    for (error, asked, part) in [
        (
            unreachable("invalid peer certificate: Other(OtherError(CaUsedAsEndEntity))"),
            asked(),
            "CA:TRUE",
        ),
        (
            unreachable("invalid peer certificate: UnknownIssuer"),
            asked(),
            "OIDC_CA_FILE",
        ),
        (
            unreachable("invalid peer certificate: Expired"),
            asked(),
            "expired",
        ),
        (
            unreachable("invalid peer certificate: NotValidForName"),
            asked(),
            "another name",
        ),
        (
            unreachable("received corrupt message of type InvalidContentType"),
            asked(),
            "http://",
        ),
        (
            unreachable("failed to lookup address information: x"),
            asked(),
            "resolved",
        ),
        (
            unreachable("Connection refused (os error 111)"),
            asked(),
            "nothing listens",
        ),
        (
            unreachable("invalid HTTP version parsed"),
            plain(),
            "https://",
        ),
        (unreachable("something else"), asked(), "firewalls"),
        (status(StatusCode::BAD_REQUEST), plain(), "https://"),
        (status(StatusCode::NOT_FOUND), asked(), "/realms/"),
        (status(StatusCode::BAD_GATEWAY), asked(), "the provider's"),
        (
            MintError::TookTooLong(Duration::from_secs(1)),
            asked(),
            "firewall",
        ),
        (
            Redirect {
                status: StatusCode::FOUND,
            }
            .into(),
            asked(),
            "finally leads",
        ),
    ] {
        let told = advice(&error, Some(&asked), Whose::Service);
        assert!(
            told.iter().any(|told| told.contains(part)),
            "{error}: {told:?}"
        );
    }
}

#[test]
fn an_issuer_of_another_name_is_told_with_both() {
    let error = MintError::IssuerMismatch {
        configured: "https://here".into(),
        found: "https://there".into(),
    };
    let told = advice(&error, Some(&asked()), Whose::Service);
    assert!(told[0].contains("https://here") && told[0].contains("https://there"));
}

#[test]
fn no_advice_repeats_what_the_provider_said() {
    let said = format!("{SECRET} or Invalid client credentials");
    for code in ["invalid_client", "unauthorized_client", SECRET] {
        let told = advice(&refused(code, &said), Some(&asked()), Whose::Service);
        assert!(!told.join(" ").contains(SECRET), "{told:?}");
    }
}
