//! The settings file: a flat TOML table whose keys are the flags' names.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command};
use service::escape::truncate;
use toml::{Table, Value};

use crate::text::{escape, escape_path};

/// The largest file that is read, in bytes.
pub(crate) const MAX_BYTES: u64 = 64 * 1024;

/// The longest line of the file that is quoted, in bytes.
const MAX_QUOTED: usize = 200;

/// The flag that names the file, and what clap adds, are no settings.
const NOT_IN_FILE: [&str; 3] = ["config", "help", "version"];

/// A file that was read; nothing is known yet of what its settings mean.
#[derive(Debug)]
pub(super) struct Settings {
    path: PathBuf,
    table: Table,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    #[error("cannot read the settings file {path}")]
    Read { path: String, source: io::Error },
    #[error("the settings file {path} has over {MAX_BYTES} bytes")]
    Large { path: String },
    #[error("the settings file {path} is no TOML: {why}")]
    Syntax { path: String, why: String },
    #[error("the settings file {path} has {key:?}, which is no setting: known are {known}")]
    Unknown {
        path: String,
        key: String,
        known: String,
    },
    #[error("the settings file {path} has {key:?} twice, as the names of flags with - and with _")]
    Twice { path: String, key: String },
    #[error("{key:?} in the settings file {path} is {what}: use {usage}")]
    Kind {
        path: String,
        key: String,
        what: &'static str,
        usage: &'static str,
    },
    #[error("{key:?} in the settings file {path} does not hold: {why}")]
    Value {
        path: String,
        key: String,
        why: String,
    },
}

/// Reads and parses `path`.
pub(super) fn read(path: &Path) -> Result<Settings, FileError> {
    let name = || escape_path(path);
    let failed = |source| FileError::Read {
        path: name(),
        source,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    let mut start = file.take(MAX_BYTES + 1);
    start.read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(FileError::Large { path: name() });
    }
    let table = text.parse().map_err(|why| FileError::Syntax {
        path: name(),
        why: escape_lines(&why),
    })?;
    Ok(Settings {
        path: path.to_owned(),
        table,
    })
}

/// Makes the file's settings the defaults of `subcommand`, so that flags and variables override
/// them; each value has been through its flag's own parser.
pub(super) fn apply(
    mut command: Command,
    subcommand: &str,
    settings: &Settings,
) -> Result<Command, FileError> {
    let path = || escape_path(&settings.path);
    let mut seen = Vec::new();
    for (key, value) in &settings.table {
        let Some(arg) = find(&command, subcommand, key) else {
            if applies_elsewhere(&command, key) {
                continue;
            }
            return Err(FileError::Unknown {
                path: path(),
                key: key.clone(),
                known: known_settings(&command, subcommand),
            });
        };
        let id = arg.get_id().clone();
        if seen.contains(&id) {
            return Err(FileError::Twice {
                path: path(),
                key: key.clone(),
            });
        }
        let texts = value_texts(arg, value).map_err(|(what, usage)| FileError::Kind {
            path: path(),
            key: key.clone(),
            what,
            usage,
        })?;
        check_value(&command, subcommand, arg, &texts).map_err(|why| FileError::Value {
            path: path(),
            key: key.clone(),
            why,
        })?;
        let own = command
            .find_subcommand(subcommand)
            .is_some_and(|sub| sub.get_arguments().any(|arg| *arg.get_id() == id));
        let set = |command: Command| command.mut_arg(&id, |arg| arg.default_values(texts));
        command = if own {
            command.mut_subcommand(subcommand, set)
        } else {
            // A flag of every command, as those for logs.
            set(command)
        };
        seen.push(id);
    }
    Ok(command)
}

fn find<'a>(command: &'a Command, subcommand: &str, key: &str) -> Option<&'a Arg> {
    let flag = key.replace('_', "-");
    let sub = command.find_subcommand(subcommand)?;
    sub.get_arguments()
        .chain(command.get_arguments())
        .find(|arg| is_setting(arg) && arg.get_long() == Some(&flag))
}

/// The server's file serves the commands that take part of its flags, too.
fn applies_elsewhere(command: &Command, key: &str) -> bool {
    find(command, "serve", key).is_some()
}

fn is_setting(arg: &Arg) -> bool {
    arg.get_long()
        .is_some_and(|long| !NOT_IN_FILE.contains(&long))
}

fn known_settings(command: &Command, subcommand: &str) -> String {
    let flags = command
        .find_subcommand(subcommand)
        .into_iter()
        .flat_map(Command::get_arguments)
        .filter(|arg| is_setting(arg))
        .filter_map(Arg::get_long);
    flags.collect::<Vec<_>>().join(", ")
}

/// The value as the flag would be given it.
fn value_texts(arg: &Arg, value: &Value) -> Result<Vec<String>, (&'static str, &'static str)> {
    let many = matches!(arg.get_action(), ArgAction::Append);
    let switch = matches!(arg.get_action(), ArgAction::SetTrue);
    match value {
        Value::Boolean(on) if switch => Ok(vec![on.to_string()]),
        _ if switch => Err(("not true or false", "true or false, without quotes")),
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Integer(number) => Ok(vec![number.to_string()]),
        Value::Float(number) => Ok(vec![number.to_string()]),
        Value::Array(values) if many => values
            .iter()
            .map(|value| match value {
                Value::String(text) => Ok(text.clone()),
                _ => Err(("a list of something else than strings", "a list of strings")),
            })
            .collect(),
        Value::Array(_) => Err(("a list", "a single value")),
        Value::Table(_) => Err(("a table", "a single value, before the first [section]")),
        Value::Boolean(_) => Err(("true or false", "a string or a number")),
        Value::Datetime(_) => Err(("a date or time", "a string in quotes")),
    }
}

/// Whether the flag's own parser accepts these values.
fn check_value(
    command: &Command,
    subcommand: &str,
    arg: &Arg,
    texts: &[String],
) -> Result<(), String> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return Ok(());
    }
    let flag = arg.get_long().unwrap_or_default();
    let mut line = vec!["bonker-gpio".to_owned(), subcommand.to_owned()];
    line.extend(texts.iter().map(|text| format!("--{flag}={text}")));
    // The check of this value needs no other flag.
    let lenient = |sub: Command| sub.mut_args(|arg| arg.required(false));
    let tried = command.clone().mut_subcommand(subcommand, lenient);
    let tried = tried.try_get_matches_from(line);
    tried.map(|_| ()).map_err(|why| {
        let text = why.to_string();
        let first = text.lines().next().unwrap_or_default();
        escape(first.trim_start_matches("error: "))
    })
}

/// It quotes the file, on lines of its own: as much of each as a terminal shows.
fn escape_lines(why: &toml::de::Error) -> String {
    let text = why.to_string();
    let lines = text.trim_end().lines();
    let lines = lines.map(|line| escape(truncate(line, MAX_QUOTED)));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
