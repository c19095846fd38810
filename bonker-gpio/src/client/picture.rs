//! `bonker-gpio watch` on a terminal: the picture, across the server's restarts.

use service::error_chain::chain;

use super::ClientError;
use super::swings::{HubSwing, Swings};
use crate::args::WatchArgs;
use crate::history::Position;
use crate::motion::Gesture;
use crate::picture::{Entry, Link, Picture, Screen};
use service::backoff::Backoff;

/// Draws until the user leaves or an error is permanent.
pub(crate) async fn picture(args: &WatchArgs) -> Result<(), ClientError> {
    let mut picture = Picture::new(&args.server.url);
    let mut screen = Screen::open().map_err(ClientError::Screen)?;
    let mut backoff = Backoff::starting_at(super::RETRY_AFTER);
    let mut seen = None;
    loop {
        screen.draw(&picture).map_err(ClientError::Screen)?;
        let why = match watch(args, &mut picture, &mut screen, &mut seen, &mut backoff).await {
            Ok(Left) => return Ok(()),
            Err(why @ ClientError::Screen(_)) => return Err(why),
            Err(why) if why.is_permanent() => return Err(why),
            Err(why) => why,
        };
        if picture.set_link(Link::Broken(chain(&why).to_string())) {
            screen.draw(&picture).map_err(ClientError::Screen)?;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.next_wait(fastrand::f64())) => (),
            left = screen.live(&picture) => return left.map_err(ClientError::Screen),
        }
    }
}

/// The user left the screen.
struct Left;

/// Until the connection breaks.
async fn watch(
    args: &WatchArgs,
    picture: &mut Picture,
    screen: &mut Screen,
    seen: &mut Option<Position>,
    backoff: &mut Backoff,
) -> Result<Left, ClientError> {
    let calling = Swings::watch_latest(&args.server, seen.clone(), Picture::CAPACITY);
    let (mut swings, end) = tokio::select! {
        called = calling => called?,
        left = screen.live(picture) => return left.map(|()| Left).map_err(ClientError::Screen),
    };
    backoff.reset();
    if seen.is_none() {
        picture.set_totals(end.total, end.last);
    }
    picture.set_link(Link::Watching);
    screen.draw(picture).map_err(ClientError::Screen)?;
    loop {
        let swing = tokio::select! {
            swing = swings.next() => swing?,
            left = screen.live(picture) => return left.map(|()| Left).map_err(ClientError::Screen),
        };
        let HubSwing {
            bonk,
            position,
            missed,
            swung_at,
            gesture,
            coalesced,
        } = swing;
        *seen = Some(position.clone());
        let Ok(bonk) = bonk else {
            continue;
        };
        let entry = Entry {
            bonk,
            swung_at,
            gesture: gesture.unwrap_or(Gesture::Bonk),
            coalesced,
            sequence: position.sequence,
        };
        picture.add_swing(entry, missed, screen.now());
        screen.draw(picture).map_err(ClientError::Screen)?;
    }
}
