use std::{collections::HashMap, path::Path};

use jsonwebtoken::Algorithm;

use super::*;
use crate::config::Settings;

const ISSUER: &str = "https://kc.example/realms/a";

fn with(text: &str, pairs: &[(&str, &str)]) -> Result<DoorSettings, String> {
    let env: HashMap<String, String> = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    Settings::from_json(Path::new("c.json"), text, &env)
        .map(|settings| settings.door)
        .map_err(|error| error.to_string())
}

fn lock(text: &str, pairs: &[(&str, &str)]) -> LockSettings {
    with(text, pairs).unwrap().lock.unwrap()
}

fn issuers(lock: &LockSettings) -> &[IssuerSettings] {
    match &lock.check {
        TokenCheck::Jwt(issuers) => issuers,
        TokenCheck::Introspection(_) => panic!("introspection"),
    }
}

#[test]
fn nothing_said_locks_nothing() {
    assert_eq!(with("{}", &[]).unwrap(), DoorSettings::default());
    // The service identity rests on this one.
    let env = [("FASTMCP_SERVER_AUTH_JWT_ISSUER", ISSUER)];
    assert_eq!(with("{}", &env).unwrap().lock, None);
}

#[test]
fn an_issuer_and_a_public_address_are_enough() {
    let text = format!(
        r#"{{"publicUrl": "https://u:p@mcp.example/?k", "auth": {{"issuer": "{ISSUER}"}}}}"#
    );
    let door = with(&text, &[]).unwrap();
    assert_eq!(door.resource.unwrap().as_str(), "https://mcp.example/mcp");
    let lock = door.lock.unwrap();
    assert_eq!(lock.mode, LockMode::Strict);
    assert_eq!(lock.leeway, Duration::from_secs(30));
    assert_eq!(lock.required_claims, [Claim::Exp]);
    let issuer = &issuers(&lock)[0];
    assert_eq!(issuer.name, ISSUER);
    assert_eq!(issuer.audiences, None);
    assert_eq!(issuer.keys, KeysSource::Discovery(ISSUER.parse().unwrap()));
    assert!(!issuer.algorithms.contains(&Algorithm::HS256));
    assert_eq!(door.metadata.unwrap().authorization_servers, [ISSUER]);
}

#[test]
fn each_issuer_has_its_own_keys_algorithms_and_audiences() {
    let text = r#"{"auth": {
        "audiences": ["all"], "algorithms": ["RS256"],
        "issuer": [
            "https://one.example",
            {"issuer": "two", "audiences": ["two"], "algorithms": ["ES256"],
             "jwks": {"inline": {"keys": []}}}
        ]
    }}"#;
    let lock = lock(text, &[]);
    let [one, two] = issuers(&lock) else {
        panic!("two issuers");
    };
    assert_eq!(one.audiences.as_deref(), Some(&["all".to_owned()][..]));
    assert_eq!(one.algorithms, [Algorithm::RS256]);
    assert_eq!(two.audiences.as_deref(), Some(&["two".to_owned()][..]));
    assert_eq!(two.algorithms, [Algorithm::ES256]);
    assert!(matches!(two.keys, KeysSource::Inline(_)));
}

#[test]
fn the_variables_of_fastmcp_lock_the_door() {
    let env = [
        ("AUTH_TYPE", "jwt"),
        (
            "FASTMCP_SERVER_AUTH_JWT_ISSUER",
            "https://a.example, https://b.example",
        ),
        ("FASTMCP_SERVER_AUTH_JWT_JWKS_URI", "https://a.example/jwks"),
        ("FASTMCP_SERVER_AUTH_JWT_AUDIENCE", "agent-services"),
        ("FASTMCP_SERVER_AUTH_JWT_ALGORITHM", "RS256"),
        ("FASTMCP_SERVER_AUTH_JWT_REQUIRED_SCOPES", "mcp,tools"),
    ];
    let lock = lock("{}", &env);
    assert_eq!(issuers(&lock).len(), 2);
    let issuer = &issuers(&lock)[1];
    assert_eq!(issuer.name, "https://b.example");
    let keys = "https://a.example/jwks".parse().unwrap();
    assert_eq!(issuer.keys, KeysSource::Url(keys));
    assert_eq!(
        issuer.audiences.as_deref(),
        Some(&["agent-services".to_owned()][..])
    );
    assert_eq!(lock.required_scopes, ["mcp", "tools"]);
}

