//! A terminal's other screen, drawn over and over.

use std::io::{self, Stdout, Write, stdout};

use anstream::{AutoStream, ColorChoice, adapter::strip_str};
use crossterm::{
    cursor::{Hide, MoveTo, MoveToNextLine, Show},
    execute, queue,
    style::Print,
    terminal::{
        BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
        EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, size,
    },
};

/// What a terminal has at least.
const ROWS: u16 = 24;

/// What was on the terminal comes back when this is dropped.
#[derive(Debug)]
pub(super) struct Screen {
    out: Stdout,
    plain: bool,
}

impl Screen {
    pub(super) fn enter() -> io::Result<Self> {
        let plain = AutoStream::choice(&stdout()) == ColorChoice::Never;
        // Made first: it undoes what follows, also half of it.
        let mut screen = Self {
            out: stdout(),
            plain,
        };
        execute!(screen.out, EnterAlternateScreen, Hide, DisableLineWrap)?;
        Ok(screen)
    }

    /// How many rows it has now.
    pub(super) fn rows() -> usize {
        // Some terminals do not know how large they are.
        let rows = size().map_or(0, |(_, rows)| rows);
        usize::from(if rows == 0 { ROWS } else { rows })
    }

    /// Draws a text over the one before, without a flicker.
    pub(super) fn draw(&mut self, text: &str) -> io::Result<()> {
        queue!(self.out, BeginSynchronizedUpdate, MoveTo(0, 0))?;
        for (at, line) in text.lines().take(Self::rows()).enumerate() {
            if at > 0 {
                queue!(self.out, MoveToNextLine(1))?;
            }
            match self.plain {
                true => queue!(self.out, Print(strip_str(line)))?,
                false => queue!(self.out, Print(line))?,
            }
            queue!(self.out, Clear(ClearType::UntilNewLine))?;
        }
        queue!(
            self.out,
            Clear(ClearType::FromCursorDown),
            EndSynchronizedUpdate
        )?;
        self.out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing back.
        let _ = execute!(self.out, EnableLineWrap, Show, LeaveAlternateScreen);
    }
}
