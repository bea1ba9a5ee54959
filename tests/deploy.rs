//! What is in `deploy`: each file is valid to the tool it is made for, and the program
//! starts with the command and the environment that stand there.

mod peers;
mod support;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use mcp_multiplexer::config::Settings;
use peers::installed;
use serde_json::Value;
use support::{eventually, http::Http, pipe::Log};
use tempfile::TempDir;
use tokio::process::Child as Process;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-multiplexer");

/// What an operator has to say before the stack can be deployed.
const SAID: [(&str, &str); 3] = [
    ("OIDC_ISSUER", "http://127.0.0.1:1/realms/agents"),
    ("MCP_PUBLIC_URL", "https://mcp.example.org/mcp"),
    ("MCP_IMAGE", "registry.example.org/mcp-multiplexer:1"),
];

/// Where children may write, and what all of it runs as, in each of the files.
const HOME: &str = "/home/mcp";
const USER: &str = "65532";

// --- Swarm -------------------------------------------------------------------

#[tokio::test]
async fn the_stack_is_valid_and_its_service_starts_locked() {
    let stack = stack_with(&[]);
    let service = &stack["services"]["mcp-multiplexer"];
    assert_eq!(service["image"], SAID[2].1);
    assert_eq!(service["user"], format!("{USER}:{USER}"));
    let written = service["volumes"].as_array().expect("volumes").iter();
    let written: Vec<_> = written.map(|volume| string(&volume["target"])).collect();
    assert_eq!(written, [HOME, "/tmp"]);
    assert_eq!(service["deploy"]["replicas"], 2);
    assert_eq!(
        service["ports"].as_array().expect("ports").len(),
        1,
        "metrics are not published"
    );

    let arguments = strings(&service["command"]);
    let variables = service["environment"].as_object().expect("variables");
    let variables = variables
        .iter()
        .map(|(name, value)| (name.clone(), string(value)));
    let mut running = Running::start(arguments, variables.collect()).await;

    running.answers().await;
    let check = strings(&service["healthcheck"]["test"]);
    assert_eq!(check[..2], ["CMD", "/mcp-multiplexer"]);
    running.is_healthy_to(&check[2..]);
}

#[test]
fn a_stack_without_what_only_its_operator_knows_says_what_is_missing() {
    for (name, _) in SAID {
        let output = stack_config()
            .envs(SAID)
            .env_remove(name)
            .output()
            .expect("docker is there");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && errors.contains(name),
            "{name}: {errors}"
        );
    }
}

/// Nothing of a swarm's secrets can be changed: a new one comes under another name, and is
/// the same file to the program.
#[test]
fn a_new_secret_and_a_new_configuration_take_the_place_of_the_old_ones() {
    let all = [
        ("secrets", "oidc_client_secret", "SECRET_VERSION"),
        ("secrets", "mcp_session_key", "SESSION_KEY_VERSION"),
        ("configs", "mcp_config", "CONFIG_VERSION"),
    ];
    let before = stack_with(&[]);
    for (kind, name, variable) in all {
        let after = stack_with(&[(variable, "2")]);
        for (kind, other, _) in all {
            let number = if other == name { 2 } else { 1 };
            assert_eq!(before[kind][other]["name"], format!("{other}_1"));
            assert_eq!(after[kind][other]["name"], format!("{other}_{number}"));
        }
        let service = |stack: &Value| stack["services"]["mcp-multiplexer"].clone();
        assert_eq!(service(&after), service(&before), "{kind}");
    }
    let service = &before["services"]["mcp-multiplexer"];
    for secret in service["secrets"].as_array().expect("secrets") {
        let file = format!("/run/secrets/{}", string(&secret["target"]));
        let mut variables = service["environment"].as_object().expect("all").values();
        assert!(variables.any(|value| *value == file), "{file}");
    }
}

fn stack_config() -> Command {
    let mut docker = Command::new("docker");
    docker
        .args(["stack", "config", "--compose-file"])
        .arg(path("deploy/swarm/stack.yml"));
    docker
}

/// The stack as Docker reads it, with these variables beside those that it must have.
fn stack_with(variables: &[(&str, &str)]) -> Value {
    let mut docker = stack_config();
    docker.envs(SAID).envs(variables.iter().copied());
    yaml(&text(&mut docker))[0].take()
}

