//! The public keys of an issuer, as one immutable set.

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// Nobody signs with more keys at a time.
const MOST: usize = 100;

/// Keys that signatures can be checked with.
#[derive(Default)]
pub(super) struct KeySet(Vec<Key>);

struct Key {
    id: Option<String>,
    /// What it may sign with: by its kind, or by what is said beside it.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
    is_pem: bool,
}

/// What came of looking for a key.
pub(super) enum Found<'a> {
    Key(&'a DecodingKey),
    /// There is none of this id.
    Unknown,
    /// There is one, and it does not sign like this.
    OtherAlgorithm,
    /// No id is given, and none or several would do.
    Unnamed,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// The two kinds of a public key in PEM (RFC 7468, 13; RFC 8017, A.1.1).
const PEM: [&str; 2] = [
    "-----BEGIN PUBLIC KEY-----",
    "-----BEGIN RSA PUBLIC KEY-----",
];
/// What a point of a curve takes that is not compressed.
const P256_POINT: usize = 65;
const P384_POINT: usize = 97;

impl KeySet {
    /// Reads a JWK set, or one key in PEM. Keys that are of no use here are left out: for encryption, of
    /// kinds that are not known, and secrets, which must not be there at all.
    ///
    /// # Errors
    ///
    /// It is no JWK set and no public key, or there is no key of use in it.
    pub(super) fn read(text: &[u8]) -> Result<Self, String> {
        if text.trim_ascii_start().starts_with(b"-----BEGIN") {
            return Key::read_pem(text.trim_ascii()).map(|key| Self(vec![key]));
        }
        let document: Document =
            serde_json::from_slice(text).map_err(|_| "it is not a JWK set".to_owned())?;
        if document.keys.len() > MOST {
            return Err(format!("it has more than {MOST} keys"));
        }
        let keys: Vec<_> = document.keys.into_iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err("it has no key that signatures can be checked with".to_owned());
        }
        Ok(Self(keys))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key of this id that signs with this algorithm. A key in PEM is alone and has no
    /// id: whatever a token calls it, there is no other.
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let fits = |key: &&Key| key.algorithms.contains(&algorithm);
        if let [alone] = self.0.as_slice()
            && alone.is_pem
        {
            return match fits(&alone) {
                true => Found::Key(&alone.key),
                false => Found::OtherAlgorithm,
            };
        }
        let Some(id) = id else {
            let mut fitting = self.0.iter().filter(fits);
            return match (fitting.next(), fitting.next()) {
                (Some(only), None) => Found::Key(&only.key),
                _ => Found::Unnamed,
            };
        };
        let of_id = || self.0.iter().filter(|key| key.id.as_deref() == Some(id));
        match of_id().find(fits) {
            Some(key) => Found::Key(&key.key),
            None if of_id().next().is_some() => Found::OtherAlgorithm,
            None => Found::Unknown,
        }
    }
}

impl Key {
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let common = &jwk.common;
        let for_signatures = match &common.public_key_use {
            None | Some(PublicKeyUse::Signature) => true,
            Some(_) => false,
        };
        let verifies = common
            .key_operations
            .as_ref()
            .is_none_or(|operations| operations.contains(&KeyOperations::Verify));
        if !for_signatures || !verifies {
            return None;
        }
        let mut algorithms = by_kind(&jwk.algorithm);
        if let Some(said) = common.key_algorithm {
            let said = said.to_string().parse::<Algorithm>().ok()?;
            algorithms.retain(|algorithm| *algorithm == said);
        }
        if algorithms.is_empty() {
            return None;
        }
        Some(Self {
            id: common.key_id.clone(),
            algorithms,
            key: DecodingKey::from_jwk(&jwk).ok()?,
            is_pem: false,
        })
    }

    fn read_pem(text: &[u8]) -> Result<Self, String> {
        let unknown = "it is no public key in PEM that is known here: RSA, P-256, P-384 or Ed25519";
        if !PEM.iter().any(|begin| text.starts_with(begin.as_bytes())) {
            return Err(format!("{unknown}; a private key or a certificate is none"));
        }
        let rsa = DecodingKey::from_rsa_pem(text).map(|key| (key, rsa()));
        let ed = || DecodingKey::from_ed_pem(text).map(|key| (key, vec![Algorithm::EdDSA]));
        let ec = || {
            DecodingKey::from_ec_pem(text).map(|key| {
                let point = key.try_get_as_bytes().map_or(0, <[u8]>::len);
                (
                    key,
                    match point {
                        P256_POINT => vec![Algorithm::ES256],
                        P384_POINT => vec![Algorithm::ES384],
                        _ => Vec::new(),
                    },
                )
            })
        };
        match rsa.or_else(|_| ed()).or_else(|_| ec()) {
            Ok((key, algorithms)) if !algorithms.is_empty() => Ok(Self {
                id: None,
                algorithms,
                key,
                is_pem: true,
            }),
            _ => Err(unknown.to_owned()),
        }
    }
}

