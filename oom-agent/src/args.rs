//! The command line. Each flag has an environment variable.

mod probe_method;
mod sidecar;
pub(crate) mod warnings;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use oom_capture::VariablePattern;

use crate::cri::Socket;
pub use crate::sinks::Format;
use crate::sinks::{BonkerUrl, Contradiction, Secrets};
use pressure::SamplePeriod;

pub use probe_method::ProbeMethod;
pub use sidecar::Sidecar;
pub use warnings::{Action, Warnings};

/// Reports every Linux OOM kill, with its container and pod.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Report every OOM kill on this host.
    ///
    /// Finds the container runtime and the Kubernetes API server by itself. Missing integrations are
    /// logged once and disabled.
    Run(Box<Run>),
    /// Report the OOM kills of a whole cluster, as Kubernetes records them.
    ///
    /// Watches all pods through the API server, and reports each container with the reason `OOMKilled`.
    /// For clusters where eBPF cannot run: it needs no node, no capability and no root.
    WatchPods(WatchPods),
    /// Signal the processes of a pod before they reach their memory limit.
    ///
    /// Runs beside the containers of one pod that share their PID namespace. Takes the variables and
    /// flags of `OOMHero`, and needs no eBPF.
    #[command(version)]
    Sidecar(Sidecar),
    /// Detach and remove the BPF programs that `run --pin` left.
    ///
    /// Removes those of every version. Kills that still wait there are not reported.
    Unpin {
        /// Directory that was given to `run --pin`.
        #[arg(long, env = "OOM_AGENT_PIN", value_name = "DIR")]
        pin: PathBuf,
    },
    /// Check that this kernel accepts the BPF programs.
    ///
    /// Loads each one through the verifier, and attaches nothing.
    Check,
    /// Show the container and pod that cgroup paths name.
    ///
    /// Prints one JSON line for each path.
    Cgroup {
        /// Cgroup paths, as in /proc/PID/cgroup after the last colon [default: lines of standard input].
        #[arg(value_name = "PATH")]
        paths: Vec<std::ffi::OsString>,
    },
}

/// `oom-agent run`
#[derive(Args, Debug)]
pub struct Run {
    /// Socket of the container runtime [default: every known one that answers].
    #[arg(long, env = "OOM_AGENT_CRI_ENDPOINT", value_name = "unix:///PATH")]
    pub(crate) cri_endpoint: Option<Socket>,

    /// The API server, the admin port, and standard output.
    #[command(flatten)]
    pub reporter: Reporter,

    /// Do not use the Kubernetes API, even if there are credentials.
    #[arg(long, env = "OOM_AGENT_NO_KUBERNETES", conflicts_with = "kubeconfig",
        value_parser = BoolishValueParser::new())]
    pub no_kubernetes: bool,

    /// Also write a line if Kubernetes misses a kill, or reports one that never happened.
    ///
    /// It follows a few seconds after the incident's line.
    #[arg(long, env = "OOM_AGENT_VERDICTS", value_parser = BoolishValueParser::new())]
    pub verdicts: bool,

    /// Print a summary to standard error at exit.
    ///
    /// It has the kills seen, the records lost, and the difference from the kernel's own count.
    #[arg(long, env = "OOM_AGENT_SUMMARY", value_parser = BoolishValueParser::new())]
    pub summary: bool,

    /// Name of this node in Kubernetes [default: the host's name].
    ///
    /// Events on the Node are written only if it is given.
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,

    /// Mount point of the host's procfs, in a container [default: /proc, if it is the host's].
    #[arg(long, env = "OOM_AGENT_PROCFS", value_name = "DIR")]
    pub procfs: Option<PathBuf>,

    /// Mount point of the memory controller's cgroups [default: from /proc/self/mountinfo].
    ///
    /// Incidents have from there what the memory was made of. It must be mounted from the hierarchy's
    /// root: a container with a cgroup namespace of its own needs the host's /sys/fs/cgroup.
    #[arg(long, env = "OOM_AGENT_CGROUPFS", value_name = "DIR")]
    pub cgroupfs: Option<PathBuf>,

    /// Time between samples of the containers that have a memory limit: 100ms to 60s, or off.
    ///
    /// Without such a container nothing runs.
    #[arg(
        long,
        env = "OOM_AGENT_SAMPLE",
        value_name = "SPAN",
        default_value = "1s"
    )]
    pub sample: SamplePeriod,

    /// Variable of the victim's environment to report; repeatable (in the variable: separated by commas).
    ///
    /// `*` stands for any bytes, `?` for one. Without this flag no environment is ever read. Incident
    /// lines show the values: name no variable that may hold a secret.
    #[arg(
        long,
        env = "OOM_AGENT_ENV",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub env: Vec<VariablePattern>,

    /// How the BPF programs are attached to the kernel.
    #[arg(long, env = "OOM_AGENT_PROBE", default_value = "auto")]
    pub probe: ProbeMethod,

    /// Keep the BPF programs attached between two runs, pinned in this directory of a bpffs [default: off].
    ///
    /// Use `/sys/fs/bpf/oom-agent`. The next agent reports the kills that were recorded in between. The
    /// programs stay until `oom-agent unpin` or a reboot.
    #[arg(long, env = "OOM_AGENT_PIN", value_name = "DIR")]
    pub pin: Option<PathBuf>,

    /// Keep undelivered Events and bonks in this directory across restarts [default: they are lost].
    #[arg(long, env = "OOM_AGENT_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// Level and format of the log.
    #[command(flatten)]
    pub log: Log,

    /// The bonkers.
    #[command(flatten)]
    pub bonkers: Bonkers,

    /// Where pressure warnings are sent.
    #[command(flatten)]
    pub warnings: Warnings,
}

