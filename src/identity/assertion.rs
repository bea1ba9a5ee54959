//! The assertion of `private_key_jwt` (RFC 7523, 3; OpenID Connect Core, 9).

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, get_current_timestamp};
use serde::Serialize;
use uuid::Uuid;

use super::error::MintError;

/// Long enough for a slow provider and clocks that differ a little; it is used once.
const LIFE: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    jti: String,
    iat: u64,
    exp: u64,
}

/// An assertion of this client for this audience, signed with the key in `pem`: RSA
/// signs with RS256, P-256 with ES256.
///
/// # Errors
///
/// When there is no such key in it.
pub(super) fn signed(
    pem: &str,
    key_id: Option<&str>,
    client_id: &str,
    audience: &str,
) -> Result<String, MintError> {
    let now = get_current_timestamp();
    let claims = Claims {
        iss: client_id,
        sub: client_id,
        aud: audience,
        jti: Uuid::new_v4().to_string(),
        iat: now,
        exp: now + LIFE.as_secs(),
    };
    let keys = [
        (Algorithm::RS256, EncodingKey::from_rsa_pem(pem.as_bytes())),
        (Algorithm::ES256, EncodingKey::from_ec_pem(pem.as_bytes())),
    ];
    keys.into_iter()
        .filter_map(|(algorithm, key)| Some((algorithm, key.ok()?)))
        .find_map(|(algorithm, key)| {
            let mut header = Header::new(algorithm);
            header.kid = key_id.map(str::to_owned);
            jsonwebtoken::encode(&header, &claims, &key).ok()
        })
        .ok_or(MintError::UnusableKey)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::{AsDer, Pkcs8V1Der},
        rsa::{KeyPair, KeySize},
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
    };
    use base64::{Engine, prelude::BASE64_STANDARD};
    use jsonwebtoken::decode_header;

    use super::*;

    fn pem(der: &[u8]) -> String {
        let body = BASE64_STANDARD.encode(der);
        format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
    }

    #[test]
    fn the_key_decides_the_algorithm() {
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let ec = pem(ec.to_pkcs8v1().unwrap().as_ref());
        let rsa = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let rsa: Pkcs8V1Der<'_> = rsa.as_der().unwrap();
        let rsa = pem(rsa.as_ref());
        for (pem, algorithm) in [(ec, Algorithm::ES256), (rsa, Algorithm::RS256)] {
            let jwt = signed(&pem, Some("k1"), "me", "https://id").unwrap();
            let header = decode_header(&jwt).unwrap();
            assert_eq!((header.alg, header.kid.as_deref()), (algorithm, Some("k1")));
        }
    }

    #[test]
    fn what_is_no_key_is_an_error_that_shows_nothing_of_it() {
        for pem in [
            "",
            "canary",
            "-----BEGIN PRIVATE KEY-----\nY2FuYXJ5\n-----END PRIVATE KEY-----",
        ] {
            let error = signed(pem, None, "me", "https://id").unwrap_err();
            assert!(matches!(error, MintError::UnusableKey));
            assert!(!error.to_string().contains("canary"));
        }
    }
}
