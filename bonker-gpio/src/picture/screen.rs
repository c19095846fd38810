//! Takes over the terminal, and restores it when dropped.

use std::io;
use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyCode, KeyModifiers};
use futures::StreamExt as _;
use jiff::Timestamp;
use ratatui::DefaultTerminal;
use tokio::time::Instant;

use super::draw::draw;
use super::state::Picture;

/// Redraws the days since the last bonk while nothing happens.
const REFRESH: Duration = Duration::from_mins(10);

#[derive(Debug, thiserror::Error)]
pub(crate) enum ScreenError {
    #[error("cannot take over the terminal: --output human prints lines instead")]
    Take(#[source] io::Error),
    #[error("cannot draw on the terminal")]
    Draw(#[source] io::Error),
    #[error("cannot read the terminal's keys")]
    Keys(#[source] io::Error),
}

pub(crate) struct Screen {
    terminal: DefaultTerminal,
    events: EventStream,
    opened: Instant,
}

// === impl Screen ===

impl Screen {
    /// Takes over the terminal; a panic gives it back, too.
    pub(crate) fn open() -> Result<Self, ScreenError> {
        let terminal = ratatui::try_init().map_err(ScreenError::Take)?;
        Ok(Self {
            terminal,
            events: EventStream::new(),
            opened: Instant::now(),
        })
    }

    /// Time since the screen was taken.
    pub(crate) fn now(&self) -> Duration {
        self.opened.elapsed()
    }

    pub(crate) fn draw(&mut self, picture: &Picture) -> Result<(), ScreenError> {
        let (is_down, _) = picture.hammer(self.now());
        let now = Timestamp::now();
        self.terminal
            .draw(|frame| draw(frame, picture, is_down, now))
            .map_err(ScreenError::Draw)?;
        Ok(())
    }

    /// Draws what changes by itself and with the window's size, until the user leaves. Cancel
    /// safe.
    pub(crate) async fn live(&mut self, picture: &Picture) -> Result<(), ScreenError> {
        loop {
            let (_, next) = picture.hammer(self.now());
            tokio::select! {
                () = tokio::time::sleep(next.unwrap_or(REFRESH)) => self.draw(picture)?,
                event = self.events.next() => match event {
                    None => return Ok(()),
                    Some(Err(why)) => return Err(ScreenError::Keys(why)),
                    Some(Ok(event)) if leaves(&event) => return Ok(()),
                    Some(Ok(Event::Resize(..))) => self.draw(picture)?,
                    Some(Ok(_)) => (),
                },
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn leaves(event: &Event) -> bool {
    let Some(key) = event.as_key_press_event() else {
        return false;
    };
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}
