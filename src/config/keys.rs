//! The keys there are, their two spellings, and what a misspelt one was meant to be.

/// Keys at the top of the file.
pub(super) const TOP: &[&str] = &[
    "mcpServers",
    "maxNameLength",
    "mode",
    "publicUrl",
    "auth",
    "groups",
    "defaults",
    "metaTools",
    "alwaysLoad",
    "synonyms",
    "trustedProxies",
    // Editors write it; it says nothing to us.
    "$schema",
];

/// Keys of an entry, and of `defaults`.
pub(super) const ENTRY: &[&str] = &[
    "command",
    "args",
    "env",
    "cwd",
    "inheritEnv",
    "url",
    "type",
    "transport",
    "headers",
    "prefix",
    "enabledTools",
    "disabledTools",
    "disabled",
    "timeout",
    "callTimeout",
    "maxCallTimeout",
    "maxConcurrency",
    "maxQueue",
    "queueTimeout",
    "keepAlive",
    "restart",
    "breaker",
    "breakerThreshold",
    "breakerCooldown",
    "auth",
    "session",
    "maxSessions",
    "lazy",
    "idleTimeout",
    "poolSize",
    "maxRestarts",
    "restartWindow",
];

/// Keys of an entry that the Python multiplexer knew and that have no effect
/// here, each with the reason.
pub(super) const WITHOUT_EFFECT: &[(&str, &str)] = &[
    (
        "poolSize",
        "one connection to a child carries all its calls",
    ),
    ("maxRestarts", "a child is restarted for ever, with backoff"),
    (
        "restartWindow",
        "a child is restarted for ever, with backoff",
    ),
];

/// Keys of `breaker`.
pub(super) const BREAKER: &[&str] = &[
    "failures",
    "cooldown",
    "maxCooldown",
    "failureRate",
    "window",
];

/// Keys of `restart`.
pub(super) const RESTART: &[&str] = &["backoff", "maxBackoff", "stable"];

/// Keys of an entry's `auth` where it is an object.
pub(super) const ENTRY_AUTH: &[&str] = &[
    "audience",
    "scope",
    "resource",
    "clientId",
    "clientSecretFile",
    "tokenUrl",
    "tokenExchange",
];

/// Keys of `tokenExchange`.
pub(super) const TOKEN_EXCHANGE: &[&str] = &["audience", "scope", "resource"];

/// Keys of the top-level `auth`.
pub(super) const AUTH: &[&str] = &[
    "mode",
    "issuer",
    "provider",
    "audiences",
    "jwks",
    "algorithms",
    "jwtValidationOptions",
    "requiredScopes",
    "leeway",
    "introspection",
    "resourceMetadata",
    "caFile",
    "policy",
    "audit",
];

/// Keys of an issuer where it is an object.
pub(super) const AUTH_ISSUER: &[&str] = &["issuer", "audiences", "jwks", "algorithms"];

/// Keys of `jwks` where it is an object.
pub(super) const AUTH_JWKS: &[&str] = &["url", "file", "inline"];

/// Keys of `jwtValidationOptions`.
pub(super) const AUTH_VALIDATION: &[&str] = &["requiredClaims"];

/// Keys of `introspection`.
pub(super) const AUTH_INTROSPECTION: &[&str] = &[
    "endpoint",
    "clientId",
    "clientSecret",
    "clientSecretFile",
    "cache",
];

/// Keys of `resourceMetadata`.
pub(super) const AUTH_METADATA: &[&str] = &[
    "resource",
    "resourceName",
    "authorizationServers",
    "bearerMethodsSupported",
    "scopesSupported",
    "resourceDocumentation",
    "resourcePolicyUri",
];

/// The known key that is written so, in camelCase or snake_case.
pub(super) fn known(keys: &'static [&'static str], written: &str) -> Option<&'static str> {
    keys.iter()
        .find(|key| **key == written || snake_case(key) == written)
        .copied()
}

/// The known key closest to a misspelt one, for a suggestion.
pub(super) fn nearest<'a>(
    candidates: impl IntoIterator<Item = &'a str>,
    written: &str,
) -> Option<&'a str> {
    let written = folded(written);
    candidates
        .into_iter()
        .filter(|key| WITHOUT_EFFECT.iter().all(|(useless, _)| useless != key))
        .map(|key| (likeness(&folded(key), &written), key))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, key)| key)
}

/// Each measure sees what the others miss: edits a slip of the finger,
/// Jaro-Winkler a word that was cut short, containment the key of another client
/// (`httpUrl`, `serverUrl`).
fn likeness(a: &str, b: &str) -> f64 {
    let contained = a.contains(b) || b.contains(a);
    let bonus = if contained { 0.5 } else { 0.0 };
    strsim::normalized_damerau_levenshtein(a, b) + strsim::jaro_winkler(a, b) + bonus
}

/// Long keys are cut: the measures are quadratic, and nobody means such a key.
fn folded(key: &str) -> String {
    key.chars()
        .filter(|c| *c != '_' && *c != '-')
        .flat_map(char::to_lowercase)
        .take(64)
        .collect()
}

pub(super) fn snake_case(camel_case: &str) -> String {
    let mut out = String::with_capacity(camel_case.len() + 4);
    for c in camel_case.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_name_one_key() {
        assert_eq!(known(ENTRY, "callTimeout"), Some("callTimeout"));
        assert_eq!(known(ENTRY, "call_timeout"), Some("callTimeout"));
        assert_eq!(known(ENTRY, "inherit_env"), Some("inheritEnv"));
        assert_eq!(known(TOP, "mcp_servers"), Some("mcpServers"));
        assert_eq!(known(ENTRY, "calltimeout"), None);
    }

    #[test]
    fn a_misspelt_key_finds_the_one_that_was_meant() {
        let cases = [
            ("comand", "command"),
            ("calltimeout", "callTimeout"),
            ("header", "headers"),
            ("enabled_tool", "enabledTools"),
            ("arguments", "args"),
            ("httpUrl", "url"),
            ("serverUrl", "url"),
            ("disabledTool", "disabledTools"),
            ("MAX-CONCURRENCY", "maxConcurrency"),
            ("environment", "env"),
        ];
        for (written, meant) in cases {
            let found = nearest(ENTRY.iter().copied(), written);
            assert_eq!(found, Some(meant), "{written}");
        }
    }

    #[test]
    fn a_key_without_effect_is_never_suggested() {
        assert_ne!(nearest(ENTRY.iter().copied(), "poolsize"), Some("poolSize"));
    }
}
