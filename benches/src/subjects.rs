//! Who is measured: the same calls go to a child itself, and to it through each proxy.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::time::sleep;

use crate::{
    bench::Cell,
    message::{Era, PREFIX, Payload},
    peers,
    processes::{
        Door, Load, Server, Way, bare, child, line, multiplexer, only, start, start_bare,
        start_multiplexer,
    },
    usage::Used,
    web::Error,
};

/// How long a child with many tools may take until all are listed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a peer that listens may take until it has its child.
const CONNECTS: Duration = Duration::from_secs(10);

/// The child itself, and no proxy.
pub const DIRECT: &str = "direct";
/// The yardstick.
pub const BARE: &str = "bare proxy";
/// The yardstick of a list: the same bytes, ready, from the same stack.
pub const FIXED: &str = "the same bytes";
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
/// A list of tools, from a file or from many children's.
pub const LIST: &str = "tools/list over http";
/// From a client that started the proxy.
pub const STDIO_STDIO: &str = "stdio → stdio, legacy";

/// Who of this way the others are compared with.
pub fn yardstick(way: &str) -> &'static str {
    match way {
        LIST => FIXED,
        _ => BARE,
    }
}

/// Who is measured.
pub struct Subject {
    pub who: String,
    pub way: &'static str,
    era: Era,
    door: Door,
    prefix: &'static str,
    /// Options of its load.
    options: &'static [&'static str],
    /// That listens; a process over stdio is started by each load.
    proxy: Option<Server>,
    /// What it cannot carry.
    fails: Vec<Payload>,
}

impl Subject {
    /// A load on it, warm and waiting.
    pub async fn load(&self, cell: Cell, millis: u64) -> Result<Load, Error> {
        let load = Load::with(
            self.options,
            &self.door,
            self.era,
            self.prefix,
            cell,
            millis,
        )
        .await;
        load.map_err(|err| format!("{}, {}, {cell}: {err}", self.who, self.way).into())
    }

    /// Whether this is asked of it. Peers are slow: of what is more than a few bytes they
    /// are asked at one degree of concurrency.
    pub fn is_asked(&self, cell: Cell) -> bool {
        let is_own = [DIRECT, BARE, MULTIPLEXER, BESIDE, FIXED].contains(&&*self.who);
        match cell.payload {
            payload if self.fails.contains(&payload) => false,
            Payload::Tools(_) => self.way == LIST && cell.concurrency <= 16,
            _ if self.way == LIST => false,
            Payload::Text(64) => true,
            _ => is_own || cell.concurrency == 16,
        }
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
    /// Only ways with this in their name.
    pub only: &'a str,
    /// Where the peers are installed.
    pub peers: &'a Path,
}

impl Makers<'_> {
    /// Starts everybody, and the children they are in front of.
    pub async fn start(&self) -> Result<(Vec<Server>, Vec<Subject>), Error> {
        let payloads = self.payloads.iter().copied();
        let called: Vec<_> = payloads
            .filter(|it| !matches!(it, Payload::Tools(_)))
            .collect();
        let legacy = start(&child("http", Era::Legacy, &called)?).await?;
        let modern = start(&child("http", Era::Modern, &called)?).await?;
        let issuer = legacy.url.clone();
        let process = child("stdio", Era::Legacy, &called)?;
        let mut subjects = Vec::new();
        let mut children = Vec::new();
        if self.is_wanted(LIST) {
            for payload in self.payloads {
                if let Payload::Tools(_) = payload {
                    let (server, two) = self.list(*payload).await?;
                    children.push(server);
                    subjects.extend(two);
                }
            }
        }
        let ways = [
            (HTTP_LEGACY, Way::Http(legacy.url.clone())),
            (HTTP_MODERN, Way::Http(modern.url.clone())),
            (HTTP_STDIO, Way::Stdio(process.clone())),
            (STDIO_STDIO, Way::Stdio(process)),
        ];
        for (name, way) in ways {
            if self.is_wanted(name) {
                subjects.extend(self.own(name, &way, &issuer).await?);
                subjects.extend(self.peers(name, &way).await?);
            }
        }
        children.extend([legacy, modern]);
        Ok((children, subjects))
    }

