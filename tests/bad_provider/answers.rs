//! One bad answer after the other.

use super::{
    Deed, Teller, fleet, heals, holds_up_nobody, is_told_and_survived, keeps_its_secrets, mints,
    support::{Door, Era},
    told,
};

const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");

#[tokio::test]
async fn a_page_for_people_is_no_token() {
    let page = "<!doctype html><title>Sign in</title>canary";
    let deed = Deed::answer("200 OK", &[HTML], page);
    is_told_and_survived(
        deed,
        "invalid_answer",
        "`text/html; charset=utf-8`, not JSON",
    )
    .await;
}

/// As some do who have lost the type on the way.
#[tokio::test]
async fn a_page_that_claims_to_be_json_is_no_token() {
    let deed = Deed::json("200 OK", "<!doctype html>canary");
    is_told_and_survived(deed, "invalid_answer", "not a JSON object").await;
}

#[tokio::test]
async fn an_answer_that_ends_too_early_is_no_token() {
    let whole = Deed::token("canary", r#","expires_in":3600"#);
    let Deed::Say(bytes) = whole else {
        unreachable!("it is said")
    };
    let deed = Deed::Say(bytes[..bytes.len() - 5].into());
    is_told_and_survived(deed, "unreachable", "cannot be reached").await;
}

#[tokio::test]
async fn an_answer_without_a_token_is_told() {
    for body in [
        r#"{"id_token":"canary"}"#,
        r#"{"access_token":null}"#,
        r#"{"access_token":""}"#,
    ] {
        let deed = Deed::json("200 OK", body);
        is_told_and_survived(deed, "invalid_answer", "has no access_token").await;
    }
}

#[tokio::test]
async fn a_token_that_is_no_text_is_told() {
    let deed = Deed::json("200 OK", r#"{"access_token":{"canary":1}}"#);
    is_told_and_survived(deed, "invalid_answer", "is not a token answer").await;
}

#[tokio::test]
async fn ten_mebibytes_are_not_read() {
    let token = "canary".repeat(10 * 1024 * 1024 / 6);
    is_told_and_survived(Deed::token(&token, ""), "invalid_answer", "over 64 KiB").await;
}

#[tokio::test]
async fn a_provider_that_says_nothing_holds_up_nobody() {
    is_told_and_survived(Deed::Nothing, "timeout", "did not answer within 10s").await;
    holds_up_nobody(Deed::Nothing).await;
}

/// Every byte comes in time; the answer does not.
#[tokio::test]
async fn a_provider_that_drips_holds_up_nobody() {
    is_told_and_survived(Deed::Drip, "timeout", "did not answer within 10s").await;
    holds_up_nobody(Deed::Drip).await;
}

/// The latter two would take the form, and with it the secret, along.
#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in [
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let elsewhere = Teller::start(Deed::good()).await;
        let location = elsewhere.token_url();
        let deed = Deed::answer(status, &[("location", &location)], "");
        is_told_and_survived(deed, "invalid_answer", &format!("redirects ({status})")).await;

        assert!(elsewhere.asked().is_empty(), "{status}");
    }
}

#[tokio::test]
async fn an_error_of_the_provider_is_told() {
    let deed = Deed::answer("500 Internal Server Error", &[HTML], "canary");
    is_told_and_survived(deed, "unreachable", "answered 500").await;
}

#[tokio::test]
async fn a_page_that_is_not_there_is_told() {
    let deed = Deed::answer("404 Not Found", &[HTML], "canary");
    is_told_and_survived(deed, "invalid_answer", "answered 404").await;
}

/// Some repeat in the answer what they were asked, as base64, as a form, or as it is.
#[tokio::test]
async fn a_refusal_is_told_without_the_secret_in_it() {
    for (status, code) in [
        ("401 Unauthorized", "invalid_client"),
        ("400 Bad Request", "unauthorized_client"),
    ] {
        for secret in [
            "canary: in this+form",
            "canary%3A+in+this%2Bform",
            // multiplexer:canary%3A+in+this%2Bform
            "bXVsdGlwbGV4ZXI6Y2FuYXJ5JTNBK2luK3RoaXMlMkJmb3Jt",
        ] {
            let body = format!(r#"{{"error":"{code}","error_description":"not {secret}!"}}"#);
            let teller = Teller::start(Deed::json(status, &body)).await;
            let mut mux = fleet(&teller).over(Door::Http).await;
            mux.all_ready().await;
            let refused = format!("the identity provider refused: {code} (not ");
            told(&mux, "refused", &refused).await;
            assert!(mints(&mux, "refused").await >= 1.0);
            let shown = mux.log.text() + &mux.status().await.to_string();
            assert!(!shown.contains(secret), "{shown}");
            teller.change(Deed::good());
            let mut client = mux.client(Era::Legacy).await;
            heals(&mux, &mut client).await;
            keeps_its_secrets(&mux).await;
        }
    }
}

#[tokio::test]
async fn a_token_that_is_no_bearer_is_not_sent_as_one() {
    let body = r#"{"access_token":"canary","token_type":"DPoP","expires_in":60}"#;
    let deed = Deed::json("200 OK", body);
    is_told_and_survived(deed, "invalid_answer", "of type `DPoP`, not Bearer").await;
}

/// The header would end there, and another begin.
#[tokio::test]
async fn a_token_with_a_newline_in_it_is_not_sent() {
    let deed = Deed::token(r"canary\r\nX-Injected: 1", "");
    is_told_and_survived(deed, "invalid_answer", "characters that no header may hold").await;
}
