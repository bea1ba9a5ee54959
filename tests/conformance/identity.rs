//! The scenarios for clients that prove who they are.

use crate::peers::conformance::Suite;

/// The checks of a fleet that proves who it is to the child's authorization server and
/// comes to the child with the token.
async fn the_service_identity_conforms(proof: &str, proven: &str) {
    let scenario = format!("auth/client-credentials-{proof}");
    // The extension stands on no specification's time line, so its child is legacy
    // unless the modern one is forced.
    let modern: &[&str] = &["--spec-version", "2026-07-28", "--force"];
    for (suite, words, requests) in [
        // The probe for the era, the handshake's two, the list and the call.
        (Suite::Stable, &[][..], 5),
        (Suite::Next, &[][..], 5),
        // The probe, the list and the call.
        (Suite::Next, modern, 3),
    ] {
        let checks = suite.client(&scenario, words).await;
        println!("{suite:?} {scenario} {}\n{checks}", words.join(" "));

        let mut expected = [
            "authorization-server-metadata",
            "prm-pathbased-requested",
            "token-request",
            "valid-bearer-token",
            proven,
        ];
        expected.sort_unstable();
        assert_eq!(checks.ids(), expected, "{suite:?} {scenario}");
        assert_eq!(checks.failed(), 0, "{suite:?} {scenario}\n{checks}");
        // One of each, but a token with every request.
        let passed = checks.passed();
        assert!(passed >= 4 + requests, "{suite:?} {scenario}\n{checks}");
    }
}

#[tokio::test]
async fn a_secret_proves_the_service_identity_as_the_suite_wants_it() {
    the_service_identity_conforms("basic", "client-credentials-basic-auth").await;
}

#[tokio::test]
async fn a_key_proves_the_service_identity_as_the_suite_wants_it() {
    the_service_identity_conforms("jwt", "client-credentials-jwt-verified").await;
}
