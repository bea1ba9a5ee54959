//! The top-level `auth` and `trustedProxies` of the file.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use secrecy::SecretString;

use super::{
    CACHE, CLAIMS, Claim, IntrospectionSettings, Layer, MODES, PROVIDERS, Trust,
    issuer::{self, read_audiences, safe_url},
    metadata,
};
use crate::config::{identity::SecretSource, keys, reader::Reader, scalars::one_of};

/// Reads `auth`.
pub(super) fn read_auth(top: &mut Reader<'_>) -> Layer {
    let Some(mut auth) = top.inner("auth", keys::AUTH) else {
        return Layer::default();
    };
    let mut layer = read(&mut auth);
    if let Some(mut options) = auth.inner("jwtValidationOptions", keys::AUTH_VALIDATION) {
        layer.required_claims = read_claims(&mut options);
        auth.absorb(options);
    }
    layer.metadata = metadata::Layer::read_in(&mut auth);
    layer.policy = auth.text("policy").map(PathBuf::from);
    layer.audit = auth.flag("audit");
    let issuers = issuer::read(&mut auth);
    if let Some(mut introspection) = auth.inner("introspection", keys::AUTH_INTROSPECTION) {
        let secret = read_secret(&mut introspection);
        let name = issuers.as_ref().map(|all| all[0].name.clone());
        if issuers.as_ref().is_some_and(|all| all.len() > 1) {
            introspection.refuse("endpoint", "with introspection there is one issuer");
        }
        layer.trust = read_introspection(&mut introspection, name, secret);
        auth.absorb(introspection);
    } else {
        layer.trust = issuers.map(Trust::Jwt);
    }
    top.absorb(auth);
    layer
}

/// The keys that are read alike from the file and from variables.
pub(super) fn read(auth: &mut Reader<'_>) -> Layer {
    Layer {
        mode: auth.choice("mode", MODES),
        provider: auth.choice("provider", PROVIDERS),
        audiences: read_audiences(auth),
        required_scopes: read_scopes(auth),
        leeway: auth.duration_or_zero("leeway"),
        ca_file: auth.text("caFile").map(PathBuf::from),
        ..Layer::default()
    }
}

/// A scope has no spaces (RFC 6749, 3.3), so whoever writes one means several.
fn read_scopes(auth: &mut Reader<'_>) -> Option<Vec<String>> {
    let scopes = auth.texts("requiredScopes")?;
    let words = scopes.iter().flat_map(|scope| scope.split_whitespace());
    let scopes: Vec<String> = words.map(str::to_owned).collect();
    let legal = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
    if !scopes.iter().all(|scope| scope.chars().all(legal)) {
        let written = auth.spelling("requiredScopes");
        auth.refuse(written, "a scope holds a character that no scope can have");
        return None;
    }
    Some(scopes)
}

pub(super) fn read_claims(options: &mut Reader<'_>) -> Option<Vec<Claim>> {
    let words = options.texts("requiredClaims")?;
    let mut claims = Vec::with_capacity(words.len());
    for word in &words {
        let Some((_, claim)) = CLAIMS.iter().find(|(name, _)| *name == word.trim()) else {
            let known = one_of(CLAIMS.iter().map(|(name, _)| *name));
            let written = options.spelling("requiredClaims");
            options.refuse(written, &format!("expected some of {known}"));
            return None;
        };
        claims.push(*claim);
    }
    Some(claims)
}

fn read_secret(introspection: &mut Reader<'_>) -> Option<SecretSource> {
    let file = introspection.text("clientSecretFile");
    let value = introspection.text("clientSecret").map(SecretString::from);
    match (file, value) {
        (Some(_), Some(_)) => {
            introspection.refuse(
                "clientSecret",
                "\"clientSecretFile\" is set too; keep one of them",
            );
            None
        }
        (Some(file), None) => Some(SecretSource::File(
            "auth.introspection.clientSecretFile",
            file.into(),
        )),
        (None, value) => {
            value.map(|secret| SecretSource::Value("auth.introspection.clientSecret", secret))
        }
    }
}

/// Reads the keys of `introspection`, or of the variables that stand for it.
pub(super) fn read_introspection(
    reader: &mut Reader<'_>,
    issuer: Option<String>,
    secret: Option<SecretSource>,
) -> Option<Trust> {
    let found_before = reader.findings.problems.len();
    let endpoint = reader.text("endpoint").map(|text| safe_url(&text));
    let client_id = reader.text("clientId");
    let cache = reader.duration_or_zero("cache").unwrap_or(CACHE);
    if let Some(Err(why)) = &endpoint {
        let written = reader.spelling("endpoint");
        reader.refuse(written, why);
    }
    let endpoint = endpoint.and_then(Result::ok);
    match (endpoint, client_id, secret) {
        (Some(endpoint), Some(client_id), Some(client_secret)) => {
            Some(Trust::Introspection(IntrospectionSettings {
                endpoint,
                issuer,
                client_id,
                client_secret,
                audiences: None,
                cache,
            }))
        }
        _ => {
            if reader.findings.problems.len() == found_before {
                let written = reader.spelling("endpoint");
                reader.refuse(
                    written,
                    "introspection needs an endpoint, a client id, and a client secret or its file",
                );
            }
            None
        }
    }
}

/// Reads `trustedProxies`: addresses and networks.
pub(super) fn read_proxies(reader: &mut Reader<'_>) -> Option<Vec<IpNet>> {
    let texts = reader.texts("trustedProxies")?;
    let mut networks = Vec::with_capacity(texts.len());
    for text in &texts {
        let text = text.trim();
        let address = text.parse::<IpAddr>().map(IpNet::from);
        match text.parse::<IpNet>().or(address) {
            Ok(network) => networks.push(network),
            Err(_) => {
                let written = reader.spelling("trustedProxies");
                reader.refuse(
                    written,
                    "expected addresses and networks such as \"10.0.0.0/8\"",
                );
                return None;
            }
        }
    }
    Some(networks)
}
