//! Flags of following another bonker.

use std::path::PathBuf;

use clap::Args;

use super::client::{ServerArgs, url};
use super::{Alone, require};

#[derive(Clone, Debug, Args)]
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

// === impl FollowArgs ===

impl FollowArgs {
    /// The bonker to follow, if there is one.
    pub(crate) fn hub(&self) -> Result<Option<ServerArgs>, Alone> {
        let Self {
            follow: url,
            follow_ca: ca,
            follow_cert: cert,
            follow_key: key,
            follow_token_file: token_file,
        } = self.clone();
        for (flag, file) in [
            ("follow-ca", &ca),
            ("follow-cert", &cert),
            ("follow-key", &key),
            ("follow-token-file", &token_file),
        ] {
            require((flag, file.is_some()), ("follow", url.is_some()))?;
        }
        Ok(url.map(|url| ServerArgs {
            url,
            ca,
            cert,
            key,
            token_file,
            prefix: "follow-",
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::args::tests::serve;

    #[test]
    fn flags_that_need_each_other_are_checked() {
        let check = |flags: &str, wanted: Result<bool, &str>| {
            let flags: Vec<_> = flags.split(' ').collect();
            match (serve(&flags).unwrap().follow.hub(), wanted) {
                (Ok(hub), Ok(wanted)) => assert_eq!(hub.is_some(), wanted, "{flags:?}"),
                (Err(why), Err(part)) => {
                    let why_text = why.to_string();
                    assert!(why_text.contains(part), "{flags:?}: {why_text}");
                }
                (got, _) => panic!("{flags:?}: {got:?}"),
            }
        };
        check("--queue=1", Ok(false));
        check("--follow=http://a:1", Ok(true));
        check("--follow=http://a:1 --follow-token-file=t", Ok(true));
        for flag in ["ca", "cert", "key", "token-file"] {
            let alone = format!("--follow-{flag}=x");
            let why_text = format!("--follow-{flag} does nothing without --follow:");
            check(&alone, Err(&why_text));
        }
    }
}
