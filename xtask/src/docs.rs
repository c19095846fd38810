//! The Markdown pages beside the programs that they describe: support for the tests of each program.

#![allow(
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command};

use crate::workspace;

/// If set, [`check_table`] writes tables instead of comparing them.
const WRITE: &str = "WRITE_DOCS";

/// The pages of the root, of `docs` and of `docs/adr`, with their text.
pub fn pages() -> Vec<(PathBuf, String)> {
    let dirs = ["", "docs", "docs/adr"].map(|dir| workspace::root().join(dir));
    let files = dirs.iter().flat_map(|dir| fs::read_dir(dir).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// Each `console` command of the pages that runs `program`, as its words.
pub fn commands(program: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    for (_, text) in pages() {
        let text = text.replace("\\\n", " ");
        let blocks = text.split("```console\n").skip(1);
        let lines = blocks.flat_map(|block| block.split("```").next().unwrap_or_default().lines());
        commands.extend(lines.filter_map(|line| words(line, program)));
    }
    commands
}

/// Up to a comment, a pipe or `&`, if `program` is what runs.
fn words(line: &str, program: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        if at % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    let words = words.into_iter();
    let words = words.skip_while(|word| ["sudo", "-E"].contains(word));
    let words: Vec<_> = words
        .take_while(|word| !["#", "|", "&"].contains(word))
        .collect();
    let runs = words.first()?.rsplit('/').next() == Some(program);
    runs.then(|| words.into_iter().map(str::to_owned).collect())
}

/// Fails unless `page` of `docs` has the table of a built command's flags between the comments `name` and
/// `end of name`.
pub fn check_table(page: &str, name: &str, command: &Command) {
    let path = workspace::root().join("docs").join(page);
    let text = fs::read_to_string(&path).unwrap();
    let (begin, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let (before, rest) = text.split_once(&begin).unwrap();
    let (documented, after) = rest.split_once(&end).unwrap();
    let table = flag_table(command);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, [before, &begin, &table, &end, after].concat()).unwrap();
        return;
    }
    assert_eq!(
        documented, table,
        "run this test with {WRITE}=1 to write docs/{page} anew"
    );
}

/// The flags that have a variable, a row each.
pub fn flag_table(command: &Command) -> String {
    let mut table = "| Flag | Variable | Default | |\n|---|---|---|---|\n".to_owned();
    for arg in command.get_arguments() {
        let Some(variable) = arg.get_env() else {
            continue;
        };
        let help = arg.get_long_help().or(arg.get_help()).unwrap().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let cells = [
            flag(arg),
            format!("`{}`", variable.to_str().unwrap()),
            default(arg),
            help.trim_end_matches('.').to_owned(),
        ];
        // A bare bar ends a cell, within a code span too.
        let cells = cells.map(|cell| cell.replace('|', "\\|"));
        writeln!(table, "| {} |", cells.join(" | ")).unwrap();
    }
    table
}

/// With its value, and the values there are where they are few.
fn flag(arg: &Arg) -> String {
    let long = arg.get_long().unwrap();
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return format!("`--{long}`");
    }
    let possible = arg.get_possible_values();
    let value = if possible.is_empty() {
        arg.get_value_names().unwrap_or_default().join(" ")
    } else {
        let names = possible.iter().map(|value| value.get_name().to_owned());
        names.collect::<Vec<_>>().join("|")
    };
    format!("`--{long} {value}`")
}

fn default(arg: &Arg) -> String {
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return String::new();
    }
    let values = arg.get_default_values().iter();
    let values = values.map(|value| format!("`{}`", value.to_str().unwrap()));
    values.collect::<Vec<_>>().join(", ")
}
