//! The README and the book say what the program does: their flags, keys, defaults,
//! variables, series and JSON are compared with the program itself, in both directions.

#[path = "support/pages.rs"]
mod pages;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use mcp_multiplexer::config::{ChildSettings, Settings};
use serde_json::Value;

const EXAMPLE: &str = include_str!("../mcp_config.example.json");
const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-multiplexer");

/// Variables that the program or its libraries read and that are no settings of ours.
const FOREIGN_VARIABLES: [&str; 5] = ["TZ", "HTTPS_PROXY", "PATH", "HOME", "DISPLAY"];

/// Variables of clients.
const OF_CLIENTS: [&str; 2] = ["MCP_TIMEOUT", "MCP_TOOL_TIMEOUT"];

// --- Metrics -----------------------------------------------------------------

#[test]
fn every_series_stands_in_the_docs_with_its_type_and_labels_and_no_other_does() {
    let source = source();
    let in_source = series_of(&source);
    let in_docs: BTreeMap<_, _> = table("# Metrics")
        .into_iter()
        .map(|row| (code(&row[0]), (row[1].clone(), codes(&row[2]))))
        .collect();
    assert!(in_source.len() > 20, "the source is read: {in_source:?}");
    assert_eq!(in_docs, in_source);

    let named: BTreeSet<_> = words(docs(), |c| c.is_ascii_lowercase() || c == '_')
        .into_iter()
        .filter(|word| word.starts_with("mcp_multiplexer_"))
        .collect();
    assert_eq!(named, in_source.into_keys().collect());
}

#[test]
fn every_series_scraped_from_a_running_program_stands_in_the_docs() {
    let readme: BTreeMap<_, _> = table("# Metrics")
        .into_iter()
        .map(|row| (code(&row[0]), row[1].clone()))
        .collect();
    let serving = Serving::start(r#"{"mcpServers": {"missing": {"command": "/no/such/program"}}}"#);
    let scraped = serving.get("/metrics");
    let types: Vec<_> = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    assert!(types.len() >= 12, "{scraped}");
    for (name, kind) in types {
        assert_eq!(readme.get(name).map(String::as_str), Some(kind), "{name}");
    }
}

/// Every series declared in the source, with its type and its labels.
fn series_of(source: &str) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let declared = source.lines().filter_map(|line| {
        let (constant, series) = line
            .trim()
            .strip_prefix("const ")?
            .split_once(": &str = ")?;
        let series = series.strip_prefix('"')?.strip_suffix("\";")?;
        series
            .starts_with("mcp_multiplexer_")
            .then(|| (constant.to_owned(), series.to_owned()))
    });
    declared
        .map(|(constant, series)| {
            let kind = ["counter", "gauge", "histogram"]
                .into_iter()
                .find(|kind| !calls(source, &format!("{kind}!("), &constant).is_empty())
                .unwrap_or_else(|| panic!("{constant} is never described"));
            let mut labels: BTreeSet<String> =
                calls(source, &format!("metrics::{kind}!("), &constant)
                    .into_iter()
                    .chain(calls(source, &format!(" {kind}!("), &constant))
                    .flat_map(|arguments| labels(&arguments))
                    .collect();
            // The gauges of children are set by one closure, which adds the label.
            if !calls(source, "set(", &constant).is_empty() {
                labels.insert("child".into());
            }
            (series, (kind.to_owned(), labels))
        })
        .collect()
}

/// The arguments of every call that begins with `opening` and takes `constant` first.
fn calls(source: &str, opening: &str, constant: &str) -> Vec<String> {
    source
        .match_indices(opening)
        .filter_map(|(at, _)| {
            let arguments = source[at + opening.len()..].trim_start();
            let rest = arguments.strip_prefix(constant)?;
            rest.starts_with([',', ')'])
                .then(|| arguments[..closing(arguments)].to_owned())
        })
        .collect()
}

/// Where the parenthesis that is open at the start of `text` is closed.
fn closing(text: &str) -> usize {
    let mut depth = 1;
    text.find(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        depth == 0
    })
    .expect("balanced parentheses")
}

