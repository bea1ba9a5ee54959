//! Our own stdin and stdout, awaited like any other connection where they can be.
//!
//! Tokio's own serve whatever stands there, a terminal or a file too, and need a thread of
//! their own for each of them, which every line wakes. Who starts servers gives them pipes
//! (most), or a pair of sockets (Node.js).

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{fs::MetadataExt, net::UnixStream as Socket},
    },
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{UnixStream, unix::pipe},
};

/// Whatever stdin is, to be read from.
pub fn stdin() -> Box<dyn AsyncRead + Send + Unpin> {
    if let Ok(pipe) = pipe::OpenOptions::new().open_receiver("/proc/self/fd/0") {
        return Box::new(pipe);
    }
    match socket(io::stdin()) {
        Ok(socket) => Box::new(socket),
        Err(_) => Box::new(tokio::io::stdin()),
    }
}

/// Whatever stdout is, to be written to.
pub fn stdout() -> Box<dyn AsyncWrite + Send + Unpin> {
    if let Ok(pipe) = pipe::OpenOptions::new().open_sender("/proc/self/fd/1") {
        return Box::new(pipe);
    }
    match socket(io::stdout()) {
        Ok(socket) => Box::new(socket),
        Err(_) => Box::new(tokio::io::stdout()),
    }
}

/// A socket. A pipe was opened anew, for us alone; that a socket must not be waited for is
/// told to everybody who has it, so stderr, whose writers wait, must not be the same one.
fn socket(stream: impl AsFd) -> io::Result<UnixStream> {
    let stream = stream.as_fd().try_clone_to_owned()?;
    let (stream, here) = place(stream)?;
    let (_, stderr) = place(io::stderr().as_fd().try_clone_to_owned()?)?;
    let socket = Socket::from(stream);
    // Fails where it is none.
    socket.local_addr()?;
    if here == stderr {
        return Err(io::ErrorKind::Unsupported.into());
    }
    socket.set_nonblocking(true)?;
    UnixStream::from_std(socket)
}

/// What a descriptor stands for: the same numbers, the same thing.
fn place(stream: OwnedFd) -> io::Result<(OwnedFd, (u64, u64))> {
    let file = File::from(stream);
    let metadata = file.metadata()?;
    Ok((file.into(), (metadata.dev(), metadata.ino())))
}
