//! `bonker-gpio watch`: a line for every swing, across the server's restarts.

use std::convert::Infallible;
use std::io::{self, IsTerminal as _};

use service::error_chain::chain;
use tracing::{info, warn};

use super::picture::picture;
use super::swings::Swings;
use super::{ClientError, print, swing_line::line};
use crate::args::{Output, WatchArgs};
use service::backoff::Backoff;

/// Prints until standard output closes or an error is permanent. The first failure is logged,
/// and the next success.
pub(crate) async fn watch(args: WatchArgs) -> Result<(), ClientError> {
    let output = match args.output {
        Some(output) => output,
        None if io::stdout().is_terminal() => Output::Picture,
        None => Output::Human,
    };
    if output == Output::Picture {
        return picture(&args).await;
    }
    let url = args.server.url.as_str();
    let mut backoff = Backoff::starting_at(super::RETRY_AFTER);
    let mut is_failing = false;
    loop {
        let watched = follow(&args, output, || {
            backoff.reset();
            if is_failing {
                info!(url, "watching again");
            } else {
                info!(url, "watching");
            }
            is_failing = false;
        });
        let why = match watched.await {
            Err(ClientError::Output(gone)) if gone.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(());
            }
            Err(why) if why.is_permanent() => return Err(why),
            Err(why) => chain(&why).to_string(),
            Ok(never) => match never {},
        };
        if !is_failing {
            warn!(url, why, "not watching: trying again until it works");
            is_failing = true;
        }
        tokio::time::sleep(backoff.next_wait(fastrand::f64())).await;
    }
}

/// Until the connection breaks; calls `watching` when the server has accepted the call.
async fn follow(
    args: &WatchArgs,
    output: Output,
    watching: impl FnOnce(),
) -> Result<Infallible, ClientError> {
    let mut swings = Swings::watch_live(&args.server).await?;
    watching();
    loop {
        print(&line(swings.next_message().await?, output))?;
    }
}
