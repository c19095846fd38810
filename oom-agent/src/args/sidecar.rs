//! `oom-agent sidecar`: in the words of `OOMHero`, of its first version and its third.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Log;
use crate::act::{LevelSignals, Signal};
use crate::warn::units::{parse_points, parse_time};
use pressure::{Threshold, Thresholds};

/// `oom-agent sidecar`
#[derive(Args, Debug)]
pub struct Sidecar {
    /// Threshold of a warning: a percentage of the memory limit, or an expression.
    ///
    /// Expressions are over `memory_usage`, `memory_current`, `memory_max`, `oom_score`, `oom_score_adj`
    /// and `{memory,io,cpu}_pressure_{some,full}_{avg10,avg60,avg300,total}`, as in
    /// `memory_usage > 75 || memory_pressure_full_avg10 > 20`.
    #[arg(long, env = "WARNING", value_name = "THRESHOLD", default_value = "75")]
    pub warning: Threshold,

    /// Threshold of a critical warning: likewise.
    #[arg(long, env = "CRITICAL", value_name = "THRESHOLD", default_value = "90")]
    pub critical: Threshold,

    /// Least time between two warnings of one level: `30s`, `1m30s`, or seconds.
    #[arg(long, env = "COOLDOWN", value_name = "TIME", default_value = "30s", value_parser = parse_time)]
    pub cooldown_interval: Duration,

    /// How far below its threshold a level ends, in percentage points of the limit.
    #[arg(long, env = "OOM_AGENT_HYSTERESIS", value_name = "POINTS", default_value = "5",
        value_parser = parse_points)]
    pub hysteresis: f64,

    /// Time between two samples: 10ms to 1h.
    #[arg(long, env = "OOM_AGENT_LOOP_INTERVAL", value_name = "TIME", default_value = "100ms",
        value_parser = parse_interval)]
    pub loop_interval: Duration,

    /// Signal sent at --warning.
    #[arg(
        long,
        env = "WARNING_SIGNAL",
        value_name = "SIGNAL",
        default_value = "SIGUSR1"
    )]
    pub warning_signal: Signal,

    /// Signal sent at --critical.
    #[arg(
        long,
        env = "CRITICAL_SIGNAL",
        value_name = "SIGNAL",
        default_value = "SIGUSR2"
    )]
    pub critical_signal: Signal,

    /// Send a POST request instead of signals, as this YAML file describes.
    ///
    /// Its keys are `url:`, `headers:` (a list of `name:` and `value:`) and `ca:` (a file).
    #[arg(
        long,
        env = "OOM_AGENT_HTTP_FILE_PATH",
        value_name = "FILE",
        conflicts_with_all = ["warning_signal", "critical_signal"]
    )]
    pub http_file_path: Option<PathBuf>,

    /// Watch the processes of this cgroup [default: all in this PID namespace but the first].
    #[arg(long, env = "OOM_AGENT_CGROUP", value_name = "DIR")]
    pub cgroup: Option<PathBuf>,

    /// Serve /metrics over HTTP on this address.
    #[arg(
        long,
        env = "OOM_AGENT_HTTP_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "0.0.0.0:9000"
    )]
    pub http_listen: SocketAddr,

    /// Level and format of the log.
    #[command(flatten)]
    pub log: Log,
}

// === impl Sidecar ===

impl Sidecar {
    pub(crate) fn thresholds(&self) -> Thresholds {
        Thresholds {
            warning: Some(self.warning.clone()),
            critical: Some(self.critical.clone()),
            cooldown: self.cooldown_interval,
            hysteresis: self.hysteresis,
        }
    }

