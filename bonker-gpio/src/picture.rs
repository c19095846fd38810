//! The penguin in a terminal: what a bonker swings for, drawn as it happens. `Picture` and
//! what draws it are pure; `screen` has the terminal.

mod draw;
mod screen;
mod show;
mod state;

pub(crate) use screen::{Screen, ScreenError};
pub(crate) use state::{Link, Picture};

#[cfg(test)]
mod tests;
