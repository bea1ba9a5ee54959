//! The load over stdio: one pipe to a process that is started for it.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Load, Measured, WARM_UP, answer, since, wait};
use crate::{message, web::Error};

/// Makes the load. The process lives until its peer is dropped.
pub fn run(load: &Load) -> Result<(Measured, Peer<'_>), Error> {
    let mut peer = Peer::start(load)?;
    peer.begin()?;
    peer.repeat(WARM_UP)?;
    println!("warm {}", peer.process.id());
    wait()?;
    let began = Instant::now();
    let times = peer.repeat(Duration::from_millis(load.millis))?;
    Ok((Measured::of(times, began), peer))
}

/// Who is asked.
pub struct Peer<'a> {
    load: &'a Load,
    process: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    next: u64,
    /// Whether an answer has been compared with what the child gives.
    checked: bool,
}

impl<'a> Peer<'a> {
    fn start(load: &'a Load) -> Result<Self, Error> {
        let [program, arguments @ ..] = &load.command[..] else {
            return Err("nobody to be asked".into());
        };
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = process.stdin.take().ok_or("no stdin")?;
        let stdout = process.stdout.take().ok_or("no stdout")?;
        Ok(Self {
            load,
            process,
            stdin,
            stdout: BufReader::with_capacity(64 * 1024, stdout),
            next: 1,
            checked: false,
        })
    }

    fn begin(&mut self) -> Result<(), Error> {
        self.send(&[message::initialize(), message::initialized()])?;
        // Its id is 0.
        while id(&self.line()?) != Some(0) {}
        Ok(())
    }

    /// Keeps so many calls going for so long. The pipe takes all their requests at once,
    /// so that nobody waits to write while answers wait to be read.
    fn repeat(&mut self, long: Duration) -> Result<Vec<u32>, Error> {
        let until = Instant::now() + long;
        let mut began = HashMap::new();
        let mut times = Vec::new();
        let mut out: Vec<_> = (0..self.load.concurrency).map(|_| self.call()).collect();
        loop {
            let now = Instant::now();
            began.extend(out.iter().map(|(id, _)| (*id, now)));
            let requests: Vec<_> = out.drain(..).map(|(_, request)| request).collect();
            self.send(&requests)?;
            if began.is_empty() {
                return Ok(times);
            }
            // What is answered together is asked again together.
            while out.is_empty() || self.stdout.buffer().contains(&b'\n') {
                let line = Bytes::from(self.line()?);
                let Some((id, asked)) = id(&line).and_then(|id| began.remove_entry(&id)) else {
                    continue;
                };
                times.push(since(asked));
                self.check(id, line)?;
                if Instant::now() < until {
                    out.push(self.call());
                } else if began.is_empty() {
                    return Ok(times);
                }
            }
        }
    }

    fn check(&mut self, id: u64, line: Bytes) -> Result<(), Error> {
        if !self.checked {
            answer::check(&line, self.load.payload)?;
            self.checked = true;
        }
        let length = line.len();
        if length < self.load.payload.least() || !answer::is_to(id, &[line]) {
            return Err(format!("{length} bytes are no answer to {id}").into());
        }
        Ok(())
    }

    fn call(&mut self) -> (u64, Bytes) {
        let id = self.next;
        self.next += 1;
        (id, self.load.request(id))
    }

    fn send(&mut self, messages: &[Bytes]) -> Result<(), Error> {
        let mut out = Vec::new();
        for message in messages {
            out.extend_from_slice(message);
            out.push(b'\n');
        }
        Ok(self.stdin.write_all(&out)?)
    }

    fn line(&mut self) -> Result<Vec<u8>, Error> {
        let mut line = Vec::new();
        match self.stdout.read_until(b'\n', &mut line)? {
            0 => Err("it ended".into()),
            _ => Ok(line),
        }
    }
}

impl Drop for Peer<'_> {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The id of an answer.
fn id(line: &[u8]) -> Option<u64> {
    std::str::from_utf8(message::id(line)?).ok()?.parse().ok()
}
