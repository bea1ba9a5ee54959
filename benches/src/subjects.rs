//! Who is measured: the same calls go to a child itself, and to it through each proxy.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{
    bench::Cell,
    message::{Era, PREFIX, Payload},
    processes::{
        Door, Load, Server, Way, bare, child, line, multiplexer, only, start, start_bare,
        start_multiplexer,
    },
    usage::Used,
    web::Error,
};

/// The child itself, and no proxy.
pub const DIRECT: &str = "direct";
/// The yardstick.
pub const BARE: &str = "bare proxy";
/// What it is about.
pub const MULTIPLEXER: &str = "mcp-multiplexer";
/// Another build of it.
const BESIDE: &str = "beside";

/// Between whom: the client's transport, the child's, and what both speak.
pub const HTTP_LEGACY: &str = "http → http, legacy";
/// The same without sessions.
pub const HTTP_MODERN: &str = "http → http, modern";
/// To a child that is a process.
pub const HTTP_STDIO: &str = "http → stdio, legacy";
/// From a client that started the proxy.
pub const STDIO_STDIO: &str = "stdio → stdio, legacy";

/// Who is measured.
pub struct Subject {
    pub who: String,
    pub way: &'static str,
    era: Era,
    door: Door,
    prefix: &'static str,
    /// That listens; a process over stdio is started by each load.
    proxy: Option<Server>,
}

impl Subject {
    /// A load on it, warm and waiting.
    pub async fn load(&self, cell: Cell, millis: u64) -> Result<Load, Error> {
        let load = Load::start(&self.door, self.era, self.prefix, cell, millis).await;
        load.map_err(|err| format!("{}, {}, {cell}: {err}", self.who, self.way).into())
    }

    /// What it has used; nothing where it is no proxy.
    pub fn used(&self, load: &Load) -> Result<Option<Used>, Error> {
        if self.who == DIRECT {
            return Ok(None);
        }
        let pid = self.proxy.as_ref().map(|proxy| proxy.pid).or(load.peer);
        Ok(pid.map(Used::by).transpose()?)
    }
}

/// What makes them.
pub struct Makers<'a> {
    pub multiplexer: &'a Path,
    pub beside: Option<&'a Path>,
    /// Where configurations go.
    pub out: &'a Path,
    pub payloads: &'a [Payload],
    /// Only ways and names with this in them.
    pub only: &'a str,
}

impl Makers<'_> {
    /// Starts everybody, and the children they are in front of.
    pub async fn start(&self) -> Result<(Vec<Server>, Vec<Subject>), Error> {
        let legacy = start(&child("http", Era::Legacy, self.payloads)?).await?;
        let modern = start(&child("http", Era::Modern, self.payloads)?).await?;
        let issuer = legacy.url.clone();
        let process = child("stdio", Era::Legacy, self.payloads)?;
        let mut subjects = Vec::new();
        let ways = [
            (HTTP_LEGACY, Way::Http(legacy.url.clone())),
            (HTTP_MODERN, Way::Http(modern.url.clone())),
            (HTTP_STDIO, Way::Stdio(process.clone())),
            (STDIO_STDIO, Way::Stdio(process)),
        ];
        for (name, way) in ways {
            if self.is_wanted(name) {
                subjects.extend(self.own(name, &way, &issuer).await?);
            }
        }
        Ok((vec![legacy, modern], subjects))
    }

    /// Whether anybody who goes this way is wanted, so that it needs its yardstick.
    fn is_wanted(&self, way: &str) -> bool {
        way.contains(self.only)
    }

    /// The child, the bare proxy and the multiplexer.
    async fn own(
        &self,
        name: &'static str,
        way: &Way,
        issuer: &str,
    ) -> Result<Vec<Subject>, Error> {
        let era = match name {
            HTTP_MODERN => Era::Modern,
            _ => Era::Legacy,
        };
        let subject = |who: &str, door, prefix, proxy| Subject {
            who: who.to_owned(),
            way: name,
            era,
            door,
            prefix,
            proxy,
        };
        let served = |who: &str, server: Server| {
            subject(who, Door::Http(server.url.clone()), PREFIX, Some(server))
        };
        let mut subjects = Vec::new();
        match way {
            Way::Http(url) => subjects.push(subject(DIRECT, Door::Http(url.clone()), "", None)),
            Way::Stdio(line) if name == STDIO_STDIO => {
                subjects.push(subject(DIRECT, Door::Stdio(line.clone()), "", None));
            }
            Way::Stdio(_) => {}
        }
        if name == STDIO_STDIO {
            let door = Door::Stdio(bare(way, &["--stdio"])?);
            subjects.push(subject(BARE, door, PREFIX, None));
        } else {
            subjects.push(served(BARE, start_bare(way).await?));
        }
        let builds = [(MULTIPLEXER, Some(self.multiplexer)), (BESIDE, self.beside)];
        for (who, program) in builds {
            let Some(program) = program else {
                continue;
            };
            let folder = self.folder(&format!("{who} {name}"))?;
            if name == STDIO_STDIO {
                let settings = json!({"mcpServers": only(way)});
                let command = multiplexer(program, &folder, &settings, issuer)?;
                let door = Door::Stdio(line(&command));
                subjects.push(subject(who, door, PREFIX, None));
            } else {
                let server = start_multiplexer(program, &folder, only(way), issuer).await?;
                subjects.push(served(who, server));
            }
        }
        Ok(subjects)
    }

    fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let folder = self.out.join(name.chars().map(letter).collect::<String>());
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}
