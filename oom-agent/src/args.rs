//! The command line. Each flag has an environment variable.

mod probe_method;
mod sidecar;
pub(crate) mod span;
pub(crate) mod warnings;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::BoolishValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::cri::Socket;
use crate::pressure::Every;
use crate::sinks::{BonkerUrl, Contradiction, Format, Secrets};
use oom_capture::Pattern;

pub use probe_method::ProbeMethod;
pub use sidecar::Sidecar;
pub use warnings::{Action, Warnings};

/// Names what the Linux OOM killer struck.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this host and report every OOM kill. Finds by itself what is there: a container
    /// runtime, a Kubernetes API server; whatever is missing is done without.
    Run(Box<Run>),
    /// Watch the pods of a whole cluster by its API server alone, and report every container that Kubernetes
    /// calls `OOMKilled`: for nodes where eBPF cannot go. Needs no node, no capability and no root.
    WatchPods(WatchPods),
    /// Beside the containers of one pod, that share their PID namespace: signal each process whose
    /// container comes near its memory limit, as `OOMHero` does, with its variables and flags. Without eBPF.
    #[command(version)]
    Sidecar(Sidecar),
    /// Detach and remove what `run --pin` has left in a directory, of every version. Kills that wait
    /// there are not told.
    Unpin {
        /// The same as `run` was given.
        #[arg(long, env = "OOM_AGENT_PIN", value_name = "DIR")]
        pin: PathBuf,
    },
    /// Put every BPF program through this kernel's verifier, and attach nothing.
    Check,
    /// Show what is read out of cgroup paths: one JSON line each.
    Cgroup {
        /// Paths, as in /proc/PID/cgroup after the last colon; none: one a line on standard input.
        #[arg(value_name = "PATH")]
        paths: Vec<std::ffi::OsString>,
    },
}

/// `oom-agent run`
#[derive(Args, Debug)]
pub struct Run {
    /// Socket of the container runtime [default: the first one that is there].
    #[arg(long, env = "OOM_AGENT_CRI_ENDPOINT", value_name = "unix:///PATH")]
    pub cri_endpoint: Option<Socket>,

