//! What a watcher has been told, and what of it is no longer so.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::super::admin::{Asker, Shared};
use crate::telemetry::SLOTS;

/// Slots that can have changed since the last look.
const LATEST: usize = 3;
/// Numbers that change as time passes: a watcher counts on by itself. What remains of
/// a time, and what has passed of one.
const REMAINING: [&str; 2] = ["nextRetryMs", "expiresInSeconds"];
const PASSED: [&str; 2] = ["ageSeconds", "uptimeSeconds"];
/// How far such a number may be from where time has carried it.
const TOLERANCE: Duration = Duration::from_millis(1500);

/// What a watcher has been told.
#[derive(Default)]
pub(super) struct Told {
    process: Option<At>,
    names: Vec<String>,
    children: HashMap<String, At>,
}

/// A value, and when it was so.
struct At {
    value: Value,
    when: Instant,
}

impl Told {
    /// What is to be told now, as JSON; `None` if nothing is.
    pub(super) fn news(&mut self, shared: &Shared, asker: &Asker) -> Option<String> {
        let is_first = self.process.is_none();
        let process = serde_json::to_value(shared.process(asker)).ok()?;
        let slots = if is_first { SLOTS } else { LATEST };
        let children = shared.fleet.status_and_activity(slots);
        let mut news = Map::new();
        if !At::still_says(self.process.as_ref(), &process) {
            news.insert("process".to_owned(), process.clone());
            self.process = Some(At::now(process));
        }
        let names = children.iter().map(|(status, _)| status.name());
        if is_first || !names.clone().eq(self.names.iter()) {
            self.names = names.map(str::to_owned).collect();
            self.children
                .retain(|name, _| self.names.iter().any(|it| it == name));
            news.insert("names".to_owned(), json!(self.names));
        }
        let told = asker.told_of(&shared.fleet);
        let mut changed = Vec::new();
        for (status, activity) in children {
            let name = status.name().to_owned();
            let mut status = serde_json::to_value(told(status)).ok()?;
            if At::still_says(self.children.get(&name), &status) {
                continue;
            }
            self.children.insert(name, At::now(status.clone()));
            status["activity"] = json!(activity);
            changed.push(status);
        }
        if !changed.is_empty() {
            news.insert("children".to_owned(), changed.into());
        }
        if news.is_empty() {
            return None;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| now.as_millis());
        news.insert("at".to_owned(), json!(now));
        Some(Value::Object(news).to_string())
    }
}

impl At {
    fn now(value: Value) -> Self {
        Self {
            value,
            when: Instant::now(),
        }
    }

    /// Whether that is what `before` says, but for the time that has passed.
    fn still_says(before: Option<&Self>, now: &Value) -> bool {
        before.is_some_and(|before| same(&before.value, now, before.when.elapsed()))
    }
}

fn same(before: &Value, now: &Value, passed: Duration) -> bool {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            before.len() == now.len()
                && before.iter().all(|(key, before)| {
                    let now = now.get(key);
                    now.is_some_and(|now| same_member(key, before, now, passed))
                })
        }
        (Value::Array(before), Value::Array(now)) => {
            before.len() == now.len() && before.iter().zip(now).all(|(a, b)| same(a, b, passed))
        }
        _ => before == now,
    }
}

fn same_member(key: &str, before: &Value, now: &Value, passed: Duration) -> bool {
    let (Some(was), Some(is)) = (before.as_f64(), now.as_f64()) else {
        return same(before, now, passed);
    };
    let unit = if key.ends_with("Ms") { 1e3 } else { 1.0 };
    let passed = passed.as_secs_f64() * unit;
    let expected = if REMAINING.contains(&key) {
        // What is due stays due.
        (was - passed).max(0.0)
    } else if PASSED.contains(&key) {
        was + passed
    } else {
        return was == is;
    };
    (expected - is).abs() <= TOLERANCE.as_secs_f64() * unit
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_only_time_has_changed_is_no_news() {
        let before =
            json!({"expiresInSeconds": 300, "own": [{"ageSeconds": 4}], "nextRetryMs": 500});
        let now = json!({"expiresInSeconds": 290, "own": [{"ageSeconds": 14}], "nextRetryMs": 0});
        assert!(same(&before, &now, 10 * SECOND));
    }

    #[test]
    fn what_time_does_not_explain_is_news() {
        let cases = [
            (
                json!({"expiresInSeconds": 60}),
                json!({"expiresInSeconds": 300}),
            ),
            (json!({"nextRetryMs": 500}), json!({"nextRetryMs": 60_000})),
            (json!({"nextRetryMs": 500}), json!({"nextRetryMs": null})),
            (json!({"calls": 1}), json!({"calls": 2})),
            (json!({"a": 1}), json!({"b": 1})),
            (json!([1]), json!([1, 2])),
        ];
        for (before, now) in cases {
            assert!(!same(&before, &now, SECOND), "{before} {now}");
        }
    }
}