#[test]
fn the_file_wins_over_the_environment_and_takes_no_keys_from_it() {
    let text =
        format!(r#"{{"auth": {{"issuer": "{ISSUER}", "mode": "optional", "audiences": ["a"]}}}}"#);
    let env = [
        ("MCP_AUTH_MODE", "permissive"),
        ("MCP_AUTH_ISSUER", "https://other.example"),
        ("MCP_AUTH_JWKS_URL", "https://other.example/jwks"),
        ("MCP_AUTH_LEEWAY", "5"),
    ];
    let lock = lock(&text, &env);
    assert_eq!(lock.mode, LockMode::Optional);
    assert_eq!(lock.leeway, Duration::from_secs(5));
    assert_eq!(issuers(&lock).len(), 1);
    assert_eq!(
        issuers(&lock)[0].keys,
        KeysSource::Discovery(ISSUER.parse().unwrap())
    );
}

#[test]
fn introspection_by_file_and_by_variables() {
    let text = r#"{"auth": {"audiences": ["a"], "introspection": {
        "endpoint": "https://kc.example/introspect", "clientId": "me",
        "clientSecretFile": "/run/secrets/it", "cache": "5s"
    }}}"#;
    let env = [
        ("MCP_AUTH_AUDIENCES", "a"),
        (
            "MCP_AUTH_INTROSPECTION_ENDPOINT",
            "https://kc.example/introspect",
        ),
        ("MCP_AUTH_INTROSPECTION_CLIENT_ID", "me"),
        ("MCP_AUTH_INTROSPECTION_CLIENT_SECRET", "canary"),
        ("MCP_AUTH_INTROSPECTION_CACHE", "5"),
    ];
    for lock in [lock(text, &[]), lock("{}", &env)] {
        let TokenCheck::Introspection(settings) = &lock.check else {
            panic!("{lock:?}");
        };
        assert_eq!(settings.cache, Duration::from_secs(5));
        assert_eq!(settings.audiences.as_deref(), Some(&["a".to_owned()][..]));
        assert!(!format!("{lock:?}").contains("canary"));
    }
}

#[test]
fn kuadrants_variables_tell_of_the_resource_without_a_lock() {
    let env = [
        ("OAUTH_RESOURCE", "https://mcp.example/mcp"),
        ("OAUTH_RESOURCE_NAME", "Tools"),
        (
            "OAUTH_AUTHORIZATION_SERVERS",
            " https://kc.example/realms/a , https://b ",
        ),
        ("OAUTH_SCOPES_SUPPORTED", "openid, groups"),
    ];
    let door = with("{}", &env).unwrap();
    assert_eq!(door.lock, None);
    assert_eq!(door.resource.unwrap().as_str(), "https://mcp.example/mcp");
    let told = door.metadata.unwrap();
    assert_eq!(told.authorization_servers.len(), 2);
    assert_eq!(told.bearer_methods, ["header"]);
    assert_eq!(told.scopes, ["openid", "groups"]);
}

