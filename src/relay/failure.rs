//! What the client is told when a child gave no answer.

use std::time::Duration;

use serde_json::{Value, json};

use super::Method;
use crate::{
    outbound::{Failure, seconds},
    protocol::{
        ChildName, Era, Frame,
        answer::RESULT_TYPE,
        error::{RpcError, code, result_answer},
    },
    telemetry::Outcome,
};

/// Where the facts stand in a result's `_meta`.
const META_KEY: &str = "io.mcp-multiplexer/failure";

/// The answer to a request that got none: it says which child, what happened, and what
/// to do. For a tool it is a *result*, for a model to read.
pub(super) fn answer(
    method: Method,
    id: &str,
    era: Era,
    child: &ChildName,
    failure: &Failure,
) -> Frame {
    match method {
        Method::CallTool => tool_failure(id, era, child, failure),
        _ => RpcError::new(code::INTERNAL, sentence(child, failure))
            .with_data(facts(child, failure))
            .answer(Some(id)),
    }
}

fn tool_failure(id: &str, era: Era, child: &ChildName, failure: &Failure) -> Frame {
    let mut result = json!({
        "content": [{"type": "text", "text": sentence(child, failure)}],
        "isError": true,
        "_meta": {META_KEY: facts(child, failure)},
    });
    if era == Era::Modern {
        result[RESULT_TYPE] = "complete".into();
    }
    result_answer(id, &result.to_string())
}

/// The same facts for programs.
fn facts(child: &ChildName, failure: &Failure) -> Value {
    let mut facts = json!({
        "child": child.as_str(),
        "kind": failure.outcome.as_str(),
        "retryAfterMs": failure.retry_after.map(|wait| {
            u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)
        }),
    });
    if let Some(id) = &failure.correlation_id {
        facts["correlationId"] = id.as_str().into();
    }
    facts
}

fn sentence(child: &ChildName, failure: &Failure) -> String {
    let Failure { reason, .. } = failure;
    let executed = if failure.not_executed {
        "The call was not executed."
    } else {
        "The call may have been executed: check before you repeat it."
    };
    let advice = match failure.outcome {
        // One user's matter, and no operator's.
        _ if failure.is_of_user() => {
            " The user has to sign in to it, or to be let in there.".to_owned()
        }
        Outcome::Unauthorized if !failure.without_token => {
            " An operator has to look at this server's credentials.".to_owned()
        }
        Outcome::Denied => " Another identity or permission is needed.".to_owned(),
        _ => match failure.retry_after {
            Some(wait) => format!(" Try again in {}.", seconds(round_up(wait))),
            None if failure.not_executed => " Try again in a moment.".to_owned(),
            None => String::new(),
        },
    };
    format!(
        "The server {:?} {reason}. {executed}{advice}",
        child.as_str()
    )
}

/// To whole seconds: nobody plans in milliseconds, and earlier is in vain.
fn round_up(wait: Duration) -> Duration {
    Duration::from_secs(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(era: Era, failure: &Failure) -> Value {
        let frame = tool_failure("7", era, &"github".into(), failure);
        serde_json::from_slice(frame.bytes()).unwrap()
    }

    #[test]
    fn a_failed_call_is_a_result_that_says_what_to_do() {
        let wait = Some(Duration::from_millis(1200));
        let told = told(
            Era::Legacy,
            &Failure::unavailable("cannot be reached: connection refused", wait),
        );
        assert_eq!(
            told,
            json!({"jsonrpc": "2.0", "id": 7, "result": {
                "content": [{"type": "text", "text":
                    "The server \"github\" cannot be reached: connection refused. \
                     The call was not executed. Try again in 2 s."}],
                "isError": true,
                "_meta": {"io.mcp-multiplexer/failure":
                    {"child": "github", "kind": "unavailable", "retryAfterMs": 1200}},
            }})
        );
    }

    #[test]
    fn a_call_that_may_have_been_executed_says_so() {
        let told = told(Era::Modern, &Failure::timeout(Duration::from_secs(60)));
        let text = told["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("gave no answer within 60 s"), "{text}");
        assert!(text.contains("may have been executed"), "{text}");
        assert_eq!(told["result"]["resultType"], "complete");
    }
}
