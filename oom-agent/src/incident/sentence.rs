//! An incident as one sentence.

use std::fmt::Write as _;

use oom_capture::Trigger;

use super::{Container, History, Incident, LimitKind, Outcome, Scope, Victim};

/// The victim, its container, its size, the limit, and what happened to the container. Strings of
/// victims and pods are not escaped: the sink does that.
pub(crate) fn sentence(incident: &Incident) -> String {
    let Some(victim) = incident.victims.first() else {
        return without_victim(incident);
    };
    let mut text = victim.comm.as_deref().unwrap_or("A process").to_owned();
    // Kubernetes reports no pid.
    let anonymous = victim.pid == 0;
    if !anonymous {
        let _infallible = write!(text, " (pid {})", victim.pid);
    }
    text.push_str(" was OOM-killed");
    text.push_str(&describe_place(victim));
    if incident.victim_count > 1 {
        let more = incident.victim_count - 1;
        let _infallible = write!(text, " and {more} more of its group");
    }
    if let Some(rss) = victim.rss_bytes {
        let _infallible = write!(
            text,
            " with {} resident (anon {}, file {}, shmem {})",
            mebibytes(rss.total()),
            mebibytes(rss.anon),
            mebibytes(rss.file),
            mebibytes(rss.shmem)
        );
    }
    text.push_str(&describe_limit(incident));
    text.push_str(match incident.outcome {
        Outcome::ContainerDied if anonymous => "; the container died",
        Outcome::ContainerDied if victim.first_process != Some(true) => {
            "; the container's first process was among them, so the container died"
        }
        Outcome::ContainerDied => "; it was the container's first process, so the container died",
        Outcome::ChildDied => "; the container's first process was not the victim",
        Outcome::AlreadyExiting => "; it was exiting already",
        Outcome::NoKillableProcess | Outcome::OomKillDisabled | Outcome::Unknown => "",
    });
    let trigger = incident.trigger.as_ref();
    text.push_str(&describe_trigger(
        trigger.filter(|trigger| trigger.pid != victim.pid),
    ));
    let before = incident.before.as_ref().filter(|_| incident.is_at_limit());
    if let Some(words) = before.and_then(History::describe) {
        let _infallible = write!(text, " — {words}");
    }
    text
}

fn without_victim(incident: &Incident) -> String {
    let why = match incident.outcome {
        Outcome::NoKillableProcess => "none may be killed",
        Outcome::OomKillDisabled => "oom_kill_disable is set, and its processes wait",
        _ => return "The OOM killer ran, and nothing is known of its victim".to_owned(),
    };
    let limit = describe_bytes(incident.limit_bytes);
    let cgroup = incident.limit_cgroup.as_deref().unwrap_or("unknown");
    let trigger = describe_trigger(incident.trigger.as_ref());
    format!("No process was killed, at the limit{limit} of cgroup {cgroup}; {why}{trigger}")
}

fn describe_trigger(trigger: Option<&Trigger>) -> String {
    let text = trigger.map(|it| format!("; set off by {} (pid {})", it.comm, it.pid));
    text.unwrap_or_default()
}

fn describe_bytes(bytes: Option<u64>) -> String {
    let text = bytes.map(|bytes| format!(" of {}", mebibytes(bytes)));
    text.unwrap_or_default()
}

fn describe_limit(incident: &Incident) -> String {
    let limit = describe_bytes(incident.limit_bytes);
    let setting = describe_bytes(incident.setting_bytes());
    let cgroup = incident.limit_cgroup.as_deref().unwrap_or("unknown");
    let mut text = match incident.scope {
        Scope::Container => format!(", at the container's limit{setting}"),
        Scope::Pod => format!(", at the pod's limit{limit}"),
        Scope::Nested | Scope::Ancestor => format!(", at the limit{limit} of cgroup {cgroup}"),
        Scope::Node => ", because the node had no memory left".to_owned(),
        Scope::Confined => {
            ", because the memory that it is confined to (cpuset or memory policy) was full"
                .to_owned()
        }
        Scope::Sysrq => ", because a sysrq requested it".to_owned(),
        Scope::Unknown => String::new(),
    };
    if incident.limit_kind == Some(LimitKind::MemoryAndSwap) {
        text.push_str(" of memory and swap");
    }
    if incident.limit_lowered {
        text.push_str(", which was set below its usage");
    }
    text
}

fn describe_place(victim: &Victim) -> String {
    let container = victim.container.as_ref().map(Container::label);
    let pod = victim
        .pod
        .as_ref()
        .map(|pod| match (&pod.namespace, &pod.name, &pod.uid) {
            (Some(namespace), Some(name), _) => format!("{namespace}/{name}"),
            (_, _, Some(uid)) => format!("with uid {uid}"),
            _ => "unknown".to_owned(),
        });
    match (container, pod, &victim.cgroup) {
        (Some(container), Some(pod), _) => format!(" in container {container} of pod {pod}"),
        (Some(container), None, _) => format!(" in container {container}"),
        (None, Some(pod), _) => format!(" in pod {pod}"),
        (None, None, Some(cgroup)) => format!(" in cgroup {cgroup}"),
        (None, None, None) => String::new(),
    }
}

/// Tenths of a MiB, rounded down.
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::Setting;
    use crate::k8s::fake::{incident, leak};

    #[test]
    fn the_sentence_names_the_limit_to_change() {
        type Change = fn(&mut Incident);
        let cases: [(Change, &str); 7] = [
            (|_| {}, ", at the container's limit of 64.0 MiB; it was"),
            (
                |incident| {
                    incident.limit_bytes = Some(128 << 20);
                    incident.setting = Some(Setting {
                        cgroup: "/pod/main".to_owned(),
                        limit_bytes: 64 << 20,
                    });
                },
                ", at the container's limit of 64.0 MiB; it was",
            ),
            (
                |incident| incident.scope = Scope::Nested,
                ", at the limit of 64.0 MiB of cgroup /kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8/17db; it was",
            ),
            (
                |incident| incident.limit_lowered = true,
                ", at the container's limit of 64.0 MiB, which was set below its usage; it was",
            ),
            (
                |incident| incident.limit_kind = Some(LimitKind::MemoryAndSwap),
                ", at the container's limit of 64.0 MiB of memory and swap; it was",
            ),
            (
                |incident| incident.scope = Scope::Confined,
                ", because the memory that it is confined to (cpuset or memory policy) was full; it was",
            ),
            (
                |incident| incident.scope = Scope::Node,
                ", because the node had no memory left; it was",
            ),
        ];
        for (change, expected) in cases {
            let mut incident = incident();
            incident.before = Some(leak());
            change(&mut incident);
            let text = sentence(&incident);
            assert!(text.contains(expected), "{text}");
            let no_limit = matches!(incident.scope, Scope::Node | Scope::Confined);
            assert_eq!(text.contains("from half to the limit"), !no_limit, "{text}");
        }
    }
}
