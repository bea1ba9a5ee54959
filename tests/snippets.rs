//! Every shell command in the docs is run as it stands there, but for those that say
//! why they are not: `<!-- not run: the reason -->` on the line above.
//!
//! Each page has a network and a folder of its own. In it lie a configuration with one
//! child, which is the example too, and the deploy folder; a server that a page starts goes on to its
//! end, or until it starts the next one. A page that has the comment
//! `<!-- served -->` above a block finds one that runs.

#[path = "support/pages.rs"]
mod pages;

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_mcp-multiplexer");

/// What runs a page. The program's name is a function, which waits until a server
/// listens and ends the one before.
const SHELL: &str = r##"
set -euo pipefail
ip link set lo up
server=
stop() { [[ ! $server ]] || { kill "$server" 2>/dev/null || true; wait "$server" || true; server=; }; }
trap stop EXIT
mcp-multiplexer() {
  case " $* " in
    *" --help "*) ;;
    *" --transport http "*)
      stop
      # What the one before has said must not be taken for this one's.
      : >"$HOME/server.log"
      command mcp-multiplexer "$@" </dev/null 2>"$HOME/server.log" &
      server=$!
      until grep -q "listening url" "$HOME/server.log"; do
        kill -0 "$server" 2>/dev/null || { cat "$HOME/server.log" >&2; return 1; }
        read -rt 0.05 <> <(:) || :
      done
      return
      ;;
  esac
  command mcp-multiplexer "$@"
}
"##;

/// A shell's block.
struct Block {
    text: String,
    /// The comment on the line above.
    comment: String,
}

#[test]
fn every_command_runs_or_says_why_not() {
    let mut run = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        let mut script = SHELL.to_owned();
        let blocks = blocks(&text);
        let before = run;
        for block in &blocks {
            if let Some(reason) = block.comment.strip_prefix("not run: ") {
                assert!(reason.len() > 10, "{}: {}", page.display(), block.text);
                continue;
            }
            if block.comment == "served" {
                script += "mcp-multiplexer --transport http\n";
            }
            script += &format!("{}\necho '--- done'\n", block.text);
            run += 1;
        }
        if run > before {
            run_page(&page, &script, run - before);
        }
    }
    assert!(run >= 5, "blocks are found: {run}");
}

fn run_page(page: &Path, script: &str, blocks: usize) {
    let folder = TempDir::new().expect("a folder");
    let here = |name: &str| folder.path().join(name);
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    symlink(repository.join("deploy"), here("deploy")).expect("a link");
    // Of clients that are installed, one with a server and its secret.
    for client in [".cursor", ".config/Code/User", ".gemini"] {
        fs::create_dir_all(here(client)).expect("a folder");
    }
    let notes = r#"{"mcpServers": {"notes": {"command": "true", "env": {"NOTES_TOKEN": "a-secret-of-notes"}}}}"#;
    fs::write(here(".gemini/settings.json"), notes).expect("a file");
    let config = format!(
        r#"{{"mcpServers": {{"clock": {{"command": {PROGRAM:?}, "args": ["demo-child"]}}}}}}"#
    );
    for name in ["mcp_config.json", "mcp_config.example.json"] {
        fs::write(here(name), &config).expect("a file");
    }
    let path = env::join_paths(
        [Path::new(PROGRAM).parent().expect("a folder").to_owned()]
            .into_iter()
            .chain(env::split_paths(&env::var_os("PATH").expect("a path"))),
    );
    let output = Command::new("unshare")
        .args(["--net", "--map-root-user", "bash", "-c", script])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", path.expect("a path"))
        .env("HOME", folder.path())
        .stdin(Stdio::null())
        .output()
        .expect("unshare is there");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let done = said.matches("--- done").count();
    assert!(
        output.status.success() && done == blocks,
        "{}: {done} of {blocks} blocks\n{said}\n{errors}",
        page.display()
    );
}

/// A command that nobody runs, in whatever language, is none that anybody relies on.
#[test]
fn what_is_no_shell_is_read_by_another_test_or_says_why_not() {
    // By tests/docs.rs, tests/policy, tests/monitoring and tests/deploy.rs; text is shown.
    let read = ["sh", "json", "cedar", "promql", "ini", "text"];
    for page in pages() {
        let text = fs::read_to_string(&page).expect("a page");
        let mut fences = 0;
        for (before, line) in text.lines().zip(text.lines().skip(1)) {
            let Some(language) = line.strip_prefix("```") else {
                continue;
            };
            fences += 1;
            let opens = fences % 2 == 1;
            let excused = before.starts_with("<!-- not run: ");
            assert!(
                !opens || read.contains(&language) || excused,
                "{}: {line}",
                page.display()
            );
        }
    }
}

/// The README, the pages of the book, and what lies beside them.
fn pages() -> Vec<PathBuf> {
    let folders = ["docs", "deploy", "benches"].into_iter();
    let readme = [PathBuf::from("README.md")].into_iter();
    readme.chain(folders.flat_map(pages::below)).collect()
}

/// The shell's blocks of a page, in their order.
fn blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut before = "";
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line == "```sh" {
            let text: Vec<_> = lines.by_ref().take_while(|line| *line != "```").collect();
            let comment = before
                .strip_prefix("<!-- ")
                .and_then(|rest| rest.strip_suffix(" -->"));
            blocks.push(Block {
                text: text.join("\n"),
                comment: comment.unwrap_or_default().to_owned(),
            });
        } else if line.starts_with("```") {
            lines.by_ref().find(|line| *line == "```");
        }
        before = line;
    }
    blocks
}
