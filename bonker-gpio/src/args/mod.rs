//! The command line, the environment and the settings file, in this order of precedence:
//! every flag of `serve` has a variable and a key in the file.

mod calibrate;
mod certs;
mod client;
mod file;
mod follow;
mod network;
mod security;
mod servo;

use std::path::PathBuf;

use clap::builder::{Resettable, ValueParser};
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::admission;
use crate::logs::LogFormat;
pub(crate) use calibrate::CalibrateArgs;
pub(crate) use certs::CertsArgs;
pub(crate) use client::{BonkArgs, Output, ServerArgs, SnoozeArgs, StatusArgs, WatchArgs};
pub(crate) use file::{FileError, MAX_BYTES as MAX_FILE_BYTES};
pub(crate) use follow::FollowArgs;
use network::NetworkArgs;
use security::{Protocol, SecurityArgs, SecurityError};
pub(crate) use servo::ServoArgs;

/// Swings a servo at a toy penguin for every Linux OOM kill
#[derive(Debug, Parser)]
#[command(name = "bonker-gpio", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Log level on standard error: off, error, warn, info, debug or trace
    #[arg(
        long,
        global = true,
        env = "BONKER_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub(crate) log_level: LevelFilter,
    /// Log format
    #[arg(
        long,
        global = true,
        env = "BONKER_LOG_FORMAT",
        default_value = "plain",
        value_name = "FORMAT"
    )]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server: take bonks and swing the servo
    Serve(Box<ServeArgs>),
    /// Send a test bonk and print the answer
    Bonk(BonkArgs),
    /// Show every swing of a server as it happens
    Watch(WatchArgs),
    /// Show a server's backend, queue and counters
    Status(StatusArgs),
    /// Find the servo's limits by keyboard and write them to the settings file
    Calibrate(CalibrateArgs),
    /// Pause all swings for a while
    Snooze(SnoozeArgs),
    /// Create a CA, and certificates for the server and its clients
    Certs(CertsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// TOML file with settings, named as these flags; flags and variables override it
    #[arg(long, env = "BONKER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    #[command(flatten)]
    pub(crate) security: SecurityArgs,
    #[command(flatten)]
    pub(crate) servo: ServoArgs,
    /// Directory for the history, the counters and the answers given; without it they end with
    /// the process
    #[arg(
        long,
        env = "BONKER_STATE",
        value_name = "DIR",
        help_heading = "Admission"
    )]
    pub(crate) state: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Admission")]
    pub(crate) admission: admission::Settings,
    #[command(flatten)]
    pub(crate) follow: FollowArgs,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// An error of clap, or its help.
    #[error("the command line cannot be followed")]
    Usage(#[source] clap::Error),
    #[error("the variable {name} is not UTF-8: set it anew, or unset it")]
    Variable { name: String },
    #[error(transparent)]
    File(FileError),
}

/// A setting that needs another one. Checked after the settings file, which clap's own
/// `requires` does not see.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("--{given} does nothing without --{missing}: give both, or neither")]
pub(crate) struct Alone {
    given: String,
    missing: String,
}

/// Each is a flag, and whether it is set.
pub(crate) fn require(
    (given, is_given): (&str, bool),
    (missing, is_there): (&str, bool),
) -> Result<(), Alone> {
    if is_given && !is_there {
        let (given, missing) = (given.to_owned(), missing.to_owned());
        return Err(Alone { given, missing });
    }
    Ok(())
}

// === impl ServeArgs ===

impl ServeArgs {
    /// Whether its addresses may be listened on.
    pub(crate) fn check_ports(&self) -> Result<(), SecurityError> {
        let (security, insecure) = (&self.security, self.network.insecure);
        security.check("listen", self.network.listen, Protocol::Http2, insecure)?;
        match self.network.http_listen {
            Some(address) => security.check("http-listen", address, Protocol::Http1, insecure),
            None => Ok(()),
        }
    }
}

// === impl Cli ===

impl Cli {
    /// The process's own command line and environment, and the file they name.
    pub(crate) fn read() -> Result<Self, ReadError> {
        let args: Vec<_> = std::env::args_os().collect();
        // clap finds other flags than those meant once a command has parsed and is changed.
        let fresh = without_empty_variables(Self::command());
        if let Some(name) = garbled_variable(&fresh) {
            return Err(ReadError::Variable { name });
        }
        let mut command = fresh.clone();
        let matches = |command: &mut clap::Command| {
            command
                .try_get_matches_from_mut(&args)
                .map_err(ReadError::Usage)
        };
        let mut matched = matches(&mut command)?;
        if let Some((name, path)) = config(&matched) {
            command = file::apply_file(fresh, &name, &path).map_err(ReadError::File)?;
            matched = matches(&mut command)?;
        }
        Self::from_arg_matches_mut(&mut matched)
            .map_err(|why| ReadError::Usage(why.format(&mut command)))
    }
}

/// The subcommand, and the file it is to read its settings from.
fn config(matched: &clap::ArgMatches) -> Option<(String, PathBuf)> {
    let (name, matched) = matched.subcommand()?;
    let path = matched.try_get_one::<PathBuf>("config").ok().flatten()?;
    // That one makes the file.
    if name == "calibrate" && !path.exists() {
        return None;
    }
    Some((name.to_owned(), path.clone()))
}

/// A variable that has to be UTF-8, and is not: clap's error does not name it.
fn garbled_variable(command: &clap::Command) -> Option<String> {
    let path = ValueParser::path_buf().type_id();
    let own = command.get_arguments().filter_map(|arg| {
        let name = arg.get_env()?;
        let garbled = std::env::var_os(name)?.to_str().is_none();
        let text = arg.get_value_parser().type_id() != path;
        (garbled && text).then(|| name.to_string_lossy().into_owned())
    });
    let mut all = own.chain(command.get_subcommands().filter_map(garbled_variable));
    all.next()
}

/// An empty variable counts as unset: a manifest has no other way to take one back.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg: Arg| {
            let value = arg.get_env().and_then(std::env::var_os);
            if value.is_some_and(|value| value.is_empty()) {
                arg.env(Resettable::Reset)
            } else {
                arg
            }
        })
        .mut_subcommands(without_empty_variables)
}

#[cfg(test)]
mod table;

#[cfg(test)]
mod tests;
