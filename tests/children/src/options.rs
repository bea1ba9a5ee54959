//! The command line: which transport and era, and what is wrong with this child.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

/// A scriptable MCP server for tests.
#[derive(Parser, Debug, Clone)]
#[command(name = "test-child")]
pub struct Options {
    /// How clients reach this child.
    #[arg(long, value_enum, default_value_t = Transport::Stdio)]
    pub transport: Transport,
    /// Port to listen on; 0 lets the system choose. `PORT=n` is the first line on stdout.
    #[arg(long, default_value_t = 0)]
    pub port: u16,
    /// Which protocol this child understands.
    #[arg(long, value_enum, default_value_t = Eras::Both)]
    pub era: Eras,
    /// Of the versions with `initialize`, speak this one only, and insist on it.
    #[arg(long)]
    pub version: Option<String>,
    /// Understand what this file names (`legacy` or `modern`), if it is there.
    #[arg(long)]
    pub era_file: Option<PathBuf>,
    /// Answer every HTTP request as an event stream, not only those that need one.
    #[arg(long)]
    pub sse: bool,
    /// Put the id behind the result.
    #[arg(long)]
    pub id_last: bool,
    /// Where something is said before a legacy answer, let go of the stream at once;
    /// whoever comes back with its id is told all of it.
    #[arg(long)]
    pub polls: bool,

    /// List this many tools `filler_0000`, `filler_0001`, … beside the built-in ones.
    #[arg(long, default_value_t = 0)]
    pub tools: usize,
    /// List a further tool of this name, which does what `echo` does. Repeatable.
    #[arg(long = "named")]
    pub named: Vec<String>,
    /// List the tools of this file byte for byte; each line holds a name, a tab and an entry.
    #[arg(long)]
    pub tools_file: Option<PathBuf>,
    /// Leave the built-in tools out of the list (they can still be called).
    #[arg(long)]
    pub bare: bool,
    /// At most this many tools on a page of `tools/list`; 0 for one page.
    #[arg(long, default_value_t = 0)]
    pub page_size: usize,
    /// What the tool `raw` returns as its `result`, byte for byte.
    #[arg(long)]
    pub result_file: Option<PathBuf>,

    /// List a resource of this URI. Repeatable.
    #[arg(long = "resource")]
    pub resources: Vec<String>,
    /// Declare that resources can be subscribed to.
    #[arg(long)]
    pub subscribe: bool,
    /// Have a prompt, complete its argument, and let the resources be read.
    #[arg(long)]
    pub contents: bool,
    /// What this child says of how it is to be used.
    #[arg(long)]
    pub instructions: Option<String>,

    /// Append what happens, one JSON text a line, to this file.
    #[arg(long)]
    pub journal: Option<PathBuf>,
    /// Answer nothing until this file exists.
    #[arg(long)]
    pub gate: Option<PathBuf>,
    /// Answer 401 unless the request bears the token that this file holds; `*`: any token.
    #[arg(long)]
    pub bearer_file: Option<PathBuf>,

    /// What stands in `WWW-Authenticate` of a 401 or a 403; `{token}`: what the request
    /// bears.
    #[arg(long, default_value = "Bearer")]
    pub challenge: String,
    /// What a 401 or a 403 says in a JSON-RPC error; `{token}`: what the request bears.
    #[arg(long)]
    pub refusal: Option<String>,

    /// Declare this extension, and understand whatever the specification does not know.
    #[arg(long)]
    pub extension: Option<String>,

    /// The one way in which this child is broken.
    #[arg(long, value_enum, default_value_t = Behaviour::Healthy)]
    pub behaviour: Behaviour,
    /// Work on when a request is cancelled, and answer it all the same.
    #[arg(long)]
    pub ignore_cancel: bool,
    /// Live on after SIGTERM and after the end of stdin.
    #[arg(long)]
    pub ignore_sigterm: bool,
    /// Go only when this file exists, after the end of stdin and whatever SIGTERM says.
    #[arg(long)]
    pub leave_when: Option<PathBuf>,
    /// Start a `sleep` that outlives this child unless somebody ends it.
    #[arg(long)]
    pub grandchild: bool,
    /// With --grandchild: it holds this child's stdout and stderr open.
    #[arg(long)]
    pub clinging: bool,
    /// Write this many lines to stderr at once.
    #[arg(long, default_value_t = 0)]
    pub flood_stderr: u32,
    /// Send this many notifications after the first `tools/list` on stdio.
    #[arg(long, default_value_t = 0)]
    pub flood_notifications: u32,
}

/// How clients reach a child.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One frame a line on stdin and stdout.
    Stdio,
    /// Streamable HTTP at `/mcp` on 127.0.0.1.
    Http,
}

/// The protocols a child understands.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eras {
    /// `initialize` and sessions; `server/discover` is refused.
    Legacy,
    /// `server/discover` and stateless requests; `initialize` is refused.
    Modern,
    /// Each client as it comes.
    Both,
}

/// How a child is broken.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// It is not.
    Healthy,
    /// Accepts whatever comes and never answers.
    BlackHole,
    /// Ends before it reads anything.
    ExitAtOnce,
    /// Answers with bytes that are not JSON.
    Garbage,
    /// Answers with JSON that is not JSON-RPC.
    NotJsonRpc,
    /// Claims a protocol version that nobody speaks.
    WrongVersion,
    /// Answers every HTTP request with status 500.
    ServerError,
    /// Answers the next HTTP request with status 500, and is healthy from then on.
    ServerErrorOnce,
    /// Answers every HTTP request with status 401.
    Unauthorized,
    /// Answers every HTTP request with status 403.
    Forbidden,
    /// Answers every HTTP request with status 429 and says when to come back.
    TooMany,
    /// Answers every HTTP request with a web page and status 200.
    Html,
    /// Refuses `server/discover` and never answers `initialize`.
    NeverInitializes,
    /// Answers with the first half of a frame and then falls silent.
    HalfLine,
    /// Answers every request twice.
    Twice,
    /// Answers, before each request, one that nobody has sent.
    Stray,
}