fn labels(arguments: &str) -> Vec<String> {
    let mut before_arrows: Vec<_> = arguments.split("=>").map(str::trim_end).collect();
    // After the last one comes a value.
    before_arrows.pop();
    before_arrows
        .into_iter()
        .filter_map(|text| Some(text.strip_suffix('"')?.rsplit_once('"')?.1.to_owned()))
        .collect()
}

// --- Flags and variables -----------------------------------------------------

#[test]
fn every_flag_stands_in_the_docs_and_no_other_does() {
    let help = help_of("serve");
    let is_flag_character = |c: char| c.is_ascii_lowercase() || c == '-';
    let flags = |text: &str| -> BTreeSet<String> {
        words(text, is_flag_character)
            .into_iter()
            .filter(|word| word.len() > 3 && word.starts_with("--") && !word.starts_with("---"))
            .collect()
    };
    let mut known = flags(&help);
    assert!(known.len() > 8, "{help}");
    known.insert("--version".into());
    let described = table("## Flags")
        .iter()
        .flat_map(|row| flags(&row[0]))
        .collect();
    assert_eq!(known, described);

    let of_token = flags(&help_of("token"));
    let described = table(
        "`mcp-multiplexer token` mints one token with the current settings, starts nothing, and",
    )
    .iter()
    .flat_map(|row| flags(&row[0]))
    .collect();
    assert_eq!(of_token, described);
    known.extend(of_token);

    let clients = ["tools", "search", "call"].map(|command| flags(&help_of(command)));
    let of_clients: BTreeSet<String> = clients.into_iter().flatten().collect();
    let described = table("## List, find and call tools")
        .iter()
        .flat_map(|row| flags(&row[0]))
        .collect();
    assert_eq!(of_clients, described);
    known.extend(of_clients);
    for command in [
        "check",
        "status",
        "healthcheck",
        "import",
        "register",
        "schema",
        "completions",
    ] {
        let options = options(&help_of(command));
        let described = table(&format!("## `{command}`"))
            .iter()
            .flat_map(|row| flags(&row[0]))
            .collect();
        assert_eq!(options, described, "{command}");
        known.extend(options);
    }

    // Of cargo, `demo`, `tests/run` and a child.
    known.extend(["--release", "--tour", "--long", "--local-timezone"].map(String::from));
    // Of `docker stack deploy`, and of Claude Code.
    known.extend(["--resolve-image", "--with-registry-auth"].map(String::from));
    known.extend(["--client-id", "--debug"].map(String::from));
    // What stands in a shell's block is run, by tests/snippets.rs.
    let outside = docs().split("\n```").step_by(2).collect::<String>();
    let stray: Vec<_> = flags(&outside).difference(&known).cloned().collect();
    assert_eq!(stray, [""; 0]);

    for row in table("## Flags") {
        let (flag, default) = (code(&row[0]), code(&row[1]));
        let flag = flag.split(' ').next().expect("a flag").to_owned();
        if let Some(at) = help
            .find(&format!("{flag} <"))
            .filter(|_| row[1].starts_with('`'))
        {
            let own = help[at..].split("\n      --").next().expect("a paragraph");
            let told = own.contains(&format!("[default: {default}]"));
            assert!(told || flag == "--log-level", "{flag}: {own}");
        }
    }
}

/// The flags that a help describes, not those it speaks of.
fn options(help: &str) -> BTreeSet<String> {
    let lines = help.lines().map(str::trim_start);
    let options = lines.filter_map(|line| {
        let line = line.strip_prefix("-h, ").unwrap_or(line);
        let end = line.find([' ', '=']).unwrap_or(line.len());
        line.starts_with("--").then(|| line[..end].to_owned())
    });
    options.collect()
}

#[test]
fn every_exit_status_in_the_docs_is_that_of_the_help() {
    let help = help_of("--help");
    let commands = help.split_once("Commands:\n").expect("commands").1;
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.split_whitespace().next());
    let in_help: BTreeMap<_, _> = commands
        .filter(|command| *command != "help")
        .map(|command| {
            let help = help_of(command);
            let statuses = help
                .split_once("Exit status:\n")
                .map_or("", |(_, rest)| rest);
            let statuses: Vec<_> = statuses.trim_end().lines().map(str::to_owned).collect();
            (command.to_owned(), statuses)
        })
        .collect();
    let in_docs: BTreeMap<_, _> = table("The exit status, which `--help` tells too:")
        .iter()
        .map(|row| {
            let said = |(status, cell): (usize, &String)| {
                let cell = cell.replace('`', "");
                let (first, rest) = cell.split_at(1);
                let rest = rest.trim_end_matches('.');
                format!("  {status}  {}{rest}", first.to_lowercase())
            };
            let statuses: Vec<_> = row.iter().skip(1).enumerate().map(said).collect();
            (code(&row[0]), statuses)
        })
        .collect();
    assert!(in_help.len() > 10, "{in_help:?}");
    assert_eq!(in_docs, in_help);
}

