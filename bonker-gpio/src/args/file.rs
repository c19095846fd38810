//! The settings file: a flat TOML table whose keys are the flags' names.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use service::escape::truncate;
use service::file::read_text_bounded;
use toml::{Table, Value};

use crate::text::{escape, escape_path};

/// The largest file that is read, in bytes.
pub(crate) const MAX_BYTES: u64 = 64 * 1024;

/// The longest line of the file that is quoted, in bytes.
const MAX_QUOTED: usize = 200;

/// The flag that names the file, and what clap adds, are no settings.
const NOT_IN_FILE: [&str; 3] = ["config", "help", "version"];

#[derive(Debug, thiserror::Error)]
#[error("the settings file {path} cannot be used")]
pub(crate) struct FileError {
    path: String,
    source: Fault,
}

#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("cannot read it")]
    Read(#[source] io::Error),
    #[error("it is no TOML: {0}")]
    Syntax(String),
    #[error("{key:?} {why}")]
    Setting { key: String, why: String },
}

/// Makes the settings of the file at `path` the defaults of `subcommand`, so that flags and
/// variables override them.
pub(super) fn apply_file(
    command: Command,
    subcommand: &str,
    path: &Path,
) -> Result<Command, FileError> {
    let table = read(path);
    let applied = table.and_then(|table| apply(command, subcommand, &table));
    applied.map_err(|source| FileError {
        path: escape_path(path),
        source,
    })
}

fn read(path: &Path) -> Result<Table, Fault> {
    let text = read_text_bounded(path, MAX_BYTES).map_err(Fault::Read)?;
    text.parse()
        .map_err(|why| Fault::Syntax(escape_lines(&why)))
}

/// Each value has been through its flag's own parser.
fn apply(command: Command, subcommand: &str, settings: &Table) -> Result<Command, Fault> {
    let mut defaults = HashMap::new();
    for (key, value) in settings {
        let wrong = |why| {
            let key = key.clone();
            Fault::Setting { key, why }
        };
        let Some(arg) = find(&command, subcommand, key) else {
            // The server's file serves the commands that take part of its flags, too.
            if find(&command, "serve", key).is_some() {
                continue;
            }
            let known = known_settings(&command, subcommand);
            return Err(wrong(format!("is no setting: known are {known}")));
        };
        let refused = |why| wrong(format!("does not hold: {why}"));
        let texts = value_texts(arg, value).map_err(|why| refused(why.to_owned()))?;
        check_value(arg, &texts).map_err(refused)?;
        if defaults.insert(arg.get_id().clone(), texts).is_some() {
            let why = "is there twice, as the names of flags with - and with _";
            return Err(wrong(why.to_owned()));
        }
    }
    let set = |arg: Arg| match defaults.get(arg.get_id()) {
        Some(texts) => arg.default_values(texts.clone()),
        None => arg,
    };
    // Flags of every command, as those for logs, are of the root.
    Ok(command
        .mut_args(set)
        .mut_subcommand(subcommand, |command| command.mut_args(set)))
}

fn find<'a>(command: &'a Command, subcommand: &str, key: &str) -> Option<&'a Arg> {
    let flag = key.replace('_', "-");
    let sub = command.find_subcommand(subcommand)?;
    sub.get_arguments()
        .chain(command.get_arguments())
        .find(|arg| is_setting(arg) && arg.get_long() == Some(&flag))
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
fn value_texts(arg: &Arg, value: &Value) -> Result<Vec<String>, &'static str> {
    let many = matches!(arg.get_action(), ArgAction::Append);
    let switch = matches!(arg.get_action(), ArgAction::SetTrue);
    match value {
        Value::Boolean(on) if switch => Ok(vec![on.to_string()]),
        _ if switch => Err("it is not true or false: use true or false, without quotes"),
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Integer(number) => Ok(vec![number.to_string()]),
        Value::Float(number) => Ok(vec![number.to_string()]),
        Value::Array(values) if many => values
            .iter()
            .map(|value| match value {
                Value::String(text) => Ok(text.clone()),
                _ => Err("it is a list of something else than strings: use a list of strings"),
            })
            .collect(),
        Value::Array(_) => Err("it is a list: use a single value"),
        Value::Table(_) => Err("it is a table: use a single value, before the first [section]"),
        Value::Boolean(_) => Err("it is true or false: use a string or a number"),
        Value::Datetime(_) => Err("it is a date or time: use a string in quotes"),
    }
}

/// Whether the flag's own parser accepts these values. None of the flags needs another one.
fn check_value(arg: &Arg, texts: &[String]) -> Result<(), String> {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return Ok(());
    }
    let flag = arg.get_long().unwrap_or_default();
    let tried = Command::new("bonker-gpio")
        .no_binary_name(true)
        .arg(arg.clone())
        .try_get_matches_from(texts.iter().map(|text| format!("--{flag}={text}")));
    tried.map(drop).map_err(|why| {
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