#[test]
fn prometheus_finds_the_service_where_the_stack_has_its_metrics() {
    let read = |name: &str| fs::read_to_string(path(name)).expect("a file");
    let stack = yaml(&read("deploy/swarm/stack.yml"))[0].take();
    let (name, service) = stack["services"]
        .as_object()
        .and_then(|services| services.iter().next())
        .expect("a service");
    let arguments = strings(&service["command"]);
    let admin = arguments
        .iter()
        .find_map(|it| it.strip_prefix("--admin-addr=0.0.0.0:"));
    let admin = admin.expect("an address for operators");

    let prometheus = yaml(&read("deploy/prometheus/prometheus.yml"))[0].take();
    let swarm = &prometheus["scrape_configs"][0];
    let rules = swarm["relabel_configs"].as_array().expect("rules");
    let of = |label: &str| {
        let rule = rules.iter().find(|rule| rule["source_labels"][0] == label);
        rule.unwrap_or_else(|| panic!("no rule for {label}"))
    };
    assert_eq!(of("__address__")["replacement"], format!("$1:{admin}"));
    let named = format!(
        "^(?:{})$",
        string(&of("__meta_dockerswarm_service_name")["regex"])
    );
    let named = regex::Regex::new(&named).expect("an expression");
    assert!(named.is_match(&format!("mcp_{name}")), "{named}");
    let network = string(&of("__meta_dockerswarm_network_name")["regex"]);
    let network = regex::Regex::new(&format!("^(?:{network})$")).expect("an expression");
    let networks = strings(&service["networks"]);
    assert!(
        networks.iter().any(|it| network.is_match(it)),
        "{networks:?}"
    );
    let targets: Value =
        serde_json::from_str(&read("deploy/prometheus/targets/mcp-multiplexer.json"))
            .expect("JSON");
    assert!(string(&targets[0]["targets"][0]).ends_with(&format!(":{admin}")));
}

#[test]
fn the_configuration_of_the_stack_loads_without_a_warning() {
    loads(&fs::read_to_string(path("deploy/swarm/mcp_config.json")).expect("a file"));
}

// --- Kubernetes --------------------------------------------------------------

#[tokio::test]
async fn the_manifests_are_valid_and_their_pod_starts_locked() {
    let manifest = path("deploy/kubernetes/multiplexer.yaml");
    let mut validate = Command::new(installed("venv/bin/python"));
    validate
        .args(["-m", "kubernetes_validate", "--strict"])
        .arg(&manifest);
    text(&mut validate);

    let manifests = yaml(&fs::read_to_string(manifest).expect("a file"));
    let of_kind = |kind: &str| {
        let found = manifests.iter().find(|manifest| manifest["kind"] == kind);
        found.unwrap_or_else(|| panic!("no {kind}"))
    };
    loads(&string(&of_kind("ConfigMap")["data"]["mcp_config.json"]));

    let pod = &of_kind("Deployment")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsUser"].to_string(), USER);
    let container = &pod["containers"][0];
    // Its version, and a registry that there is none of: whoever forgets it sees it at once.
    let version = env!("CARGO_PKG_VERSION");
    let image = format!("registry.example.org/mcp-multiplexer:{version}");
    assert_eq!(container["image"], image);
    let mounts = container["volumeMounts"].as_array().expect("mounts").iter();
    let written = mounts.filter(|mount| mount["readOnly"] != true);
    let written: Vec<_> = written.map(|mount| string(&mount["mountPath"])).collect();
    assert_eq!(written, [HOME, "/tmp"]);
    let variables = container["env"].as_array().expect("variables").iter();
    let variables =
        variables.map(|variable| (string(&variable["name"]), string(&variable["value"])));
    let mut running = Running::start(strings(&container["args"]), variables.collect()).await;

    running.answers().await;
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = string(&container[probe]["httpGet"]["path"]);
        running.eventually_ok(&path).await;
    }
}

// --- Scripts -----------------------------------------------------------------

