//! Flags of the admission: what may bonk, when, and how often.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use jiff::civil::Time;
use jiff::tz::TimeZone;
use wildmatch::WildMatch;

use super::duration::{duration, format_duration};
use crate::admission::{Filter, Hours, LabelRule, PeerRate, QuietHours, Settings};
use crate::bonk::Severity;

/// More jobs than this would swing for hours.
const MAX_QUEUE: u32 = 10_000;

const MAX_SPAN: Duration = Duration::from_hours(24 * 365);

#[derive(Debug, Args)]
#[command(next_help_heading = "Admission")]
pub(crate) struct AdmissionArgs {
    /// Directory for the history, the counters and the answers given; without it they end with
    /// the process
    #[arg(long, env = "BONKER_STATE", value_name = "DIR")]
    pub(crate) state: Option<PathBuf>,
    /// Coalescing window: further kills of the same container only raise its counter; 0s turns it off
    #[arg(long, env = "BONKER_WINDOW", default_value = format_duration(Settings::default().window),
          value_name = "TIME", value_parser = span)]
    pub(crate) window: Duration,
    /// Most bonks that may wait for the servo
    #[arg(long, env = "BONKER_QUEUE", default_value = Settings::default().queue.to_string(),
          value_name = "NUMBER",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_QUEUE)))]
    pub(crate) queue: u32,
    /// Age at which a kill is too old to swing for
    #[arg(long, env = "BONKER_EXPIRE", default_value = format_duration(Settings::default().expire),
          value_name = "TIME", value_parser = some_time)]
    pub(crate) expire: Duration,
    /// Pause between two swings
    #[arg(long, env = "BONKER_COOLDOWN", default_value = format_duration(Settings::default().cooldown),
          value_name = "TIME", value_parser = span)]
    pub(crate) cooldown: Duration,
    /// Hours without swings, as in 22:00-07:00; repeatable
    #[arg(long, env = "BONKER_QUIET_HOURS", value_delimiter = ',', value_name = "HH:MM-HH:MM", value_parser = hours)]
    pub(crate) quiet_hours: Vec<Hours>,
    /// Time zone of the quiet hours, as in Europe/Berlin; by default the system's
    #[arg(long, env = "BONKER_TIME_ZONE", value_name = "NAME", value_parser = zone)]
    pub(crate) time_zone: Option<TimeZone>,
    /// Namespace that may bonk, with * and ?; repeatable; by default all may
    #[arg(long, env = "BONKER_ALLOW_NAMESPACE", value_delimiter = ',', value_name = "PATTERN", value_parser = pattern)]
    pub(crate) allow_namespace: Vec<WildMatch>,
    /// Namespace that may not bonk, even if it is allowed; repeatable
    #[arg(long, env = "BONKER_DENY_NAMESPACE", value_delimiter = ',', value_name = "PATTERN", value_parser = pattern)]
    pub(crate) deny_namespace: Vec<WildMatch>,
    /// Label that a bonk needs (one of those given); its value may have * and ?; repeatable
    #[arg(long, env = "BONKER_ALLOW_LABEL", value_delimiter = ',', value_name = "NAME=PATTERN", value_parser = label)]
    pub(crate) allow_label: Vec<LabelRule>,
    /// Label that a bonk must not have, even if it is allowed; its value may have * and ?; repeatable
    #[arg(long, env = "BONKER_DENY_LABEL", value_delimiter = ',', value_name = "NAME=PATTERN", value_parser = label)]
    pub(crate) deny_label: Vec<LabelRule>,
    /// Least severity that swings; milder bonks are only counted
    #[arg(
        long,
        env = "BONKER_MIN_SEVERITY",
        value_enum,
        default_value_t = Settings::default().min_severity,
        value_name = "SEVERITY"
    )]
    pub(crate) min_severity: Severity,
    /// Bonks a minute that one peer may send in the long run
    #[arg(long, env = "BONKER_PEER_RATE", value_name = "NUMBER/min", value_parser = rate,
          default_value = format!("{}/min", PeerRate::default().per_minute))]
    pub(crate) peer_rate: u32,
    /// Bonks that one peer may send at once
    #[arg(long, env = "BONKER_PEER_BURST", default_value_t = PeerRate::default().burst,
          value_name = "NUMBER",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) peer_burst: u32,
}