fn help_of(command: &str) -> String {
    let help = Command::new(PROGRAM)
        .args([command, "--help"])
        .output()
        .expect("the program runs");
    String::from_utf8(help.stdout).expect("text")
}

#[test]
fn every_variable_stands_in_the_docs_and_no_other_does() {
    let is_variable_character = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let ours = |word: &String| {
        [
            "MCP_",
            "OIDC_",
            "FASTMCP_",
            "AUTH_TYPE",
            "OAUTH_",
            "OTEL_",
            "RUST_LOG",
            "NO_COLOR",
            "XDG_CONFIG_HOME",
        ]
        .iter()
        .any(|start| word.starts_with(start) && !word.ends_with('_'))
    };
    let read: BTreeSet<_> = words(&source(), is_variable_character)
        .into_iter()
        .filter(ours)
        .collect();
    let described: BTreeSet<_> = table("# Environment")
        .iter()
        .flat_map(|row| codes(&row[0]))
        .filter(|word| !FOREIGN_VARIABLES.contains(&word.as_str()))
        .collect();
    assert_eq!(described, read);
    let named: BTreeSet<_> = words(docs(), is_variable_character)
        .into_iter()
        .filter(ours)
        .collect();
    // Those of what is in deploy are told of too, and read by nothing of ours.
    let deployed = ["deploy/swarm/stack.yml", "deploy/keycloak/setup.sh"];
    let deployed = deployed.map(|file| fs::read_to_string(file).expect("a file"));
    let deployed = words(&deployed.concat(), is_variable_character);
    let (strange, known): (BTreeSet<_>, _) = named.into_iter().partition(|word| {
        !read.contains(word) && !OF_CLIENTS.contains(&word.as_str()) && !deployed.contains(word)
    });
    assert_eq!(strange, BTreeSet::new());
    assert_eq!(
        known.intersection(&read).collect::<Vec<_>>(),
        read.iter().collect::<Vec<_>>()
    );
}

// --- Configuration -----------------------------------------------------------

