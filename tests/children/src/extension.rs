//! What this child understands beyond the specification.

use serde_json::json;

use crate::{
    message::{Message, Reply, notification, quoted},
    options::Options,
    server::{Era, Outbox, Server, send},
};

/// The members that a handshake's result has beside its capabilities, and those of the
/// capabilities, each with the comma in front.
pub fn introduction(options: &Options) -> (String, String) {
    match &options.extension {
        None => Default::default(),
        Some(id) => (
            format!(r#","instructions":{}"#, quoted(&format!("Ask for {id}."))),
            format!(
                r#","extensions":{{{}:{{"exact":1.10}}}},"experimental":{{"trial":{{}}}}"#,
                quoted(id)
            ),
        ),
    }
}

/// The answer to a method that nobody else knows: what was asked, as it came. A method
/// that ends in `/tell` has this child tell of it first, in no request's name.
pub fn answer(
    server: &Server,
    method: &str,
    message: &Message,
    era: Era,
    out: &Outbox,
) -> Option<Reply> {
    server.options.extension.as_ref()?;
    server.journal.note("extension", json!({"method": method}));
    if method.ends_with("/tell") {
        let told = message.raw_params();
        send(out, notification("notifications/vendor/told", told));
    }
    let complete = match era {
        Era::Legacy => "",
        Era::Modern => r#","resultType":"complete""#,
    };
    let result = format!(
        r#"{{"method":{},"params":{},"x-exact":1.10{complete}}}"#,
        quoted(method),
        message.raw_params()
    );
    Some(Reply::Result(result))
}
