//! The picture as cells of a terminal of any size. Pure.

use std::fmt::Write as _;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Paragraph, Wrap};

use super::state::{Link, Picture};
use crate::client::HubSwing;
use crate::servo::penguin;
use crate::text::escape;

const SECONDS_A_DAY: i64 = 24 * 60 * 60;

/// Lines of the toy, its frame and those below it.
const HEAD: u16 = 8;
const TOY: u16 = 28;

pub(super) fn draw(frame: &mut Frame<'_>, picture: &Picture, is_down: bool, now: Timestamp) {
    let rows = [
        Constraint::Length(1),
        Constraint::Length(HEAD),
        Constraint::Min(0),
    ];
    let [title, head, lists] = Layout::vertical(rows).areas(frame.area());
    let [toy, about] =
        Layout::horizontal([Constraint::Length(TOY), Constraint::Min(0)]).areas(head);
    let [history, board] =
        Layout::horizontal([Constraint::Percentage(70), Constraint::Percentage(30)]).areas(lists);
    frame.render_widget(link(picture), title);
    let lines: Vec<Line<'_>> = penguin::frame(is_down).map(Line::from).to_vec();
    let mood = if is_down { Color::Red } else { Color::Reset };
    let toy_block = Block::bordered().title("penguin");
    frame.render_widget(Paragraph::new(lines).style(mood).block(toy_block), toy);
    frame.render_widget(last(picture, now), about);
    list(
        frame,
        history,
        "history",
        picture.swings.iter().map(swing_line),
    );
    let worst = picture.board.top(board.height.into()).into_iter();
    let board_lines = worst.map(|(name, swings)| format!("{swings:>5} {}", escape(&name)));
    list(frame, board, "namespaces, of those listed", board_lines);
}

fn link(picture: &Picture) -> Paragraph<'static> {
    let url = escape(&picture.url);
    let (text, color) = match &picture.link {
        Link::Connecting => (format!("connecting to {url} …"), Color::Yellow),
        Link::Watching => (format!("watching {url} — q leaves"), Color::Green),
        Link::Broken(why) => {
            let why = escape(why);
            (
                format!("not watching {url}, trying again: {why}"),
                Color::Red,
            )
        }
    };
    Paragraph::new(text).style(Style::new().fg(color).add_modifier(Modifier::BOLD))
}

fn last(picture: &Picture, now: Timestamp) -> Paragraph<'static> {
    let days = picture.last.map(|last| {
        let seconds = now.duration_since(last).as_secs().max(0);
        seconds / SECONDS_A_DAY
    });
    let mut lines = vec![match days {
        Some(days) => format!("{days} days since the last bonk"),
        None => "no bonk yet".to_owned(),
    }];
    let missed = match picture.missed {
        0 => String::new(),
        missed => format!(", {missed} not seen here"),
    };
    lines.push(format!("{} bonks in all{missed}", picture.total));
    if let Some(swing) = picture.swings.front() {
        lines.push(String::new());
        lines.push(swing_line(swing));
        lines.push(escape(&swing.bonk.summary));
    }
    let lines: Vec<Line<'_>> = lines.into_iter().map(Line::from).collect();
    let block = Block::bordered().title("last");
    Paragraph::new(lines)
        .wrap(Wrap { trim: false })
        .block(block)
}

/// One swing on one line, with nothing left in it that a terminal obeys.
fn swing_line(swing: &HubSwing) -> String {
    let when = swing
        .swung_at
        .map_or_else(|| "?".to_owned(), |time| format!("{time:.0}"));
    let place = match swing.bonk.place() {
        place if place.is_empty() => swing.bonk.node.clone(),
        place => place,
    };
    let mut line = format!("{when} {} {}", swing.gesture.name(), escape(&place));
    if !swing.bonk.comm.is_empty() {
        line.push_str(" — ");
        line.push_str(&escape(&swing.bonk.comm));
    }
    if swing.coalesced > 0 {
        // Writing to a String cannot fail.
        let _ = write!(line, " (and {} more)", swing.coalesced);
    }
    line
}

fn list(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &'static str,
    lines: impl Iterator<Item = String>,
) {
    // More than fit would be cut all the same.
    let lines: Vec<Line<'_>> = lines.take(area.height.into()).map(Line::from).collect();
    frame.render_widget(
        Paragraph::new(lines).block(Block::bordered().title(title)),
        area,
    );
}