/// Shared by `run` and `watch-pods`.
#[derive(Args, Debug)]
pub struct Reporter {
    /// Kubeconfig for the API server [default: the pod's service account, else $KUBECONFIG, else ~/.kube/config].
    #[arg(long, env = "OOM_AGENT_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Serve /metrics, /live and /ready over HTTP on this address [default: off].
    ///
    /// Port 0 takes a free port, and the log names it.
    #[arg(long, env = "OOM_AGENT_HTTP_LISTEN", value_name = "ADDR:PORT")]
    pub http_listen: Option<SocketAddr>,

    /// Format of incidents on standard output.
    #[arg(long, env = "OOM_AGENT_OUTPUT", default_value = "human")]
    pub output: Format,
}

/// Shared by all that run.
#[derive(Args, Clone, Copy, Debug)]
pub struct Log {
    /// Log level on standard error.
    #[arg(long, env = "OOM_AGENT_LOG_LEVEL", default_value = "info")]
    pub log_level: LogLevel,

    /// Log format.
    #[arg(long, env = "OOM_AGENT_LOG_FORMAT", default_value = "plain")]
    pub log_format: LogFormat,
}

/// The bonkers, credentials for them, and the CA that they are verified with.
#[derive(Args, Debug)]
#[command(next_help_heading = "Bonkers")]
pub struct Bonkers {
    /// Bonker that gets a bonk for every kill; repeatable (in the variable: separated by commas).
    #[arg(
        long,
        env = "OOM_AGENT_BONKER",
        value_name = "URL",
        value_delimiter = ','
    )]
    pub bonker: Vec<BonkerUrl>,

    /// Files for all of them.
    #[command(flatten)]
    secrets: Secrets,
}

// === impl Bonkers ===

impl Bonkers {
    /// The files, if they go with the bonkers.
    pub fn secrets(&self) -> Result<&Secrets, Contradiction> {
        self.secrets.check(&self.bonker)?;
        Ok(&self.secrets)
    }
}

/// `oom-agent watch-pods`
#[derive(Args, Debug)]
pub struct WatchPods {
    /// The API server, the admin port, and standard output.
    #[command(flatten)]
    pub reporter: Reporter,

    /// At start, also report kills up to this old (3000 at most), unless their Events exist.
    ///
    /// Keep it below the API server's --event-ttl (by default one hour).
    #[arg(long, env = "OOM_AGENT_LOOKBACK", value_name = "SECONDS", default_value_t = 600,
        value_parser = clap::value_parser!(u32).range(0..=3000))]
    pub lookback: u32,

    /// Time that the node's own agent has to report a kill first (600 at most).
    #[arg(long, env = "OOM_AGENT_GRACE", value_name = "SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(0..=600))]
    pub grace: u32,

    /// Lease that elects the acting replica, in the service account's namespace.
    #[arg(
        long,
        env = "OOM_AGENT_LEASE",
        value_name = "NAME",
        default_value = "oom-agent-watch-pods"
    )]
    pub lease: String,

    /// Run without a Lease, as the only replica.
    #[arg(long, env = "OOM_AGENT_NO_LEASE", conflicts_with = "lease",
        value_parser = BoolishValueParser::new())]
    pub no_lease: bool,

    /// Log level of kubernetes-oom-event-generator: 1 or more means at least `debug`, 3 or more `trace`.
    #[arg(
        long,
        short,
        env = "VERBOSE",
        value_name = "LEVEL",
        default_value_t = 0
    )]
    pub verbose: u8,

    /// Level and format of the log.
    #[command(flatten)]
    pub log: Log,

    /// The bonkers.
    #[command(flatten)]
    pub bonkers: Bonkers,
}

