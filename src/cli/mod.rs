//! The command line: one file per command.
//!
//! Owns: flags, what goes to stdout and stderr, exit codes. Must never know how
//! anything is done.

mod call;
mod check;
mod client;
mod clients;
mod completions;
mod demo;
mod document;
mod failure;
mod healthcheck;
mod import;
mod instance;
mod out;
mod patience;
mod policy_file;
mod register;
mod reload;
mod request;
mod running;
mod schema;
mod search;
mod serve;
mod started;
mod status;
mod token;
mod tools;

use clap::{Parser, Subcommand};

pub use failure::CliError;

use crate::{VERSION, outbound::watchdog};

/// One MCP server in front of many.
///
/// Reads mcp_config.json, starts or connects every server in it, and serves them
/// all as one, over stdio or HTTP.
#[derive(Debug, Parser)]
#[command(
    name = "mcp-multiplexer",
    version = VERSION,
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: serve::Serve,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve all configured servers as one (the default).
    Serve(serve::Serve),
    Demo(demo::Demo),
    Token(token::Token),
    Check(check::Check),
    Status(status::Status),
    Healthcheck(healthcheck::Healthcheck),
    Tools(tools::Tools),
    Search(search::Search),
    Call(call::Call),
    Import(import::Import),
    Register(register::Register),
    Schema(schema::Schema),
    Completions(completions::Completions),
    /// One of the demo's servers.
    #[command(name = demo::stdio_child::COMMAND, hide = true)]
    DemoChild,
    /// End process groups when the parent is gone.
    #[command(name = watchdog::COMMAND, hide = true)]
    Watchdog,
}

/// Reads the command line and runs one command to its end.
///
/// # Errors
///
/// What to tell the user before exiting with a failure.
pub fn run() -> Result<(), CliError> {
    match command() {
        // A command ends with this only when its work is done and all else is well.
        Err(CliError::Unread) => Ok(()),
        done => done,
    }
}

fn command() -> Result<(), CliError> {
    let cli = Cli::parse();
    match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(serve) => block_on(serve.run())?,
        Command::Demo(demo) => block_on(demo.run())?,
        Command::Token(token) => block_on(token.run())?,
        Command::Tools(tools) => block_on(tools.run())?,
        Command::Call(call) => block_on(call.run())?,
        Command::Search(search) => block_on(search.run())?,
        Command::Check(check) => block_on(check.run())?,
        Command::Status(status) => block_on(status.run())?,
        Command::Healthcheck(healthcheck) => block_on(healthcheck.run())?,
        Command::Import(import) => import.run(),
        Command::Register(register) => register.run(),
        Command::Schema(schema) => schema.run(),
        Command::Completions(completions) => completions.run(),
        Command::DemoChild => block_on(demo::stdio_child::run())?,
        Command::Watchdog => {
            watchdog::watch(std::io::stdin().lock()).map_err(CliError::io("the watchdog's pipe"))
        }
    }
}

/// Runs a command's future on the runtime.
fn block_on<T>(command: impl Future<Output = T>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(CliError::io("the runtime"))?;
    let done = runtime.block_on(command);
    // A read of stdin that never ends must not keep the process.
    runtime.shutdown_background();
    Ok(done)
}
