//! `bonker-gpio status`: what a server drives and how it fares.

use proto::bonk::GetStatusRequest;

use super::connect::{connect, in_time, refused};
use super::{ClientError, print};
use crate::args::StatusArgs;
use crate::text::escape;

/// Prints one `name: value` a line.
pub(crate) async fn status(args: StatusArgs) -> Result<(), ClientError> {
    let url = args.server.url;
    let call = async {
        let mut client = connect(&url).await?;
        let answer = client.get_status(GetStatusRequest {}).await;
        Ok(answer.map_err(refused(&url))?.into_inner())
    };
    let s = in_time(&url, call).await?;
    let backend = escape(&s.backend);
    let reason = escape(&s.backend_reason);
    let lines = [
        format!("version: {}", escape(&s.version)),
        format!("backend: {backend} ({reason})"),
        format!("swings: {}, {} failed", s.swings, s.failed_swings),
        format!("queue: {} of {}", s.queue_length, s.queue_capacity),
        format!(
            "answers: {} accepted, {} duplicates, {} full, {} rejected",
            s.accepted, s.duplicates, s.full, s.rejected
        ),
    ];
    print(&lines.join("\n"))
}
