//! Flags of following another bonker.

use std::path::PathBuf;

use clap::Args;

use super::client::{ServerArgs, url};

// `hub` checks which flags need each other: clap's own `requires` does not see the settings file.
#[derive(Debug, Args)]
#[command(next_help_heading = "Following another bonker")]
pub(crate) struct FollowArgs {
    /// Follow another bonker, such as a hub in the cluster: swing whenever it does; resumes
    /// after a break, and with --state after a restart
    #[arg(long, env = "BONKER_FOLLOW", value_name = "URL", value_parser = url)]
    pub(crate) follow: Option<String>,
    /// CA of that bonker's certificate (PEM); an https:// URL needs it
    #[arg(long, env = "BONKER_FOLLOW_CA", value_name = "FILE")]
    pub(crate) follow_ca: Option<PathBuf>,
    /// Client certificate, if that bonker requires one (PEM)
    #[arg(long, env = "BONKER_FOLLOW_CERT", value_name = "FILE")]
    pub(crate) follow_cert: Option<PathBuf>,
    /// Private key of --follow-cert (PEM)
    #[arg(long, env = "BONKER_FOLLOW_KEY", value_name = "FILE")]
    pub(crate) follow_key: Option<PathBuf>,
    /// File with the token, if that bonker requires one
    #[arg(long, env = "BONKER_FOLLOW_TOKEN_FILE", value_name = "FILE")]
    pub(crate) follow_token_file: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum FollowError {
    #[error("--{given} does nothing without --{missing}: give both, or neither")]
    Alone {
        given: &'static str,
        missing: &'static str,
    },
    #[error(
        "--follow {url} needs --follow-ca: the ca.crt that `bonker-gpio certs` made, or \
         /etc/ssl/certs/ca-certificates.crt for a bonker with a public certificate"
    )]
    NoCa { url: String },
    #[error("--{given} is for TLS, and --follow {url} is plaintext: use https://, or leave it out")]
    NoTls { given: &'static str, url: String },
}

// === impl FollowArgs ===

impl FollowArgs {
    /// The bonker to follow, if there is one.
    pub(crate) fn hub(&self) -> Result<Option<ServerArgs>, FollowError> {
        let files = [
            ("follow-ca", &self.follow_ca),
            ("follow-cert", &self.follow_cert),
            ("follow-key", &self.follow_key),
            ("follow-token-file", &self.follow_token_file),
        ];
        let [ca, cert, key, _] = &files;
        let given = |files: &[(&'static str, &Option<PathBuf>)]| {
            let first = files.iter().find(|(_, file)| file.is_some());
            first.map(|(flag, _)| *flag)
        };
        let Some(url) = self.follow.clone() else {
            return match given(&files) {
                Some(given) => {
                    let missing = "follow";
                    Err(FollowError::Alone { given, missing })
                }
                None => Ok(None),
            };
        };
        for (&(given, one), &(missing, other)) in [(cert, key), (key, cert)] {
            if one.is_some() && other.is_none() {
                return Err(FollowError::Alone { given, missing });
            }
        }
        if url.starts_with("https:") {
            if self.follow_ca.is_none() {
                return Err(FollowError::NoCa { url });
            }
        } else if let Some(given) = given(&[*ca, *cert]) {
            return Err(FollowError::NoTls { given, url });
        }
        Ok(Some(ServerArgs {
            url,
            ca: self.follow_ca.clone(),
            cert: self.follow_cert.clone(),
            key: self.follow_key.clone(),
            token_file: self.follow_token_file.clone(),
            prefix: "follow-",
        }))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::{Cli, Command};

    #[test]
    fn flags_that_need_each_other_are_checked() {
        let check = |flags: &str, wanted: Result<bool, &str>| {
            let line = ["bonker-gpio", "serve"].into_iter();
            let cli = Cli::try_parse_from(line.chain(flags.split(' '))).unwrap();
            let Command::Serve(serve) = cli.command else {
                panic!("not serve");
            };
            match (serve.follow.hub(), wanted) {
                (Ok(hub), Ok(wanted)) => assert_eq!(hub.is_some(), wanted, "{flags}"),
                (Err(why), Err(part)) => {
                    let why_text = why.to_string();
                    assert!(why_text.contains(part), "{flags}: {why_text}");
                }
                (got, _) => panic!("{flags}: {got:?}"),
            }
        };
        check("--queue=1", Ok(false));
        check("--follow=http://a:1", Ok(true));
        check("--follow=http://a:1 --follow-token-file=t", Ok(true));
        let tls = "--follow=https://a:1 --follow-ca=a";
        check(tls, Ok(true));
        check(&format!("{tls} --follow-cert=c --follow-key=k"), Ok(true));
        for flag in ["ca", "cert", "key", "token-file"] {
            let alone = format!("--follow-{flag}=x");
            let why_text = format!("--follow-{flag} does nothing without --follow:");
            check(&alone, Err(&why_text));
        }
        check(
            &format!("{tls} --follow-cert=c"),
            Err("--follow-cert does nothing without --follow-key:"),
        );
        check(
            &format!("{tls} --follow-key=k"),
            Err("--follow-key does nothing without --follow-cert:"),
        );
        check("--follow=https://a:1", Err("needs --follow-ca"));
        check(
            "--follow=http://a:1 --follow-ca=a",
            Err("--follow-ca is for TLS"),
        );
    }
}
