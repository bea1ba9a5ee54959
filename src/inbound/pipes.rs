//! Our own stdin and stdout, awaited like any other connection where they can be.
//!
//! Tokio's own serve whatever stands there, a terminal or a file too, and need a thread of
//! their own for each of them, which every line wakes. Who starts servers gives them pipes
//! (most), or a pair of sockets (Node.js).

use std::{
    fs::{self, File},
    io,
    os::{
        fd::AsFd,
        unix::{fs::MetadataExt, net::UnixStream as Socket},
    },
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixStream, unix::pipe},
};

/// Whatever stdin is, to be read from.
pub fn stdin() -> Box<dyn AsyncRead + Send + Unpin> {
    if let Some(path) = pipe(0)
        && let Ok(pipe) = pipe::OpenOptions::new().open_receiver(path)
    {
        return Box::new(pipe);
    }
    match socket(io::stdin()) {
        Ok(socket) => Box::new(socket),
        Err(_) => Box::new(tokio::io::stdin()),
    }
}

/// Whatever stdout is, to be written to.
pub fn stdout() -> Box<dyn AsyncWrite + Send + Unpin> {
    if let Some(path) = pipe(1)
        && let Ok(pipe) = pipe::OpenOptions::new().open_sender(path)
    {
        return Box::new(pipe);
    }
    match socket(io::stdout()) {
        Ok(socket) => Box::new(socket),
        Err(_) => Box::new(tokio::io::stdout()),
    }
}

/// Where a pipe can be opened anew, so that not to wait for it is our own affair. One with
/// a name is not: who opens it after its last writer has gone does not learn of its end.
fn pipe(descriptor: u8) -> Option<String> {
    let path = format!("/proc/self/fd/{descriptor}");
    let is = fs::read_link(&path).ok()?;
    is.to_str()?.starts_with("pipe:[").then_some(path)
}

/// A socket. That it is not waited for concerns everybody who has it, so stderr, whose
/// writers wait, must not be the same one.
fn socket(stream: impl AsFd) -> io::Result<UnixStream> {
    let socket = Socket::from(stream.as_fd().try_clone_to_owned()?);
    // Fails where it is none.
    socket.local_addr()?;
    if place(stream)? == place(io::stderr())? {
        return Err(io::ErrorKind::Unsupported.into());
    }
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

/// What a descriptor stands for: the same numbers, the same thing.
fn place(stream: impl AsFd) -> io::Result<(u64, u64)> {
    let metadata = File::from(stream.as_fd().try_clone_to_owned()?).metadata()?;
    Ok((metadata.dev(), metadata.ino()))
}
