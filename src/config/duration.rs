//! How long: a number of seconds, or a string such as `"500ms"`, `"2m"`.

use std::time::Duration;

/// What a duration may look like, for errors.
pub(super) const EXPECTED: &str = r#"a number of seconds or a string such as "500ms", "2m""#;

/// Nobody waits longer than this on purpose.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// A bare number from here on was most likely meant in milliseconds.
const SUSPICIOUS_SECONDS: f64 = 1000.0;

/// A duration, and whether its author may have meant milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) duration: Duration,
    pub(super) looks_like_milliseconds: bool,
}

/// Reads a bare number: seconds.
pub(super) fn from_seconds(seconds: f64) -> Result<Reading, &'static str> {
    Ok(Reading {
        duration: checked(seconds)?,
        looks_like_milliseconds: seconds >= SUSPICIOUS_SECONDS,
    })
}

/// Reads a number with a unit (`ms`, `s`, `m`, `h`, `d`), or without: seconds.
pub(super) fn from_text(text: &str) -> Result<Reading, &'static str> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err("it is negative");
    }
    let unit_at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: f64 = number.parse().map_err(|_| "it is not a duration")?;
    let seconds_per_unit = match unit.trim() {
        "" => return from_seconds(number),
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err("its unit is none of ms, s, m, h, d"),
    };
    Ok(Reading {
        duration: checked(number * seconds_per_unit)?,
        looks_like_milliseconds: false,
    })
}

fn checked(seconds: f64) -> Result<Duration, &'static str> {
    if seconds.is_nan() {
        return Err("it is not a number");
    }
    if seconds < 0.0 {
        return Err("it is negative");
    }
    if seconds > LONGEST.as_secs_f64() {
        return Err("it is longer than a year");
    }
    // Zero has a meaning of its own (none, or not allowed); nothing may round to it.
    if seconds > 0.0 && seconds < 0.001 {
        return Err("it is shorter than a millisecond");
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| "it is not a duration")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> u128 {
        from_text(text)
            .expect("it is a duration")
            .duration
            .as_millis()
    }

    #[test]
    fn every_unit_is_understood() {
        assert_eq!(millis("500ms"), 500);
        assert_eq!(millis("1.5s"), 1500);
        assert_eq!(millis("2m"), 120_000);
        assert_eq!(millis("1h"), 3_600_000);
        assert_eq!(millis("1d"), 86_400_000);
        assert_eq!(millis(" 3 s "), 3000);
        assert_eq!(millis("30"), 30_000);
        assert_eq!(millis("0"), 0);
    }

    #[test]
    fn a_bare_number_is_seconds_and_a_large_one_is_suspicious() {
        let reading = from_seconds(0.25).expect("a duration");
        assert_eq!(reading.duration, Duration::from_millis(250));
        assert!(
            !from_seconds(999.0)
                .expect("a duration")
                .looks_like_milliseconds
        );
        assert!(
            from_seconds(1000.0)
                .expect("a duration")
                .looks_like_milliseconds
        );
        assert!(
            from_text("30000")
                .expect("a duration")
                .looks_like_milliseconds
        );
        assert!(
            !from_text("30000ms")
                .expect("a duration")
                .looks_like_milliseconds
        );
    }

    #[test]
    fn what_is_no_sensible_duration_is_refused() {
        for number in [-1.0, -0.5, f64::NAN, f64::INFINITY, 1e12, 1e-9] {
            assert!(from_seconds(number).is_err(), "{number}");
        }
        for text in [
            "",
            "s",
            "-5s",
            "nan",
            "inf",
            "1e5",
            "5 parsecs",
            "1m30s",
            "1.2.3s",
            "99999999d",
            "0.1ms",
            "٣s",
        ] {
            assert!(from_text(text).is_err(), "{text}");
        }
    }
}
