//! The bonker's page in a real Chromium.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

mod access;
mod buttons;
mod desk;
mod look;
mod minute;
mod names;
mod restart;
mod token;
mod watching;