    /// What peers there are, and which are not.
    pub fn installed(&self) -> Vec<String> {
        let all = peers::ALL.iter();
        all.map(|peer| match peer.version(self.peers) {
            Some(version) => version,
            None => format!("{} (not installed, left out)", peer.name),
        })
        .collect()
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
            options: &[],
            proxy,
            fails: Vec::new(),
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

    /// A multiplexer in front of a child with many tools, and what it says of them as a
    /// file.
    async fn list(&self, payload: Payload) -> Result<(Server, [Subject; 2]), Error> {
        let child = start(&child("http", Era::Legacy, &[payload])?).await?;
        let folder = self.folder(LIST)?;
        let entries = only(&Way::Http(child.url.clone()));
        let program = self.multiplexer;
        let server = start_multiplexer(program, &folder, entries, &child.url).await?;
        let file = folder.join("answer.json");
        keep(&server, payload, &file).await?;
        let program = std::env::current_exe()?.display().to_string();
        let kept = file.display().to_string();
        let fixed = [program, "bare".to_owned(), "--fixed".to_owned(), kept];
        let subject = |who: &str, server: Server| Subject {
            who: who.to_owned(),
            way: LIST,
            era: Era::Legacy,
            door: Door::Http(server.url.clone()),
            prefix: "",
            options: &["--one-id"],
            proxy: Some(server),
            fails: Vec::new(),
        };
        let fixed = subject(FIXED, start(&fixed).await?);
        Ok((child, [fixed, subject(MULTIPLEXER, server)]))
    }

    /// The other proxies, over HTTP with sessions, which all of them speak.
    async fn peers(&self, name: &'static str, way: &Way) -> Result<Vec<Subject>, Error> {
        let mut subjects = Vec::new();
        if ![HTTP_LEGACY, HTTP_STDIO].contains(&name) {
            return Ok(subjects);
        }
        for peer in peers::ALL {
            let Some(version) = peer.version(self.peers) else {
                continue;
            };
            let folder = self.folder(&format!("{version} {name}"))?;
            let server = match peer.start(self.peers, &folder, way).await {
                Ok(Some(server)) => server,
                Ok(None) => continue,
                Err(error) => {
                    eprintln!("{}, {name}: left out: {error}", peer.name);
                    continue;
                }
            };
            let mut subject = Subject {
                who: peer.name.to_owned(),
                way: name,
                era: Era::Legacy,
                door: Door::Http(server.url.clone()),
                prefix: peer.prefix,
                options: peer.load,
                proxy: Some(server),
                fails: Vec::new(),
            };
            subject.fails = self.asked_in_vain(&subject).await;
            subjects.push(subject);
        }
        Ok(subjects)
    }

    /// What a peer changes or refuses, which is not measured.
    async fn asked_in_vain(&self, subject: &Subject) -> Vec<Payload> {
        let mut fails = Vec::new();
        let began = Instant::now();
        let mut answers = false;
        let called = self.payloads.iter().copied();
        for payload in called.filter(|it| !matches!(it, Payload::Tools(_))) {
            let cell = Cell {
                payload,
                concurrency: 1,
            };
            let mut tried = subject.load(cell, 0).await;
            // It listens, and may still be connecting.
            while tried.is_err() && !answers && began.elapsed() < CONNECTS {
                sleep(CONNECTS / 20).await;
                tried = subject.load(cell, 0).await;
            }
            match tried {
                Ok(_) => answers = true,
                Err(error) => {
                    eprintln!("{error}: left out");
                    fails.push(payload);
                }
            }
        }
        fails
    }

    fn folder(&self, name: &str) -> Result<PathBuf, Error> {
        let letter = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let folder = self.out.join(name.chars().map(letter).collect::<String>());
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// Keeps what the server answers in a file, as soon as it lists everything.
async fn keep(server: &Server, payload: Payload, file: &Path) -> Result<(), Error> {
    let file = file.display().to_string();
    let options = ["--one-id", "--keep", &file];
    let door = Door::Http(server.url.clone());
    let cell = Cell {
        payload,
        concurrency: 1,
    };
    let began = Instant::now();
    loop {
        match Load::with(&options, &door, Era::Legacy, "", cell, 0).await {
            Ok(_) => return Ok(()),
            Err(err) if began.elapsed() > PATIENCE => return Err(err),
            Err(_) => {}
        }
    }
}
