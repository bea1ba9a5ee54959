//! `completions`: what a shell completes after our name.

use clap::{Args, Command, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, CliError, out};

/// Print a script that completes our commands and flags in a shell.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  mcp-multiplexer completions bash > ~/.local/share/bash-completion/completions/mcp-multiplexer
  mcp-multiplexer completions zsh > ~/.zfunc/_mcp-multiplexer
  mcp-multiplexer completions fish > ~/.config/fish/completions/mcp-multiplexer.fish

Exit status:
  0  they are printed
  1  they cannot be printed
  2  the command line is wrong")]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(self) -> Result<(), CliError> {
        let mut command = visible(&Cli::command());
        let name = command.get_name().to_owned();
        // Into memory first: a pipe that is closed early must not become a panic.
        let mut script = Vec::new();
        generate(self.shell, &mut command, name, &mut script);
        out::write(&script)
    }
}

/// The same without the commands that only we call.
fn visible(all: &Command) -> Command {
    let commands = all.get_subcommands().filter(|it| !it.is_hide_set());
    Command::new(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION"))
        .args(all.get_arguments().cloned())
        .subcommands(commands.cloned())
}
