//! What `token` prints on stdout.

use std::time::Duration;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use crate::{
    cli::{
        CliError,
        out::{self, Format},
    },
    identity::{Asked, Claims, Trial},
};

/// The facts of one trial; holds the token only where it is to be shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report<'a> {
    #[serde(flatten)]
    asked: &'a Asked,
    took_ms: u64,
    /// In the words of the metrics.
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    advice: &'a [String],
    /// `jwt` or `opaque`.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    life_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<&'a Claims>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "exposed")]
    token: Option<&'a SecretString>,
}

impl<'a> Report<'a> {
    pub(super) fn new(trial: &'a Trial, reveal: bool) -> Self {
        let sample = trial.result.as_ref().ok();
        let mistake = trial.result.as_ref().err();
        let token = sample.and_then(|sample| sample.token.as_ref());
        let claims = sample.and_then(|sample| sample.claims.as_ref());
        Self {
            asked: &trial.asked,
            took_ms: u64::try_from(trial.took.as_millis()).unwrap_or(u64::MAX),
            outcome: mistake.map_or("ok", |mistake| mistake.outcome),
            error: mistake.map(|mistake| mistake.reason.as_str()),
            advice: mistake.map_or(&[], |mistake| &mistake.advice),
            kind: token.map(|_| claims.map_or("opaque", |_| "jwt")),
            life_seconds: sample.and_then(|sample| Some(sample.life?.as_secs())),
            claims,
            warnings: sample.map_or(&[], |sample| &sample.doubts),
            token: token.filter(|_| reveal),
        }
    }

    pub(super) fn print(&self, format: Format) -> Result<(), CliError> {
        match format {
            Format::Text => out::print(&self.text(Utc::now().timestamp())),
            Format::Json => out::print_json(self),
        }
    }

    fn text(&self, now: i64) -> String {
        let asked = self.asked;
        let terms = &asked.terms;
        let file = asked.file.as_ref().map(|file| file.display().to_string());
        let life = self
            .life_seconds
            .map(|life| words(Duration::from_secs(life)));
        let mut rows: Vec<(&str, Option<String>)> = vec![
            ("mode", Some(terms.mode.to_owned())),
            ("issuer", terms.issuer.clone()),
            ("token URL", terms.token_url.clone()),
            ("client", terms.client_id.clone()),
            ("method", asked.client_auth_method.map(str::to_owned)),
            ("audience", terms.audience.clone()),
            ("scope", terms.scope.clone()),
            ("resource", terms.resource.clone()),
            ("file", file),
            ("user name", asked.username.clone()),
            ("took", Some(format!("{} ms", self.took_ms))),
            ("outcome", Some(self.outcome.to_owned())),
            ("used for", life),
            ("token", self.kind.map(of_kind)),
        ];
        if let Some(claims) = self.claims {
            rows.extend(claim_rows(claims, now));
        }
        let mut lines: Vec<String> = rows
            .into_iter()
            .filter_map(|(name, value)| Some(format!("{name:<12}{}", value?)))
            .collect();
        lines.extend(self.token.map(|token| token.expose_secret().to_owned()));
        lines.join("\n")
    }
}

fn of_kind(kind: &str) -> String {
    match kind {
        "jwt" => "a JWT, which says (not verified here):",
        _ => "opaque: no JWT, so what it says is between the provider and the children",
    }
    .to_owned()
}

/// What is missing and would be looked for is told as missing.
fn claim_rows(claims: &Claims, now: i64) -> Vec<(&'static str, Option<String>)> {
    let text = |claim: &Option<String>| claim.clone().or_else(|| Some("none".to_owned()));
    let aud = match claims.aud.is_empty() {
        true => "none".to_owned(),
        false => claims.aud.join(", "),
    };
    let exp = claims.exp.map_or("none".to_owned(), |exp| moment(exp, now));
    vec![
        ("  iss", text(&claims.iss)),
        ("  aud", Some(aud)),
        ("  azp", claims.azp.clone()),
        ("  client_id", claims.client_id.clone()),
        ("  sub", text(&claims.sub)),
        ("  scope", text(&claims.scope)),
        ("  exp", Some(exp)),
    ]
}

/// A moment from here: `in 4 min 59 s (2026-01-31 12:00:00 UTC)`.
fn moment(at: i64, now: i64) -> String {
    let away = words(Duration::from_secs(at.abs_diff(now)));
    let away = if at > now {
        format!("in {away}")
    } else {
        format!("{away} ago")
    };
    match DateTime::from_timestamp(at, 0) {
        Some(date) => format!("{away} ({})", date.format("%Y-%m-%d %H:%M:%S UTC")),
        None => away,
    }
}

/// A duration by its two largest units.
pub(in crate::cli) fn words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let units = [
        ("d", 86_400, u64::MAX),
        ("h", 3600, 24),
        ("min", 60, 60),
        ("s", 1, 60),
    ];
    let parts: Vec<_> = units
        .into_iter()
        .map(|(unit, size, of)| (seconds / size % of, unit))
        .skip_while(|(count, unit)| *count == 0 && *unit != "s")
        .take(2)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    parts.join(" ")
}

fn exposed<S: serde::Serializer>(
    token: &Option<&SecretString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    token.map(ExposeSecret::expose_secret).serialize(serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_told_from_here_and_by_the_clock() {
        let at = 1_790_000_000;
        assert_eq!(
            moment(at, at - 299),
            "in 4 min 59 s (2026-09-21 14:13:20 UTC)"
        );
        assert!(moment(at, at + 3661).starts_with("1 h 1 min ago ("));
        assert!(moment(i64::MAX, 0).starts_with("in "));
    }

    #[test]
    fn a_duration_is_told_by_its_two_largest_units() {
        for (seconds, told) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (86_399, "23 h 59 min"),
            (90_000, "1 d 1 h"),
            (8_640_000, "100 d 0 h"),
        ] {
            assert_eq!(words(Duration::from_secs(seconds)), told);
        }
    }
}
