//! The terminal: keys in, a few lines out.

use std::io::{self, IsTerminal as _, Write as _};

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers};
use crossterm::terminal::{disable_raw_mode, enable_raw_mode};

use super::dial::Key;
use crate::text::redraw;

/// A terminal that gives every key at once; as it was, when dropped.
pub(super) struct Screen {
    /// Lines above the cursor that the next picture replaces.
    drawn: usize,
}

/// Whether standard input has keys and standard output shows the picture.
pub(super) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// One line on standard output, once the terminal is as it was.
pub(super) fn print(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// `None` for any other event.
pub(super) fn key(event: &Event) -> Option<Key> {
    let Event::Key(key) = event else { return None };
    if key.kind == KeyEventKind::Release {
        return None;
    }
    let big = key.modifiers.contains(KeyModifiers::SHIFT);
    Some(match key.code {
        KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Key::Leave,
        // A plus is shifted on many keyboards: that makes no big step of it.
        KeyCode::Char('+' | '=') => Key::Longer { big: false },
        KeyCode::Char('-') => Key::Shorter { big: false },
        KeyCode::Up | KeyCode::Right => Key::Longer { big },
        KeyCode::Down | KeyCode::Left => Key::Shorter { big },
        KeyCode::PageUp => Key::Longer { big: true },
        KeyCode::PageDown => Key::Shorter { big: true },
        KeyCode::Tab => Key::Next,
        KeyCode::BackTab => Key::Previous,
        KeyCode::Enter => Key::Save,
        KeyCode::Esc | KeyCode::Char('q') => Key::Leave,
        _ => return None,
    })
}

// === impl Screen ===

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        enable_raw_mode()?;
        Ok(Self { drawn: 0 })
    }

    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let picture = redraw(self.drawn, lines);
        self.drawn = lines.len();
        let mut out = io::stdout().lock();
        out.write_all(picture.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone has no mode.
        let _ = disable_raw_mode();
    }
}
