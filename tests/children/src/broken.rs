//! The ways in which a child never gets as far as the protocol, and the burdens
//! under which a healthy one works.

use std::{
    future::pending,
    io::{self, Write as _},
    process::{Command, Stdio},
};

use serde_json::json;

use crate::{
    options::{Behaviour, Transport},
    server::Server,
};

/// What a child that does not speak the protocol answers to anything.
pub enum Answer {
    /// These bytes, as a whole.
    Bytes(&'static str),
    /// These bytes, and the rest never comes.
    Unfinished(&'static str),
    /// Nothing, ever.
    Silence,
}

/// The answer of a broken child; `None` for one that speaks the protocol.
pub fn answer(behaviour: Behaviour) -> Option<Answer> {
    match behaviour {
        Behaviour::BlackHole => Some(Answer::Silence),
        Behaviour::Garbage => Some(Answer::Bytes(
            "%% Welcome to \u{1}garbage{{{ 1.0 \u{fffd} %%",
        )),
        Behaviour::NotJsonRpc => Some(Answer::Bytes(r#"{"hello":["world",42]}"#)),
        Behaviour::Html => Some(Answer::Bytes("<!doctype html><title>Login</title>")),
        Behaviour::HalfLine => Some(Answer::Unfinished(r#"{"jsonrpc":"2.0","id":0,"resu"#)),
        Behaviour::Healthy
        | Behaviour::ExitAtOnce
        | Behaviour::WrongVersion
        | Behaviour::ServerError
        | Behaviour::ServerErrorOnce
        | Behaviour::Unauthorized
        | Behaviour::Forbidden
        | Behaviour::TooMany
        | Behaviour::NeverInitializes
        | Behaviour::Twice
        | Behaviour::Stray => None,
    }
}

/// Takes up what the command line burdens this child with.
pub fn burden(server: &Server) -> io::Result<()> {
    let options = &server.options;
    let over_http = matches!(
        options.behaviour,
        Behaviour::ServerError
            | Behaviour::ServerErrorOnce
            | Behaviour::Unauthorized
            | Behaviour::Forbidden
            | Behaviour::TooMany
    );
    if over_http && options.transport == Transport::Stdio {
        return Err(io::Error::other("an HTTP status needs --transport http"));
    }
    if options.ignore_sigterm || options.leave_when.is_some() {
        ignore_sigterm()?;
    }
    if options.grandchild {
        let output = || match options.clinging {
            true => Stdio::inherit(),
            false => Stdio::null(),
        };
        let grandchild = Command::new("sleep")
            .arg("3600")
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .spawn()?;
        server
            .journal
            .note("grandchild", json!({"pid": grandchild.id()}));
    }
    let mut stderr = io::stderr().lock();
    for line in 0..options.flood_stderr {
        writeln!(stderr, "flood {line}: {}", "x".repeat(200))?;
    }
    Ok(())
}

/// From here on SIGTERM arrives in a stream that nobody reads.
fn ignore_sigterm() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let deaf = signal(SignalKind::terminate())?;
    tokio::spawn(async move {
        let _deaf = deaf;
        pending::<()>().await;
    });
    Ok(())
}
