//! What can be said of a token before its issuer is asked: one that reads as a JWT and
//! cannot be good is not worth a question.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, de::DeserializeOwned};

use super::refusal::{Reason, Refusal};

#[derive(Deserialize)]
struct Header {
    alg: String,
}

#[derive(Deserialize)]
struct Times {
    #[serde(default)]
    exp: Option<f64>,
}

/// Whether the issuer may know it. What is no JWT may be anything.
///
/// # Errors
///
/// It is a JWT that is broken, unsigned, or says itself that it ended before `now`.
pub(super) fn worth_a_question(token: &str, now: u64) -> Result<(), Refusal> {
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Ok(());
    };
    let Some(Header { alg }) = read(header) else {
        return Ok(());
    };
    if alg.eq_ignore_ascii_case("none") || signature.is_empty() {
        return Err(Refusal::new(Reason::Algorithm, "it is not signed"));
    }
    match read::<Times>(claims) {
        None => Err(Refusal::new(
            Reason::Malformed,
            "it is a JWT whose claims cannot be read",
        )),
        Some(Times { exp: Some(exp) }) if exp < now as f64 => Err(Refusal::new(
            Reason::Expired,
            "it says itself that it has expired",
        )),
        Some(_) => Ok(()),
    }
}

fn read<T: DeserializeOwned>(part: &str) -> Option<T> {
    let text = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(header: &str, claims: &str) -> String {
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", part(header), part(claims))
    }

    #[test]
    fn what_may_be_good_is_asked_about_and_what_cannot_be_is_not() {
        let header = r#"{"alg":"RS256"}"#;
        let reason = |token: &str| {
            worth_a_question(token, 1000)
                .err()
                .map(|refusal| refusal.reason)
        };
        for good in [
            "opaque".to_owned(),
            "a.b.c".to_owned(),
            "v4.public.x".to_owned(),
            jwt("[]", "x"),
            jwt(header, "{}"),
            jwt(header, r#"{"exp":1000}"#),
            jwt(header, r#"{"exp":1e300}"#),
        ] {
            assert_eq!(reason(&good), None, "{good}");
        }
        let unsigned = jwt(header, "{}").replace("c2ln", "");
        for (bad, why) in [
            (jwt(header, "[]x"), Reason::Malformed),
            (jwt(header, r#"{"exp":"x"}"#), Reason::Malformed),
            (jwt(header, r#"{"exp":999}"#), Reason::Expired),
            (jwt(header, r#"{"exp":-1}"#), Reason::Expired),
            (jwt(r#"{"alg":"nOnE"}"#, "{}"), Reason::Algorithm),
            (unsigned, Reason::Algorithm),
        ] {
            assert_eq!(reason(&bad), Some(why), "{bad}");
        }
    }
}
