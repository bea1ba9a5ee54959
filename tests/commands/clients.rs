//! `register` and `import`: other people's files, which must not suffer.

use std::{fs, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};

use crate::{PROGRAM, User, ended, json_of, support::eventually};

const CONFIG: &str = r#"{"mcpServers": {"time": {"command": "uvx", "env": {"K": "${NEEDED}"}}}}"#;

/// Every client, its file below the home, and the key that servers stand below.
#[cfg(target_os = "linux")]
const CLIENTS: [(&str, &str, &str); 6] = [
    ("claude-code", ".claude.json", "mcpServers"),
    (
        "claude-desktop",
        ".config/Claude/claude_desktop_config.json",
        "mcpServers",
    ),
    ("vscode", ".config/Code/User/mcp.json", "servers"),
    ("cursor", ".cursor/mcp.json", "mcpServers"),
    (
        "windsurf",
        ".codeium/windsurf/mcp_config.json",
        "mcpServers",
    ),
    ("gemini", ".gemini/settings.json", "mcpServers"),
];

#[cfg(target_os = "linux")]
#[test]
fn every_client_gets_an_entry_that_starts_us_and_keeps_the_rest() {
    let before = "{\n  \"zeta\": 1,\n  \"SERVERS\": {\n    \"other\": { \"command\": \"x\" }\n  },\n  \"alpha\": [1,2]\n}\n";
    for (client, file, key) in CLIENTS {
        let before = before.replace("SERVERS", key);
        let user = User::new()
            .has("mcp_config.json", CONFIG)
            .has(file, &before);
        let path = user.path(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("a mode");

        let dry = user.runs(&["register", client, "--dry-run"]);
        ended(&dry, 0);
        assert!(
            dry.stdout.contains("+    \"mcp-multiplexer\": {"),
            "{}",
            dry.stdout
        );
        assert_eq!(user.reads(file), before, "{client}");

        let output = user.runs(&["register", client]);
        ended(&output, 0);
        assert!(output.stderr.contains("NEEDED"), "{}", output.stderr);
        let after = user.reads(file);
        for line in before.lines().filter(|line| !line.contains("other")) {
            assert!(after.contains(line), "{client}: {line}\n{after}");
        }
        let entry = &user.reads_json(file)[key]["mcp-multiplexer"];
        assert_eq!(entry["command"], PROGRAM, "{client}");
        let config = user.path("mcp_config.json").display().to_string();
        assert_eq!(entry["args"], json!(["serve", "--config", config]));
        assert_eq!(
            fs::metadata(&path).expect("a file").permissions().mode() & 0o777,
            0o640
        );

        let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
        let backups = || {
            let files = user.files(folder).into_iter();
            files
                .filter(|name| name.ends_with(".bak"))
                .collect::<Vec<_>>()
        };
        assert_eq!(backups().len(), 1, "{client}");
        let backup = format!("{folder}/{}", backups()[0]);
        assert_eq!(user.reads(backup.trim_start_matches('/')), before);

        ended(&user.runs(&["register", client]), 0);
        assert_eq!(
            user.reads(file),
            after,
            "{client}: a second time changes nothing"
        );
        assert_eq!(backups().len(), 1, "{client}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_client_that_connects_gets_the_address_in_its_own_words() {
    let url = "http://127.0.0.1:8000/mcp";
    let user = User::new();
    for (client, key, entry) in [
        (
            "claude-code",
            "mcpServers",
            json!({"type": "http", "url": url}),
        ),
        ("vscode", "servers", json!({"type": "http", "url": url})),
        ("cursor", "mcpServers", json!({"url": url})),
        ("windsurf", "mcpServers", json!({"serverUrl": url})),
        ("gemini", "mcpServers", json!({"httpUrl": url})),
    ] {
        let output = user.runs(&["register", client, "--url", url, "--print"]);
        ended(&output, 0);
        assert_eq!(json_of(&output), json!({key: {"mcp-multiplexer": entry}}));
    }
    let output = user.runs(&["register", "claude-desktop", "--url", url]);
    ended(&output, 2);
    ended(&user.runs(&["register", "cursor", "--url", "localhost"]), 2);
    assert_eq!(user.files(""), [""; 0], "nothing was written");
}

#[test]
fn comments_stay_and_what_cannot_be_edited_is_left_alone() {
    let text = "// mine\n{\n  \"servers\": {\n    // the good one\n    \"a\": { \"command\": \"x\" }, // here\n  }\n}\n";
    let user = User::new()
        .has("mcp_config.json", CONFIG)
        .has("code.json", text);
    let file = user.path("code.json").display().to_string();
    ended(&user.runs(&["register", "vscode", "--file", &file]), 0);
    let after = user.reads("code.json");
    for part in [
        "// mine",
        "    // the good one",
        "{ \"command\": \"x\" }",
        "// here",
    ] {
        assert!(after.contains(part), "{after}");
    }
    for broken in [
        "{\"servers\": {hunter2}}",
        "[]",
        "{\"servers\": [\"hunter2\"]}",
    ] {
        fs::write(&file, broken).expect("a file");
        let output = user.runs(&["register", "vscode", "--file", &file]);
        ended(&output, 1);
        assert!(
            output.stderr.contains("nothing is written"),
            "{}",
            output.stderr
        );
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
        assert_eq!(user.reads("code.json"), broken);
    }
}

#[test]
fn a_client_that_is_not_there_is_not_made_up() {
    let user = User::new().has("mcp_config.json", CONFIG);
    let output = user.runs(&["register", "cursor"]);
    ended(&output, 2);
    assert!(output.stderr.contains("--file"), "{}", output.stderr);
    assert_eq!(user.files(""), ["mcp_config.json"]);
    let output = User::new().runs(&["register", "claude-code"]);
    ended(&output, 2);
    assert!(
        output.stderr.contains("no configuration file found"),
        "{}",
        output.stderr
    );
}

/// A user of several clients, whose files hold secrets.
#[cfg(target_os = "linux")]
fn collector() -> User {
    User::new()
        .has(
            ".claude.json",
            r#"{"numStartups": 7, "mcpServers": {
                "github": {"type": "http", "url": "https://api.example/mcp", "headers": {"Authorization": "Bearer hunter2-a"}},
                "time": {"type": "stdio", "command": "uvx", "args": ["mcp-server-time"], "env": {}},
                "mcp-multiplexer": {"command": "mcp-multiplexer", "args": ["serve"]}
            }, "projects": {"/home/ada/shop": {"mcpServers": {
                "time": {"command": "uvx", "args": ["mcp-server-time", "--local-timezone", "UTC"]}
            }}}}"#,
        )
        .has(
            ".cursor/mcp.json",
            "{ // mine\n \"mcpServers\": {\"time\": {\"command\": \"uvx\", \"args\": [\"mcp-server-time\"]},\
             \"github-mcp\": {\"command\": \"npx\", \"env\": {\"GITHUB_TOKEN\": \"hunter2-b\"}},}}",
        )
        .has(
            ".config/Code/User/mcp.json",
            r#"{"inputs": [], "servers": {"search": {"type": "http", "url": "https://s.example/mcp?api_key=hunter2-c"}}}"#,
        )
        .has(".gemini/settings.json", r#"{"mcpServers": {"old": {"url": "https://o.example/sse"}}}"#)
        .has(".codeium/windsurf/mcp_config.json", "")
        .has(".config/Claude/claude_desktop_config.json", "{broken hunter2-d")
        .has("shop/.mcp.json", r#"{"mcpServers": {"here": {"command": "here", "args": ["--token", "hunter2-e"]}}}"#)
}

#[cfg(target_os = "linux")]
#[test]
fn where_nothing_is_found_it_is_said_where_was_looked() {
    let user = User::new().has(".cursor/mcp.json", r#"{"mcpServers": {}}"#);
    let output = user.runs(&["import"]);
    ended(&output, 0);
    assert_eq!(output.stdout, "");
    let line = |file: &str| {
        let mut lines = output.stderr.lines();
        let line = lines.find(|line| line.contains(file));
        line.unwrap_or_else(|| panic!("{file}: {}", output.stderr))
    };
    assert!(line(".cursor/mcp.json").ends_with("no servers in it"));
    assert!(line(".claude.json").ends_with("not there"));
}

#[cfg(target_os = "linux")]
#[test]
fn servers_of_all_clients_are_shown_first_and_written_when_told_to() {
    let user = collector();
    let shop = user.path("shop");
    let output = user.runs_in(&shop, &["import"]);
    ended(&output, 0);
    let target = ".config/mcp-multiplexer/mcp_config.json";
    assert!(!user.path(target).exists(), "nothing is written untold");
    assert!(output.stderr.contains("--write"), "{}", output.stderr);
    assert!(
        output
            .stderr
            .contains("claude_desktop_config.json: not valid JSON"),
        "{}",
        output.stderr
    );
    for part in [
        "Claude Code, Cursor",
        "Claude Code (/home/ada/shop)",
        "GITHUB_TOKEN",
    ] {
        assert!(output.stdout.contains(part), "{part}\n{}", output.stdout);
    }
    let said = |output: &crate::support::Output| format!("{}{}", output.stdout, output.stderr);
    assert!(!said(&output).contains("hunter2"), "{}", said(&output));

    let values = user.path("values").display().to_string();
    let output = user.runs_in(&shop, &["import", "--write", "--env-file", &values]);
    ended(&output, 0);
    assert!(!said(&output).contains("hunter2"), "{}", said(&output));
    let text = user.reads(target);
    assert!(!text.contains("hunter2"), "{text}");
    let servers = &user.reads_json(target)["mcpServers"];
    assert_eq!(
        servers["github"]["headers"]["Authorization"],
        "Bearer ${GITHUB_AUTHORIZATION}"
    );
    assert_eq!(
        servers["github-mcp"]["env"]["GITHUB_TOKEN"],
        "${GITHUB_TOKEN}"
    );
    assert_eq!(
        servers["search"]["url"],
        "https://s.example/mcp?api_key=${SEARCH_API_KEY}"
    );
    assert_eq!(servers["old"]["type"], "sse");
    assert_eq!(servers["here"]["args"], json!(["--token", "${HERE_TOKEN}"]));
    assert_eq!(servers["time"]["args"], json!(["mcp-server-time"]));
    assert_eq!(servers["time-shop"]["args"][1], "--local-timezone");
    assert_eq!(servers["mcp-multiplexer"], Value::Null, "ourselves");
    assert_eq!(servers.as_object().map(serde_json::Map::len), Some(7));

    let mode = fs::metadata(&values).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // With the values it is a configuration that can be used, but for the one prefix.
    let shell = std::process::Command::new("sh")
        .args([
            "-c",
            "set -a; . ./values; set +a; exec \"$0\" check --format json",
            PROGRAM,
        ])
        .env("HOME", user.path(""))
        .current_dir(user.path(""))
        .output()
        .expect("a shell");
    let report: Value = serde_json::from_slice(&shell.stdout).expect("JSON");
    let problems = report["problems"].as_array().expect("problems");
    assert_eq!(problems.len(), 1, "{report:#}");
    assert!(
        problems[0]["message"]
            .as_str()
            .expect("text")
            .contains("same prefix")
    );

    let again = user.runs_in(&shop, &["import", "--write"]);
    ended(&again, 0);
    assert!(again.stderr.contains("nothing to add"), "{}", again.stderr);
    assert_eq!(user.reads(target), text);
    // Their own files are as they were.
    assert!(user.reads(".cursor/mcp.json").contains("hunter2-b"));
}

/// A server that a client knows, which writes down the secret it is given.
#[cfg(target_os = "linux")]
fn telling(secret: &str) -> User {
    let user = User::new();
    let told = user.path("told").display().to_string();
    let script = "printf %s \"$API_TOKEN\" > \"$0.part\"; mv \"$0.part\" \"$0\"";
    let servers = json!({"teller": {
        "command": "/bin/sh",
        "args": ["-c", script, told],
        "env": {"API_TOKEN": secret, "PATH": "/usr/bin:/bin"},
    }});
    user.has(
        ".cursor/mcp.json",
        &json!({"mcpServers": servers}).to_string(),
    )
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_was_imported_and_registered_starts_in_an_empty_environment() {
    use std::process::Stdio;

    let secret = "hunter2' \\ \"$HOME\" `x` \\";
    let user = telling(secret);
    let output = user.runs(&["import", "--write", "--env-file", "values"]);
    ended(&output, 0);
    let config = user.reads(".config/mcp-multiplexer/mcp_config.json");
    assert!(config.contains("${API_TOKEN}"), "{config}");

    let output = user.runs(&["register", "cursor"]);
    ended(&output, 0);
    assert!(output.stderr.contains("API_TOKEN"), "{}", output.stderr);
    let output = user.runs(&["register", "cursor", "--env-file", "values"]);
    ended(&output, 0);
    assert!(!output.stderr.contains("API_TOKEN"), "{}", output.stderr);

    let entry = &user.reads_json(".cursor/mcp.json")["mcpServers"]["mcp-multiplexer"];
    let args = entry["args"].as_array().expect("arguments").iter();
    let args: Vec<_> = args.map(|arg| arg.as_str().expect("text")).collect();
    assert!(args.contains(&"--env-file"), "{args:?}");
    // As an editor that was started by a click.
    let _running = tokio::process::Command::new(entry["command"].as_str().expect("text"))
        .args(args)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the program starts");
    let told = user.path("told");
    let told = eventually("the child has its variable", async || {
        fs::read_to_string(&told).ok()
    })
    .await;
    assert_eq!(told, secret);
}

#[test]
fn the_environment_wins_over_a_file_of_variables_unless_it_is_empty() {
    let config = r#"{"mcpServers": {"a": {"url": "http://h/mcp", "timeout": "${KEY}"}}}"#;
    let with = |value: &str| {
        let user = User::new().with("KEY", value);
        let user = user.has("mcp_config.json", config).has("values", "KEY=1s");
        let output = user.runs(&["check", "--env-file", "values"]);
        output.status.code()
    };
    assert_eq!(with("never"), Some(1));
    assert_eq!(with("2s"), Some(0));
    assert_eq!(with(""), Some(0));
}

#[test]
fn a_file_of_variables_that_cannot_be_used_is_told_as_that() {
    let user = User::new()
        .has("mcp_config.json", CONFIG)
        .has("values", "NEEDED=hunter2 hunter2");
    for words in [
        &["check"][..],
        &["register", "cursor", "--print"],
        &["token", "--child", "time"],
        &["tools", "--config", "mcp_config.json"],
    ] {
        for (file, told) in [("values", "values:1: "), ("none", "cannot read none")] {
            let output = user.runs(&[words, &["--env-file", file]].concat());
            ended(&output, 2);
            assert!(output.stderr.contains(told), "{}", output.stderr);
            assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn what_the_configuration_has_already_stays() {
    let config = "{\n  \"maxNameLength\": 50,\n  \"mcpServers\": {\n    \"time\": { \"command\": \"mine\" }\n  }\n}\n";
    let user = collector().has("mine.json", config);
    let mine = user.path("mine.json").display().to_string();
    let output = user.runs(&["import", "--config", &mine, "--write", "--format", "json"]);
    ended(&output, 0);
    let plan = json_of(&output);
    let time = plan["servers"]
        .as_array()
        .expect("servers")
        .iter()
        .find(|it| it["name"] == "time");
    assert_eq!(time.expect("time")["action"], "taken");
    let after = user.reads("mine.json");
    assert!(
        after.contains("    \"time\": { \"command\": \"mine\" }"),
        "{after}"
    );
    assert!(after.contains("\"maxNameLength\": 50"), "{after}");
    assert!(after.contains("\"github\""), "{after}");
    assert_eq!(
        user.files("")
            .iter()
            .filter(|name| name.ends_with(".bak"))
            .count(),
        1
    );
}

#[test]
fn values_are_never_put_over_another_file() {
    let user = User::new().has("values", "mine");
    let values = user.path("values").display().to_string();
    ended(&user.runs(&["import", "--write", "--env-file", &values]), 2);
    assert_eq!(user.reads("values"), "mine");
}

#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_a_yes_is_asked_for() {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    for (answer, written) in [("n", false), ("y", true)] {
        let user = collector();
        let mut terminal = Command::new("script")
            .args(["--quiet", "--return", "--command"])
            .args([&format!("exec {PROGRAM} import"), "/dev/null"])
            .env("HOME", user.path(""))
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("MCP_CONFIG")
            .current_dir(user.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script of util-linux");
        let mut keys = terminal.stdin.take().expect("a pipe");
        writeln!(keys, "{answer}").expect("a key");
        let output = terminal.wait_with_output().expect("an end");
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("[y/N]"), "{shown}");
        let target = user.path(".config/mcp-multiplexer/mcp_config.json");
        assert_eq!(target.exists(), written, "{answer}: {shown}");
        drop(keys);
    }
}
