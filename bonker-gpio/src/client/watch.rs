//! `bonker-gpio watch`: a line for every swing, across the server's restarts.

use std::io::{self, IsTerminal as _};

use proto::bonk::WatchBonksRequest;
use service::error_chain::chain;
use tracing::{info, warn};

use super::backoff::Backoff;
use super::connect::{call_error, connect, with_deadline};
use super::picture::picture;
use super::{ClientError, print, swing_line::line};
use crate::args::{Output, WatchArgs};

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
    let mut backoff = Backoff::default();
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
            Ok(()) => "the server ended the stream".to_owned(),
        };
        if !is_failing {
            warn!(url, why, "not watching: trying again until it works");
            is_failing = true;
        }
        tokio::time::sleep(backoff.next(fastrand::f64())).await;
    }
}

/// Until the connection breaks; calls `watching` when the server has accepted the call.
async fn follow(
    args: &WatchArgs,
    output: Output,
    watching: impl FnOnce(),
) -> Result<(), ClientError> {
    let url = args.server.url.as_str();
    let call = async {
        let mut client = connect(&args.server).await?;
        let answer = client.watch_bonks(WatchBonksRequest::default()).await;
        Ok(answer.map_err(call_error(url))?.into_inner())
    };
    let mut swings = with_deadline(url, call).await?;
    watching();
    let broken = |status: tonic::Status| ClientError::Broken {
        url: url.to_owned(),
        source: status.into(),
    };
    while let Some(swing) = swings.message().await.map_err(broken)? {
        print(&line(swing, output))?;
    }
    Ok(())
}
