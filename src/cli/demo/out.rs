//! What people see: lines on stdout, coloured only where a person looks.

use std::io::{IsTerminal, stdout};

use crate::cli::{CliError, out};

/// Stdout.
pub(super) struct Out {
    coloured: bool,
}

/// What a piece of a line is for.
#[derive(Clone, Copy)]
pub(super) enum Ink {
    /// It held.
    Good,
    /// It did not.
    Bad,
    /// Look here first.
    Strong,
}

impl Out {
    /// With colours on a terminal, unless `NO_COLOR` is set (no-color.org).
    pub(super) fn new() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self {
            coloured: stdout().is_terminal() && !refused,
        }
    }

    /// Writes a line.
    pub(super) fn line(&self, line: impl AsRef<str>) -> Result<(), CliError> {
        out::write(format!("{}\n", line.as_ref()).as_bytes())
    }

    /// A piece of a line in its colour.
    pub(super) fn paint(&self, ink: Ink, text: &str) -> String {
        if !self.coloured {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Good => 32,
            Ink::Bad => 31,
            Ink::Strong => 1,
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_colours_a_line_is_plain() {
        let plain = Out { coloured: false };
        assert_eq!(plain.paint(Ink::Good, "ready"), "ready");
        let coloured = Out { coloured: true };
        assert_eq!(coloured.paint(Ink::Good, "ready"), "\x1b[32mready\x1b[0m");
    }
}
