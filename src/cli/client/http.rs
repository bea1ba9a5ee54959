//! A multiplexer that runs, over HTTP.

use bytes::Bytes;
use serde_json::Value;

use super::{CliError, ModernRequest, frame};
use crate::{cli::instance::Instance, protocol::Frame};

/// One that is asked in frames.
pub(in crate::cli) struct Running(pub(super) Instance);

impl Running {
    pub(super) async fn ask(&self, request: &ModernRequest) -> Result<Frame, CliError> {
        let answered = self.0.ask(request).await?;
        match frame(answer_in(&answered.body)) {
            Ok(answer) => Ok(answer),
            // A door that stands before the multiplexer answers in words of its own.
            Err(_) if !answered.status.is_success() => Err(self.0.refused(&answered)),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn status(&self) -> Result<Value, CliError> {
        self.0.status().await
    }
}

/// The answer in a body: the last event of a stream, else all of it.
fn answer_in(body: &Bytes) -> Bytes {
    let data = body.split(|byte| *byte == b'\n').rev();
    let data = data.filter_map(|line| line.strip_prefix(b"data:"));
    match data.map(<[u8]>::trim_ascii).find(|line| !line.is_empty()) {
        Some(data) => body.slice_ref(data),
        None => body.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_found_in_either_form() {
        for (body, answer) in [
            (r#"{"id":1}"#, r#"{"id":1}"#),
            (
                ": alive\n\nid: 7\r\ndata: {\"id\":1}\r\n\r\n",
                r#"{"id":1}"#,
            ),
            (
                "data: {\"method\":\"x\"}\n\ndata: {\"id\":1}\n\n",
                r#"{"id":1}"#,
            ),
        ] {
            assert_eq!(answer_in(&Bytes::from(body)), answer);
        }
    }
}
