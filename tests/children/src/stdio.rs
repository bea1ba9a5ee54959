//! One frame a line on stdin and stdout.

use std::{future::pending, io, sync::Arc, time::Duration};

use futures::{StreamExt as _, channel::mpsc};
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, stdin, stdout},
    time::sleep,
};

use crate::{
    broken::{self, Answer},
    message::{Message, RpcError, notification},
    server::{Asker, Era, Frame, Outbox, Server, Session, send},
};

/// How often a file that is waited for is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Serves until stdin ends.
pub async fn serve(server: Arc<Server>) -> io::Result<()> {
    let (out, frames) = mpsc::unbounded();
    let writer = tokio::spawn(write(frames));
    let pipe = Pipe {
        server: server.clone(),
        session: Arc::new(Session::default()),
        out,
    };
    let mut input = BufReader::new(stdin());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).await? > 0 {
        pipe.line(&line).await;
        line.clear();
    }
    server.journal.note("stdin ended", json!({}));
    if server.options.ignore_sigterm {
        pending::<()>().await;
    }
    if let Some(file) = &server.options.leave_when {
        while !file.exists() {
            sleep(LOOK_AGAIN).await;
        }
    }
    server.journal.note("left", json!({}));
    drop(pipe);
    writer.abort();
    Ok(())
}

/// The one writer of stdout.
async fn write(mut frames: mpsc::UnboundedReceiver<Frame>) -> io::Result<()> {
    let mut output = stdout();
    while let Some(frame) = frames.next().await {
        output.write_all(frame.into_text().as_bytes()).await?;
        output.write_all(b"\n").await?;
        output.flush().await?;
    }
    Ok(())
}

/// Both ends of the pipe to the client.
struct Pipe {
    server: Arc<Server>,
    session: Arc<Session>,
    out: Outbox,
}

impl Pipe {
    async fn line(&self, line: &[u8]) {
        match broken::answer(self.server.behaviour()) {
            Some(Answer::Silence) => return,
            Some(Answer::Bytes(bytes)) => return send(&self.out, bytes.to_owned()),
            Some(Answer::Unfinished(bytes)) => return half_a_line(bytes).await,
            None => {}
        }
        match Message::read(line) {
            Ok(message) if message.method.is_none() => self.server.asking.answered(line),
            Ok(message) => self.message(message),
            Err(error) => self.refuse("null", &RpcError::new(-32700, error)),
        }
    }

    fn message(&self, message: Message) {
        let Some(method) = message.method.clone() else {
            return;
        };
        let params = message.params();
        let Some(id) = message.id.as_deref().map(|id| id.get().to_owned()) else {
            self.server.journal.note("notification", message.noted());
            return self.notification(&method, params.request_id.as_deref().map(|id| id.get()));
        };
        self.server
            .journal
            .note("request", json!({"method": method}));
        let checked = self
            .session
            .claim(&id)
            .and_then(|()| self.server.era(&method, &params));
        match checked {
            Ok(era) => self.run(id, message, era),
            Err(error) => self.refuse(&id, &error),
        }
    }

    fn run(&self, id: String, message: Message, era: Era) {
        let (server, out) = (self.server.clone(), self.out.clone());
        self.session.run(&id.clone(), async move {
            let asker = Asker {
                era,
                headers: Default::default(),
            };
            let reply = server.request(&message, &asker, &out).await;
            server.answer(&out, &id, &reply);
            if message.method.as_deref() == Some("tools/list") {
                flood(&server, &out);
            }
        });
    }

    fn notification(&self, method: &str, cancelled: Option<&str>) {
        match (method, cancelled) {
            ("notifications/cancelled", Some(id)) if !self.server.options.ignore_cancel => {
                self.session.cancel(id);
            }
            ("notifications/initialized", _) => {
                self.tell_of_list_changes();
                self.tell_news();
            }
            _ => {}
        }
    }

    /// A legacy client is told without asking.
    fn tell_of_list_changes(&self) {
        let (mut changes, out) = (self.server.list_changes(), self.out.clone());
        tokio::spawn(async move {
            while changes.changed().await.is_ok() {
                send(&out, notification("notifications/tools/list_changed", "{}"));
            }
        });
    }

    /// A legacy client is told of what it has subscribed to.
    fn tell_news(&self) {
        let (server, out) = (self.server.clone(), self.out.clone());
        let mut all = server.resources.news();
        tokio::spawn(async move {
            while let Some(news) = all.next().await {
                if let Some(frame) = server.resources.for_session("", news) {
                    send(&out, frame);
                }
            }
        });
    }

    fn refuse(&self, id: &str, error: &RpcError) {
        let _ = self.out.unbounded_send(Frame::Answer(error.frame(id)));
    }
}

/// Past the writer, which only knows whole lines.
async fn half_a_line(bytes: &str) {
    let mut output = stdout();
    let written = output.write_all(bytes.as_bytes()).await;
    if written.and(output.flush().await).is_ok() {
        pending().await
    }
}

/// Progress nobody asked for, news of lists that are as they were, and chatter.
fn flood(server: &Server, out: &Outbox) {
    for n in 0..server.take_flood() {
        let frame = match n % 3 {
            0 => notification("notifications/tools/list_changed", "{}"),
            1 => notification(
                "notifications/progress",
                &format!(r#"{{"progressToken":"nobody's","progress":{n}}}"#),
            ),
            _ => notification(
                "notifications/message",
                &format!(r#"{{"level":"info","data":"flood {n}"}}"#),
            ),
        };
        send(out, frame);
    }
}
