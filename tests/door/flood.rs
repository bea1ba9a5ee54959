//! A flood of bad tokens: it costs neither memory nor log nor the issuer anything to
//! speak of, and nobody who has a good one.

use std::{collections::BTreeSet, fs, time::Instant};

use futures::future::join_all;
use serde_json::json;

use crate::{
    issuer::{AUDIENCE, Issuer, Key, changed},
    knock::{Knock, discover, open},
    support::{Fleet, Multiplexer, http::Http},
};

const SENDERS: usize = 8;
const EACH: usize = 400;
/// Of resident memory. What the tokens take together is more than twice as much.
const MORE_KIB: u64 = 16 * 1024;

#[tokio::test]
async fn a_flood_of_bad_tokens_costs_next_to_nothing() {
    let (key, evil) = (Key::ec("one"), Key::ec("one"));
    let issuer = Issuer::with([&key]).await;
    let auth = json!({"issuer": issuer.name(), "audiences": [AUDIENCE]});
    let mux = open(Fleet::new().top("auth", auth)).await;
    let (url, good) = (mux.url(), issuer.token(&key));
    // What a connection takes for good is taken before.
    flood(&url, &issuer, &evil, 40).await;
    let before = resident(&mux);
    let began = Instant::now();

    let bad = flood(&url, &issuer, &evil, EACH);
    let valid = async {
        let http = Http::default();
        for _ in 0..50 {
            let knock = Knock::bearing(&http, discover(&url), &good).await;
            assert_eq!(knock.status, 200, "{}", knock.body);
        }
    };
    tokio::join!(bad, valid);

    let more = resident(&mux).saturating_sub(before);
    assert!(more < MORE_KIB, "{more} KiB more");
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("a number");
    assert!(issuer.key_fetches() <= 3 + seconds / 10);
    let log = mux.log.text();
    let lines: Vec<_> = log
        .lines()
        .filter(|line| line.contains("refused at the door"))
        .collect();
    let kinds: BTreeSet<_> = lines
        .iter()
        .filter_map(|line| line.split("reason=").nth(1)?.split(' ').next())
        .collect();
    assert!(!kinds.is_empty());
    // Two floods, and the seconds that were begun.
    assert!(
        lines.len() <= kinds.len() * (seconds + 4) * 2,
        "{} lines in {seconds} s",
        lines.len()
    );
    let untold: usize = lines
        .iter()
        .filter_map(|line| line.split("untold=").nth(1)?.trim().parse::<usize>().ok())
        .sum();
    assert!(untold > 0, "those without a line are counted in the next");
}

/// From each of some senders so many tokens of 10 KiB, of several kinds and no two alike.
async fn flood(url: &str, issuer: &Issuer, evil: &Key, each: usize) {
    let senders = (0..SENDERS).map(async |sender| {
        let http = Http::default();
        for n in 0..each {
            let id = format!("{sender}-{n}-{}", "x".repeat(10_000));
            let claims = changed(issuer.claims(), json!({"jti": id}));
            let header = evil.header();
            let token = match n % 4 {
                0 => id,
                1 => evil.signed(&header, &claims),
                2 => evil.signed(&changed(header, json!({"kid": id})), &issuer.claims()),
                _ => evil.signed(&header, &changed(claims, json!({"iss": id}))),
            };
            let knock = Knock::bearing(&http, discover(url), &token).await;
            assert_eq!(knock.status, 401, "{}", knock.body);
        }
    });
    join_all(senders).await;
}

/// Resident memory in KiB.
fn resident(mux: &Multiplexer) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", mux.pid())).expect("a process");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number
        .and_then(|number| number.parse().ok())
        .expect("a number")
}
