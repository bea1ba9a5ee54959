//! The tool `pause`: says something, waits for the test, says something more, answers.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::json;

use crate::{
    message::{Reply, notification},
    server::{Asker, Outbox, Server, send},
    tools::{Unfinished, structured, until_exists},
};

#[derive(Deserialize)]
struct Pause {
    /// The answer waits until this file exists.
    until: PathBuf,
    key: String,
}

/// Carries it out.
pub async fn call(server: &Server, arguments: &str, asker: &Asker, out: &Outbox) -> Reply {
    let Pause { until, key } = serde_json::from_str(arguments).expect("arguments of pause");
    let say = |word: &str| {
        let params = json!({"level": "info", "data": format!("{key} {word}")});
        send(
            out,
            notification("notifications/message", &params.to_string()),
        );
    };
    let mut unfinished = Unfinished::of(server, &key);
    say("before");
    server.journal.note("paused", json!({"key": key}));
    until_exists(&until).await;
    say("after");
    unfinished.finished = true;
    structured(asker.era, &json!({"key": key}).to_string())
}
