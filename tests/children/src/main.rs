//! `test-child`: one child of a fleet, made for tests.
//!
//! It speaks MCP from raw bytes and not through an SDK, because a test needs to
//! send exact bytes, to see the exact bytes that came, and to misbehave. It is
//! strict wherever a real server may be strict (request ids used once, headers
//! that match the body, no keys of the other era), so that a multiplexer which
//! gets along with it gets along with them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`options`] | the command line: transport, era, and what is wrong with this child |
//! | [`message`] | one JSON-RPC message, read without touching its values |
//! | [`server`] | the protocol of both eras, the same for both transports |
//! | [`catalog`] | what `tools/list` shows |
//! | [`tools`] | what the tools do |
//! | [`extension`] | what this child understands beyond the specification |
//! | [`pause`] | a tool that waits for the test in the middle of its call |
//! | [`asking`] | the tool that asks its client |
//! | [`contents`] | a prompt, its completion, and what resources hold |
//! | [`say`] | a tool that says what it is told to |
//! | [`resources`] | resources, subscriptions, and what is told outside of any request |
//! | [`stdio`], [`http`] | the two transports |
//! | [`polling`] | streams over HTTP that the client has to come back to |
//! | [`broken`] | the ways in which a child never gets as far as the protocol |
//! | [`journal`] | the file in which a test reads what this child has seen |

mod asking;
mod broken;
mod catalog;
mod contents;
mod extension;
mod http;
mod journal;
mod message;
mod options;
mod pause;
mod polling;
mod resources;
mod say;
mod server;
mod stdio;
mod tools;

use std::{process::ExitCode, sync::Arc};

use clap::Parser as _;

use options::{Behaviour, Options, Transport};
use server::Server;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    if options.behaviour == Behaviour::ExitAtOnce {
        eprintln!("test-child: told to exit at once");
        return ExitCode::from(3);
    }
    let transport = options.transport;
    let server = Arc::new(Server::new(options));
    server.journal.started();
    if let Err(error) = broken::burden(&server) {
        eprintln!("test-child: {error}");
        return ExitCode::FAILURE;
    }
    let served = match transport {
        Transport::Stdio => stdio::serve(server).await,
        Transport::Http => http::serve(server).await,
    };
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("test-child: {error}");
            ExitCode::FAILURE
        }
    }
}