    /// Credentials for the API server [default: the pod's service account, else $KUBECONFIG, else ~/.kube/config].
    #[arg(long, env = "OOM_AGENT_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// Write no Events, whatever credentials there are.
    #[arg(long, env = "OOM_AGENT_NO_KUBERNETES", conflicts_with = "kubeconfig",
        value_parser = BoolishValueParser::new())]
    pub no_kubernetes: bool,

    /// A bonker to tell of every incident; repeatable (in the variable: separated by commas).
    #[arg(
        long,
        env = "OOM_AGENT_BONKER",
        value_name = "URL",
        value_delimiter = ','
    )]
    pub bonker: Vec<BonkerUrl>,

    /// What is shown to bonkers.
    #[command(flatten)]
    pub secrets: BonkerSecrets,

    /// Serve /metrics, /live and /ready over HTTP there; port 0: a free one, which the log names [default: off].
    #[arg(long, env = "OOM_AGENT_HTTP_LISTEN", value_name = "ADDR:PORT")]
    pub http_listen: Option<SocketAddr>,

    /// How incidents are written to standard output.
    #[arg(long, env = "OOM_AGENT_OUTPUT", default_value = "human")]
    pub output: Format,

    /// Write a line, too, where Kubernetes does not tell of a kill, or tells of one that never was: a
    /// few seconds after the incident's.
    #[arg(long, env = "OOM_AGENT_VERDICTS", value_parser = BoolishValueParser::new())]
    pub verdicts: bool,

    /// At the end, tell on standard error what was seen, what was lost, and how that agrees with
    /// the kernel's own count.
    #[arg(long, env = "OOM_AGENT_SUMMARY", value_parser = BoolishValueParser::new())]
    pub summary: bool,

    /// Name of this node in Kubernetes [default: the host's name].
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,

    /// The host's procfs, for a container that has it mounted [default: /proc, where it is the host's].
    #[arg(long, env = "OOM_AGENT_PROCFS", value_name = "DIR")]
    pub procfs: Option<PathBuf>,

    /// Where the memory controller's cgroups are mounted, from the hierarchy's root on, to tell what
    /// the memory was made of. In a container with a cgroup namespace of its own the host's
    /// /sys/fs/cgroup must be mounted for that [default: as /proc/self/mountinfo has it].
    #[arg(long, env = "OOM_AGENT_CGROUPFS", value_name = "DIR")]
    pub cgroupfs: Option<PathBuf>,

    /// How often the memory of every container with a limit is looked at, from 100ms to 60s, or off;
    /// without any such container nothing runs.
    #[arg(
        long,
        env = "OOM_AGENT_SAMPLE",
        value_name = "SPAN",
        default_value = "1s"
    )]
    pub sample: Every,

    /// Who is told of containers near their limits.
    #[command(flatten)]
    pub warnings: Warnings,

    /// A variable of the victims' environments to tell, `*` and `?` standing for any bytes or one;
    /// repeatable (in the variable: separated by commas). Without any, no environment is ever read.
    /// Incident lines show the values: name none that may hold a secret.
    #[arg(
        long,
        env = "OOM_AGENT_ENV",
        value_name = "NAME",
        value_delimiter = ','
    )]
    pub env: Vec<Pattern>,

    /// How to hang on the kernel.
    #[arg(long, env = "OOM_AGENT_PROBE", default_value = "auto")]
    pub probe: ProbeMethod,

    /// Keep the programs attached when the agent ends, pinned in this directory on a bpffs, and take
    /// over what they recorded meanwhile: `/sys/fs/bpf/oom-agent`. They stay until `oom-agent unpin`
    /// or a reboot [default: off].
    #[arg(long, env = "OOM_AGENT_PIN", value_name = "DIR")]
    pub pin: Option<PathBuf>,

    /// Keep there what Events and bonks are still owed, so that the next agent offers them again when
    /// this one is ended or killed [default: that is lost].
    #[arg(long, env = "OOM_AGENT_STATE", value_name = "DIR")]
    pub state: Option<PathBuf>,

    /// How much is logged to standard error; `trace` includes the BPF programs' own messages.
    #[arg(long, env = "OOM_AGENT_LOG_LEVEL", default_value = "info")]
    pub log_level: LogLevel,

    /// How it is logged.
    #[arg(long, env = "OOM_AGENT_LOG_FORMAT", default_value = "plain")]
    pub log_format: LogFormat,
}

/// What is shown to bonkers, and by what they are known.
#[derive(Args, Debug)]
pub struct BonkerSecrets {
    /// The CA of the bonkers' certificates, PEM; an https:// URL needs it. This and the next three are read anew for every connection.
    #[arg(long, env = "OOM_AGENT_BONKER_CA", value_name = "FILE")]
    pub bonker_ca: Option<PathBuf>,

    /// The certificate to show bonkers that demand one, PEM.
    #[arg(
        long,
        env = "OOM_AGENT_BONKER_CERT",
        value_name = "FILE",
        requires = "bonker_key"
    )]
    pub bonker_cert: Option<PathBuf>,

    /// The key of --bonker-cert, PEM.
    #[arg(
        long,
        env = "OOM_AGENT_BONKER_KEY",
        value_name = "FILE",
        requires = "bonker_cert"
    )]
    pub bonker_key: Option<PathBuf>,

    /// The token to show bonkers that demand one is in this file.
    #[arg(long, env = "OOM_AGENT_BONKER_TOKEN_FILE", value_name = "FILE")]
    pub bonker_token_file: Option<PathBuf>,
}

// === impl BonkerSecrets ===

impl BonkerSecrets {
    /// The files, if they go with those bonkers.
    pub fn of(&self, bonkers: &[BonkerUrl]) -> Result<Secrets, Contradiction> {
        let secrets = Secrets {
            ca: self.bonker_ca.clone(),
            cert: self.bonker_cert.clone(),
            key: self.bonker_key.clone(),
            token: self.bonker_token_file.clone(),
        };
        secrets.check(bonkers)?;
        Ok(secrets)
    }
}

