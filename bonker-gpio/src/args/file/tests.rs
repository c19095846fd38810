use clap::{CommandFactory, FromArgMatches};
use proptest::prelude::*;
use service::error_chain::chain;
use toml::{Table, Value};

use super::{Fault, MAX_BYTES, apply, apply_file, find, value_texts};
use crate::args::{Cli, Command, ServeArgs};

fn settings(text: &str) -> Table {
    text.parse().unwrap()
}

fn serve(text: &str, flags: &[&str]) -> Result<(ServeArgs, Cli), Fault> {
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
    assert_eq!(args.network.listen.port(), 2);
    assert_eq!(args.servo.hardware.pin, 12);
    assert!(args.network.insecure);
    assert_eq!(
        cli.logs.log_level,
        tracing::level_filters::LevelFilter::DEBUG
    );
}

/// clap's `requires` counts no default, which is what the file's values are.
#[test]
fn settings_that_belong_together_may_come_from_file_and_flags() {
    let text = "follow = 'https://a:1'\nfollow-ca = 'ca'\nfollow-cert = 'c'\nfollow-key = 'k'";
    let (args, _) = serve(text, &[]).unwrap();
    assert!(args.follow.hub().unwrap().is_some());
    let (args, _) = serve("follow = 'https://a:1'", &["--follow-ca=ca"]).unwrap();
    assert!(args.follow.hub().unwrap().is_some());
}

/// The packaged file shows defaults in comments.
#[test]
fn the_packaged_file_shows_the_defaults() {
    let packaged = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/bonker-gpio.toml");
    let text = std::fs::read_to_string(packaged).unwrap();
    let shown = text.lines().filter_map(|line| line.strip_prefix('#'));
    let shown: Vec<_> = shown.filter(|line| !line.starts_with(' ')).collect();
    assert!(shown.len() > 5, "{text}");
    let mut command = Cli::command();
    command.build();
    for (key, value) in &settings(&shown.join("\n")) {
        let arg = find(&command, "serve", key).unwrap_or_else(|| panic!("no setting: {key}"));
        let defaults = arg.get_default_values().iter();
        let defaults: Vec<_> = defaults.map(|text| text.to_str().unwrap()).collect();
        assert_eq!(value_texts(arg, value).unwrap(), defaults, "{key}");
    }
}

#[test]
fn each_wrong_key_and_value_is_named() {
    let check = |text: &str, part: &str| {
        let why = chain(&serve(text, &[]).unwrap_err()).to_string();
        assert!(why.contains(part), "{text}: {why}");
    };
    check("lisen = 'x'", "\"lisen\" is no setting: known are listen,");
    check("config = 'x'", "no setting");
    check("listen = 'x'", "\"listen\" does not hold: invalid");
    check("gpio-pin = 99", "\"gpio-pin\"");
    check("gpio-pin = 1\ngpio_pin = 1", "twice");
    check("gpio-pin = [1]", "is a list: use a single value");
    check("insecure = 'yes'", "use true or false");
    check("listen = true", "use a string or a number");
    check("listen = 1979-05-27", "a string in quotes");
    check("[serve]\nlisten = '127.0.0.1:1'", "\"serve\" is no setting");
    check("backend = 'x\\u001b[2J'", "does not hold");
}

#[test]
fn nothing_of_a_wrong_value_reaches_the_terminal_raw() {
    let why = serve("listen = \"\\u001b[2J\"", &[]).unwrap_err();
    assert!(!chain(&why).to_string().contains('\u{1b}'), "{why}");
}

#[test]
fn missing_files_are_named() {
    let path = |name: &str| std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
    let check = |name: &str, text: Option<String>, part: &str| {
        let path = path(name);
        if let Some(text) = &text {
            std::fs::write(&path, text).unwrap();
        }
        let why = chain(&apply_file(Cli::command(), "serve", &path).unwrap_err()).to_string();
        if text.is_some() {
            std::fs::remove_file(&path).unwrap();
        }
        assert!(why.contains(part) && why.contains(name), "{why}");
    };
    check("absent", None, "cannot read");
    check("syntax", Some("listen = ".into()), "is no TOML");
    let large = usize::try_from(MAX_BYTES).unwrap() + 1;
    check("large", Some("#".repeat(large)), "bytes");
}

/// A file's text, put together of what settings are made of and of what they are not.
fn any_file() -> impl Strategy<Value = String> {
    let flags: Vec<String> = Cli::command()
        .find_subcommand("serve")
        .unwrap()
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect();
    let key = prop_oneof![
        4 => prop::sample::select(flags),
        1 => "[a-z_-]{1,12}",
        1 => any::<String>().prop_map(|key| Value::from(key).to_string()),
    ];
    let value = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[0-9]{1,6}(ms|s|m|h)|127\\.0\\.0\\.1:[0-9]{1,5}|--[a-z]{1,9}(=x)?".prop_map(Value::from),
        prop::collection::vec(any::<String>(), 0..3).prop_map(Value::from),
    ];
    let line = prop_oneof![
        8 => (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => any::<String>(),
    ];
    prop::collection::vec(line, 0..5).prop_map(|lines| lines.join("\n"))
}

proptest! {
    /// Whatever is in the file: settings that hold, or a reason in one line.
    #[test]
    fn any_file_is_followed_or_refused(text in any_file()) {
        let Ok(settings) = text.parse() else { return Ok(()) };
        match apply(Cli::command(), "serve", &settings) {
            Ok(command) => {
                // Flags may still contradict each other; that is an error, too.
                let _ = command.try_get_matches_from(["bonker-gpio", "serve"]);
            }
            Err(why) => {
                let why = chain(&why).to_string();
                prop_assert!(!why.contains(['\n', '\u{1b}', '\u{202e}']), "{}", why);
            }
        }
    }
}
