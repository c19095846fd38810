//! `bonker-gpio snooze`: pauses all swings.

use proto::bonk::SnoozeRequest;

use super::connect::{call_error, connect, with_deadline};
use super::{ClientError, print};
use crate::args::SnoozeArgs;
use crate::wire;

/// Prints the end of the pause.
pub(crate) async fn snooze(args: SnoozeArgs) -> Result<(), ClientError> {
    let server = args.server;
    let url = server.url.clone();
    // The command line's own bound is far below the wire's.
    let duration = prost_types::Duration::try_from(args.span).ok();
    let call = async {
        let mut client = connect(&server).await?;
        let answer = client.snooze(SnoozeRequest { duration }).await;
        Ok(answer.map_err(call_error(&url))?.into_inner())
    };
    let until = with_deadline(&url, call)
        .await?
        .until
        .and_then(wire::timestamp);
    match until {
        Some(until) => print(&format!("snoozed until {until:.0}")),
        None => print("not snoozed"),
    }
}
