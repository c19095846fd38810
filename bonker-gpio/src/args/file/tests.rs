use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches};

use super::{FileError, MAX_BYTES, Settings, apply, read};
use crate::args::{Cli, Command, ServeArgs};
use crate::report::chain;

fn settings(text: &str) -> Settings {
    Settings {
        path: PathBuf::from("b.toml"),
        table: text.parse().unwrap(),
    }
}

fn serve(text: &str, flags: &[&str]) -> Result<(ServeArgs, Cli), FileError> {
    let command = apply(Cli::command(), "serve", &settings(text))?;
    let line = ["bonker-gpio", "serve"].iter().chain(flags);
    let matches = command.try_get_matches_from(line).unwrap();
    let cli = Cli::from_arg_matches(&matches).unwrap();
    let Command::Serve(args) = Cli::from_arg_matches(&matches).unwrap().command else {
        panic!("not serve");
    };
    Ok((*args, cli))
}

#[test]
fn the_file_sets_what_no_flag_does() {
    let text = "listen = '127.0.0.1:1'\ngpio_pin = 12\ninsecure = true\nlog-level = 'debug'";
    let (args, cli) = serve(text, &["--listen", "127.0.0.1:2"]).unwrap();
    assert_eq!(args.listen.listen.port(), 2);
    assert_eq!(args.servo.gpio_pin, 12);
    assert!(args.listen.insecure);
    assert_eq!(
        cli.logs.log_level,
        tracing::level_filters::LevelFilter::DEBUG
    );
}

#[test]
fn each_wrong_key_and_value_is_named() {
    let check = |text: &str, said: &str| {
        let why = chain(&serve(text, &[]).unwrap_err());
        assert!(
            why.contains(said) && why.contains("b.toml"),
            "{text}: {why}"
        );
    };
    check(
        "lisen = 'x'",
        "\"lisen\", which is no setting: known are listen,",
    );
    check("config = 'x'", "no setting");
    check(
        "listen = 'x'",
        "\"listen\" in the settings file b.toml does not hold: invalid",
    );
    check("gpio-pin = 99", "\"gpio-pin\"");
    check("gpio-pin = 1\ngpio_pin = 1", "twice");
    check("gpio-pin = [1]", "is a list: use a single value");
    check("insecure = 'yes'", "use true or false");
    check("listen = true", "use a string or a number");
    check("listen = 1979-05-27", "a string in quotes");
    check(
        "[serve]\nlisten = '127.0.0.1:1'",
        "\"serve\", which is no setting",
    );
    check("backend = 'x\\u001b[2J'", "does not hold");
}

#[test]
fn nothing_of_a_wrong_value_reaches_the_terminal_raw() {
    let why = serve("listen = \"\\u001b[2J\"", &[]).unwrap_err();
    assert!(!chain(&why).contains('\u{1b}'), "{why}");
}

#[test]
fn files_that_cannot_be_had_are_told_by_name() {
    let path = |name: &str| std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    let check = |name: &str, text: Option<String>, said: &str| {
        let path = path(name);
        if let Some(text) = &text {
            std::fs::write(&path, text).unwrap();
        }
        let why = chain(&read(&path).unwrap_err());
        if text.is_some() {
            std::fs::remove_file(&path).unwrap();
        }
        assert!(why.contains(said) && why.contains(name), "{why}");
    };
    check("absent", None, "cannot read");
    check("syntax", Some("listen = ".into()), "is no TOML");
    let large = usize::try_from(MAX_BYTES).unwrap() + 1;
    check("large", Some("#".repeat(large)), "bytes");
}
