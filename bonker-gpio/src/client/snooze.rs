//! `bonker-gpio snooze`: pauses all swings.

use proto::bonk::SnoozeRequest;

use super::connect::call;
use super::{ClientError, print};
use crate::args::SnoozeArgs;
use crate::wire;

/// Prints the end of the pause.
pub(crate) async fn snooze(args: SnoozeArgs) -> Result<(), ClientError> {
    // The command line's own bound is far below the wire's.
    let duration = prost_types::Duration::try_from(args.span).ok();
    let request = SnoozeRequest { duration };
    let answer = call(&args.server, async |client| client.snooze(request).await).await?;
    match answer.into_inner().until.and_then(wire::timestamp) {
        Some(until) => print(&format!("snoozed until {until:.0}")),
        None => print("not snoozed"),
    }
}
