//! Where the configuration file is.

use std::path::{Path, PathBuf};

use super::{
    environment::{Environment, setting},
    error::ConfigError,
};

const FILE: &str = "mcp_config.json";

/// Finds the file: `flag` (`--config`), else `MCP_CONFIG`, else
/// `./mcp_config.json`, else `$XDG_CONFIG_HOME/mcp-multiplexer/mcp_config.json`,
/// for which `~/.config` stands in.
///
/// A file that was named is the only one looked for: falling back to another
/// would serve a fleet nobody asked for.
///
/// # Errors
///
/// [`ConfigError::NotFound`] with every place looked at.
pub fn locate(flag: Option<&Path>, env: &dyn Environment) -> Result<PathBuf, ConfigError> {
    locate_from(Path::new("."), flag, env)
}

fn locate_from(
    here: &Path,
    flag: Option<&Path>,
    env: &dyn Environment,
) -> Result<PathBuf, ConfigError> {
    if let Some(path) = flag {
        let place = format!("{} (--config)", path.display());
        return first_that_exists(vec![(path.to_owned(), place)]);
    }
    if let Some(path) = setting(env, "MCP_CONFIG") {
        let place = format!("{path} (MCP_CONFIG)");
        return first_that_exists(vec![(path.into(), place)]);
    }
    let local = here.join(FILE);
    let mut places = vec![(local.clone(), local.display().to_string())];
    if let Some(path) = user_file(env) {
        let place = path.display().to_string();
        places.push((path, place));
    }
    first_that_exists(places)
}

/// The last of these places, which is the user's own, whether it exists or not.
pub fn user_file(env: &dyn Environment) -> Option<PathBuf> {
    Some(user_folder(env)?.join("mcp-multiplexer").join(FILE))
}

fn first_that_exists(places: Vec<(PathBuf, String)>) -> Result<PathBuf, ConfigError> {
    let found = places.iter().position(|(path, _)| path.exists());
    match found.and_then(|at| places.get(at)) {
        Some((path, _)) => Ok(path.clone()),
        None => Err(ConfigError::NotFound {
            looked: places.into_iter().map(|(_, place)| place).collect(),
        }),
    }
}

/// The XDG base directory specification has relative paths ignored.
fn user_folder(env: &dyn Environment) -> Option<PathBuf> {
    let xdg = setting(env, "XDG_CONFIG_HOME").map(PathBuf::from);
    xdg.filter(|path| path.is_absolute())
        .or_else(|| Some(Path::new(&setting(env, "HOME")?).join(".config")))
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fs};

    use super::*;

    /// An empty folder of its own for each test, gone when the test is.
    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("locate-{}-{test}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder");
            Self(path)
        }

        fn write(&self, path: &str) -> PathBuf {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(&path, "{}").expect("a file");
            path
        }

        fn env(&self, variables: &[(&str, &str)]) -> HashMap<String, String> {
            variables
                .iter()
                .map(|(name, path)| {
                    let path = self.0.join(path).display().to_string();
                    ((*name).to_owned(), path)
                })
                .collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_flag_comes_before_the_variable_and_the_variable_before_the_folders() {
        let folder = Folder::new("order");
        let [by_flag, by_variable] = ["a.json", "b.json"].map(|name| folder.write(name));
        let local = folder.write("here/mcp_config.json");
        let users = folder.write("xdg/mcp-multiplexer/mcp_config.json");
        let here = folder.0.join("here");

        let env = folder.env(&[("MCP_CONFIG", "b.json"), ("XDG_CONFIG_HOME", "xdg")]);
        let found = |here: &Path, flag, env: &HashMap<_, _>| locate_from(here, flag, env).ok();
        assert_eq!(found(&here, Some(&*by_flag), &env), Some(by_flag.clone()));
        assert_eq!(found(&here, None, &env), Some(by_variable));

        let env = folder.env(&[("XDG_CONFIG_HOME", "xdg")]);
        assert_eq!(found(&here, None, &env), Some(local));
        assert_eq!(found(&folder.0, None, &env), Some(users));
    }

    #[test]
    fn home_stands_in_for_xdg() {
        let folder = Folder::new("home");
        let users = folder.write("me/.config/mcp-multiplexer/mcp_config.json");
        let mut env = folder.env(&[("HOME", "me")]);
        env.insert("XDG_CONFIG_HOME".into(), " ".into());
        assert_eq!(locate_from(&folder.0, None, &env).ok(), Some(users));
    }

    #[test]
    fn the_error_lists_where_it_looked() {
        let folder = Folder::new("nothing");
        let env = folder.env(&[("XDG_CONFIG_HOME", "xdg")]);
        let error = locate_from(&folder.0, None, &env).expect_err("nothing there");
        let text = error.to_string();
        assert!(
            text.contains("xdg/mcp-multiplexer/mcp_config.json"),
            "{text}"
        );
        assert_eq!(text.matches("mcp_config.json").count(), 2);
    }

    #[test]
    fn a_named_file_that_is_missing_is_not_replaced_by_another() {
        let folder = Folder::new("named");
        folder.write("mcp_config.json");
        let env = folder.env(&[("MCP_CONFIG", "none.json")]);
        let error = locate_from(&folder.0, None, &env).expect_err("missing");
        assert!(
            error.to_string().contains("none.json (MCP_CONFIG)"),
            "{error}"
        );
    }
}
