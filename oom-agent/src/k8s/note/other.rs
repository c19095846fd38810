//! The message of a report that is no kill. Pure.

use service::escape;

use super::{NOTE_LEN, capitalize};
use crate::report::Report;
use crate::status_check;
use crate::warn::Warning;
use pressure::Level;

pub(super) fn message(report: &Report, held_back: u64) -> String {
    let text = match report {
        // Both escape untrusted text.
        Report::Mismatch(mismatch) => status_check::sentence(mismatch),
        Report::NoVictim(no_victim) => no_victim.event_note(),
        Report::Warning(warning) => warning_and_advice(warning),
        Report::BadAnnotations(_) | Report::Incident(_) => {
            capitalize(&escape::terminal(&report.sentence()).to_string())
        }
    };
    let more = match (held_back, report) {
        (0, _) => String::new(),
        (_, Report::Mismatch(_)) => {
            format!(" The same was found {held_back} times more since the last Event.")
        }
        _ => format!(" It was so {held_back} times more since the last Event."),
    };
    let room = NOTE_LEN.saturating_sub(more.len());
    format!("{}{more}", escape::truncate(&text, room))
}

fn warning_and_advice(warning: &Warning) -> String {
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
    format!("{}. {next}", capitalize(escape::truncate(&sentence, room)))
}
