//! `oom-agent run`: when a container near its memory limit makes a warning, and where it is sent.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::warn::units::{When, parse_cooldown, parse_points};
use pressure::Thresholds;

/// Flags of warnings.
#[derive(Args, Debug)]
#[command(next_help_heading = "Warnings")]
pub struct Warnings {
    /// What to do if a container comes near its memory limit; repeatable (in the variable: separated by
    /// commas) [default: only count it].
    #[arg(
        long,
        env = "OOM_AGENT_WARN",
        value_name = "ACTION",
        value_delimiter = ','
    )]
    pub warn: Vec<Action>,

    /// Send each warning as a POST request, as this YAML file describes.
    ///
    /// Its keys are `url:`, `headers:` (a list of `name:` and `value:`) and `ca:` (a file).
    #[arg(long, env = "OOM_AGENT_WARN_POST", value_name = "FILE")]
    pub warn_post: Option<PathBuf>,

    /// Threshold of a warning: a percentage of the memory limit, an expression, or never.
    ///
    /// A percentage is that of the working set. Expressions are over `memory_usage`,
    /// `memory_working_set_usage`, `memory_current`, `memory_max`, `oom_score`, `oom_score_adj` and
    /// `{memory,io,cpu}_pressure_{some,full}_{avg10,avg60,avg300,total}`. A pod's annotation
    /// `oom-bonker.dev/warning` overrides this for its containers.
    #[arg(
        long,
        env = "OOM_AGENT_WARNING",
        value_name = "THRESHOLD",
        default_value = "75"
    )]
    pub warning: When,

    /// Threshold of a critical warning: likewise.
    #[arg(
        long,
        env = "OOM_AGENT_CRITICAL",
        value_name = "THRESHOLD",
        default_value = "90"
    )]
    pub critical: When,

    /// Least time between two warnings of one level for a container: `30s`, `1m30s`, or seconds.
    #[arg(
        long,
        env = "OOM_AGENT_WARNING_COOLDOWN",
        value_name = "TIME",
        default_value = "30s",
        value_parser = parse_cooldown
    )]
    pub warning_cooldown: Duration,

    /// How far below its threshold a level ends, in percentage points of the limit.
    #[arg(
        long,
        env = "OOM_AGENT_WARNING_HYSTERESIS",
        value_name = "POINTS",
        default_value = "5",
        value_parser = parse_points
    )]
    pub warning_hysteresis: f64,
}

/// What a warning does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Action {
    /// Write a line to standard output.
    Line,
    /// Write an Event on the pod.
    Event,
    /// Nudge the penguin, twice if it is critical.
    Bonk,
    /// Signal the processes of pods with the annotation oom-bonker.dev/signals; needs the host's PID
    /// namespace and `CAP_KILL`.
    Signal,
}

// === impl Warnings ===

impl Warnings {
    /// Both thresholds.
    pub fn thresholds(&self) -> Thresholds {
        Thresholds {
            warning: self.warning.0.clone(),
            critical: self.critical.0.clone(),
            cooldown: self.warning_cooldown,
            hysteresis: self.warning_hysteresis,
        }
    }

    /// Whether that is to be done.
    pub fn does(&self, action: Action) -> bool {
        self.warn.contains(&action)
    }

    /// Whether anything is, beside counting.
    pub fn does_any(&self) -> bool {
        !self.warn.is_empty() || self.warn_post.is_some()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Cli, Command};
    use pressure::Threshold;

    fn parsed(args: &[&str]) -> Result<Warnings, clap::Error> {
        let cli = Cli::try_parse_from([&["oom-agent", "run"], args].concat())?;
        match cli.command {
            Command::Run(run) => Ok(run.warnings),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn warnings_are_only_counted_by_default() {
        let warnings = parsed(&[]).unwrap();
        let thresholds = Thresholds {
            warning: Some(Threshold::WorkingSet(75.0)),
            critical: Some(Threshold::WorkingSet(90.0)),
            ..Thresholds::default()
        };
        assert_eq!(warnings.thresholds(), thresholds);
        assert!(!warnings.does_any());
        let warnings = parsed(&["--warn", "line,bonk", "--warning", "never"]).unwrap();
        let does = [Action::Line, Action::Event, Action::Bonk, Action::Signal];
        assert_eq!(
            does.map(|action| warnings.does(action)),
            [true, false, true, false]
        );
        assert_eq!(warnings.thresholds().warning, None);
        assert!(parsed(&["--warn-post", "x"]).unwrap().does_any());
    }

    #[test]
    fn bad_values_are_refused_with_the_allowed_ones() {
        for (args, expected) in [
            (&["--warn", "shout"][..], "line, event, bonk, signal"),
            (
                &["--critical", "memory_usage > 90 &"],
                "at character 19 of: ",
            ),
            (&["--warning", "0"], "at most 100"),
            (&["--warning-cooldown", "10ms"], "1s at least"),
            (&["--warning-hysteresis", "100"], "from 0 to less than 100"),
        ] {
            let error = parsed(args).unwrap_err().to_string();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }
}
