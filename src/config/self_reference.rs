//! Entries that would start or call this multiplexer inside itself.
//!
//! A file copied from a client often holds the multiplexer too. Followed, such an
//! entry would start processes without end.

use std::path::{Path, PathBuf};

use super::{
    child::{ChildSettings, StdioSettings, TransportSettings},
    environment::Environment,
    warning::Warning,
};

const PROGRAM: &str = "mcp-multiplexer";

/// The subcommand that serves, and the one that is meant where none stands.
const SERVE: &str = "serve";

/// Skips every entry whose command is this program about to serve.
pub(super) fn skip_own_commands(
    children: &mut [ChildSettings],
    env: &dyn Environment,
    warnings: &mut Vec<Warning>,
) {
    let me = std::env::current_exe().and_then(|path| path.canonicalize());
    let me = me.ok();
    for child in usable(children) {
        let TransportSettings::Stdio(StdioSettings { command, args, .. }) = &child.transport else {
            continue;
        };
        if serves(args) && is_me(command, me.as_deref(), env) {
            warnings.push(skip(
                child,
                "its command would start this multiplexer inside itself",
            ));
        }
    }
}

/// Skips every entry whose URL is this multiplexer's own address.
pub(super) fn skip_own_urls(
    children: &mut [ChildSettings],
    is_me: impl Fn(&url::Url) -> bool,
    warnings: &mut Vec<Warning>,
) {
    for child in usable(children) {
        let (TransportSettings::Http(remote) | TransportSettings::Sse(remote)) = &child.transport
        else {
            continue;
        };
        if is_me(&remote.url) {
            warnings.push(skip(child, "its URL is this multiplexer's own address"));
        }
    }
}

fn usable(children: &mut [ChildSettings]) -> impl Iterator<Item = &mut ChildSettings> {
    children.iter_mut().filter(|child| child.disabled.is_none())
}

fn skip(child: &mut ChildSettings, why: &str) -> Warning {
    let reason = format!("entry {:?} is skipped: {why}", child.name);
    child.disabled = Some(reason.clone());
    Warning::new(reason)
}

/// Other subcommands (`demo-child` among them) serve no fleet and cannot recurse.
fn serves(args: &[String]) -> bool {
    match args.first() {
        None => true,
        Some(first) => first.starts_with('-') || first == SERVE,
    }
}

fn is_me(command: &str, me: Option<&Path>, env: &dyn Environment) -> bool {
    let path = Path::new(command);
    let name = path.file_name().and_then(|name| name.to_str());
    if name.is_some_and(|name| name.strip_suffix(".exe").unwrap_or(name) == PROGRAM) {
        return true;
    }
    me.is_some_and(|me| resolve(path, env).is_some_and(|resolved| resolved == me))
}

/// The file a command means, links followed: a bare name is looked up in `PATH`.
fn resolve(command: &Path, env: &dyn Environment) -> Option<PathBuf> {
    if command.components().count() > 1 {
        return command.canonicalize().ok();
    }
    let path = env.get("PATH")?;
    std::env::split_paths(&path).find_map(|folder| folder.join(command).canonicalize().ok())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn env(path: &str) -> HashMap<String, String> {
        [("PATH".to_owned(), path.to_owned())].into()
    }

    fn args(args: &[&str]) -> Vec<String> {
        args.iter().map(|arg| (*arg).to_owned()).collect()
    }

    #[test]
    fn the_program_is_known_by_its_file_name() {
        let env = env("");
        assert!(is_me("mcp-multiplexer", None, &env));
        assert!(is_me("/opt/bin/mcp-multiplexer", None, &env));
        assert!(is_me("mcp-multiplexer.exe", None, &env));
        assert!(!is_me("mcp-multiplexer-extra", None, &env));
        assert!(!is_me("npx", None, &env));
    }

    #[test]
    fn the_program_is_known_under_another_name() {
        let me = std::env::current_exe()
            .and_then(|path| path.canonicalize())
            .expect("a test has an executable");
        let folder = me.parent().and_then(Path::to_str).expect("a folder");
        let name = me.file_name().and_then(|n| n.to_str()).expect("a name");
        assert!(is_me(name, Some(&me), &env(folder)));
        assert!(is_me(
            me.to_str().expect("text"),
            Some(&me),
            &HashMap::new()
        ));
        assert!(!is_me("sh", Some(&me), &env("/bin")));
    }

    #[test]
    fn only_a_command_that_serves_can_recurse() {
        assert!(serves(&[]));
        assert!(serves(&args(&["serve"])));
        assert!(serves(&args(&["--config", "x.json"])));
        assert!(!serves(&args(&["demo-child", "clock"])));
        assert!(!serves(&args(&["token"])));
    }
}