/// Log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    /// Only losses.
    Error,
    /// Also what is degraded.
    Warn,
    /// Also what was found and done.
    Info,
    /// Also how.
    Debug,
    /// Also the messages of the BPF programs.
    Trace,
}

/// Log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text for people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// The level, raised to that of glog's verbosity number.
pub fn verbose(level: LogLevel, number: u8) -> LogLevel {
    level.max(match number {
        0 => LogLevel::Error,
        1 | 2 => LogLevel::Debug,
        3.. => LogLevel::Trace,
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use xtask::docs;

    use super::*;

    #[test]
    fn the_flags_agree_with_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_documented_flags_are_those_there_are() {
        let mut cli = Cli::command();
        cli.build();
        for name in ["run", "watch-pods", "sidecar"] {
            docs::check_table("agent.md", name, cli.find_subcommand(name).unwrap());
        }
    }

    #[test]
    fn every_command_in_the_docs_parses() {
        let commands = docs::commands("oom-agent");
        assert!(commands.len() >= 10, "{commands:?}");
        for command in commands {
            if let Err(error) = Cli::try_parse_from(&command) {
                panic!("{command:?}: {error}");
            }
        }
    }

    #[test]
    fn a_number_of_verbosity_only_ever_raises_the_level() {
        assert_eq!(verbose(LogLevel::Warn, 0), LogLevel::Warn);
        assert_eq!(verbose(LogLevel::Info, 2), LogLevel::Debug);
        assert_eq!(verbose(LogLevel::Trace, 1), LogLevel::Trace);
        assert_eq!(verbose(LogLevel::Info, 4), LogLevel::Trace);
    }

    #[test]
    fn verbosity_has_the_names_it_always_had() {
        let cli = Cli::try_parse_from(["oom-agent", "watch-pods", "-v", "3"]).unwrap();
        let Command::WatchPods(args) = cli.command else {
            panic!("{cli:?}");
        };
        assert_eq!(args.verbose, 3);
        let command = Cli::command();
        let watch_pods = command.find_subcommand("watch-pods").unwrap();
        let verbose = watch_pods
            .get_arguments()
            .find(|arg| arg.get_id() == "verbose");
        assert_eq!(verbose.unwrap().get_env().unwrap(), "VERBOSE");
    }

    #[test]
    fn there_is_a_version() {
        let version = Cli::try_parse_from(["oom-agent", "--version"]).unwrap_err();
        assert_eq!(version.kind(), clap::error::ErrorKind::DisplayVersion);
        assert!(
            version.to_string().contains(env!("CARGO_PKG_VERSION")),
            "{version}"
        );
    }

    fn refused(args: &[&str], expected: &str) {
        let error = Cli::try_parse_from([&["oom-agent", "run"], args].concat()).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn a_malformed_flag_is_refused_with_what_was_expected() {
        refused(
            &["--bonker", "penguin:50051"],
            "expected http://HOST:PORT or https://HOST:PORT",
        );
        refused(&["--bonker-cert", "c"], "--bonker-key <FILE>");
        refused(
            &["--bonker", "http://penguin:99999"],
            "its port is not between 0 and 65535",
        );
        refused(
            &["--cri-endpoint", "tcp://1.2.3.4"],
            "expected unix:///path/to/a.sock",
        );
        refused(
            &["--bonker", "http://me:secret@penguin:50051"],
            "leave out user and password",
        );
        refused(&["--http-listen", "9155"], "invalid socket address");
        refused(&["--env", "A=B"], "expected the name of a variable");
        refused(
            &["--sample", "10"],
            "expected off, or a span between 100ms and 60s",
        );
        refused(&["--output", "xml"], "possible values: human, json");
        refused(
            &["--no-kubernetes", "--kubeconfig", "x"],
            "cannot be used with",
        );
    }
}
