//! The docs against the command line: the table of settings, and the commands that pages show.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, CommandFactory, Parser as _};

use super::Cli;

const DOCUMENT: &str = "../docs/bonker.md";
const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- end of settings -->\n";

/// Set, the table is written instead of compared.
const WRITE: &str = "WRITE_DOCS";

#[test]
fn the_documented_settings_are_those_there_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DOCUMENT);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (said, after) = rest.split_once(END).unwrap();
    let table = table(Cli::command());
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, [before, BEGIN, &table, END, after].concat()).unwrap();
        return;
    }
    assert_eq!(
        said, table,
        "run `{WRITE}=1 cargo test -p bonker-gpio --lib documented` to write docs/bonker.md anew"
    );
}

#[test]
fn every_row_has_the_cells_of_the_head() {
    for row in table(Cli::command()).lines() {
        let bars = row.replace("\\|", "").matches('|').count();
        assert_eq!(bars, 5, "{row}");
    }
}

#[test]
fn every_command_in_the_docs_parses() {
    let commands = commands("bonker-gpio");
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        if let Err(error) = Cli::try_parse_from(&command) {
            panic!("{command:?}: {error}");
        }
    }
}

/// Each `console` command of the README and the docs that runs `program`, as its words.
fn commands(program: &str) -> Vec<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = std::fs::read_dir(root.join("docs")).unwrap();
    let mut pages: Vec<PathBuf> = pages.map(|page| page.unwrap().path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.push(root.join("README.md"));
    let mut commands = Vec::new();
    for page in pages {
        let text = std::fs::read_to_string(&page).unwrap();
        let text = text.replace("\\\n", " ");
        let blocks = text.split("```console\n").skip(1);
        let lines = blocks.flat_map(|block| block.split("```").next().unwrap().lines());
        commands.extend(lines.filter_map(|line| words(line, program)));
    }
    commands
}

/// Up to a comment, if `program` is what runs.
fn words(line: &str, program: &str) -> Option<Vec<String>> {
    let words = line.split_whitespace().take_while(|word| *word != "#");
    let words: Vec<&str> = words.skip_while(|word| *word == "sudo").collect();
    let runs = words.first()?.rsplit('/').next() == Some(program);
    runs.then(|| words.into_iter().map(str::to_owned).collect())
}

fn table(mut command: Command) -> String {
    command.build();
    let serve = command.find_subcommand("serve").unwrap();
    let mut table = "| Flag | Variable | Default | |\n|---|---|---|---|\n".to_owned();
    let settings = serve.get_arguments().filter(|arg| arg.get_env().is_some());
    for arg in settings {
        let variable = arg.get_env().unwrap().to_str().unwrap();
        let cells = [
            flag(arg),
            format!("`{variable}`"),
            default(arg),
            arg.get_help().unwrap().to_string(),
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
        let names = arg.get_value_names().unwrap_or_default();
        names.join(" ")
    } else {
        let names = possible.iter().map(|value| value.get_name().to_owned());
        names.collect::<Vec<_>>().join("|")
    };
    format!("`--{long} {value}`")
}

fn default(arg: &Arg) -> String {
    let values = arg.get_default_values().iter();
    let values: Vec<_> = values
        .map(|value| format!("`{}`", value.to_str().unwrap()))
        .collect();
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return String::new();
    }
    values.join(", ")
}
