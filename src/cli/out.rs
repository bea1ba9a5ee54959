//! How commands print: data on stdout, in colour only where somebody looks at it.

use std::io::Write;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;
use tabwriter::TabWriter;

use super::CliError;

/// The shape of what a command prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// What is well.
pub(super) const GOOD: Style = AnsiColor::Green.on_default();
/// What needs an eye.
pub(super) const ODD: Style = AnsiColor::Yellow.on_default();
/// What is wrong.
pub(super) const BAD: Style = AnsiColor::Red.on_default();
/// What is only beside the point.
pub(super) const FAINT: Style = Style::new().dimmed();
/// A heading.
pub(super) const HEADING: Style = Style::new().bold();

/// A text in a style. A terminal that wants none, or something that is none, gets the
/// text alone.
pub(super) fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints a text and a line break.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    writeln!(anstream::stdout(), "{text}").map_err(CliError::stdout)
}

/// Prints data as it stands.
pub(super) fn write(data: &[u8]) -> Result<(), CliError> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(data).and_then(|()| stdout.flush());
    written.map_err(CliError::stdout)
}

/// Prints a value as JSON.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    write(pretty(value)?.as_bytes())
}

/// A value as JSON for scripts and eyes, with a line break after it.
pub(super) fn pretty(value: &impl Serialize) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(value);
    let text = text.map_err(|error| CliError::Broken(error.to_string()))?;
    Ok(format!("{text}\n"))
}

/// Tells whoever runs the command something beside the data.
pub(super) fn tell(text: &str) {
    // Who closed stderr does not want to be told.
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Rows as columns, the first of them as their headings.
pub(super) fn table<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let mut writer = TabWriter::new(Vec::new()).ansi(true);
    let heading = heading.map(|name| styled(HEADING, name)).join("\t");
    let rows = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| one_line(cell)).join("\t"));
    for row in [heading].into_iter().chain(rows) {
        // Into memory: it cannot fail.
        let _ = writeln!(writer, "{row}");
    }
    let text = writer.into_inner().unwrap_or_default();
    let text = String::from_utf8(text).unwrap_or_default();
    let lines: Vec<_> = text.lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// A cell must not break the table.
fn one_line(text: &str) -> String {
    text.replace(['\n', '\r', '\t'], " ")
}

/// A number with what is counted: `1 child`, `2 children`.
pub(super) fn counted(count: usize, one: &str, many: &str) -> String {
    let what = if count == 1 { one } else { many };
    format!("{count} {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_whatever_their_colour() {
        let cell = |text: &str| text.to_owned();
        let rows = [
            [styled(GOOD, "ready"), cell("a\tb")],
            [cell("disconnected"), cell("c")],
        ];
        let text = table(["state", "name"], &rows);
        let plain = anstream::adapter::strip_str(&text).to_string();
        let lines: Vec<_> = plain.lines().collect();
        let column = lines[2]
            .find('c')
            .expect("a cell")
            .max(lines[2].rfind('c').expect("a cell"));
        assert_eq!(lines[0].find("name"), Some(column), "{plain}");
        assert_eq!(lines[1].find("a b"), Some(column), "{plain}");
    }
}
