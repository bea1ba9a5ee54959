//! A child over stdio: this program again, in another process.

use std::sync::Arc;

use tokio::{
    io::{AsyncWriteExt, stdin, stdout},
    sync::mpsc,
};

use super::{
    children::Reports,
    server::{self, Around},
};
use crate::{
    cli::CliError,
    protocol::{
        Frame, Kind,
        lines::{Line, LineReader},
    },
};

/// The hidden command that is this child.
pub(in crate::cli) const COMMAND: &str = "demo-child";

/// The longest message it takes, in bytes.
const LIMIT: usize = 1 << 20;

/// Serves until its stdin ends; what is not answered by then nobody waits for.
pub(in crate::cli) async fn run() -> Result<(), CliError> {
    let (answers, to_be_written) = mpsc::channel(64);
    tokio::spawn(write(to_be_written));
    let around = Arc::new(Around {
        caller: None,
        asides: Some(answers.clone()),
    });
    let mut lines = LineReader::new(stdin(), LIMIT);
    while let Some(line) = lines.next().await.map_err(CliError::io("stdin"))? {
        let Line::Whole(line) = line else { continue };
        let request = match Frame::read(line) {
            Ok(request) if request.kind() == Kind::Request => request,
            Ok(_) => continue,
            Err(error) => {
                // The writer ends with the process.
                let _ = answers.send(error.answer()).await;
                continue;
            }
        };
        let (answers, around) = (answers.clone(), Arc::clone(&around));
        // A slow call must not hold up the others.
        tokio::spawn(async move {
            let answer = server::answer(&Reports, &request, &around).await;
            let _ = answers.send(answer).await;
        });
    }
    Ok(())
}

/// Writes one message a line, until nobody is left to read them.
async fn write(mut messages: mpsc::Receiver<Frame>) {
    let mut stdout = stdout();
    while let Some(message) = messages.recv().await {
        let mut line = message.into_bytes().to_vec();
        line.push(b'\n');
        if stdout.write_all(&line).await.is_err() || stdout.flush().await.is_err() {
            return;
        }
    }
}