#[test]
fn every_key_stands_in_the_docs_and_no_other_does() {
    let keys = fs::read_to_string("src/config/keys.rs").expect("the keys");
    let of = |list: &str| -> BTreeSet<String> {
        let list = keys
            .split_once(&format!("const {list}: "))
            .expect("a list")
            .1;
        let list = list.split_once("];").expect("its end").0;
        let quoted = list.split('"').skip(1).step_by(2);
        quoted.map(str::to_owned).collect()
    };
    let in_table = |heading| -> BTreeSet<String> {
        table(heading)
            .iter()
            .flat_map(|row| codes(&row[0]))
            .collect()
    };
    assert_eq!(in_table("## Top-level keys"), of("TOP"));
    assert_eq!(in_table("## Entry keys"), of("ENTRY"));
    assert_eq!(in_table("The keys of `breaker`:"), of("BREAKER"));
    assert_eq!(in_table("The keys of `restart`:"), of("RESTART"));
    for key in of("ENTRY_AUTH") {
        assert!(docs().contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn the_defaults_in_the_docs_are_those_of_the_program() {
    let text = r#"{"mcpServers": {"a": {"command": "x"}, "b": {"url": "http://h/mcp"}}}"#;
    let settings = load(text);
    let said = |heading, key: &str| {
        let row = table(heading).into_iter().find(|row| code(&row[0]) == key);
        row.unwrap_or_else(|| panic!("{key} is not described"))[2].clone()
    };
    let both = |value: &dyn Fn(&ChildSettings) -> String| {
        let [stdio, remote] = [0, 1].map(|at| value(&settings.children[at]));
        match stdio == remote {
            true => format!("`{stdio}`"),
            false => format!("`{stdio}` stdio, `{remote}` remote"),
        }
    };
    type Value = dyn Fn(&ChildSettings) -> String;
    let entry: [(&str, &Value); 8] = [
        ("timeout", &|c| seconds(c.timeout)),
        ("callTimeout", &|c| {
            c.call_timeout.map_or("none".into(), seconds)
        }),
        ("maxCallTimeout", &|c| seconds(c.max_call_timeout)),
        ("maxQueue", &|c| c.max_queue.to_string()),
        ("maxConcurrency", &|c| c.max_concurrency.to_string()),
        ("queueTimeout", &|c| seconds(c.queue_timeout)),
        ("idleTimeout", &|c| seconds(c.idle_timeout)),
        ("maxSessions", &|c| c.max_sessions.to_string()),
    ];
    for (key, value) in entry {
        assert_eq!(said("## Entry keys", key), both(value), "{key}");
    }
    let breaker: [(&str, &Value); 4] = [
        ("failures", &|c| c.breaker.failures.to_string()),
        ("cooldown", &|c| seconds(c.breaker.cooldown)),
        ("maxCooldown", &|c| seconds(c.breaker.max_cooldown)),
        ("window", &|c| seconds(c.breaker.window)),
    ];
    for (key, value) in breaker {
        assert_eq!(said("The keys of `breaker`:", key), both(value), "{key}");
    }
    let restart: [(&str, &Value); 3] = [
        ("backoff", &|c| seconds(c.restart.backoff)),
        ("maxBackoff", &|c| seconds(c.restart.max_backoff)),
        ("stable", &|c| seconds(c.restart.stable)),
    ];
    for (key, value) in restart {
        assert_eq!(said("The keys of `restart`:", key), both(value), "{key}");
    }
    let limit = settings.max_name_length.to_string();
    assert_eq!(said("## Top-level keys", "maxNameLength"), limit);
}

#[test]
fn every_json_snippet_parses_and_every_configuration_loads_without_a_warning() {
    let snippets = snippets("json");
    let schema = mcp_multiplexer::config::schema();
    let schema = jsonschema::validator_for(&schema).expect("a schema");
    let mut configurations = 0;
    for snippet in &snippets {
        let value: Value =
            serde_json::from_str(snippet).unwrap_or_else(|error| panic!("{error} in\n{snippet}"));
        let Some(entries) = value.get("mcpServers") else {
            continue;
        };
        let mut settings = load(snippet);
        if entries.get("mcp-multiplexer").is_some() {
            // What a client is told of us. As a configuration it means ourselves.
            settings.disable_self(|url| url.port() == Some(8000));
            assert!(settings.children[0].disabled.is_some(), "{snippet}");
            continue;
        }
        configurations += 1;
        let wrong: Vec<_> = schema
            .iter_errors(&value)
            .map(|it| it.to_string())
            .collect();
        assert_eq!(wrong, [""; 0], "{snippet}");
        assert_eq!(settings.warnings, [], "{snippet}");
        for child in &settings.children {
            let off = entries[child.name.as_str()].get("disabled").is_some();
            assert_eq!(child.disabled.is_some(), off, "{child:?}");
        }
    }
    assert!(configurations >= 2, "{snippets:?}");
    assert!(
        snippets
            .iter()
            .any(|snippet| snippet.trim() == EXAMPLE.trim()),
        "the docs shows the example as it is"
    );
}

#[test]
fn the_words_of_your_own_in_the_docs_are_read_as_they_stand() {
    let page = fs::read_to_string("docs/src/guides/dynamic.md").expect("a page");
    let (_, part) = page.split_once("## Words of your own").expect("a part");
    let words = part.split("```text\n").nth(1).expect("a block");
    let words = words.split("```").next().expect("an end");
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("words.txt"), words).expect("a file");
    let config = r#"{"mcpServers": {"a": {"command": "x"}}, "synonyms": "words.txt"}"#;
    let path = folder.path().join("mcp_config.json");
    let settings = Settings::from_json(&path, config, &HashMap::new()).expect("it loads");
    assert_eq!(settings.synonyms.len(), 2);
    assert_eq!(settings.warnings, []);
}

#[test]
fn names_are_made_as_the_docs_say() {
    for row in table("# Names") {
        let (entry, own, public) = (codes_in_order(&row[0]), code(&row[1]), code(&row[2]));
        let chosen = entry
            .get(1)
            .map_or(String::new(), |prefix| format!(", {prefix}"));
        let text = format!(
            r#"{{"mcpServers": {{"{}": {{"command": "x"{chosen}}}}}}}"#,
            entry[0]
        );
        let settings = load(&text);
        let prefix = &settings.children[0].prefix;
        let made = mcp_multiplexer::catalog::public_name(prefix, &own, settings.max_name_length);
        assert_eq!(made.as_str(), public);
    }
}

#[test]
fn every_link_within_the_docs_leads_somewhere() {
    let folders = ["docs", "deploy", "benches"].into_iter();
    let others = folders
        .flat_map(pages::below)
        .filter(|path| !path.starts_with("docs/src"));
    let others = others.map(|path| (path.clone(), fs::read_to_string(path).expect("a page")));
    for (path, text) in pages().into_iter().chain(others) {
        for link in text.split("](").skip(1) {
            let target = link.split(')').next().expect("an end");
            if target.starts_with("http") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => path.clone(),
                _ => path.parent().expect("a folder").join(file),
            };
            assert!(file.exists(), "{}: {target}", path.display());
            if !anchor.is_empty() {
                let text = fs::read_to_string(&file).expect("a page");
                let there = anchors(&text).contains(anchor);
                assert!(there, "{}: {target}", path.display());
            }
        }
    }
}

#[test]
fn every_page_stands_in_the_summary() {
    let summary = fs::read_to_string("docs/src/SUMMARY.md").expect("the summary");
    for (path, _) in pages() {
        if let Ok(page) = path.strip_prefix("docs/src") {
            let listed = summary.contains(&format!("({})", page.display()));
            assert!(
                listed || page == Path::new("SUMMARY.md"),
                "{}",
                page.display()
            );
        }
    }
}

#[test]
fn every_name_in_the_map_of_the_house_is_one_of_the_code() {
    let map = fs::read_to_string("docs/ARCHITECTURE.md").expect("the map");
    // Documentation is built without warnings, so that what is a link there exists.
    let links = fs::read_to_string("src/lib.rs").expect("the crate's page");
    let names = map.split('`').skip(1).step_by(2);
    let names: Vec<_> = names.filter(|name| name.contains("::")).collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(links.contains(&format!("[`{name}`]")), "{name}");
    }
}

