//! A mismatch as sentences.

use service::escape;

use super::decide::TERMINATED;
use super::{Mismatch, MismatchKind, State};
use crate::incident::{Container, Scope};

/// The longest names shown, in bytes: more than honest ones have.
const NAME_LEN: usize = 80;

/// What Kubernetes shows, what happened, and what to do next. Names in it are escaped and bounded.
pub(crate) fn sentence(mismatch: &Mismatch) -> String {
    let container = container_name(&mismatch.status.container);
    match mismatch.verdict {
        MismatchKind::Missed => describe_missed(mismatch, &container),
        MismatchKind::Phantom => describe_phantom(mismatch, &container),
    }
}

fn describe_missed(mismatch: &Mismatch, container: &str) -> String {
    let status = &mismatch.status;
    let who = describe_victims(mismatch);
    if status.state == State::Running {
        let later = if status.is_oom_killed() {
            " The runtime has marked the container, though: when it ends, for whatever reason, it will be shown as OOMKilled."
        } else {
            ""
        };
        return format!(
            "Kubernetes does not report this kill: {who} in container {container} was OOM-killed, and the container runs on; its status shows neither the kill nor a restart.{later} \
             Next: see whether {container} works without that process; nothing restarts it but {container} itself or a liveness probe."
        );
    }
    let next = match status.exit_code {
        0 => {
            "see whether what it did is whole without that process; it ended as if nothing had happened."
        }
        _ => "take this end for an OOM kill, not for a fault of the program.",
    };
    format!(
        "Kubernetes does not report this kill: {who} in container {container} was OOM-killed, and its status is {} with exit code {}, not OOMKilled. \
         Next: {next}",
        shown_reason(&status.reason),
        status.exit_code
    )
}

fn describe_phantom(mismatch: &Mismatch, container: &str) -> String {
    let status = &mismatch.status;
    if mismatch.victims().next().is_some() {
        let (ended, next) = match status.exit_code {
            0 => (
                "it ended by itself, without an error (exit code 0)",
                "see whether what it did is whole without that process",
            ),
            _ => (
                "it was terminated (exit code 143, SIGTERM)",
                "look for who ended it",
            ),
        };
        return format!(
            "Container {container} is shown as OOMKilled, and that is not how it ended: {ended}. \
             Before that, {} in it was OOM-killed, and the runtime counts over the container's whole life. \
             Next: {next}; the earlier kill has an Event of its own.",
            describe_victims(mismatch)
        );
    }
    let limit = match mismatch.incident.scope {
        Scope::Pod => " when the pod reached its memory limit, which its containers share",
        Scope::Node => " when the node had no memory left",
        _ => "",
    };
    let real = describe_victim(mismatch);
    let finding = if status.state == State::Running {
        format!(
            "The container runtime has marked container {container} as OOMKilled, and no process of it was killed: {real}{limit}. When {container} ends, for whatever reason, Kubernetes will show OOMKilled."
        )
    } else {
        let ended = match status.exit_code {
            0 => " It ended by itself, without an error (exit code 0).",
            TERMINATED => " It was terminated (exit code 143, SIGTERM).",
            _ => "",
        };
        format!(
            "Container {container} is shown as OOMKilled, and no process of it was killed: {real}{limit}.{ended}"
        )
    };
    format!(
        "{finding} Next: do not resize {container} for this; look at the container in which a process was killed."
    )
}

/// The real victim, for a mismatch about another container.
fn describe_victim(mismatch: &Mismatch) -> String {
    let Some(victim) = mismatch.incident.victims.first() else {
        return "another process was killed".to_owned();
    };
    let comm = victim.comm.as_deref().map_or("a process".to_owned(), shown);
    let pid = victim.pid;
    match &victim.container {
        Some(container) => {
            format!(
                "{comm} (pid {pid}) in container {} was",
                container_name(container)
            )
        }
        None => format!("{comm} (pid {pid}) was"),
    }
}

fn describe_victims(mismatch: &Mismatch) -> String {
    let mut victims = mismatch.victims();
    let Some(first) = victims.next() else {
        return "a process".to_owned();
    };
    let comm = first.comm.as_deref().map_or("a process".to_owned(), shown);
    let pid = first.pid;
    match victims.count() {
        0 => format!("{comm} (pid {pid})"),
        n => format!("{comm} (pid {pid}), with {n} more,"),
    }
}

fn container_name(container: &Container) -> String {
    shown(container.label())
}

fn shown_reason(reason: &str) -> String {
    if reason.is_empty() {
        "nothing".to_owned()
    } else {
        shown(reason)
    }
}

fn shown(text: &str) -> String {
    escape::terminal_bounded(text, NAME_LEN)
}