fn rsa() -> Vec<Algorithm> {
    AlgorithmFamily::Rsa.algorithms().to_vec()
}

/// What a key of this kind can sign with.
fn by_kind(kind: &AlgorithmParameters) -> Vec<Algorithm> {
    match kind {
        AlgorithmParameters::RSA(_) => rsa(),
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => Vec::new(),
        },
        AlgorithmParameters::OctetKeyPair(key) => match key.curve {
            EllipticCurve::Ed25519 => vec![Algorithm::EdDSA],
            _ => Vec::new(),
        },
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Of RFC 7515, appendix A.3.
    fn ec(more: Value) -> Value {
        let mut key = json!({
            "kty": "EC", "crv": "P-256", "kid": "ec",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
        });
        for (name, value) in more.as_object().unwrap() {
            key[name] = value.clone();
        }
        key
    }

    fn set(keys: Value) -> Result<KeySet, String> {
        KeySet::read(json!({"keys": keys}).to_string().as_bytes())
    }

    #[test]
    fn a_key_signs_with_what_it_is_made_for_only() {
        let set = set(json!([ec(json!({}))])).unwrap();
        let find = |id, algorithm| set.find(id, algorithm);
        assert!(matches!(find(Some("ec"), Algorithm::ES256), Found::Key(_)));
        for other in [Algorithm::RS256, Algorithm::HS256, Algorithm::ES384] {
            assert!(matches!(find(Some("ec"), other), Found::OtherAlgorithm));
        }
        assert!(matches!(find(Some("x"), Algorithm::ES256), Found::Unknown));
        assert!(matches!(find(None, Algorithm::ES256), Found::Key(_)));
        assert!(matches!(find(None, Algorithm::RS256), Found::Unnamed));
    }

    /// The same key, as openssl writes it.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7
6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==
-----END PUBLIC KEY-----";

    #[test]
    fn a_key_in_pem_is_alone_whatever_a_token_calls_it() {
        let set = KeySet::read(PEM.as_bytes()).unwrap();
        for id in [None, Some("x")] {
            assert!(matches!(set.find(id, Algorithm::ES256), Found::Key(_)));
            for other in [Algorithm::ES384, Algorithm::RS256, Algorithm::HS256] {
                assert!(matches!(set.find(id, other), Found::OtherAlgorithm));
            }
        }
        for none in [
            PEM.replace("PUBLIC", "PRIVATE"),
            PEM.replace("PUBLIC KEY", "CERTIFICATE"),
            PEM.replace("MFkw", "AAAA"),
            "-----BEGIN PUBLIC KEY-----".to_owned(),
        ] {
            let error = KeySet::read(none.as_bytes()).err().unwrap();
            assert!(error.contains("public key"), "{error}");
        }
    }

    #[test]
    fn keys_of_no_use_are_left_out_and_odd_ones_harm_no_other() {
        let useless = json!([
            ec(json!({"use": "enc"})),
            ec(json!({"key_ops": ["sign"]})),
            ec(json!({"alg": "RS256"})),
            ec(json!({"alg": "ECDH-ES"})),
            {"kty": "oct", "k": "c2VjcmV0", "kid": "oct"},
            {"kty": "AKP", "kid": "new", "pub": "x"},
            {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"},
            7, null, {}
        ]);
        let error = set(useless.clone()).err().unwrap();
        assert!(error.contains("no key"), "{error}");
        let mut keys = useless.as_array().unwrap().clone();
        keys.push(ec(
            json!({"use": "sig", "alg": "ES256", "key_ops": ["verify"]}),
        ));
        assert_eq!(set(json!(keys)).unwrap().len(), 1);
        let many: Vec<_> = (0..=MOST).map(|_| ec(json!({}))).collect();
        assert!(set(json!(many)).is_err());
        assert!(KeySet::read(b"[]").is_err());
    }
}
