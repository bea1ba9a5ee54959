//! Why children may refuse a token that was minted.

use super::claims::Claims;
use crate::config::TokenSettings;

/// A token that lives shorter is old before it is in use everywhere.
const SHORT: i64 = 30;
/// How far clocks may differ: what children usually tolerate.
const LEEWAY: i64 = 5;

/// What an operator should look at, one sentence or two each. `asked` is what the token
/// was asked for with, where it was; `now` is Unix time in seconds.
pub(super) fn doubts(asked: Option<&TokenSettings>, claims: &Claims, now: i64) -> Vec<String> {
    let asked_for = asked.and_then(|asked| audience_missing(asked, claims));
    let issuer = asked.and_then(|asked| {
        let issuer = asked.place.issuer()?.as_str();
        other_issuer(issuer, claims)
    });
    [asked_for, issuer, not_yet(claims, now), old(claims, now)]
        .into_iter()
        .flatten()
        .collect()
}

fn audience_missing(asked: &TokenSettings, claims: &Claims) -> Option<String> {
    let audience = asked.audience.as_deref()?;
    let client = &asked.client_id;
    // A provider with RFC 8707 puts the resource there, and may not know `audience`.
    let meant = [Some(audience), asked.resource.as_deref()]
        .into_iter()
        .flatten()
        .any(|meant| claims.aud.iter().any(|aud| aud == meant));
    (!meant).then(|| {
        format!(
            "the audience {audience:?} is not in `aud`, so children that check it will refuse the \
             token. In Keycloak an audience mapper is missing: Clients > {client} > Client scopes > \
             {client}-dedicated > Configure a new mapper (or Add mapper > By configuration) > \
             Audience, with {audience:?} as the included custom audience and \"Add to access token\" on"
        )
    })
}

fn other_issuer(configured: &str, claims: &Claims) -> Option<String> {
    let iss = claims.iss.as_deref().unwrap_or_default();
    // A URL type adds a slash to a bare host.
    let same = iss.trim_end_matches('/') == configured.trim_end_matches('/');
    (!same).then(|| {
        format!(
            "`iss` is {iss:?} and the configured issuer is {configured:?}. Children that check `iss` \
             against the latter will refuse the token: set OIDC_ISSUER, and the children's issuer, to \
             the one in the token; or give Keycloak its public address (KC_HOSTNAME)"
        )
    })
}

fn not_yet(claims: &Claims, now: i64) -> Option<String> {
    let early = claims.nbf?.saturating_sub(now);
    (early > LEEWAY).then(|| {
        format!(
            "the token is not valid for another {early} s (`nbf`): the clocks of this machine and of \
             the identity provider differ"
        )
    })
}

fn old(claims: &Claims, now: i64) -> Option<String> {
    let left = claims.exp?.saturating_sub(now);
    match left {
        ..=0 => Some(
            "the token has expired already: it is an old one, or the clocks of this machine and of \
             the identity provider differ"
                .to_owned(),
        ),
        1..SHORT => Some(format!(
            "the token lives for {left} s only. In Keycloak: Realm settings > Tokens > Access Token \
             Lifespan, or the client's own under Advanced"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::TokenPlace, identity::testing::settings};

    const NOW: i64 = 1_700_000_000;

    fn sound() -> Claims {
        Claims {
            iss: Some("https://id/realms/x".into()),
            aud: vec!["account".into(), "agent-services".into()],
            exp: Some(NOW + 300),
            nbf: Some(NOW),
            ..Claims::default()
        }
    }

    fn told(change: impl FnOnce(&mut Claims)) -> Vec<String> {
        let mut claims = sound();
        change(&mut claims);
        let asked = TokenSettings {
            place: TokenPlace::Endpoint {
                token_url: "https://id/token".parse().unwrap(),
                issuer: Some("https://id/realms/x".parse().unwrap()),
            },
            ..settings("https://id/token")
        };
        doubts(Some(&asked), &claims, NOW)
    }

    fn one(change: impl FnOnce(&mut Claims)) -> String {
        let told = told(change);
        assert_eq!(told.len(), 1, "{told:?}");
        told[0].clone()
    }

    #[test]
    fn a_sound_token_raises_none() {
        assert_eq!(told(|_| {}), [""; 0]);
        assert_eq!(told(|c| c.exp = Some(NOW + 30)), [""; 0]);
        assert_eq!(told(|c| c.exp = None), [""; 0]);
        assert_eq!(
            told(|c| c.iss = Some("https://id/realms/x/".into())),
            [""; 0]
        );
    }

    #[test]
    fn a_missing_audience_is_told_with_the_mapper_that_adds_it() {
        for aud in [vec![], vec!["account".to_owned()]] {
            let told = one(|c| c.aud = aud);
            for part in ["agent-services", "mcp-multiplexer-dedicated", "mapper"] {
                assert!(told.contains(part), "{told}");
            }
        }
    }

    #[test]
    fn the_resource_that_was_asked_for_is_an_audience_too() {
        let asked = TokenSettings {
            resource: Some("https://tools.example".into()),
            ..settings("https://id/token")
        };
        let aimed = |aud: &str| Claims {
            aud: vec![aud.to_owned()],
            ..sound()
        };
        let told = |aud| doubts(Some(&asked), &aimed(aud), NOW);
        assert_eq!(told("https://tools.example"), [""; 0]);
        assert_eq!(told("https://other.example").len(), 1);
    }

    #[test]
    fn another_issuer_is_told_with_both_names() {
        let told = one(|c| c.iss = Some("http://keycloak:8080/realms/x".into()));
        assert!(told.contains("http://keycloak:8080/realms/x"), "{told}");
        assert!(told.contains("https://id/realms/x"), "{told}");
        assert!(one(|c| c.iss = None).contains("`iss`"));
    }

    #[test]
    fn a_token_that_is_old_or_will_be_soon_is_told() {
        assert!(one(|c| c.exp = Some(NOW)).contains("expired"));
        assert!(one(|c| c.exp = Some(NOW - 9)).contains("expired"));
        assert!(one(|c| c.exp = Some(NOW + 29)).contains("29 s"));
        assert!(one(|c| c.exp = Some(i64::MIN)).contains("expired"));
        assert!(one(|c| c.nbf = Some(NOW + 60)).contains("clocks"));
    }

    #[test]
    fn of_a_token_from_a_file_only_its_time_is_known() {
        let mut claims = sound();
        claims.aud.clear();
        assert_eq!(doubts(None, &claims, NOW), [""; 0]);
        claims.exp = Some(NOW - 1);
        assert_eq!(doubts(None, &claims, NOW).len(), 1);
    }
}
