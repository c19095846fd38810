//! Which other bonker is followed.

use std::path::PathBuf;

use clap::Args;

use super::client::{ServerArgs, url};

#[derive(Debug, Args)]
pub(crate) struct FollowArgs {
    /// Another bonker, as a hub in the cluster: swing for what it swings for, and after a
    /// break go on where it was (keep that with --state)
    #[arg(long, env = "BONKER_FOLLOW", value_name = "URL", value_parser = url)]
    pub(crate) follow: Option<String>,
    /// The CA of that bonker's certificate, PEM; an https:// URL needs it
    #[arg(
        long,
        env = "BONKER_FOLLOW_CA",
        value_name = "FILE",
        requires = "follow"
    )]
    pub(crate) follow_ca: Option<PathBuf>,
    /// The certificate to show that bonker, PEM
    #[arg(
        long,
        env = "BONKER_FOLLOW_CERT",
        value_name = "FILE",
        requires_all = ["follow", "follow_key"]
    )]
    pub(crate) follow_cert: Option<PathBuf>,
    /// The key of --follow-cert, PEM
    #[arg(
        long,
        env = "BONKER_FOLLOW_KEY",
        value_name = "FILE",
        requires = "follow_cert"
    )]
    pub(crate) follow_key: Option<PathBuf>,
    /// The token to show that bonker is in this file
    #[arg(
        long,
        env = "BONKER_FOLLOW_TOKEN_FILE",
        value_name = "FILE",
        requires = "follow"
    )]
    pub(crate) follow_token_file: Option<PathBuf>,
}

// === impl FollowArgs ===

impl FollowArgs {
    /// The bonker to follow, if there is one.
    pub(crate) fn hub(&self) -> Option<ServerArgs> {
        Some(ServerArgs {
            url: self.follow.clone()?,
            ca: self.follow_ca.clone(),
            cert: self.follow_cert.clone(),
            key: self.follow_key.clone(),
            token_file: self.follow_token_file.clone(),
        })
    }
}
