//! `deploy/keycloak/setup.sh`: the realm, made over the admin API.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    door::{locked, status},
    realm::{CLIENT, Realm},
    server::{Keycloak, admin_password},
};
use crate::support::Fleet;

const PUBLIC_URL: &str = "https://mcp.example.org/mcp";
const PASSWORD: &str = "of 'the' tester, + & %";

/// An operator's shell, in which the script is run.
struct Shell {
    folder: TempDir,
    origin: String,
    realm: &'static str,
}

impl Shell {
    fn at(keycloak: &Keycloak, realm: &'static str) -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::write(folder.path().join("admin"), admin_password()).expect("a file");
        fs::write(folder.path().join("tester"), format!("{PASSWORD}\n")).expect("a file");
        Self {
            folder,
            origin: keycloak.origin(),
            realm,
        }
    }

    fn set_up(&self) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/keycloak/setup.sh");
        let Output {
            status,
            stdout,
            stderr,
        } = Command::new(script)
            .current_dir(self.folder.path())
            .env("KEYCLOAK_URL", &self.origin)
            .env("KEYCLOAK_ADMIN_PASSWORD_FILE", "admin")
            .env("MCP_PUBLIC_URL", PUBLIC_URL)
            .env("MCP_MULTIPLEXER_SECRET_FILE", "secret")
            .env("MCP_TEST_PASSWORD_FILE", "tester")
            .env("MCP_REALM", self.realm)
            .output()
            .expect("bash is there");
        let said = String::from_utf8(stdout).expect("text");
        let errors = String::from_utf8(stderr).expect("text");
        assert!(status.success(), "{said}{errors}");
        for secret in [&self.secret(), PASSWORD, &admin_password()] {
            assert!(!said.contains(secret) && !errors.contains(secret), "{said}");
        }
        said
    }

    fn secret(&self) -> String {
        let path = self.folder.path().join("secret");
        let mode = fs::metadata(&path).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::read_to_string(path).expect("text").trim().to_owned()
    }
}

#[tokio::test]
async fn the_realm_is_made_over_the_admin_api_and_what_is_missing_is_added() {
    let keycloak = Keycloak::shared().await;
    let shell = Shell::at(keycloak, "made-by-script");
    let realm = Realm::named(keycloak, shell.realm);

    shell.set_up();
    mints(&realm, &shell.secret()).await;
    assert_eq!(audience(&realm).await, PUBLIC_URL);
    let tester = &realm
        .admin(Method::GET, "/users?username=tester", Value::Null)
        .await[0];
    let path = format!(
        "/users/{}/credentials",
        tester["id"].as_str().expect("an id")
    );
    let credentials = realm.admin(Method::GET, &path, Value::Null).await;
    assert_eq!(credentials[0]["type"], "password", "{credentials}");
    opens_the_door_of_the_guide(&realm).await;

    realm.remove("mcp-client").await;
    let said = shell.set_up();
    assert!(said.contains("mcp-client: added"), "{said}");
    assert!(said.contains("mcp-multiplexer: is there already"), "{said}");
    assert_eq!(audience(&realm).await, PUBLIC_URL);
    mints(&realm, &shell.secret()).await;
    opens_the_door_of_the_guide(&realm).await;
}

/// A person's token is let in where the guide's scope is required.
async fn opens_the_door_of_the_guide(realm: &Realm) {
    let more = json!({"audiences": [PUBLIC_URL], "requiredScopes": ["mcp"]});
    let mux = locked(realm, more).await;
    // In place of a browser.
    let by_password = json!({"directAccessGrantsEnabled": true});
    realm.change("mcp-client", by_password).await;
    let form = [
        ("grant_type", "password"),
        ("client_id", "mcp-client"),
        ("username", "tester"),
        ("password", PASSWORD),
    ];
    let token = realm.mint(&form).await.expect("a token");
    assert_eq!(status(&mux, &token).await, 200, "{}", mux.log.text());
}

/// The service identity's secret is good, and its token is one for the fleet.
async fn mints(realm: &Realm, secret: &str) {
    let shell = Fleet::new()
        .without_config()
        .env("MCP_CLIENT_AUTH", "oidc-client-credentials")
        .env("OIDC_ISSUER", &realm.issuer())
        .env("OIDC_CLIENT_ID", CLIENT)
        .env("OIDC_CLIENT_SECRET", secret);
    let output = shell.run(&["token"]).await;
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(output.stderr, "");
}

/// For whom the tokens are that people's clients get.
async fn audience(realm: &Realm) -> Value {
    let path = "/clients?clientId=mcp-client";
    let client = realm.admin(Method::GET, path, Value::Null).await[0].take();
    assert_eq!(client["publicClient"], json!(true), "{client}");
    client["protocolMappers"][0]["config"]["included.custom.audience"].clone()
}
