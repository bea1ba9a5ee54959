//! The tool `say`: it says what it is told to, byte for byte.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    message::{Params, Reply, RpcError},
    server::{Era, Outbox, send},
};

/// What is to be said.
#[derive(Deserialize)]
struct Say {
    /// Frames that come before the answer; `"$token"` in them is the request's progress
    /// token.
    #[serde(default)]
    before: Vec<Box<RawValue>>,
    result: Option<Box<RawValue>>,
    error: Option<Box<RawValue>>,
}

/// Carries out a call of `say`. A result of the modern era says that it is complete.
pub fn call(params: &Params, arguments: &str, era: Era, out: &Outbox) -> Reply {
    let say: Say = match serde_json::from_str(arguments) {
        Ok(say) => say,
        Err(error) => return RpcError::new(-32602, error.to_string()).into(),
    };
    let token = params.meta.progress_token.as_deref();
    let token = token.map_or("null", RawValue::get);
    for frame in say.before {
        send(out, frame.get().replace(r#""$token""#, token));
    }
    match (say.error, say.result) {
        (Some(error), _) => Reply::Failure(error.get().to_owned()),
        (None, Some(result)) if era == Era::Modern => {
            let rest = result.get().trim_start_matches('{');
            Reply::Result(format!(r#"{{"resultType":"complete",{rest}"#))
        }
        (None, Some(result)) => Reply::Result(result.get().to_owned()),
        (None, None) => RpcError::new(-32602, "told to say nothing").into(),
    }
}
