use std::time::Duration;

use jiff::Timestamp;
use ratatui::Terminal;
use ratatui::backend::TestBackend;

use super::draw::draw;
use super::{Link, Picture};
use crate::bonk::Bonk;
use crate::client::HubSwing;
use crate::history::Position;
use crate::motion::Gesture;

const BEGIN: Duration = Duration::ZERO;

fn rendered(picture: &Picture, is_down: bool, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
    terminal
        .draw(|frame| draw(frame, picture, is_down, now))
        .unwrap();
    terminal.backend().to_string()
}

fn swing(sequence: u64, namespace: &str, comm: &str, missed: u64) -> HubSwing {
    HubSwing {
        bonk: Bonk {
            id: sequence.to_string(),
            namespace: namespace.to_owned(),
            pod: "web-0".to_owned(),
            comm: comm.to_owned(),
            summary: format!("{comm} was OOM-killed"),
            ..Bonk::default()
        },
        swung_at: Some("2026-11-21T09:00:00Z".parse().unwrap()),
        gesture: Gesture::Bonk,
        coalesced: sequence % 2,
        swings: sequence,
        position: Position {
            sequence,
            ..Position::default()
        },
        missed,
    }
}

fn busy() -> Picture {
    let mut picture = Picture::new("http://pi:50051");
    picture.begin_at(2, None);
    picture.set_link(Link::Watching);
    picture.add_swing(swing(1, "shop", "java", 0), BEGIN);
    picture.add_swing(swing(2, "shop", "node", 0), BEGIN);
    assert_eq!(
        picture.hammer(BEGIN),
        (false, None),
        "history moves nothing"
    );
    picture.add_swing(swing(5, "\u{202e}evil\x1b[2J", "a\nb", 2), BEGIN);
    picture
}

#[test]
fn the_victims_and_their_counts_are_shown() {
    let picture = busy();
    assert!(picture.hammer(BEGIN).0);
    let text = rendered(&picture, true, (100, 24));
    println!("{text}");
    for part in [
        "watching http://pi:50051",
        "BONK",
        "3 days since the last bonk",
        "5 bonks in all, 2 not seen here",
        "2026-11-21T09:00:00Z bonk \\u{202e}evil\\u{1b}[2J/web-0 — a\\nb (and 1",
        "bonk shop/web-0 — node",
        "2 shop",
        "1 \\u{202e}evil",
    ] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(!text.contains(['\x1b', '\u{202e}']));
    assert!(!rendered(&picture, false, (100, 24)).contains("BONK"));
}

#[test]
fn an_empty_history_and_a_broken_link_are_shown() {
    let mut picture = Picture::new("http://pi:50051");
    assert!(rendered(&picture, false, (80, 24)).contains("connecting to http://pi:50051"));
    picture.set_link(Link::Broken("no\x1broute".to_owned()));
    let text = rendered(&picture, false, (80, 24));
    assert!(text.contains("trying again: no\\u{1b}route"), "{text}");
    assert!(text.contains("no bonk yet"), "{text}");
}

#[test]
fn no_terminal_is_too_small_or_too_large() {
    let mut picture = busy();
    for n in 0..200 {
        picture.add_swing(swing(6 + n, &format!("ns-{n}"), &"x".repeat(500), 0), BEGIN);
    }
    assert_eq!(picture.swings.len() as u64, Picture::CAPACITY);
    for width in [1, 2, 3, 10, 29, 40, 80, 400] {
        for height in [1, 2, 3, 8, 9, 24, 200] {
            rendered(&picture, true, (width, height));
        }
    }
}
