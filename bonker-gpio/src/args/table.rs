//! The docs against the command line: the table of settings, and the commands that pages show.

use clap::{CommandFactory as _, Parser as _};
use xtask::docs;

use super::Cli;

fn cli() -> clap::Command {
    let mut cli = Cli::command();
    cli.build();
    cli
}

#[test]
fn the_documented_settings_are_those_there_are() {
    let cli = cli();
    docs::check_table(
        "bonker.md",
        "settings",
        cli.find_subcommand("serve").unwrap(),
    );
}

#[test]
fn every_row_has_the_cells_of_the_head() {
    let cli = cli();
    for row in docs::flag_table(cli.find_subcommand("serve").unwrap()).lines() {
        let bars = row.replace("\\|", "").matches('|').count();
        assert_eq!(bars, 5, "{row}");
    }
}

#[test]
fn every_command_in_the_docs_parses() {
    let commands = docs::commands("bonker-gpio");
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        if let Err(error) = Cli::try_parse_from(&command) {
            panic!("{command:?}: {error}");
        }
    }
}