// === impl AdmissionArgs ===

impl AdmissionArgs {
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            window: self.window,
            queue: usize::try_from(self.queue).unwrap_or(usize::MAX),
            expire: self.expire,
            cooldown: self.cooldown,
            peer_rate: PeerRate {
                per_minute: self.peer_rate,
                burst: self.peer_burst,
            },
            min_severity: self.min_severity,
            filter: Filter {
                allow_namespaces: self.allow_namespace.clone(),
                deny_namespaces: self.deny_namespace.clone(),
                allow_labels: self.allow_label.clone(),
                deny_labels: self.deny_label.clone(),
            },
            quiet: QuietHours {
                hours: self.quiet_hours.clone(),
                zone: self.time_zone.clone().unwrap_or_else(TimeZone::system),
            },
        }
    }
}

/// A clock cannot show the end of every span.
fn span(text: &str) -> Result<Duration, String> {
    let span = duration(text)?;
    if span > MAX_SPAN {
        return Err("it lasts a year at most".to_owned());
    }
    Ok(span)
}

fn some_time(text: &str) -> Result<Duration, String> {
    let time = span(text)?;
    if time.is_zero() {
        return Err("it has to be longer than nothing".to_owned());
    }
    Ok(time)
}

fn hours(text: &str) -> Result<Hours, String> {
    let usage = "use HH:MM-HH:MM, as in 22:00-07:00, or 00:00-24:00 for the whole day";
    let (from, to) = text.split_once('-').ok_or(usage)?;
    let time = |text: &str| -> Result<Time, String> {
        let (hour, minute) = text.split_once(':').ok_or(usage)?;
        let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(hour) || !digits(minute) {
            return Err(usage.to_owned());
        }
        let read = |text: &str| text.parse().map_err(|_| usage.to_owned());
        Time::new(read(hour)?, read(minute)?, 0, 0).map_err(|why| format!("{why}: {usage}"))
    };
    let from = time(from)?;
    let whole = to == "24:00";
    let to = if whole { Time::midnight() } else { time(to)? };
    if from == to && !whole {
        return Err(format!("they end when they begin: {usage}"));
    }
    Ok(Hours { from, to })
}

fn zone(name: &str) -> Result<TimeZone, String> {
    TimeZone::get(name).map_err(|why| format!("{why}: use a name as Europe/Berlin or UTC"))
}

fn pattern(text: &str) -> Result<WildMatch, String> {
    if text.is_empty() {
        return Err("use a name, or a pattern as team-*".to_owned());
    }
    Ok(WildMatch::new(text))
}

fn label(text: &str) -> Result<LabelRule, String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(LabelRule {
            name: name.to_owned(),
            value: WildMatch::new(value),
        }),
        _ => Err("use NAME=PATTERN, as in bonk=yes".to_owned()),
    }
}

fn rate(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/min").and_then(|n| n.parse().ok());
    let number = number.filter(|number: &u32| *number > 0);
    number.ok_or_else(|| "use a number a minute, as in 600/min".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::admission::Settings;
    use crate::args::{Cli, Command};

    fn settings(flags: &[&str]) -> Result<Settings, String> {
        let line = ["bonker-gpio", "serve"];
        let cli = Cli::try_parse_from(line.iter().chain(flags)).map_err(|why| why.to_string())?;
        let Command::Serve(serve) = cli.command else {
            panic!("not serve");
        };
        Ok(serve.admission.settings())
    }

    #[test]
    fn the_defaults_are_those_of_the_admission() {
        let (parsed, own) = (settings(&[]).unwrap(), Settings::default());
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
            let read = settings(&[&format!("{flag}={value}")]);
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
        check("--expire", "0s", Some("longer than nothing"));
        for flag in ["--window", "--expire", "--cooldown"] {
            check(flag, "8760h", None);
            check(flag, "8760h1s", Some("a year at most"));
            check(flag, "2562047788015215h", Some("a year at most"));
        }
        check("--queue", "0", Some("1..=10000"));
        check("--min-severity", "critical", None);
        check("--window", "-1s", Some("--window"));
    }
}
