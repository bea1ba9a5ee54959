//! Forged and odd tokens and headers: each has its status, its challenge and its reason
//! in the log, and none gets in.

use ::http::Method;
use serde_json::{Value, json};

use crate::{
    issuer::{AUDIENCE, Issuer, Key, changed, encoded, hmac_signed, now},
    knock::{Knock, discover, lets_in, locked, logged, open},
    support::{
        Child,
        client::{modern_post, with_modern_meta},
        http::{Http, With as _, request},
    },
};

/// In seconds: how far the clocks may differ here.
const LEEWAY: u64 = 600;

/// One attempt.
struct Attempt {
    what: &'static str,
    headers: Vec<Vec<u8>>,
    /// A header that is not `Authorization`.
    also: Option<(&'static str, String)>,
    query: &'static str,
    status: u16,
    /// The reason in the log; empty where it is let in.
    reason: &'static str,
}

/// The attempts, and what is needed to make them.
struct Table<'a> {
    issuer: &'a Issuer,
    ec: &'a Key,
    attempts: Vec<Attempt>,
}

impl Table<'_> {
    fn headers(
        &mut self,
        what: &'static str,
        headers: &[&[u8]],
        status: u16,
        reason: &'static str,
    ) {
        self.attempts.push(Attempt {
            what,
            headers: headers.iter().map(|header| header.to_vec()).collect(),
            also: None,
            query: "",
            status,
            reason,
        });
    }

    /// A token that is refused with 401.
    fn token(&mut self, what: &'static str, token: &str, reason: &'static str) {
        let header = format!("Bearer {token}");
        self.headers(what, &[header.as_bytes()], 401, reason);
    }

    /// A well-signed token with other claims.
    fn claims(&mut self, what: &'static str, changes: Value, reason: &'static str) {
        let token = self.issuer.token_with(self.ec, changes);
        self.token(what, &token, reason);
    }

    /// A well-signed token with another header.
    fn header(&mut self, what: &'static str, changes: Value, reason: &'static str) {
        let header = changed(self.ec.header(), changes);
        let token = self.ec.signed(&header, &self.issuer.claims());
        self.token(what, &token, reason);
    }
}