/// What the headings of a page can be named by.
fn anchors(page: &str) -> BTreeSet<String> {
    page.lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Loads a text as a configuration, with a value for every variable it names.
fn load(text: &str) -> Settings {
    let named = text.split("${").skip(1);
    // What a token of an entry's own rests on.
    let oidc = [
        ("OIDC_CLIENT_ID", "mcp-multiplexer"),
        ("OIDC_CLIENT_SECRET", "a-secret"),
        ("OIDC_ISSUER", "https://id.example.org/realms/main"),
    ];
    let oidc = oidc.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment: HashMap<String, String> = named
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            (
                rest[..end.expect("an end")].to_owned(),
                "a-value".to_owned(),
            )
        })
        .chain(oidc)
        .collect();
    Settings::from_json(Path::new("docs.md"), text, &environment).expect("it loads")
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}

// --- Lists that are kept beside the code -----------------------------------------

#[test]
fn every_code_and_status_stands_in_the_docs_and_no_other_does() {
    let numbers = |heading| -> BTreeSet<i64> {
        let rows = table(heading).into_iter();
        rows.map(|row| row[0].parse().expect("a number")).collect()
    };
    let errors = fs::read_to_string("src/protocol/error.rs").expect("the codes");
    let codes = errors.lines().filter_map(|line| {
        let (_, code) = line
            .trim()
            .strip_prefix("pub const ")?
            .split_once(": i64 = ")?;
        code.strip_suffix(';')?.parse().ok()
    });
    assert_eq!(numbers("## JSON-RPC"), codes.collect());

    let source = source_of("src/inbound");
    let named = source.split("StatusCode::").skip(1).filter_map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && c != '_')?;
        (100..600).find(|number| constant_of(*number).as_deref() == Some(&rest[..end]))
    });
    assert_eq!(numbers("## HTTP"), named.map(i64::from).collect());
}