/// `oom-agent watch-pods`
#[derive(Args, Debug)]
pub struct WatchPods {
    /// Credentials for the API server [default: the pod's service account, else $KUBECONFIG, else ~/.kube/config].
    #[arg(long, env = "OOM_AGENT_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// A bonker to tell of every kill; repeatable (in the variable: separated by commas).
    #[arg(
        long,
        env = "OOM_AGENT_BONKER",
        value_name = "URL",
        value_delimiter = ','
    )]
    pub bonker: Vec<BonkerUrl>,

    /// What is shown to bonkers.
    #[command(flatten)]
    pub secrets: BonkerSecrets,

    /// Serve /metrics, /live and /ready over HTTP there; port 0: a free one, which the log names [default: off].
    #[arg(long, env = "OOM_AGENT_HTTP_LISTEN", value_name = "ADDR:PORT")]
    pub http_listen: Option<SocketAddr>,

    /// How incidents are written to standard output.
    #[arg(long, env = "OOM_AGENT_OUTPUT", default_value = "human")]
    pub output: Format,

    /// When it begins, kills of that long ago are told, too, unless their Events stand; keep it below the API
    /// server's --event-ttl (an hour).
    #[arg(long, env = "OOM_AGENT_LOOKBACK", value_name = "SECONDS", default_value_t = 600,
        value_parser = clap::value_parser!(u32).range(0..=3000))]
    pub lookback: u32,

    /// Leave a kill to the agent of its node for that long, and tell it only if that has not.
    #[arg(long, env = "OOM_AGENT_GRACE", value_name = "SECONDS", default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(0..=600))]
    pub grace: u32,

    /// Name of the Lease by which one of several replicas acts, in the service account's namespace.
    #[arg(
        long,
        env = "OOM_AGENT_LEASE",
        value_name = "NAME",
        default_value = "oom-agent-watch-pods"
    )]
    pub lease: String,

    /// Act without a Lease: there is no other replica.
    #[arg(long, env = "OOM_AGENT_NO_LEASE", conflicts_with = "lease",
        value_parser = BoolishValueParser::new())]
    pub no_lease: bool,

    /// As kubernetes-oom-event-generator's: from 1 on at least `debug` is logged, from 3 on `trace`.
    #[arg(
        long,
        short,
        env = "VERBOSE",
        value_name = "LEVEL",
        default_value_t = 0
    )]
    pub verbose: u8,

    /// How much is logged to standard error.
    #[arg(long, env = "OOM_AGENT_LOG_LEVEL", default_value = "info")]
    pub log_level: LogLevel,

    /// How it is logged.
    #[arg(long, env = "OOM_AGENT_LOG_FORMAT", default_value = "plain")]
    pub log_format: LogFormat,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum LogLevel {
    /// What was lost.
    Error,
    /// And what is degraded.
    Warn,
    /// And what was found and done.
    Info,
    /// And how.
    Debug,
    /// And what the BPF programs say.
    Trace,
}

/// How it is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Plain,
    /// One JSON object a line.
    Json,
}

/// The level, and no less than a number that glog would take asks for.
pub fn verbose(level: LogLevel, number: u8) -> LogLevel {
    level.max(match number {
        0 => LogLevel::Error,
        1 | 2 => LogLevel::Debug,
        3.. => LogLevel::Trace,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_agree_with_each_other() {
        Cli::command().debug_assert();
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
    fn the_version_is_told() {
        let told = Cli::try_parse_from(["oom-agent", "--version"]).unwrap_err();
        assert_eq!(told.kind(), clap::error::ErrorKind::DisplayVersion);
        assert!(
            told.to_string().contains(env!("CARGO_PKG_VERSION")),
            "{told}"
        );
    }

    fn refused(args: &[&str], says: &str) {
        let error = Cli::try_parse_from([&["oom-agent", "run"], args].concat()).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
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
            "asks for no user and password",
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
