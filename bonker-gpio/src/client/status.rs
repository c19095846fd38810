//! `bonker-gpio status`: what a server drives and how it fares.

use jiff::Timestamp;
use proto::bonk::GetStatusRequest;

use super::connect::call;
use super::{ClientError, print};
use crate::args::StatusArgs;
use crate::text::escape;
use crate::wire;

/// Prints one `name: value` a line.
pub(crate) async fn status(args: StatusArgs) -> Result<(), ClientError> {
    let request = GetStatusRequest {};
    let answer = call(&args.server, async |client| {
        client.get_status(request).await
    });
    let s = answer.await?.into_inner();
    let backend = escape(&s.backend);
    let reason = escape(&s.backend_reason);
    let last = s.last_swing_at.and_then(wire::timestamp);
    let last = last.map_or_else(
        || "none yet".to_owned(),
        |last| {
            let days = Timestamp::now().duration_since(last).as_hours().max(0) / 24;
            format!("the last {days} days ago, at {last:.0}")
        },
    );
    let mut lines = vec![
        format!("version: {}", escape(&s.version)),
        format!("backend: {backend} ({reason})"),
        format!("swings: {}, {} failed", s.swings, s.failed_swings),
        format!("history: {} swings, {last}", s.total_swings),
        format!("queue: {} of {}", s.queue_length, s.queue_capacity),
        format!(
            "answers: {} accepted, {} coalesced, {} duplicates, {} rate-limited, {} quiet, \
             {} expired, {} full, {} rejected",
            s.accepted,
            s.coalesced,
            s.duplicates,
            s.rate_limited,
            s.quiet,
            s.expired,
            s.full,
            s.rejected
        ),
    ];
    if let Some(until) = s.snoozed_until.and_then(wire::timestamp) {
        lines.push(format!("snoozed: until {until:.0}"));
    }
    print(&lines.join("\n"))
}
