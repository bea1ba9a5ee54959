//! The file and its entries.
#![expect(
    dead_code,
    reason = "these types describe the file and are never made: it is read by hand"
)]

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{
    door::Door,
    values::{Anything, Count, Mode, Session, Share, Span, Switch, Transport, Whose},
};

/// The children of mcp-multiplexer, and what concerns them all.
#[derive(JsonSchema)]
#[schemars(
    title = "mcp_config.json",
    rename_all = "camelCase",
    deny_unknown_fields
)]
pub(super) struct File {
    /// The JSON Schema of this file, for editors.
    #[schemars(rename = "$schema")]
    schema: Option<Anything>,
    /// The children, by name.
    mcp_servers: Option<BTreeMap<String, Entry>>,
    /// Keys for every entry that does not set them.
    defaults: Option<Entry>,
    /// The longest public name of a tool, in characters.
    max_name_length: Option<Count<10, 1024>>,
    /// Which tools are listed: all of them, or a few that find and load the others.
    mode: Option<Mode>,
    /// List the tools of dynamic mode in eager mode too.
    meta_tools: Option<Switch>,
    /// Globs on public names of tools that dynamic mode lists always.
    always_load: Option<Vec<String>>,
    /// A file of words that mean the same, for searches.
    synonyms: Option<String>,
    /// Parts of the fleet with an address of their own, `/mcp/group/{name}`: lists of
    /// entry names.
    groups: Option<BTreeMap<String, Vec<String>>>,
    /// Where clients reach `/mcp`.
    public_url: Option<String>,
    /// Who may come in.
    auth: Option<Door>,
    /// Addresses or networks whose `X-Forwarded-*` headers are believed.
    trusted_proxies: Option<Vec<String>>,
}

/// One child: a `command` to start, or the `url` of a remote server.
#[derive(JsonSchema)]
#[schemars(
    rename_all = "camelCase",
    deny_unknown_fields,
    extend("not" = {
        "required": ["command", "url"],
        "properties": {"command": {"type": "string"}, "url": {"type": "string"}}
    })
)]
struct Entry {
    /// stdio: the program, a path or a name found in `PATH`.
    command: Option<String>,
    /// stdio: its arguments.
    args: Option<Vec<String>>,
    /// stdio: variables for it, beside the minimal ones. `${VAR}` takes one of the
    /// multiplexer's own.
    env: Option<BTreeMap<String, String>>,
    /// stdio: where it starts.
    cwd: Option<String>,
    /// stdio: give it the multiplexer's whole environment.
    inherit_env: Option<Switch>,
    /// Remote: its MCP endpoint.
    url: Option<String>,
    /// The transport; by default what `command` or `url` says.
    r#type: Option<Transport>,
    /// Another spelling of `type`.
    transport: Option<Transport>,
    /// Remote: headers sent with every request. `${VAR}` takes a variable.
    headers: Option<BTreeMap<String, String>>,
    /// What stands before its tools' names; by default made from the entry's name.
    #[schemars(regex(pattern = r"^[A-Za-z0-9_-]*$|\$\{[A-Za-z_]"))]
    prefix: Option<String>,
    /// Globs on its own names: only tools that match one are offered.
    enabled_tools: Option<Vec<String>>,
    /// Globs on its own names: tools that match one are not offered.
    disabled_tools: Option<Vec<String>>,
    /// Do not use this entry.
    disabled: Option<Switch>,
    /// For connecting, handshake and first list together: seconds, or "500ms", "2m".
    timeout: Option<Span>,
    /// For one call. Progress starts it anew. 0: no limit.
    call_timeout: Option<Span>,
    /// The longest that progress can make a call.
    max_call_timeout: Option<Span>,
    /// Calls it works on at once.
    max_concurrency: Option<Count<1, 1_000_000>>,
    /// Calls that may wait for a free slot.
    max_queue: Option<Count<0, 1_000_000>>,
    /// How long a call waits for a free slot. 0: not at all.
    queue_timeout: Option<Span>,
    /// Remote: how often an idle child is asked whether it is there. 0: never.
    keep_alive: Option<Span>,
    /// How a child that is lost is tried again.
    restart: Option<Restart>,
    /// When calls to a failing child stop.
    breaker: Option<Breaker>,
    /// Another spelling of `breaker.failures`.
    breaker_threshold: Option<Count<0, 1_000_000>>,
    /// Another spelling of `breaker.cooldown`.
    breaker_cooldown: Option<Span>,
    /// Remote: whose token it is sent.
    auth: Option<Auth>,
    /// Whether all clients share one connection, or each client session has its own.
    session: Option<Session>,
    /// `dedicated`: sessions that may have a connection at once.
    max_sessions: Option<Count<1, 1_000_000>>,
    /// Run it only while it is needed.
    lazy: Option<Switch>,
    /// How long a lazy child, or what is dedicated to a session, runs on after its last
    /// call.
    idle_timeout: Option<Span>,
    /// No effect here: one connection to a child carries all its calls.
    #[schemars(extend("deprecated" = true))]
    pool_size: Option<Anything>,
    /// No effect here: a child is restarted for ever, with backoff.
    #[schemars(extend("deprecated" = true))]
    max_restarts: Option<Anything>,
    /// No effect here: a child is restarted for ever, with backoff.
    #[schemars(extend("deprecated" = true))]
    restart_window: Option<Anything>,
}

/// When calls to a failing child stop.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Breaker {
    /// Failures in a row that open it. 0 turns it off.
    failures: Option<Count<0, 1_000_000>>,
    /// How long it stays open at first. Doubles while probes fail.
    cooldown: Option<Span>,
    /// What the cool-down doubles up to.
    max_cooldown: Option<Span>,
    /// Opens it too when exceeded, as a share of the calls within `window`.
    failure_rate: Option<Share>,
    /// The time over which `failureRate` is taken.
    window: Option<Span>,
}

/// How a child that is lost is tried again.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Restart {
    /// The first pause. Doubles while attempts fail.
    backoff: Option<Span>,
    /// What the pause doubles up to.
    max_backoff: Option<Span>,
    /// A child that was up this long begins with the first pause again.
    stable: Option<Span>,
}

/// Whose token a child is sent: a word, or a token of its own.
#[derive(JsonSchema)]
#[schemars(untagged)]
enum Auth {
    Word(Whose),
    Own(Box<OwnToken>),
}

/// A token of its own. What it does not say, the `OIDC_…` variables do.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct OwnToken {
    /// For whom the token is meant.
    audience: Option<String>,
    /// Scopes, with spaces between them.
    scope: Option<String>,
    /// The resource it is for (RFC 8707).
    resource: Option<String>,
    /// As whom it is asked for.
    client_id: Option<String>,
    /// The file that holds the client's secret.
    client_secret_file: Option<String>,
    /// Where it is asked for.
    token_url: Option<String>,
    /// Exchange each caller's token for one of the child's audience (RFC 8693).
    token_exchange: Option<Exchange>,
}

/// What a caller's token is exchanged for.
#[derive(JsonSchema)]
#[schemars(rename_all = "camelCase", deny_unknown_fields)]
struct Exchange {
    /// For whom the token is meant.
    audience: Option<String>,
    /// Scopes, with spaces between them.
    scope: Option<String>,
    /// The resource it is for (RFC 8707).
    resource: Option<String>,
}