#[tokio::test]
async fn no_forged_or_odd_token_gets_in_and_each_has_its_reason() {
    let (ec, rsa, evil) = (Key::ec("ec"), Key::rsa("rsa"), Key::ec("ec"));
    let issuer = Issuer::with([&ec, &rsa]).await;
    let other = Issuer::with([&evil]).await;
    let mux = open(locked(
        &issuer,
        // All of the table has to be tried within it.
        json!({"requiredScopes": ["mcp"], "leeway": LEEWAY}),
    ))
    .await;
    let good = issuer.token(&ec);
    let (header, claims, signature) = parts(&good);
    let mut table = Table {
        issuer: &issuer,
        ec: &ec,
        attempts: Vec::new(),
    };

    // What is not shown as a token at all.
    let bearer = |token: &str| format!("Bearer {token}").into_bytes();
    let shown = bearer(&good);
    table.headers("nothing", &[], 401, "no_token");
    table.headers("an empty header", &[b""], 401, "not_bearer");
    table.headers("a bare scheme", &[b"Bearer"], 401, "malformed");
    table.headers("a scheme and a space", &[b"Bearer "], 401, "malformed");
    table.headers("Basic", &[b"Basic dXNlcjpwYXNz"], 401, "not_bearer");
    table.headers(
        "DPoP",
        &[format!("DPoP {good}").as_bytes()],
        401,
        "not_bearer",
    );
    table.headers("a bare token", &[good.as_bytes()], 401, "not_bearer");
    table.headers(
        "a tab",
        &[format!("Bearer\t{good}").as_bytes()],
        401,
        "not_bearer",
    );
    table.headers(
        "no space",
        &[format!("Bearer{good}").as_bytes()],
        401,
        "not_bearer",
    );
    table.headers(
        "a colon",
        &[format!("Bearer: {good}").as_bytes()],
        401,
        "not_bearer",
    );
    table.headers("two headers", &[&shown, &shown], 400, "invalid_request");
    table.headers(
        "good and bad",
        &[&shown, b"Bearer x"],
        400,
        "invalid_request",
    );
    table.headers(
        "bad and good",
        &[b"Basic eDp4", &shown],
        400,
        "invalid_request",
    );
    let joined = [&shown[..], b", ", &shown].concat();
    table.headers("two in one", &[&joined], 401, "malformed");
    let quoted = format!("Bearer \"{good}\"");
    table.headers("in quotes", &[quoted.as_bytes()], 401, "malformed");
    let spaced = format!("Bearer {header} .{claims}.{signature}");
    table.headers("a space inside", &[spaced.as_bytes()], 401, "malformed");
    table.headers(
        "unicode",
        &["Bearer gr\u{fc}n.\u{1f511}.x".as_bytes()],
        401,
        "malformed",
    );
    table.headers("latin 1", &[b"Bearer \xfc.\xff.x"], 401, "malformed");
    for query in ["?access_token=x", "?a=b&access_token=", "?%61ccess_token=x"] {
        table.headers("in the URL", &[], 400, "invalid_request");
        table.attempts.last_mut().expect("one").query = query;
    }
    table.headers("in both", &[&shown], 400, "invalid_request");
    table.attempts.last_mut().expect("one").query = "?access_token=x";

    let short = format!("Bearer {} {claims}.{signature}", &header[..4]);
    table.headers("a space early", &[short.as_bytes()], 401, "malformed");
    table.headers(
        "a byte order mark",
        &[format!("\u{feff}Bearer {good}").as_bytes()],
        401,
        "not_bearer",
    );
    table.headers(
        "a byte order mark in it",
        &[format!("Bearer \u{feff}{good}").as_bytes()],
        401,
        "malformed",
    );
    table.headers(
        "a key and a value",
        &[format!("Bearer token={good}").as_bytes()],
        401,
        "malformed",
    );
    table.headers(
        "percent-encoded",
        &[shown_encoded(&good).as_bytes()],
        401,
        "malformed",
    );
    // Where else tokens have been looked for by others.
    for name in [
        "cookie",
        "proxy-authorization",
        "x-authorization",
        "x-access-token",
        "x-forwarded-access-token",
        "x-auth-request-access-token",
        "sec-websocket-protocol",
    ] {
        table.headers("in another header", &[], 401, "no_token");
        let value = match name {
            "cookie" => format!("access_token={good}"),
            _ => format!("Bearer {good}"),
        };
        table.attempts.last_mut().expect("one").also = Some((name, value));
    }

    // What is no JWT.
    let huge = "a".repeat(20_000);
    for (what, token) in [
        ("a word", "hunter2".to_owned()),
        ("dots", "...".to_owned()),
        ("two parts", format!("{header}.{claims}")),
        ("four parts", format!("{good}.x")),
        ("five parts, as if encrypted", format!("{good}.x.y")),
        ("no signature sign", format!("{header}{claims}{signature}")),
        ("a huge word", huge.clone()),
        ("a huge signature", format!("{header}.{claims}.{huge}")),
        ("padding", format!("{good}==")),
        ("not base64", format!("{header}~.{claims}.{signature}")),
        (
            "a header that is no JSON",
            ec.signed_text("no", &issuer.claims().to_string()),
        ),
        (
            "a header that is a list",
            ec.signed_text("[1]", &issuer.claims().to_string()),
        ),
        (
            "claims that are no JSON",
            ec.signed_text(&ec.header().to_string(), "no"),
        ),
        (
            "claims that are a word",
            ec.signed_text(&ec.header().to_string(), "\"x\""),
        ),
    ] {
        let reason = if what == "padding" {
            "signature|malformed"
        } else {
            "malformed"
        };
        table.token(what, &token, reason);
    }
    let twice = r#"{"alg":"ES256","alg":"none","kid":"ec"}"#;
    let token = ec.signed_text(twice, &issuer.claims().to_string());
    table.token("two alg", &token, "malformed");
    let text = issuer.claims().to_string();
    let twice = text.replacen('{', r#"{"iss":"https://evil.example","#, 1);
    let token = ec.signed_text(&ec.header().to_string(), &twice);
    table.token("two iss", &token, "malformed");

    for (what, text) in [
        ("two aud", text.replacen('{', r#"{"aud":"tools","#, 1)),
        ("two exp", text.replacen('{', r#"{"exp":9999999999,"#, 1)),
        ("two sub", text.replacen('{', r#"{"sub":"admin","#, 1)),
        (
            "two exp, one escaped",
            text.replacen('{', r#"{"e\u0078p":9999999999,"#, 1),
        ),
        ("more after it", format!("{text}{text}")),
        ("a byte order mark before it", format!("\u{feff}{text}")),
        ("a nul behind it", format!("{text}\0")),
        (
            "a number that is none",
            text.replacen('{', r#"{"exp2":NaN,"#, 1),
        ),
        ("comments", format!("/* */{text}")),
        ("a list of claims", format!("[{text}]")),
        ("nothing in it", String::new()),
        ("null", "null".to_owned()),
    ] {
        let token = ec.signed_text(&ec.header().to_string(), &text);
        table.token(what, &token, "malformed");
    }
    let plain = ec.header().to_string();
    for (what, header) in [
        ("a byte order mark", format!("\u{feff}{plain}")),
        ("a nul", format!("{plain}\0")),
        ("two kid", plain.replacen('{', r#"{"kid":"rsa","#, 1)),
        ("two typ", plain.replacen('{', r#"{"typ":"JWE","#, 1)),
        (
            "nested deep",
            plain.replacen('{', &format!(r#"{{"x":{}"#, "[".repeat(5_000)), 1),
        ),
        ("nested deep and closed", {
            let deep = format!("{}{}", "[".repeat(3_000), "]".repeat(3_000));
            plain.replacen('{', &format!(r#"{{"x":{deep},"#), 1)
        }),
    ] {
        let token = ec.signed_text(&header, &issuer.claims().to_string());
        table.token(what, &token, "malformed");
    }
    // A JWT in a JWT, and what is encrypted.
    let nested = ec.signed_text(&plain, &json!(good).to_string());
    table.token("a token as the claims", &nested, "malformed");
    let nested = format!(
        "{}.{}.{signature}",
        encoded(br#"{"alg":"ES256","cty":"JWT","kid":"ec"}"#),
        encoded(good.as_bytes())
    );
    table.token("a token inside", &nested, "header");
    for alg in ["dir", "RSA-OAEP", "ECDH-ES", "A128KW", "PBES2-HS256+A128KW"] {
        let header = json!({"alg": alg, "enc": "A256GCM", "kid": "rsa", "p2c": 2_000_000_000});
        let head = encoded(header.to_string().as_bytes());
        table.token(
            "encrypted",
            &format!("{head}..aaaa.bbbb.cccc"),
            "malformed|algorithm",
        );
        table.token(
            "encrypted in three parts",
            &format!("{head}.{claims}.{signature}"),
            "algorithm",
        );
    }
    // Base64 that is not the one of JWTs.
    for (what, token) in [
        ("padding inside", format!("{header}=.{claims}.{signature}")),
        (
            "padding of the claims",
            format!("{header}.{claims}==.{signature}"),
        ),
        (
            "the other alphabet",
            format!("{header}.{claims}.{}", signature_of("+/+/")),
        ),
        (
            "bits that are left over",
            format!("{header}.{claims}.{}", left_over(signature)),
        ),
        (
            "a signature cut",
            format!("{header}.{claims}.{}", &signature[..40]),
        ),
        (
            "a signature and more",
            format!("{header}.{claims}.{signature}AAAA"),
        ),
        (
            "a signature of zeros",
            format!("{header}.{claims}.{}", encoded(&[0; 64])),
        ),
        (
            "a signature of nothing in DER",
            format!(
                "{header}.{claims}.{}",
                encoded(&[0x30, 6, 2, 1, 0, 2, 1, 0])
            ),
        ),
        ("a dot at the end", format!("{good}.")),
        ("a dot before it", format!(".{good}")),
        ("no header", format!(".{claims}.{signature}")),
        ("no claims", format!("{header}..{signature}")),
    ] {
        table.token(what, &token, "signature|malformed");
    }

    // Algorithms.
    for alg in [
        "none", "None", "NONE", "nOnE", "", "HS1", "RS1", "ES256K", "HS256 ",
    ] {
        let forged = format!(
            "{}.{claims}.",
            encoded(json!({"alg": alg, "typ": "JWT"}).to_string().as_bytes())
        );
        table.token("no signature", &forged, "algorithm");
        let unsigned = format!("{forged}{signature}");
        table.token("another's signature", &unsigned, "algorithm");
    }
    let no_alg = json!({"alg": null});
    table.header("without alg", no_alg, "malformed");
    table.header("alg is a number", json!({"alg": 1}), "malformed|algorithm");
    for secret in [
        rsa.public_der(),
        rsa.jwk()["n"].to_string().into_bytes(),
        Vec::new(),
    ] {
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": "rsa"});
        let forged = hmac_signed(&secret, &header, &issuer.claims());
        table.token("the public key as a secret", &forged, "algorithm");
    }
    let forged = hmac_signed(
        b"x",
        &json!({"alg": "HS256", "kid": "ec"}),
        &issuer.claims(),
    );
    table.token("a shared secret", &forged, "algorithm");
    table.header(
        "the algorithm of another key",
        json!({"alg": "RS256"}),
        "algorithm",
    );
    table.header("a stronger algorithm", json!({"alg": "ES384"}), "algorithm");
    table.header(
        "EdDSA with a key of P-256",
        json!({"alg": "EdDSA"}),
        "algorithm",
    );
    table.header(
        "a key of another algorithm",
        json!({"kid": "rsa"}),
        "algorithm",
    );

    // Keys.
    let forged = evil.signed(&evil.header(), &issuer.claims());
    table.token("another's key of the same id", &forged, "signature");
    table.token(
        "a changed signature",
        &format!("{header}.{claims}.{}", flipped(signature)),
        "signature|malformed",
    );
    table.token(
        "no signature left",
        &format!("{header}.{claims}."),
        "signature|malformed",
    );
    let more = encoded(
        changed(issuer.claims(), json!({"sub": "admin"}))
            .to_string()
            .as_bytes(),
    );
    table.token(
        "changed claims",
        &format!("{header}.{more}.{signature}"),
        "signature",
    );
    table.header("an unknown key", json!({"kid": "nobody's"}), "key");
    table.header(
        "a key that is a path",
        json!({"kid": "../../dev/null"}),
        "key",
    );
    table.header("a key that is SQL", json!({"kid": "' OR 1=1 --"}), "key");
    table.header("a key that is nothing", json!({"kid": ""}), "key");
    table.header(
        "a key that breaks lines",
        json!({"kid": "a\nlevel=ERROR forged"}),
        "key",
    );
    table.header("a key that is a number", json!({"kid": 7}), "malformed");
    table.header("a list of keys", json!({"kid": ["ec"]}), "malformed");
    table.header("a key with a nul", json!({"kid": "ec\0"}), "key");
    table.header("a key with a space", json!({"kid": "ec "}), "key");
    table.header("a key in capitals", json!({"kid": "EC"}), "key");
    table.header(
        "a key that is a URL",
        json!({"kid": other.at("/jwks")}),
        "key",
    );
    table.header(
        "a key that is a command",
        json!({"kid": "|/usr/bin/id"}),
        "key",
    );
    table.header(
        "a key of ten thousand letters",
        json!({"kid": "k".repeat(10_000)}),
        "key",
    );
    table.header(
        "an algorithm that is a list",
        json!({"alg": ["ES256"]}),
        "malformed|algorithm",
    );
    table.header(
        "an algorithm in small letters",
        json!({"alg": "es256"}),
        "algorithm",
    );

    // What has no business in the header of an access token.
    let own = evil.jwk();
    let forged = evil.signed(
        &changed(evil.header(), json!({"jwk": own})),
        &issuer.claims(),
    );
    table.token("a key of its own", &forged, "header");
    for (name, value) in [
        ("jku", json!(other.at("/jwks"))),
        ("x5u", json!(other.at("/cert"))),
        ("x5c", json!(["MIIB"])),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("crit", json!(["b64"])),
        ("b64", json!(false)),
        ("enc", json!("A128GCM")),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
        ("typ", json!("logout+jwt")),
        ("typ", json!("dpop+jwt")),
        ("typ", json!("secevent+jwt")),
        ("typ", json!("JWE")),
        ("typ", json!("")),
        ("typ", json!("at+jwt ")),
        ("typ", json!("id+jwt")),
        ("typ", json!("oauth-authz-req+jwt")),
        ("crit", json!(["http://example.com/UNDEFINED"])),
        ("cty", json!("json")),
    ] {
        table.header("an odd header", json!({name: value}), "header");
    }

    // Issuers.
    table.token("another issuer", &other.token(&evil), "issuer");
    table.claims(
        "a name that is longer",
        json!({"iss": issuer.at(".evil.example")}),
        "issuer",
    );
    table.claims(
        "a name in capitals",
        json!({"iss": issuer.name().to_uppercase()}),
        "issuer",
    );
    table.claims("no issuer", json!({"iss": null}), "issuer");
    table.claims("an empty issuer", json!({"iss": ""}), "issuer");
    table.claims(
        "two issuers",
        json!({"iss": [issuer.name(), "x"]}),
        "malformed",
    );

    // Audiences.
    for aud in [
        json!("other"),
        json!(null),
        json!(""),
        json!([]),
        json!([["tools"]]),
        json!(1),
        json!({"tools": true}),
        json!(["other", "else"]),
        json!(AUDIENCE.to_uppercase()),
        json!("tools "),
        json!("tool"),
        json!("*"),
    ] {
        table.claims("another audience", json!({"aud": aud}), "audience");
    }

    // Times.
    table.claims("expired", json!({"exp": now() - LEEWAY - 1}), "expired");
    table.claims("expired long ago", json!({"exp": 0}), "expired");
    table.claims("without an end", json!({"exp": null}), "claims");
    table.claims(
        "an end in words",
        json!({"exp": "tomorrow"}),
        "claims|malformed",
    );
    table.claims("an end before time", json!({"exp": -1}), "claims|malformed");
    for exp in [
        json!([now() + 600]),
        json!({"at": now() + 600}),
        json!(true),
        json!((now() + 600).to_string()),
        json!(""),
        json!(-1.5),
        json!(i64::MIN),
        json!(-1e300),
        json!(1e-300),
        json!(1e300),
    ] {
        table.claims(
            "an odd end",
            json!({"exp": exp}),
            "expired|claims|malformed",
        );
    }
    for nbf in [
        json!(1e300),
        json!(-1e300),
        json!(u64::MAX),
        json!([1]),
        json!("0"),
    ] {
        table.claims(
            "an odd beginning",
            json!({"nbf": nbf}),
            "not_yet_valid|claims|malformed",
        );
    }
    let text = issuer.claims().to_string();
    let end = format!("\"exp\":{}", issuer.claims()["exp"]);
    for number in [
        "1e400",
        "-1e400",
        "0x7fffffff",
        "9".repeat(400).as_str(),
        "1e",
        "+1",
        "01",
        "Infinity",
    ] {
        let text = text.replace(&end, &format!("\"exp\":{number}"));
        let token = ec.signed_text(&ec.header().to_string(), &text);
        table.token("a number that is none", &token, "malformed|claims|expired");
    }
    table.claims(
        "not yet valid",
        json!({"nbf": now() + 3 * LEEWAY}),
        "not_yet_valid",
    );
    table.claims(
        "a beginning in words",
        json!({"nbf": "x"}),
        "claims|malformed",
    );

    // Other tokens of the same issuer, and nobody's.
    table.claims("an ID token", json!({"typ": "ID"}), "claims");
    table.claims("an ID token of others", json!({"at_hash": "x"}), "claims");
    table.claims("a refresh token", json!({"typ": "Refresh"}), "claims");
    table.claims("nobody's", json!({"sub": null, "azp": null}), "claims");
    table.claims(
        "a subject that is a number",
        json!({"sub": 7}),
        "malformed|claims",
    );

    // Scopes.
    let poor = issuer.token_with(&ec, json!({"scope": "openid"}));
    table.headers("too few scopes", &[&bearer(&poor)], 403, "scope");
    let near = issuer.token_with(&ec, json!({"scope": "mcp2 xmcp MCP"}));
    table.headers("scopes that look alike", &[&bearer(&near)], 403, "scope");

    // What is odd, and good.
    table.headers("good", &[&shown], 200, "");
    for scheme in ["bearer", "BEARER", "bEaReR", "Bearer   "] {
        let header = format!("{scheme} {good}");
        table.headers("a scheme in any case", &[header.as_bytes()], 200, "");
    }
    for (key, changes) in [
        (&rsa, json!({})),
        (&ec, json!({"aud": ["other", AUDIENCE]})),
        (&ec, json!({"exp": now() as f64 + 10.5})),
        (&ec, json!({"exp": now() - 5})),
        (&ec, json!({"nbf": now() + 5})),
        (&ec, json!({"iss": issuer.at("/")})),
        (&ec, json!({"exp": u64::MAX, "nbf": 0})),
        (&ec, json!({"exp": i64::MAX, "nbf": 1.5, "iat": -5})),
        (&ec, json!({"scope": null, "scp": ["mcp"]})),
        (
            &ec,
            json!({"groups": 7, "realm_access": "odd", "sub": "gr\u{fc}n \u{1f511}"}),
        ),
    ] {
        let token = issuer.token_with(key, changes);
        table.headers("odd, and good", &[&bearer(&token)], 200, "");
    }
    for typ in [
        json!("at+jwt"),
        json!("AT+JWT"),
        json!("application/at+jwt"),
        json!(null),
    ] {
        let header = changed(ec.header(), json!({"typ": typ}));
        let token = ec.signed(&header, &issuer.claims());
        table.headers("a type of access tokens", &[&bearer(&token)], 200, "");
    }

    let http = Http::default();
    let attempts = table.attempts;
    assert!(attempts.iter().filter(|one| !one.reason.is_empty()).count() >= 200);
    let mut wrong = Vec::new();
    for attempt in &attempts {
        let headers: Vec<_> = attempt.headers.iter().map(Vec::as_slice).collect();
        let url = format!("{}{}", mux.url(), attempt.query);
        let mut asks = discover(&url);
        if let Some((name, value)) = &attempt.also {
            asks = asks.with(name, value);
        }
        let knock = Knock::with(&http, asks, &headers).await;
        let shown = headers
            .first()
            .map(|header| String::from_utf8_lossy(header));
        let what = format!("{}: {:.200}", attempt.what, shown.unwrap_or_default());
        if knock.status != attempt.status {
            wrong.push(format!("{what}: {} {}", knock.status, knock.body));
            continue;
        }
        if attempt.reason.is_empty() {
            continue;
        }
        let line = logged(&mux, &knock).await;
        let told = |reason: &str| line.contains(&format!("reason=\"{reason}\""));
        if !attempt.reason.split('|').any(told) {
            wrong.push(format!("{what}: {line}"));
        }
        let challenge = knock.header("www-authenticate");
        if !challenge.starts_with("Bearer realm=\"mcp\"")
            || !challenge.contains("resource_metadata=\"http://")
        {
            wrong.push(format!("{what}: {challenge}"));
        }
        // Nothing of what is wrong in it is told, nor any of it.
        let answer = format!("{challenge}{}", knock.body);
        for secret in [signature, "evil", "nobody's", "hunter2"] {
            if answer.contains(secret) {
                wrong.push(format!("{what}: {answer}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    assert!(!mux.log.text().contains(signature), "a token is in the log");
    assert!(
        mux.log
            .find(|line| line.starts_with("level=ERROR forged"))
            .is_none()
    );
    let refused = attempts.iter().filter(|one| !one.reason.is_empty()).count();
    let metrics = mux.metrics().await;
    let ok = metrics.sum("auth_requests_total", &[("outcome", "ok")]);
    assert_eq!(metrics.sum("auth_requests_total", &[]) - ok, refused as f64);
    // The one after all of them is let in as if nothing had been.
    assert!(lets_in(&mux, &good).await);
    assert_eq!(
        other.key_fetches(),
        0,
        "keys were fetched from where a token said"
    );
}

fn parts(token: &str) -> (&str, &str, &str) {
    let mut parts = token.split('.');
    let mut next = || parts.next().expect("three parts");
    (next(), next(), next())
}

/// As some encode all that is no letter.
fn shown_encoded(token: &str) -> String {
    format!("Bearer {}", token.replace('.', "%2e"))
}

/// As long as one of ES256.
fn signature_of(letters: &str) -> String {
    letters.chars().cycle().take(86).collect()
}

/// The same bytes, with the bits set that are nobody's.
fn left_over(signature: &str) -> String {
    let (rest, last) = signature.split_at(signature.len() - 1);
    let next = char::from(last.as_bytes()[0] + 1);
    format!("{rest}{next}")
}

/// With one bit of the first byte changed.
fn flipped(signature: &str) -> String {
    let first = if signature.starts_with('A') { "B" } else { "A" };
    format!("{first}{}", &signature[1..])
}

#[tokio::test]
async fn a_token_in_a_body_is_not_looked_for() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = open(locked(&issuer, json!({}))).await;
    let body = format!("access_token={}", issuer.token(&key));
    let posted = request(Method::POST, &mux.url(), body)
        .with("content-type", "application/x-www-form-urlencoded");

    let knock = Knock::with(&Http::default(), posted, &[]).await;

    assert_eq!(knock.status, 401, "{}", knock.body);
    assert!(logged(&mux, &knock).await.contains("reason=\"no_token\""));
}

/// A child is not to have what could be shown at another's door.
#[tokio::test]
async fn no_token_of_a_caller_reaches_a_child() {
    let key = Key::ec("one");
    let issuer = Issuer::with([&key]).await;
    let mux = open(locked(&issuer, json!({})).http("remote", Child::modern())).await;
    mux.all_ready().await;
    let token = issuer.token(&key);
    let call = async |tool: &str| {
        let params = with_modern_meta(&format!(r#"{{"name":"remote__{tool}","arguments":{{}}}}"#));
        let call = modern_post(
            &mux.url(),
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#),
        );
        let call = call.with("cookie", "a=b");
        let knock = Knock::bearing(&Http::default(), call, &token).await;
        let seen = knock.body["result"]["structuredContent"].clone();
        assert!(seen.is_object(), "{}", knock.body);
        seen
    };

    let identity = call("identity").await;
    assert_eq!(identity["authorization"], Value::Null, "{identity:#}");
    let headers = call("received").await["headers"].clone();
    assert!(headers["mcp-method"].is_string(), "{headers:#}");
    assert_eq!(headers["cookie"], Value::Null, "{headers:#}");
}
