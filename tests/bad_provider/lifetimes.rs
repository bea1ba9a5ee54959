//! Tokens whose life is told strangely, or not at all.

use std::time::Duration;

use serde_json::Value;

use super::{
    Deed, Teller, fleet, identity, mints, seen,
    support::{Door, Era, eventually},
};

/// What status says of a token with these members is between these two.
#[tokio::test]
async fn a_strange_life_has_a_meaning_and_costs_nobody_the_token() {
    for (told, seconds) in [
        ("", 200..=300),
        (r#","expires_in":null"#, 200..=300),
        (r#","expires_in":"soon""#, 200..=300),
        (r#","expires_in":"3600""#, 3000..=3600),
        (r#","expires_in":3599.9"#, 3000..=3600),
        (r#","expires_in":99999999999999999999"#, 86_000..=86_400),
        (r#","expires_in":1e400"#, 86_000..=86_400),
    ] {
        let teller = Teller::start(Deed::token("fine", told)).await;
        let mut mux = fleet(&teller).over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Modern).await;

        assert_ne!(seen(&mut client).await, Value::Null, "{told}");
        let left = identity(&mux).await["expiresInSeconds"].as_u64();
        assert!(
            left.is_some_and(|left| seconds.contains(&left)),
            "{told}: {left:?}"
        );
        assert_eq!(teller.asked().len(), 1, "{told}");
    }
}

/// Whatever the provider says, it is not asked more than once in a second. The pause is
/// from an answer to the next request, so a slow machine only makes it longer.
#[tokio::test]
async fn a_token_that_is_over_at_once_is_no_reason_to_hurry() {
    for told in ["0", "-5", "0.001", "-1e400"] {
        let deed = Deed::token("fleeting", &format!(r#","expires_in":{told}"#));
        let teller = Teller::start(deed).await;
        let mut mux = fleet(&teller).over(Door::Http).await;
        mux.all_ready().await;
        let mut client = mux.client(Era::Modern).await;

        teller.until_asked(4).await;

        let asked = teller.asked();
        let whole = asked[3] - asked[0];
        assert!(whole >= Duration::from_secs(3), "{told}: {whole:?}");
        eventually("a call with such a token", async || {
            (!seen(&mut client).await.is_null()).then_some(())
        })
        .await;
        for outcome in ["refused", "unreachable", "timeout", "invalid_answer"] {
            assert_eq!(mints(&mux, outcome).await, 0.0, "{told}");
        }
    }
}

/// Shorter than any margin that is counted in seconds.
#[tokio::test]
async fn a_token_of_a_few_seconds_is_followed_by_the_next_in_time() {
    let teller = Teller::start(Deed::token("short", r#","expires_in":3"#)).await;
    let mut mux = fleet(&teller).over(Door::Http).await;
    mux.all_ready().await;
    let mut client = mux.client(Era::Modern).await;

    while teller.asked().len() < 5 {
        assert_ne!(
            seen(&mut client).await,
            Value::Null,
            "there always is a token"
        );
    }
}
