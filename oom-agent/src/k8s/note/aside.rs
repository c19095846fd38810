//! What is told beside the kills. Pure.

use service::escape;

use super::{NOTE_LEN, capital};
use crate::k8s::draft::Aside;
use crate::story;
use crate::warn::Warning;
use pressure::Level;

pub(super) fn note(aside: &Aside, held_back: u64) -> String {
    let (told, more) = match aside {
        // Escapes what is others' text.
        Aside::Verdict(finding) => (story::sentence(finding), "The same was found"),
        Aside::Warning(warning) => (told(warning), "It was so"),
        Aside::NoVictim(told) => (told.note(), "It was so"),
        Aside::Unheeded(unheeded) => (
            capital(&escape::terminal(&unheeded.sentence()).to_string()),
            "It was so",
        ),
    };
    let told = escape::truncate(&told, NOTE_LEN);
    let more = if held_back > 0 {
        format!(" {more} {held_back} times more since the last Event.")
    } else {
        String::new()
    };
    let room = NOTE_LEN.saturating_sub(more.len());
    format!("{}{more}", escape::truncate(told, room))
}

fn told(warning: &Warning) -> String {
    let next = match warning.crossing.level {
        _ if warning.crossing.sample.throttles => {
            "Next: from there on the kernel slows it down to take memory back; raise what memory.high is made of (its request and limit), or have it let go of memory."
        }
        Level::Warning if warning.container.is_none() => {
            "Next: the limit is the pod's own, and all its containers share it; raise resources.limits.memory of the pod's spec, or see which container grows."
        }
        Level::Warning => {
            "Next: if it needs that much, raise its resources.limits.memory; if it only ever grows, look for the leak."
        }
        Level::Critical => {
            "Next: it is OOM-killed when the kernel finds nothing more to take back; raise its resources.limits.memory, or have it let go of memory."
        }
    };
    let sentence = warning.sentence();
    let sentence = escape::terminal(&sentence).to_string();
    let room = NOTE_LEN.saturating_sub(next.len() + 2);
    format!("{}. {next}", capital(escape::truncate(&sentence, room)))
}
