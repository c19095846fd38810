//! Flags of the client commands.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::admission::MAX_SNOOZE;
use crate::bonk::Severity;
use crate::duration::duration;

/// Which bonker a client talks to, and what it shows there.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServerArgs {
    /// URL of the bonker
    #[arg(long = "server", visible_aliases = ["to", "from"], env = "BONKER_URL", default_value = "http://127.0.0.1:50051", value_name = "URL", value_parser = url)]
    pub(crate) url: String,
    /// CA of the bonker's certificate (PEM); an https:// URL needs it
    #[arg(long, env = "BONKER_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Client certificate, if the bonker requires one (PEM)
    #[arg(long, env = "BONKER_CERT", value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Private key of --cert (PEM)
    #[arg(long, env = "BONKER_KEY", value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
    /// File with the token, if the bonker requires one
    #[arg(long, env = "BONKER_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// The prefix of these flags' names in errors.
    #[arg(skip)]
    pub(crate) prefix: &'static str,
}

#[derive(Debug, Args)]
pub(crate) struct BonkArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Namespace of the made-up kill
    #[arg(long, default_value = "")]
    pub(crate) namespace: String,
    /// Pod of the made-up kill
    #[arg(long, default_value = "")]
    pub(crate) pod: String,
    /// Container of the made-up kill
    #[arg(long, default_value = "")]
    pub(crate) container: String,
    /// Process name of the made-up kill
    #[arg(long, default_value = "")]
    pub(crate) comm: String,
    /// Sentence that watchers see
    #[arg(long, default_value = "a test bonk")]
    pub(crate) summary: String,
    /// Severity, which picks the gesture
    #[arg(long, value_enum, default_value_t)]
    pub(crate) severity: Severity,
    /// Label, as NAME=VALUE; repeatable
    #[arg(long, value_parser = label)]
    pub(crate) label: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// Format of swings [default: picture on a terminal, human elsewhere]
    #[arg(long)]
    pub(crate) output: Option<Output>,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SnoozeArgs {
    #[command(flatten)]
    pub(crate) server: ServerArgs,
    /// How long, as in 2h, at most a week; `off` ends the pause
    #[arg(value_parser = snooze, value_name = "TIME|off")]
    pub(crate) span: Duration,
}

/// How a swing is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// The penguin, the history and a leaderboard.
    Picture,
    /// A sentence.
    Human,
    /// An object.
    Json,
}

pub(super) fn url(text: &str) -> Result<String, String> {
    let uri: tonic::codegen::http::Uri = text
        .parse()
        .map_err(|why| format!("{why}: use http:// or https://HOST:PORT"))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => {
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            let address = authority.rsplit_once('@').map_or(authority, |(_, at)| at);
            let port = address.strip_prefix(host).unwrap_or_default();
            sound_port(port).map(|()| text.to_owned())
        }
        _ => Err("use http:// or https://HOST:PORT".to_owned()),
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
            "a port is a number from 1 to 65535, not {digits:?}: use http:// or https://HOST:PORT"
        )),
    }
}

/// Zero for `off`.
fn snooze(text: &str) -> Result<Duration, String> {
    if text == "off" {
        return Ok(Duration::ZERO);
    }
    let span = duration(text).ok();
    let span = span.filter(|span| !span.is_zero() && *span <= MAX_SNOOZE);
    span.ok_or_else(|| {
        let hours = MAX_SNOOZE.as_secs() / 3600;
        format!("use a time of up to {hours}h (a week), as in 30m, 2h or 48h, or off to end it")
    })
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("use NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Cli;

    #[test]
    fn a_snooze_that_cannot_be_is_answered_with_what_can() {
        let check = |span: &str, fine: bool| {
            let parsed = Cli::try_parse_from(["bonker-gpio", "snooze", span]);
            let why = parsed.map(drop).map_err(|why| why.to_string());
            let expect = format!(
                "error: invalid value '{span}' for '<TIME|off>': use a time of up to 168h \
                 (a week), as in 30m, 2h or 48h, or off to end it\n"
            );
            match why {
                Ok(()) => assert!(fine, "{span}"),
                Err(why) => assert!(!fine && why.starts_with(&expect), "{span}: {why}"),
            }
        };
        for span in ["30m", "48h", "168h", "off"] {
            check(span, true);
        }
        for span in ["8d", "1w", "169h", "0s", "2", "soon"] {
            check(span, false);
        }
    }

    #[test]
    fn only_urls_of_http_are_taken() {
        let check = |url: &str, fine: bool| {
            let parsed = Cli::try_parse_from(["bonker-gpio", "bonk", "--to", url]);
            assert_eq!(parsed.is_ok(), fine, "{url}");
        };
        check("http://127.0.0.1:50051", true);
        check("http://[::1]:50051", true);
        check("http://pi.local", true);
        check("https://pi.local", true);
        check("https://pi.local:70000", false);
        check("ftp://pi.local", false);
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