/// How the crate `http` names a status.
fn constant_of(status: u16) -> Option<String> {
    let status = http::StatusCode::from_u16(status).ok()?;
    let reason = status.canonical_reason()?;
    Some(reason.to_uppercase().replace([' ', '-'], "_"))
}

#[test]
fn every_direct_dependency_stands_in_the_docs_and_no_other_does() {
    let manifest = fs::read_to_string("Cargo.toml").expect("the manifest");
    let (_, rest) = manifest
        .split_once("\n[dependencies]\n")
        .expect("dependencies");
    let own = rest.lines().take_while(|line| !line.starts_with('['));
    let own = own.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()));
    let described = table("# Dependencies")
        .iter()
        .flat_map(|row| codes(&row[0]))
        .collect();
    assert_eq!(own.collect::<BTreeSet<_>>(), described);
}

// --- Reading the docs --------------------------------------------------------

/// All pages as one text.
fn docs() -> &'static str {
    static DOCS: LazyLock<String> = LazyLock::new(|| {
        let texts: Vec<_> = pages().into_iter().map(|(_, text)| text).collect();
        texts.join("\n")
    });
    &DOCS
}

/// The README and every page of the book, with their paths.
fn pages() -> Vec<(PathBuf, String)> {
    let paths = [PathBuf::from("README.md")].into_iter();
    let read = |path: PathBuf| (path.clone(), fs::read_to_string(path).expect("a page"));
    paths.chain(pages::below("docs/src")).map(read).collect()
}

/// The rows of the first table after the line `heading`.
fn table(heading: &str) -> Vec<Vec<String>> {
    let mut lines = docs().lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "{heading:?} stands in the docs");
    let rows = lines
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        let row = row.replace("\\|", "\u{1}");
        let cells = row.trim_matches('|').split('|').map(str::trim);
        cells.map(|cell| cell.replace('\u{1}', "|")).collect()
    };
    rows.skip(2).map(cells).collect()
}

/// What stands in backticks in a cell.
fn codes_in_order(cell: &str) -> Vec<String> {
    let codes = cell.split('`').skip(1).step_by(2);
    codes.map(str::to_owned).collect()
}

fn codes(cell: &str) -> BTreeSet<String> {
    codes_in_order(cell).into_iter().collect()
}

/// The first of them, or nothing.
fn code(cell: &str) -> String {
    codes_in_order(cell).into_iter().next().unwrap_or_default()
}

/// The fenced blocks of one language.
fn snippets(language: &str) -> Vec<String> {
    let blocks = docs().split("\n```").skip(1).step_by(2);
    blocks
        .filter_map(|block| Some(block.strip_prefix(language)?.trim().to_owned()))
        .collect()
}

fn words(text: &str, is_part: impl Fn(char) -> bool) -> BTreeSet<String> {
    let words = text.split(|c| !is_part(c)).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// The program's source without its unit tests.
fn source() -> String {
    source_of("src")
}

fn source_of(folder: &str) -> String {
    let mut folders = vec![Path::new(folder).to_owned()];
    let mut source = String::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().is_some_and(|name| name != "tests.rs") {
                let text = fs::read_to_string(path).expect("text");
                let tests = text.find("\nmod tests {").unwrap_or(text.len());
                source.push_str(&text[..tests]);
            }
        }
    }
    source
}

// --- A running program -------------------------------------------------------

/// The program, serving over HTTP until it is dropped.
struct Serving {
    process: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Serving {
    fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mcp_config.json");
        fs::write(&path, config).expect("a file");
        let mut process = Command::new(PROGRAM)
            .args(["--transport", "http", "--port", "0", "--config"])
            .arg(path)
            .env_clear()
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let mut log = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let address = log
            .find_map(|line| {
                let line = line.expect("text");
                let url = line.split_once("listening url=http://")?.1;
                Some(url.split_once("/mcp")?.0.to_owned())
            })
            .expect("it says where it listens");
        std::thread::spawn(move || log.for_each(drop));
        Self {
            process,
            address,
            _folder: folder,
        }
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        )
        .expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
