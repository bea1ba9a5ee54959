//! How long a token lives, and when its successor is minted.
//!
//! | `expires_in` | life |
//! |---|---|
//! | missing, null, not a number | 300 s, Keycloak's default |
//! | negative, 0, below 1 s | 1 s: it is tried; a gap until the next mint is the provider's wish |
//! | up to 24 h | as said; "tiny" ones get no other treatment |
//! | more | 24 h: a token revoked unnoticed is replaced some day |
//!
//! A token is refreshed at 80 % of its life, less a second, give or take 5 % of it, so that
//! several processes started together do not mint together; but never sooner
//! than a second after the last mint, whatever the provider says.

use std::{ops::RangeInclusive, time::Duration};

use rand::Rng;
use tokio::time::Instant;

const ASSUMED: Duration = Duration::from_secs(300);
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// What of a life is not certain: a JWT's `exp` is in whole seconds.
const ROUNDING: Duration = Duration::from_secs(1);
const REFRESH_AT: RangeInclusive<f64> = 0.75..=0.85;

/// The life that a token answer's `expires_in` gives. It is taken as text, since
/// providers send integers, fractions, strings and numbers beyond every type.
pub(super) fn of_expires_in(expires_in: Option<&str>) -> Duration {
    let seconds = expires_in.and_then(|text| text.trim_matches('"').trim().parse::<f64>().ok());
    match seconds {
        Some(seconds) if !seconds.is_nan() => {
            Duration::from_secs_f64(seconds.clamp(SHORTEST.as_secs_f64(), LONGEST.as_secs_f64()))
        }
        _ => ASSUMED,
    }
}

/// When a token asked for at `asked_at`, here since `now`, expires. The
/// provider's clock for it began somewhere between the two; the earlier is safe.
pub(super) fn expiry(asked_at: Instant, now: Instant, life: Duration) -> Instant {
    (asked_at + life).max(now + SHORTEST)
}

/// When to mint its successor.
pub(super) fn refresh(asked_at: Instant, now: Instant, life: Duration) -> Instant {
    let share = rand::rng().random_range(REFRESH_AT);
    let certain = life.saturating_sub(ROUNDING);
    (asked_at + certain.mul_f64(share)).max(now + SHORTEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expires_in_has_a_defined_life() {
        for (said, seconds) in [
            (None, 300.0),
            (Some("null"), 300.0),
            (Some("\"soon\""), 300.0),
            (Some("NaN"), 300.0),
            (Some("{}"), 300.0),
            (Some("0"), 1.0),
            (Some("-5"), 1.0),
            (Some("-1e999"), 1.0),
            (Some("0.2"), 1.0),
            (Some("5"), 5.0),
            (Some("29.5"), 29.5),
            (Some("\"3600\""), 3600.0),
            (Some("18446744073709551616"), 86_400.0),
            (Some("1e999"), 86_400.0),
        ] {
            assert_eq!(of_expires_in(said).as_secs_f64(), seconds, "{said:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_refreshed_at_about_four_fifths_of_its_life() {
        let now = Instant::now();
        for _ in 0..1000 {
            let after = refresh(now, now, Duration::from_secs(101)) - now;
            assert!((75.0..=85.0).contains(&after.as_secs_f64()), "{after:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_life_is_so_short_that_mints_follow_each_other_at_once() {
        let asked_at = Instant::now();
        let now = asked_at + Duration::from_secs(9);
        assert_eq!(refresh(asked_at, now, SHORTEST), now + SHORTEST);
        assert_eq!(expiry(asked_at, now, SHORTEST), now + SHORTEST);
    }
}
