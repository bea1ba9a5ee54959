//! A provider that wants to be left alone. The pause after a first failure is a second
//! at most, so whoever waits longer does so because it was asked to.

use std::time::{Duration, Instant, SystemTime};

use super::{
    Deed, Teller, fleet, heals, keeps_its_secrets,
    support::{Door, Era},
    told,
};

/// When it was asked the first time, and when again.
async fn asked_again(status: &str, retry_after: &str, outcome: &str) -> [Instant; 2] {
    let deed = Deed::answer(status, &[("retry-after", retry_after)], "");
    let teller = Teller::start(deed).await;
    let mut mux = fleet(&teller).over(Door::Http).await;
    mux.all_ready().await;
    told(&mux, outcome, &format!("answered {status}")).await;
    let mut client = mux.client(Era::Modern).await;
    teller.change(Deed::good());

    heals(&mux, &mut client).await;

    keeps_its_secrets(&mux).await;
    let asked = teller.asked();
    [asked[0], asked[1]]
}

#[tokio::test]
async fn a_pause_in_seconds_is_kept() {
    for (status, outcome) in [
        ("429 Too Many Requests", "refused"),
        ("503 Service Unavailable", "unreachable"),
    ] {
        let [first, second] = asked_again(status, "3", outcome).await;

        // From an answer to the next request: a slow machine only makes it longer.
        let pause = second - first;
        assert!(pause >= Duration::from_secs(3), "{status}: {pause:?}");
    }
}

/// A date has no fractions: of four seconds, three may be left.
#[tokio::test]
async fn a_pause_until_a_date_is_kept() {
    let begun = Instant::now();
    let until = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(4));

    let [_, second] = asked_again("429 Too Many Requests", &until, "refused").await;

    let after = second - begun;
    assert!(after >= Duration::from_millis(2900), "{after:?}");
}
