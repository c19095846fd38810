//! The docs against the command line: commands that pages show, and the tables of flags.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, CommandFactory as _};

use super::Cli;

/// If set, the tables are written instead of compared.
const WRITE: &str = "WRITE_DOCS";

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

/// Each `console` command of the README and the docs that runs `program`, as its words.
pub(super) fn commands(program: &str) -> Vec<Vec<String>> {
    let pages = fs::read_dir(docs()).unwrap();
    let mut pages: Vec<PathBuf> = pages.map(|page| page.unwrap().path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.push(docs().join("../README.md"));
    let mut commands = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap().replace("\\\n", " ");
        let blocks = text.split("```console\n").skip(1);
        let lines = blocks.flat_map(|block| block.split("```").next().unwrap().lines());
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
    let words = words.into_iter().skip_while(|word| *word == "sudo");
    let words: Vec<_> = words
        .take_while(|word| !["#", "|", "&"].contains(word))
        .collect();
    let runs = words.first()?.rsplit('/').next() == Some(program);
    runs.then(|| words.into_iter().map(str::to_owned).collect())
}

#[test]
fn the_documented_flags_are_those_there_are() {
    let path = docs().join("agent.md");
    let old = fs::read_to_string(&path).unwrap();
    let mut text = old.clone();
    let mut cli = Cli::command();
    cli.build();
    for name in ["run", "watch-pods", "sidecar"] {
        let (begin, end) = (
            format!("<!-- {name} -->\n"),
            format!("<!-- end of {name} -->"),
        );
        let (before, rest) = text.split_once(&begin).unwrap();
        let (_, after) = rest.split_once(&end).unwrap();
        let table = table(cli.find_subcommand(name).unwrap());
        text = [before, &begin, &table, &end, after].concat();
    }
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, text).unwrap();
        return;
    }
    assert_eq!(
        old, text,
        "run `{WRITE}=1 cargo test -p oom-agent --lib documented` to write docs/agent.md anew"
    );
}

fn table(command: &clap::Command) -> String {
    let mut table = "| Flag | Variable | Default | |\n|---|---|---|---|\n".to_owned();
    for arg in command.get_arguments() {
        let Some(variable) = arg.get_env() else {
            continue;
        };
        let defaults = arg.get_default_values().iter();
        let defaults: Vec<_> = defaults.map(|value| value.to_str().unwrap()).collect();
        let default = match &defaults[..] {
            [] => String::new(),
            _ if matches!(arg.get_action(), ArgAction::SetTrue) => String::new(),
            defaults => format!("`{}`", defaults.join(",")),
        };
        let help = arg.get_long_help().or(arg.get_help()).unwrap().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let help = help.trim_end_matches('.').to_owned();
        let [flag, help] = [flag(arg), help].map(|text| text.replace('|', "\\|"));
        let variable = variable.to_str().unwrap();
        writeln!(table, "| `{flag}` | `{variable}` | {default} | {help} |").unwrap();
    }
    table
}

/// With its value, or the values that it takes.
fn flag(arg: &Arg) -> String {
    let long = arg.get_long().unwrap();
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return format!("--{long}");
    }
    let possible = arg.get_possible_values();
    let values: Vec<&str> = if possible.is_empty() {
        arg.get_value_names()
            .unwrap_or_default()
            .iter()
            .map(clap::builder::Str::as_str)
            .collect()
    } else {
        possible
            .iter()
            .map(clap::builder::PossibleValue::get_name)
            .collect()
    };
    format!("--{long} {}", values.join("|"))
}
