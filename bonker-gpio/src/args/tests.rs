use clap::{CommandFactory as _, Parser as _};

use super::{Cli, Command, ServeArgs};
use crate::admission::Settings;
use crate::motion::{Calibration, Choreography, Limits};
use crate::net::Access;

pub(super) fn serve(flags: &[&str]) -> Result<ServeArgs, String> {
    let line = ["bonker-gpio", "serve"];
    let cli = Cli::try_parse_from(line.iter().chain(flags)).map_err(|why| why.to_string())?;
    match cli.command {
        Command::Serve(serve) => Ok(*serve),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
}

#[test]
fn every_setting_of_the_server_has_a_variable() {
    let command = Cli::command();
    let serve = command.find_subcommand("serve").unwrap();
    for arg in serve.get_arguments().filter(|arg| arg.get_id() != "help") {
        let variable = arg.get_env().and_then(|name| name.to_str());
        assert!(
            variable.is_some_and(|name| name.starts_with("BONKER_")),
            "{arg}"
        );
        assert!(arg.get_long().is_some(), "{arg}");
    }
}

#[test]
fn the_defaults_are_those_of_the_rooms() {
    let serve = serve(&[]).unwrap();
    let access = Access::default();
    assert_eq!(serve.network.limits, access.limits);
    assert_eq!(serve.network.idle_timeout, access.idle_timeout);
    let limits = Limits::try_from(Calibration::default()).unwrap();
    let own = Choreography::within(limits);
    assert_eq!(serve.servo.choreography(), Ok(own));
    let (parsed, own) = (serve.admission, Settings::default());
    assert_eq!((parsed.window, parsed.queue), (own.window, own.queue));
    assert_eq!((parsed.expire, parsed.cooldown), (own.expire, own.cooldown));
    assert_eq!(parsed.peer_rate, own.peer_rate);
    assert_eq!(parsed.min_severity, own.min_severity);
    assert_eq!(parsed.filter, own.filter);
    assert!(parsed.quiet.hours.is_empty());
}

#[test]
fn each_flag_is_accepted_or_its_error_shows_the_form() {
    let check = |flag: &str, value: &str, usage: Option<&str>| {
        let read = serve(&[&format!("{flag}={value}")]);
        match usage {
            None => assert!(read.is_ok(), "{flag} {value}: {read:?}"),
            Some(usage) => {
                let why = read.unwrap_err();
                assert!(why.contains(usage), "{flag} {value}: {why}");
            }
        }
    };
    check("--quiet-hours", "22:00-07:00", None);
    check("--quiet-hours", "22:00-07:00,12:00-13:00", None);
    check("--quiet-hours", "00:00-24:00", None);
    for wrong in [
        "22-7",
        "22:00",
        "24:00-07:00",
        "7:00-8:00",
        "08:00-08:00",
        "08:60-09:00",
    ] {
        check("--quiet-hours", wrong, Some("use HH:MM-HH:MM"));
    }
    check("--time-zone", "Europe/Berlin", None);
    check("--time-zone", "Berlin/Europe", Some("as Europe/Berlin"));
    check("--allow-namespace", "a-*,b", None);
    check("--allow-namespace", "", Some("as team-*"));
    check("--deny-label", "bonk=no*", None);
    check("--deny-label", "bonk", Some("use NAME=PATTERN"));
    check("--allow-label", "=x", Some("use NAME=PATTERN"));
    check("--peer-rate", "60/min", None);
    for wrong in ["60", "0/min", "-1/min", "60/s"] {
        check("--peer-rate", wrong, Some("as in 600/min"));
    }
    check("--expire", "0s", Some("use 1ns to 8760h"));
    for flag in ["--window", "--expire", "--cooldown"] {
        check(flag, "8760h", None);
        check(flag, "8760h1s", Some("to 8760h"));
        check(flag, "2562047788015215h", Some("to 8760h"));
    }
    check("--queue", "0", Some("1..=10000"));
    check("--min-severity", "critical", None);
    check("--window", "-1s", Some("--window"));
}

#[test]
fn settings_that_move_nothing_are_refused() {
    let refusal = |flags: &[&str]| {
        let plan = serve(flags).map(|serve| serve.servo.choreography());
        plan.map_or_else(Some, |plan| plan.err().map(|why| why.to_string()))
    };
    let check = |flags: &[&str], part: &str| {
        let why = refusal(flags).unwrap_or_default();
        assert!(why.contains(part), "{flags:?}: {why}");
    };
    assert_eq!(refusal(&["--hold=1ms", "--settle=500ms"]), None);
    assert_eq!(refusal(&["--rest-us=2000", "--strike-us=1000"]), None);
    for hold in ["--hold=1ns", "--hold=0s", "--settle=999us", "--hold=501ms"] {
        check(&[hold], "use 1ms to 500ms");
    }
    check(&["--strike-us=1000"], "rest and strike are the same pulse");
    check(&["--rest-us=900"], "outside 1000 to 2000");
}