#[test]
fn every_script_can_be_read_and_a_release_is_not_begun_by_a_wrong_word() {
    for script in ["deploy/release", "deploy/keycloak/setup.sh"] {
        text(Command::new("bash").arg("-n").arg(path(script)));
    }
    // With nothing on the path, so that whatever it began would fail.
    for arguments in [&["--help"][..], &["-h"], &["a", "b"]] {
        let mut release = Command::new("/bin/bash");
        release.arg(path("deploy/release")).args(arguments);
        release.env("PATH", "");
        let output = release.output().expect("bash is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert_eq!(said, "usage: deploy/release [FOLDER]\n");
    }
}

// --- systemd -----------------------------------------------------------------

#[tokio::test]
async fn the_unit_is_valid_and_confined_and_its_command_starts() {
    let unit = fs::read_to_string(path("deploy/systemd/mcp-multiplexer.service")).expect("a file");
    let folder = TempDir::new().expect("a folder");
    let here = folder.path().join("mcp-multiplexer.service");
    fs::write(
        &here,
        unit.replace("/usr/local/bin/mcp-multiplexer", PROGRAM),
    )
    .expect("a file");
    text(Command::new("systemd-analyze").arg("verify").arg(&here));
    // With what the guide says of a service identity, as `systemctl edit` would add it.
    let guide = fs::read_to_string(path("docs/src/guides/deploy.md")).expect("a page");
    let (_, added) = guide.split_once("```ini\n").expect("a block");
    let (added, _) = added.split_once("```").expect("an end");
    let whole = fs::read_to_string(&here).expect("a file") + "\n" + added;
    fs::write(&here, whole).expect("a file");
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .arg(&here)
        .output();
    let verified = verified.expect("systemd-analyze is there");
    assert!(
        verified.status.success() && verified.stderr.is_empty(),
        "{verified:?}"
    );
    // Of ten, where zero is nothing left to lose.
    let limit = ["security", "--offline=true", "--threshold=20"];
    text(Command::new("systemd-analyze").args(limit).arg(&here));

    let command = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/mcp-multiplexer "))
        .expect("a command");
    let arguments = command.split(' ').map(str::to_owned).collect();
    let running = Running::start(arguments, BTreeMap::new()).await;
    running.eventually_ok("/ready").await;
}

// --- Docker ------------------------------------------------------------------

#[tokio::test]
async fn the_dockerfile_is_well_formed_and_its_commands_are_ours() {
    let file = path("deploy/Dockerfile");
    let lint = installed("node_modules/dockerfile-utils/bin/dockerfile-utils");
    let said = text(Command::new("node").arg(lint).arg("lint").arg(&file));
    assert_eq!(said, "");

    let file = fs::read_to_string(file).expect("a file");
    let lines = file.lines().map(str::trim);
    let lists = lines.filter_map(|line| line.strip_prefix("CMD "));
    let lists: Vec<Vec<String>> = lists
        .map(|list| serde_json::from_str(list).expect("a list"))
        .collect();
    let (checks, commands): (Vec<_>, Vec<_>) = lists
        .into_iter()
        .partition(|list| list[0].ends_with("mcp-multiplexer"));
    assert_eq!(
        (checks.len(), commands.len()),
        (2, 2),
        "one of each for each image"
    );
    // One place and one user, so that what starts one image starts the other.
    for line in [
        "COPY --from=build /out/mcp-multiplexer /mcp-multiplexer",
        &format!("USER {USER}:{USER}"),
    ] {
        let count = file.lines().filter(|it| *it == line).count();
        assert_eq!(count, 2, "{line}");
    }
    assert!(checks.iter().all(|check| check[0] == "/mcp-multiplexer"));
    assert!(file.contains(&format!("ENV HOME={HOME} ")));
    for (check, mut command) in checks.into_iter().zip(commands) {
        command.extend(["--port".into(), "8000".into()]);
        let variables = [
            ("MCP_CONFIG", "/etc/mcp-multiplexer/mcp_config.json"),
            ("MCP_AUTH_ISSUER", SAID[0].1),
            ("MCP_PUBLIC_URL", SAID[1].1),
        ];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let running = Running::start(command, variables.into()).await;
        running.eventually_ok("/health").await;
        running.is_healthy_to(&check[1..]);
    }
}

// --- What runs it --------------------------------------------------------------

/// The program, started as one of the files says, but on loopback, on ports that the
/// system picks, and with files of its own.
struct Running {
    process: Process,
    log: Log,
    http: Http,
    /// Scheme, host and port.
    origin: String,
    _folder: TempDir,
}

impl Running {
    async fn start(arguments: Vec<String>, mut variables: BTreeMap<String, String>) -> Self {
        let folder = TempDir::new().expect("a folder");
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a file");
            path.to_str().expect("text").to_owned()
        };
        let secret = file("secret", "a secret of thirty-two characters and more");
        let here = [
            (
                "/etc/mcp-multiplexer/mcp_config.json",
                file("mcp_config.json", "{\"mcpServers\": {}}"),
            ),
            ("/run/secrets/oidc_client_secret", secret.clone()),
            ("/run/secrets/mcp_session_key", secret.clone()),
            (
                "/run/secrets/mcp-multiplexer/oidc_client_secret",
                secret.clone(),
            ),
            ("/run/secrets/mcp-multiplexer/session_key", secret),
            (
                "/var/cache/mcp-multiplexer",
                folder.path().to_str().expect("text").to_owned(),
            ),
            ("https://id.example.org", "http://127.0.0.1:1".into()),
            ("0.0.0.0", "127.0.0.1".into()),
            ("8000", "0".into()),
            (":9464", ":0".into()),
        ];
        let adapt = |text: &str| {
            here.iter().fold(text.to_owned(), |text, (there, here)| {
                text.replace(there, here)
            })
        };
        for value in variables.values_mut() {
            *value = adapt(value);
        }
        let mut process = tokio::process::Command::new(PROGRAM)
            .args(arguments.iter().map(|argument| adapt(argument)))
            .env_clear()
            .envs(variables)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let (log, _) = Log::gather(process.stderr.take().expect("a pipe"));
        let line = log.until("listening", |line| line.contains("/mcp")).await;
        let at = line.find("http://127.0.0.1:").expect("an address");
        let end = at + line[at..].find("/mcp").expect("an end");
        Self {
            process,
            origin: line[at..end].to_owned(),
            log,
            http: Http::default(),
            _folder: folder,
        }
    }

    /// It is up, lets nobody in without a token, and shows its metrics elsewhere.
    async fn answers(&mut self) {
        self.eventually_ok("/health").await;
        let refused = self.http.post(&format!("{}/mcp", self.origin), "{}").await;
        assert_eq!(refused.status, 401, "{}", self.log.text());
        let metrics = self.http.get(&format!("{}/metrics", self.origin)).await;
        assert_eq!(metrics.status, 404);
        assert!(self.process.try_wait().expect("a process").is_none());
    }

    async fn eventually_ok(&self, path: &str) {
        let url = format!("{}{path}", self.origin);
        eventually(path, async || {
            (self.http.get(&url).await.status == 200).then_some(())
        })
        .await;
    }

    /// Runs one of its commands as an orchestrator does.
    fn is_healthy_to(&self, check: &[String]) {
        let port = self.origin.rsplit(':').next().expect("a port");
        text(
            Command::new(PROGRAM)
                .args(check)
                .args(["--port", port])
                .env_clear(),
        );
    }
}

// --- Reading the files -----------------------------------------------------------

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What a tool says that must not fail.
fn text(command: &mut Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let said = String::from_utf8(stdout).expect("text");
    assert!(
        status.success(),
        "{command:?}: {said}{}",
        String::from_utf8_lossy(&stderr)
    );
    said
}

/// The documents of a YAML text.
fn yaml(text: &str) -> Vec<Value> {
    let read =
        "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.argv[1])), sys.stdout)";
    let json = self::text(Command::new(installed("venv/bin/python")).args(["-c", read, text]));
    serde_json::from_str(&json).expect("JSON")
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(string)
        .collect()
}

fn string(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a text: {value}"))
        .to_owned()
}

fn loads(config: &str) {
    let settings = Settings::from_json(Path::new("mcp_config.json"), config, &HashMap::new());
    let settings = settings.expect("it loads");
    assert_eq!(settings.warnings, []);
    assert!(
        settings
            .children
            .iter()
            .all(|child| child.disabled.is_none())
    );
}
