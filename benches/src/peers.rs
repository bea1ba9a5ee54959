//! Other proxies, each as it is at its best, as `benches/peers` has installed them.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
    time::sleep,
};

use crate::{
    message::PREFIX,
    processes::{Server, Way, spawn},
    web::Error,
};

/// How long one may take until it listens.
const PATIENCE: Duration = Duration::from_secs(60);

/// Another proxy.
pub struct Peer {
    /// As its project is called.
    pub name: &'static str,
    /// Where it is installed, below the folder of all.
    folder: &'static str,
    /// What it puts before a tool's name.
    pub prefix: &'static str,
    /// Where it serves.
    path: &'static str,
    /// What its load needs.
    pub load: &'static [&'static str],
    /// How it is started, if it can stand in front of such a child.
    command: fn(&Place) -> Result<Option<Command>, Error>,
}

/// Where and for what a peer is started.
struct Place<'a> {
    /// Where it is installed.
    installed: PathBuf,
    /// For its configuration.
    folder: &'a Path,
    port: u16,
    way: &'a Way,
}

/// All of them.
pub const ALL: &[Peer] = &[
    Peer {
        name: "mcp-proxy (Rust)",
        folder: "joshrotenberg",
        prefix: PREFIX,
        path: "/",
        load: &[],
        command: joshrotenberg,
    },
    Peer {
        name: "TBXark/mcp-proxy (Go)",
        folder: "tbxark",
        prefix: "",
        path: "/child/mcp",
        load: &[],
        command: tbxark,
    },
    Peer {
        name: "supergateway (Node)",
        folder: "supergateway",
        prefix: "",
        path: "/mcp",
        // It starts a child for each session.
        load: &["--one-session"],
        command: supergateway,
    },
    Peer {
        name: "mcp-hub (Node)",
        folder: "mcp-hub",
        prefix: PREFIX,
        path: "/mcp",
        load: &["--sse"],
        command: mcp_hub,
    },
    Peer {
        name: "mcp-proxy (Python)",
        folder: "sparfenyuk",
        prefix: "",
        path: "/mcp/",
        load: &[],
        command: sparfenyuk,
    },
    Peer {
        name: "FastMCP (Python)",
        folder: "fastmcp",
        prefix: "",
        path: "/mcp",
        load: &[],
        command: fastmcp,
    },
];

impl Peer {
    /// Its name and version where it is installed.
    pub fn version(&self, peers: &Path) -> Option<String> {
        let version = fs::read_to_string(peers.join(self.folder).join("version"));
        Some(version.ok()?.trim().to_owned())
    }

    /// Starts it in front of one child and waits until it listens; nothing if it is not
    /// made for such a child.
    pub async fn start(
        &self,
        peers: &Path,
        folder: &Path,
        way: &Way,
    ) -> Result<Option<Server>, Error> {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let at = free.local_addr()?;
        drop(free);
        let place = Place {
            installed: peers.join(self.folder).canonicalize()?,
            folder,
            port: at.port(),
            way,
        };
        let Some(mut command) = (self.command)(&place)? else {
            return Ok(None);
        };
        let log = folder.join("log");
        let file = fs::File::create(&log)?;
        // Some end when their input does.
        command
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file);
        let (mut process, pid) = spawn(command)?;
        let began = Instant::now();
        while !listens(at).await {
            if process.try_wait()?.is_some() || began.elapsed() > PATIENCE {
                return Err(format!("{} does not start: see {}", self.name, log.display()).into());
            }
            sleep(Duration::from_millis(50)).await;
        }
        let url = format!("http://{at}{}", self.path);
        Ok(Some(Server::of(process, pid, url)))
    }
}

async fn listens(at: SocketAddr) -> bool {
    TcpStream::connect(at).await.is_ok()
}

