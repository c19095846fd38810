//! The command line.

use std::net::SocketAddr;

use clap::builder::{BoolishValueParser, Resettable};
use clap::{Arg, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use tracing::level_filters::LevelFilter;

use crate::logs::LogFormat;
use crate::servo::Choice;

/// Bonks a toy penguin with a servo whenever the OOM killer struck
#[derive(Debug, Parser)]
#[command(name = "bonker-gpio", version, propagate_version = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) logs: LogArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// off, error, warn, info, debug or trace
    #[arg(
        long,
        global = true,
        env = "BONKER_LOG_LEVEL",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub(crate) log_level: LevelFilter,
    /// How log lines on standard error look
    #[arg(
        long,
        global = true,
        env = "BONKER_LOG_FORMAT",
        default_value = "plain",
        value_name = "FORMAT"
    )]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves bonk.v1 and swings
    Serve(ServeArgs),
    /// Sends one test bonk and prints the answer
    Bonk(BonkArgs),
    /// Prints a line for every swing
    Watch(WatchArgs),
    /// Prints what a server drives and how it fares
    Status(StatusArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "BONKER_LISTEN",
        default_value = "127.0.0.1:50051",
        value_name = "ADDR"
    )]
    pub(crate) listen: SocketAddr,
    /// What moves the penguin
    #[arg(long, env = "BONKER_BACKEND", default_value = "auto")]
    pub(crate) backend: Choice,
    /// The servo's pin on a Raspberry Pi, by its BCM number
    #[arg(long, env = "BONKER_GPIO_PIN", default_value_t = 18, value_name = "PIN",
          value_parser = clap::value_parser!(u8).range(0..=27))]
    pub(crate) gpio_pin: u8,
    /// Listen beyond this machine, although nothing is encrypted and anybody may bonk
    #[arg(long, env = "BONKER_INSECURE", value_parser = BoolishValueParser::new())]
    pub(crate) insecure: bool,
}

#[derive(Debug, Args)]
pub(crate) struct BonkArgs {
    /// The bonker
    #[arg(long, env = "BONKER_URL", default_value = "http://127.0.0.1:50051", value_name = "URL", value_parser = url)]
    pub(crate) to: String,
    /// Namespace to blame
    #[arg(long, default_value = "")]
    pub(crate) namespace: String,
    /// Pod to blame
    #[arg(long, default_value = "")]
    pub(crate) pod: String,
    /// Container to blame
    #[arg(long, default_value = "")]
    pub(crate) container: String,
    /// Process name to blame
    #[arg(long, default_value = "")]
    pub(crate) comm: String,
    /// One sentence for people
    #[arg(long, default_value = "a test bonk")]
    pub(crate) summary: String,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The bonker
    #[arg(long, env = "BONKER_URL", default_value = "http://127.0.0.1:50051", value_name = "URL", value_parser = url)]
    pub(crate) from: String,
    /// How a swing is printed
    #[arg(long, default_value = "human")]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// The bonker
    #[arg(long, env = "BONKER_URL", default_value = "http://127.0.0.1:50051", value_name = "URL", value_parser = url)]
    pub(crate) from: String,
}

/// How a swing is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// A sentence.
    Human,
    /// An object.
    Json,
}

/// Refuses what this version cannot serve safely or at all.
#[derive(Debug, thiserror::Error)]
#[error(
    "{listen} can be reached from other machines, and this version speaks plaintext to anybody: \
     listen on 127.0.0.1, or add --insecure (BONKER_INSECURE=true) if the network is trusted"
)]
pub(crate) struct Exposed {
    listen: SocketAddr,
}

// === impl Cli ===

impl Cli {
    /// The process's own command line and environment.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        let mut command = without_empty_variables(Self::command());
        let mut matches = command.try_get_matches_from_mut(std::env::args_os())?;
        Self::from_arg_matches_mut(&mut matches).map_err(|why| why.format(&mut command))
    }
}

/// An empty variable counts as unset: a manifest has no other way to take one back.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    command
        .mut_args(|arg: Arg| {
            let value = arg.get_env().and_then(std::env::var_os);
            if value.is_some_and(|value| value.is_empty()) {
                arg.env(Resettable::Reset)
            } else {
                arg
            }
        })
        .mut_subcommands(without_empty_variables)
}

// === impl ServeArgs ===

impl ServeArgs {
    pub(crate) fn check(&self) -> Result<(), Exposed> {
        let listen = self.listen;
        if self.insecure || listen.ip().to_canonical().is_loopback() {
            Ok(())
        } else {
            Err(Exposed { listen })
        }
    }
}

fn url(text: &str) -> Result<String, String> {
    if text.starts_with("https://") {
        return Err("this version speaks plaintext only: use http://HOST:PORT".to_owned());
    }
    let uri: tonic::codegen::http::Uri = text
        .parse()
        .map_err(|why| format!("{why}: use http://HOST:PORT"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(host)) if !host.is_empty() => {
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            let address = authority.rsplit_once('@').map_or(authority, |(_, at)| at);
            let port = address.strip_prefix(host).unwrap_or_default();
            sound_port(port).map(|()| text.to_owned())
        }
        _ => Err("use http://HOST:PORT".to_owned()),
    }
}

/// Whether `port` is nothing or a colon and a port. The URI's own parser takes any digits,
/// and counts a port that is none as not given.
fn sound_port(port: &str) -> Result<(), String> {
    let Some(digits) = port.strip_prefix(':') else {
        return Ok(());
    };
    match digits.parse() {
        Ok(1..=u16::MAX) => Ok(()),
        _ => Err(format!(
            "a port is a number from 1 to 65535, not {digits:?}: use http://HOST:PORT"
        )),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command};

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn only_loopback_is_listened_on_unless_told_otherwise() {
        let check = |listen: &str, more: &[&str], fine: bool| {
            let args = ["bonker-gpio", "serve", "--listen", listen];
            let cli = Cli::try_parse_from(args.iter().chain(more)).unwrap();
            let Command::Serve(serve) = cli.command else {
                panic!("not serve");
            };
            assert_eq!(serve.check().is_ok(), fine, "{listen} {more:?}");
        };
        check("127.0.0.1:0", &[], true);
        check("[::1]:0", &[], true);
        check("[::ffff:127.0.0.1]:0", &[], true);
        check("0.0.0.0:50051", &[], false);
        check("[::]:50051", &[], false);
        check("192.168.1.4:1", &[], false);
        check("0.0.0.0:50051", &["--insecure"], true);
    }

    #[test]
    fn only_plain_http_is_spoken() {
        let check = |url: &str, fine: bool| {
            let parsed = Cli::try_parse_from(["bonker-gpio", "bonk", "--to", url]);
            assert_eq!(parsed.is_ok(), fine, "{url}");
        };
        check("http://127.0.0.1:50051", true);
        check("http://[::1]:50051", true);
        check("http://pi.local", true);
        check("https://pi.local", false);
        check("pi.local:50051", false);
        check("", false);
        check("http://pi.local:1", true);
        check("http://pi.local:65535/", true);
        check("http://[::1]", true);
        check("http://127.0.0.1:99999", false);
        check("http://[::1]:65536", false);
        check("http://pi.local:0", false);
        check("http://pi.local:", false);
        check("http://me@1:99991", false);
    }
}
