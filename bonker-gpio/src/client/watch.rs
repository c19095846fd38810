//! `bonker-gpio watch`: every swing, across the server's restarts.

use std::io::{self, IsTerminal as _};

use service::error_chain::chain;
use tracing::{info, warn};

use super::swings::{Begin, Event, Swings};
use super::{ClientError, print, swing_line::line};
use crate::args::{Output, ServerArgs, WatchArgs};
use crate::picture::{Link, Picture, Screen};

/// Until the output closes, the user leaves, or an error is permanent.
pub(crate) async fn watch(args: WatchArgs) -> Result<(), ClientError> {
    let output = match args.output {
        Some(output) => output,
        None if io::stdout().is_terminal() => Output::Picture,
        None => Output::Human,
    };
    match output {
        Output::Picture => draw_swings(&args.server).await,
        Output::Human | Output::Json => print_swings(&args.server, output).await,
    }
}

/// The first failure is logged, and the next success.
async fn print_swings(server: &ServerArgs, output: Output) -> Result<(), ClientError> {
    let url = server.url.as_str();
    let mut swings = Swings::new(server, Begin::Live);
    let mut is_failing = false;
    loop {
        match swings.next().await {
            Ok(Event::Connected(_)) if is_failing => {
                info!(url, "watching again");
                is_failing = false;
            }
            Ok(Event::Connected(_)) => info!(url, "watching"),
            Ok(Event::Swing(swing)) => match print(&line(&swing, output)) {
                Err(ClientError::Output(gone)) if gone.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(());
                }
                printed => printed?,
            },
            Err(why) if why.is_permanent() => return Err(why),
            Err(why) if !is_failing => {
                let why = chain(&why).to_string();
                warn!(url, why, "not watching: trying again until it works");
                is_failing = true;
            }
            Err(_) => (),
        }
    }
}

async fn draw_swings(server: &ServerArgs) -> Result<(), ClientError> {
    let mut picture = Picture::new(&server.url);
    let mut screen = Screen::open().map_err(ClientError::Screen)?;
    let mut swings = Swings::new(server, Begin::Latest(Picture::CAPACITY));
    loop {
        screen.draw(&picture).map_err(ClientError::Screen)?;
        let event = tokio::select! {
            event = swings.next() => event,
            left = screen.live(&picture) => return left.map_err(ClientError::Screen),
        };
        match event {
            Ok(Event::Connected(end)) => {
                picture.begin_at(end.total, end.last);
                picture.set_link(Link::Watching);
            }
            Ok(Event::Swing(swing)) => picture.add_swing(*swing, screen.now()),
            Err(why) if why.is_permanent() => return Err(why),
            Err(why) => picture.set_link(Link::Broken(chain(&why).to_string())),
        }
    }
}