impl Place<'_> {
    /// Its program, below where it is installed.
    fn program(&self, path: &str) -> Command {
        let mut command = Command::new(self.installed.join(path));
        command.env("NODE_ENV", "production");
        command
    }

    fn write(&self, name: &str, content: &str) -> Result<PathBuf, Error> {
        let file = self.folder.join(name);
        fs::write(&file, content)?;
        Ok(file)
    }

    fn port(&self) -> String {
        self.port.to_string()
    }
}

fn joshrotenberg(place: &Place) -> Result<Option<Command>, Error> {
    // A string of JSON is one of TOML.
    let backend = match place.way {
        Way::Http(url) => format!("transport = \"http\"\nurl = {}\n", json!(url)),
        Way::Stdio(line) => format!(
            "transport = \"stdio\"\ncommand = {}\nargs = {}\n",
            json!(line[0]),
            json!(line[1..])
        ),
    };
    let port = place.port;
    let config = format!(
        "[proxy]\nname = \"peer\"\nseparator = \"__\"\n\n[proxy.listen]\nhost = \"127.0.0.1\"\n\
         port = {port}\n\n[[backends]]\nname = \"child\"\n{backend}\n[observability]\n\
         log_level = \"error\"\n"
    );
    let config = place.write("proxy.toml", &config)?;
    let mut command = place.program("bin/mcp-proxy");
    command.arg("--config").arg(config);
    Ok(Some(command))
}

fn tbxark(place: &Place) -> Result<Option<Command>, Error> {
    let child = match place.way {
        Way::Http(url) => json!({"url": url, "transportType": "streamable-http"}),
        Way::Stdio(line) => json!({"command": line[0], "args": line[1..]}),
    };
    let port = place.port;
    let config = json!({
        "mcpProxy": {
            "baseURL": format!("http://127.0.0.1:{port}"), "addr": format!("127.0.0.1:{port}"),
            "name": "peer", "version": "1", "type": "streamable-http",
            "options": {"logEnabled": false},
        },
        "mcpServers": {"child": child},
    });
    let config = place.write("config.json", &config.to_string())?;
    let mut command = place.program("tbxark");
    command.arg("--config").arg(config);
    Ok(Some(command))
}

fn supergateway(place: &Place) -> Result<Option<Command>, Error> {
    let Way::Stdio(line) = place.way else {
        return Ok(None);
    };
    let mut command = place.program("node_modules/.bin/supergateway");
    command
        .args(["--stdio", &line.join(" "), "--port", &place.port()])
        .args(["--outputTransport", "streamableHttp", "--stateful"])
        .args(["--logLevel", "none"]);
    Ok(Some(command))
}

fn mcp_hub(place: &Place) -> Result<Option<Command>, Error> {
    let child: Value = match place.way {
        Way::Http(url) => json!({"url": url}),
        Way::Stdio(line) => json!({"command": line[0], "args": line[1..]}),
    };
    let config = json!({"mcpServers": {"child": child}});
    let config = place.write("config.json", &config.to_string())?;
    let mut command = place.program("node_modules/.bin/mcp-hub");
    command
        .args(["--port", &place.port(), "--config"])
        .arg(config)
        // Its state and its log go there.
        .env("HOME", place.folder)
        .env("XDG_STATE_HOME", place.folder)
        .env("XDG_DATA_HOME", place.folder);
    Ok(Some(command))
}

fn sparfenyuk(place: &Place) -> Result<Option<Command>, Error> {
    let Way::Stdio(line) = place.way else {
        return Ok(None);
    };
    let mut command = place.program("bin/mcp-proxy");
    command
        .args(["--port", &place.port(), "--log-level", "ERROR", "--"])
        .args(line);
    Ok(Some(command))
}

fn fastmcp(place: &Place) -> Result<Option<Command>, Error> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fastmcp_proxy.py");
    let mut command = place.program("bin/python");
    command.arg(script).arg(place.port());
    match place.way {
        Way::Http(url) => command.arg(url),
        Way::Stdio(line) => command.args(line),
    };
    Ok(Some(command))
}