    pub(crate) fn signals(&self) -> LevelSignals {
        LevelSignals {
            warning: self.warning_signal,
            critical: self.critical_signal,
        }
    }
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_time(text)?;
    let allowed = Duration::from_millis(10)..=Duration::from_hours(1);
    if allowed.contains(&interval) {
        Ok(interval)
    } else {
        Err("it is from 10ms to 1h".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use pressure::Level;

    use super::*;
    use crate::args::{Cli, Command, LogLevel};

    fn parsed(args: &[&str]) -> Result<Sidecar, clap::Error> {
        let cli = Cli::try_parse_from([&["oom-agent", "sidecar"], args].concat())?;
        match cli.command {
            Command::Sidecar(sidecar) => Ok(sidecar),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_third_oomheros_flags_work_unchanged() {
        let sidecar = parsed(&[
            "--warning=memory_usage > 70 || memory_pressure_full_avg60 > 50",
            "--critical",
            "oom_score > 800",
            "--loop-interval=200ms",
            "--cooldown-interval=1m",
            "--warning-signal",
            "SIGHUP",
            "--critical-signal=SIGTERM",
        ])
        .unwrap();
        let thresholds = (sidecar.warning.to_string(), sidecar.critical.to_string());
        let expected = "memory_usage > 70 || memory_pressure_full_avg60 > 50";
        assert_eq!(
            thresholds,
            (expected.to_owned(), "oom_score > 800".to_owned())
        );
        let times = (sidecar.loop_interval, sidecar.cooldown_interval);
        assert_eq!(times, (Duration::from_millis(200), Duration::from_mins(1)));
        let signals = Level::ALL.map(|level| sidecar.signals().at_level(level).to_string());
        assert_eq!(signals, ["SIGHUP", "SIGTERM"]);
        let version = parsed(&["--version"]).unwrap_err();
        assert_eq!(version.kind(), clap::error::ErrorKind::DisplayVersion);
    }

    #[test]
    fn its_defaults_are_the_first_oomheros_thresholds_and_the_thirds_times() {
        let sidecar = parsed(&[]).unwrap();
        assert_eq!(sidecar.thresholds(), Thresholds::default());
        assert_eq!(sidecar.loop_interval, Duration::from_millis(100));
        assert_eq!(sidecar.signals(), LevelSignals::default());
        assert_eq!(sidecar.http_listen.to_string(), "0.0.0.0:9000");
    }

    #[test]
    fn the_first_oomheros_variables_are_the_flags() {
        let command = Cli::command();
        let sidecar = command.find_subcommand("sidecar").unwrap();
        for (variable, flag) in [
            ("WARNING", "warning"),
            ("CRITICAL", "critical"),
            ("COOLDOWN", "cooldown_interval"),
            ("WARNING_SIGNAL", "warning_signal"),
            ("CRITICAL_SIGNAL", "critical_signal"),
        ] {
            let arg = sidecar.get_arguments().find(|arg| arg.get_id() == flag);
            assert_eq!(arg.unwrap().get_env().unwrap(), variable);
        }
    }

    #[test]
    fn how_much_is_logged_is_a_flag_or_a_variable() {
        let sidecar = parsed(&["--log-level", "warn"]).unwrap();
        assert_eq!(sidecar.log.log_level, LogLevel::Warn);
        let command = Cli::command();
        let sidecar = command.find_subcommand("sidecar").unwrap();
        let mut args = sidecar.get_arguments();
        let level = args.find(|arg| arg.get_id() == "log_level").unwrap();
        assert_eq!(level.get_env().unwrap(), "OOM_AGENT_LOG_LEVEL");
    }

    #[test]
    fn the_first_and_the_third_oomheros_times_are_read() {
        for (text, millis) in [
            ("1m30s", 90_000),
            ("45", 45_000),
            ("1.5h", 5_400_000),
            ("0", 0),
            ("1h2m3.5s", 3_723_500),
            ("2d", 172_800_000),
            ("1 hour 30 min", 5_400_000),
        ] {
            assert_eq!(
                parse_time(text),
                Ok(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for bad in ["-1s", "soon", ""] {
            assert!(
                parse_time(bad).unwrap_err().contains("as in 250ms"),
                "{bad}"
            );
        }
    }

    #[test]
    fn bad_values_are_refused_with_the_allowed_ones() {
        for (args, expected) in [
            (
                &["--warning", "memory_usge > 75"][..],
                "at character 1 of: memory_usge",
            ),
            (&["--critical", "101"], "at most 100"),
            (&["--loop-interval", "1ms"], "from 10ms to 1h"),
            (&["--hysteresis", "100"], "less than 100"),
            (&["--warning-signal", "10"], "no signal is called `10`"),
            (
                &["--http-file-path", "x", "--warning-signal", "SIGHUP"],
                "cannot be used with",
            ),
        ] {
            let error = parsed(args).unwrap_err().to_string();
            assert!(error.contains(expected), "{args:?}: {error}");
        }
    }
}
