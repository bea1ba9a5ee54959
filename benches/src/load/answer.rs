//! Whether an answer is the one that was asked for.

use bytes::Bytes;
use memchr::memmem;
use serde_json::Value;

use crate::{
    message::{self, Payload},
    web::Error,
};

/// Whether this is an answer to `id`, looked for where it stands in nearly every one: at
/// the beginning or at the end. Only what has it elsewhere is read in full.
pub fn is_to(id: u64, parts: &[Bytes]) -> bool {
    let wanted = id.to_string();
    let first = parts.first().and_then(|part| message::id(part));
    if first == Some(wanted.as_bytes()) {
        return true;
    }
    let last = parts.last().and_then(|part| last_id(part));
    last == Some(wanted.as_bytes())
        || read(&parts.concat()).is_some_and(|answer| answer["id"] == id)
}

/// Whether an answer holds exactly what its tool gives.
pub fn check(answer: &[u8], payload: Payload) -> Result<(), Error> {
    let shown = || String::from_utf8_lossy(&answer[..answer.len().min(120)]).into_owned();
    let read = read(answer).ok_or_else(|| format!("no answer: {}", shown()))?;
    if let Payload::Tools(many) = payload {
        let tools = read["result"]["tools"].as_array();
        return match tools.is_some_and(|tools| tools.len() == many) {
            true => Ok(()),
            false => Err(format!("not a list of {many} tools: {}", shown()).into()),
        };
    }
    let (result, wanted) = (&read["result"], payload.result());
    if result["isError"] == true || result["content"][0]["text"] != wanted["content"][0]["text"] {
        return Err(format!("not the text that the child gave: {}", shown()).into());
    }
    if result.get("structuredContent") != wanted.get("structuredContent") {
        return Err(format!("not the structure that the child gave: {}", shown()).into());
    }
    Ok(())
}

/// The last message of a body of JSON, or of an event stream.
fn read(body: &[u8]) -> Option<Value> {
    if let Ok(answer) = serde_json::from_slice(body) {
        return Some(answer);
    }
    let mut data = std::str::from_utf8(body).ok()?.lines().rev();
    data.find_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok())
}

fn last_id(part: &[u8]) -> Option<&[u8]> {
    let at = memmem::rfind(part, b"\"id\":")?;
    message::id(&part[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_at_either_end_and_between() {
        for body in [
            r#"{"jsonrpc":"2.0","id":7,"result":{"rows":[{"id":1}]}}"#,
            r#"{"result":{"rows":[{"id":1}]},"jsonrpc":"2.0","id":7}"#,
            r#"{"result":{"id":1},"id":7,"more":{"id":2}}"#,
            "event: message\ndata: {\"result\":{\"id\":1},\"id\":7,\"more\":{\"id\":2}}\n\n",
        ] {
            let parts = [Bytes::from(&body[..10]), Bytes::from(&body[10..])];
            assert!(is_to(7, &parts), "{body}");
            assert!(!is_to(8, &parts), "{body}");
        }
    }

    #[test]
    fn an_answer_that_lacks_something_is_none() {
        let whole = Payload::Rows(2).result();
        let answer = |result: &Value| format!(r#"{{"id":1,"result":{result}}}"#);
        check(answer(&whole).as_bytes(), Payload::Rows(2)).unwrap();
        let mut without = whole.clone();
        without["structuredContent"] = Value::Null;
        check(answer(&without).as_bytes(), Payload::Rows(2)).unwrap_err();
        let mut failed = whole;
        failed["isError"] = true.into();
        check(answer(&failed).as_bytes(), Payload::Rows(2)).unwrap_err();
    }
}
