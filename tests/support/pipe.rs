//! Lines to and from a process's standard streams, byte for byte.

use std::{
    collections::VecDeque,
    process::ExitStatus,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader},
    process::{ChildStdin, ChildStdout},
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::wait::{eventually, soon};

/// The client's end of a stdio server: raw lines in, raw lines out.
pub struct Pipe {
    stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<Vec<u8>>,
}

impl Pipe {
    /// Takes over both streams.
    pub fn new(stdin: ChildStdin, stdout: ChildStdout) -> Self {
        let (sender, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut stdout = BufReader::new(stdout);
            loop {
                let mut line = Vec::new();
                match stdout.read_until(b'\n', &mut line).await {
                    Ok(1..) if sender.send(line).is_ok() => {}
                    _ => return,
                }
            }
        });
        Self {
            stdin: Some(stdin),
            lines,
        }
    }

    /// Writes bytes as they are, and no newline.
    pub async fn write(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        soon("room on stdin", stdin.write_all(bytes))
            .await
            .expect("stdin takes bytes");
        stdin.flush().await.expect("stdin takes bytes");
    }

    /// Writes one line.
    pub async fn line(&mut self, line: impl AsRef<[u8]>) {
        let line = [line.as_ref(), b"\n"].concat();
        self.write(&line).await;
    }

    /// The next line, without its newline; `None` once stdout has ended.
    pub async fn next(&mut self) -> Option<String> {
        let mut line = soon("a line on stdout", self.lines.recv()).await?;
        assert_eq!(
            line.pop(),
            Some(b'\n'),
            "stdout ended in the middle of a line"
        );
        Some(String::from_utf8(line).expect("stdout in UTF-8"))
    }

    /// Ends stdin.
    pub fn close(&mut self) {
        self.stdin = None;
    }
}

/// Everything a process has written to stderr so far.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<String>>>, watch::Sender<bool>);

impl Log {
    /// Gathers the lines of `stream` as they come.
    pub fn gather(stream: impl AsyncRead + Unpin + Send + 'static) -> (Self, JoinHandle<()>) {
        let log = Self::default();
        let lines = log.0.clone();
        let mut unread = log.1.subscribe();
        let task = tokio::spawn(async move {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while let Ok(1..) = stream.read_until(b'\n', &mut line).await {
                let _ = unread.wait_for(|unread| !unread).await;
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                lines
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(text);
                line.clear();
            }
        });
        (log, task)
    }

    /// Leaves what comes from now on unread, or reads on.
    pub fn leave_unread(&self, unread: bool) {
        self.1.send_replace(unread);
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }

    /// The first line `wanted` says yes to.
    pub fn find(&self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().find(|line| wanted(line)).cloned()
    }

    /// Waits for such a line.
    pub async fn until(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        eventually(what, async || self.find(&wanted)).await
    }
}