#[test]
fn a_lock_that_would_not_lock_stops_the_start_and_names_the_key() {
    let of = |auth: &str| format!(r#"{{"auth": {auth}}}"#);
    let cases = [
        ("{}", r#""auth": it needs "issuer" or "introspection""#),
        (r#"{"mode": "strict"}"#, r#"needs "issuer""#),
        ("false", r#""auth": expected an object"#),
        (r#"{"issuer": "https://a.example"}"#, r#"needs "audiences""#),
        (r#"{"issuer": "a", "audiences": ["a"]}"#, r#"needs "jwks""#),
        (
            r#"{"issuer": "http://a.example", "audiences": ["a"]}"#,
            "https://",
        ),
        (r#"{"issuer": [], "audiences": ["a"]}"#, "names nobody"),
        (
            r#"{"issuer": "https://a", "audiences": []}"#,
            r#""auth.audiences""#,
        ),
        (
            r#"{"issuer": "https://a", "audiences": ["a"], "algorithms": ["HS256"]}"#,
            r#""auth.algorithms": expected some of RS256"#,
        ),
        (
            r#"{"issuer": "https://a", "audiences": ["a"], "algorithms": ["none"]}"#,
            r#""auth.algorithms""#,
        ),
        (
            r#"{"issuer": "https://a", "audiences": ["a"], "jwtValidationOptions": {"requiredClaims": ["jti"]}}"#,
            r#""auth.jwtValidationOptions.requiredClaims""#,
        ),
        (
            r#"{"issuer": [{"issuer": "https://a", "jwks": {"url": "x", "file": "y"}}], "audiences": ["a"]}"#,
            r#""auth.issuer[0].jwks.url""#,
        ),
        (
            r#"{"issuer": "https://a", "audiences": ["a"], "mode": "lax", "leeway": -1}"#,
            r#""auth.leeway""#,
        ),
        (
            r#"{"audiences": ["a"], "introspection": {"endpoint": "https://a"}}"#,
            r#""auth.introspection.endpoint": introspection needs"#,
        ),
    ];
    for (auth, part) in cases {
        let error = with(&of(auth), &[]).expect_err(auth);
        assert!(error.contains(part), "{auth}: {error}");
    }
    let both = with(
        &of(r#"{"mode": "lax", "leeway": -1, "issuer": "https://a"}"#),
        &[],
    );
    let both = both.expect_err("two mistakes");
    assert!(
        both.contains("auth.mode") && both.contains("auth.leeway"),
        "{both}"
    );
}

#[test]
fn a_key_in_a_variable_is_the_key_or_its_file() {
    let keys = |key: &str| {
        let env = [
            ("AUTH_TYPE", "jwt"),
            ("FASTMCP_SERVER_AUTH_JWT_ISSUER", "me"),
            ("FASTMCP_SERVER_AUTH_JWT_AUDIENCE", "a"),
            ("FASTMCP_SERVER_AUTH_JWT_PUBLIC_KEY", key),
        ];
        issuers(&lock("{}", &env))[0].keys.clone()
    };
    let pem = "-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----";
    for written in [pem.to_owned(), pem.replace('\n', "\\n")] {
        assert_eq!(keys(&written), KeysSource::Inline(pem.to_owned()));
    }
    let file = KeysSource::File("/run/key.pem".into());
    assert_eq!(keys("/run/key.pem"), file);
}

#[test]
fn a_provider_is_one_realm_with_an_address() {
    let auth = |rest: &str| {
        let text = format!(r#"{{"auth": {{"audiences": ["a"], "provider": "keycloak", {rest}}}}}"#);
        with(&text, &[])
    };
    let one = auth(&format!(r#""issuer": "{ISSUER}""#)).unwrap();
    assert_eq!(one.lock.unwrap().realm.unwrap().as_str(), ISSUER);
    let env = [
        ("MCP_AUTH_PROVIDER", "keycloak"),
        ("MCP_AUTH_ISSUER", ISSUER),
    ];
    let realm = lock(r#"{"publicUrl": "https://h"}"#, &env).realm;
    assert_eq!(realm.unwrap().as_str(), ISSUER);
    for wrong in [
        format!(r#""issuer": ["{ISSUER}", "https://b.example"]"#),
        r#""issuer": {"issuer": "me", "jwks": "https://b.example"}"#.to_owned(),
        r#""introspection": {"endpoint": "https://b.example", "clientId": "a", "clientSecret": "b"}"#
            .to_owned(),
    ] {
        let error = auth(&wrong).unwrap_err();
        assert!(error.contains("provider"), "{wrong}: {error}");
    }
    let error = with(r#"{"auth": {"provider": "okta"}}"#, &[]).unwrap_err();
    assert!(error.contains("keycloak"), "{error}");
}

#[test]
fn a_variable_that_is_wrong_is_named() {
    let cases = [
        (vec![("AUTH_TYPE", "oauth-proxy")], "AUTH_TYPE"),
        (vec![("AUTH_TYPE", "jwt")], r#""auth": it needs "issuer""#),
        (vec![("MCP_AUTH_MODE", "lax")], "MCP_AUTH_MODE"),
        (vec![("MCP_TRUSTED_PROXIES", "here")], "MCP_TRUSTED_PROXIES"),
        (vec![("MCP_PUBLIC_URL", "here")], "MCP_PUBLIC_URL"),
        (
            vec![("FASTMCP_SERVER_AUTH_JWT_BASE_URL", "here")],
            "FASTMCP_SERVER_AUTH_JWT_BASE_URL",
        ),
    ];
    for (env, part) in cases {
        let error = with("{}", &env).expect_err(part);
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn unknown_keys_and_proxies() {
    let text = r#"{"trustedProxies": ["10.0.0.0/8", "::1"], "auth": {
        "issuer": "https://a.example", "audience": ["x"], "audiences": ["a"]
    }}"#;
    let settings = Settings::from_json(Path::new("c"), text, &HashMap::new()).unwrap();
    assert_eq!(settings.door.trusted_proxies.len(), 2);
    let warning = settings.warnings[0..].iter().map(ToString::to_string);
    let told: Vec<_> = warning.filter(|w| w.contains("auth.audience")).collect();
    assert!(told[0].contains("\"audiences\""), "{told:?}");
}
