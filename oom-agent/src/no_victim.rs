//! An OOM without a victim: no process of the cgroup may be killed, or killing is turned off there. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memcg::NodeRoot;
use oom_agent_ebpf as kernel;
use oom_capture::{Trigger, cgroup_path, decode_name};
pub(crate) use pressure::NoVictimCause as Cause;
use service::escape;

use crate::host::Host;
use crate::incident::{Container, Incident, LimitKind, Outcome, Pod, Scope, classify_scope};
use crate::size::size;

/// After this long without a sighting the next one begins another episode.
const QUIET: Duration = Duration::from_mins(5);

/// A sighting within this time after another shows that the state lasts: the kernel's records come every ten
/// seconds. Beside a kill the OOM killer may find no victim for a moment, while the memory is given back.
const AGAIN: Duration = Duration::from_secs(15);

/// Remembered cgroups.
const CGROUPS: usize = 1024;

/// One observation of a cgroup that is out of memory without a kill. It repeats while that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub cause: Cause,
    /// The cgroup at its limit: from the hierarchy's root on, with a slash in front.
    pub cgroup: String,
    pub limit_bytes: Option<u64>,
    /// The process whose allocation failed; `None` where the OOM itself was not recorded.
    pub trigger: Option<Trigger>,
    /// `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
}

/// An episode, as it is reported.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NoVictim {
    /// Without victims; its outcome is the cause.
    pub incident: Incident,
    /// The container of the cgroup.
    pub container: Option<Container>,
    /// The pod of the cgroup.
    pub pod: Option<Pod>,
}

/// The episodes of each cgroup, reported or not.
#[derive(Debug, Default)]
pub(crate) struct Episodes(HashMap<String, Episode>);

#[derive(Debug)]
struct Episode {
    last: Instant,
    reported: bool,
    /// As the kernel's record has it.
    trigger: Option<Trigger>,
}

impl From<Cause> for Outcome {
    fn from(cause: Cause) -> Self {
        match cause {
            Cause::NoKillableProcess => Self::NoKillableProcess,
            Cause::OomKillDisabled => Self::OomKillDisabled,
        }
    }
}

// === impl Sighting ===

impl Sighting {
    /// `None` where the cgroup's name could not be read.
    pub(crate) fn from_record(record: &kernel::NoVictim, page_size: u64) -> Option<Self> {
        (record.memcg_names_used > 0).then(|| Self {
            cause: Cause::NoKillableProcess,
            cgroup: cgroup_path(
                &record.memcg_names,
                record.memcg_names_used,
                record.memcg_names_cut,
            ),
            limit_bytes: (record.limit_pages > 0)
                .then(|| record.limit_pages.saturating_mul(page_size)),
            trigger: Some(Trigger {
                pid: record.trigger_tgid,
                comm: decode_name(&record.trigger_comm),
            }),
            stamp_ns: record.stamp_ns,
        })
    }

    /// `time`: the wall-clock time of the sighting.
    pub(crate) fn into_incident(self, host: &Host, node: &NodeRoot, time: Timestamp) -> Incident {
        let below = node.path_on_node(&self.cgroup);
        // A victim's pid is none of these.
        let id = format!("{}-{}-0", host.boot, self.stamp_ns);
        let mut incident = Incident {
            scope: below.map_or(Scope::Ancestor, |path| classify_scope(path, None)),
            limit_bytes: self.limit_bytes,
            limit_cgroup: Some(self.cgroup),
            limit_kind: Some(LimitKind::Memory),
            outcome: self.cause.into(),
            stamp_ns: self.stamp_ns,
            ..Incident::new(id, time, host.node.clone())
        };
        let trigger = self.trigger;
        let trigger = trigger.ok_or("out_of_memory was not seen, only what it left");
        incident.trigger = incident.record("trigger", trigger);
        incident
    }
}

// === impl Episodes ===

impl Episodes {
    /// Whether to report an episode of the cgroup. A sighting of the sampler gets the trigger of the kernel's
    /// record before it.
    pub(crate) fn should_report(&mut self, sighting: &mut Sighting, now: Instant) -> bool {
        let since = |last: Instant| now.saturating_duration_since(last);
        // The sampler sees only what has lasted already, and no trigger.
        let lasts = sighting.trigger.is_none();
        if !self.0.contains_key(&sighting.cgroup) {
            if self.0.len() >= CGROUPS {
                self.0.retain(|_, episode| since(episode.last) < QUIET);
            }
            // The other episodes are enough of a report.
            if self.0.len() >= CGROUPS {
                return false;
            }
            let episode = Episode {
                last: now,
                reported: lasts,
                trigger: sighting.trigger.clone(),
            };
            self.0.insert(sighting.cgroup.clone(), episode);
            return lasts;
        }
        let Some(episode) = self.0.get_mut(&sighting.cgroup) else {
            return false;
        };
        let quiet = since(std::mem::replace(&mut episode.last, now));
        if lasts && quiet <= AGAIN {
            sighting.trigger.clone_from(&episode.trigger);
        } else {
            episode.trigger.clone_from(&sighting.trigger);
        }
        let reported_before = episode.reported && quiet < QUIET;
        let begins = !reported_before && (lasts || quiet <= AGAIN);
        episode.reported = reported_before || begins;
        begins
    }
}

// === impl NoVictim ===

impl NoVictim {
    /// The note of its Event: what happens, and what to do next. Names in it are escaped and bounded.
    pub(crate) fn event_note(&self) -> String {
        let container = self.container.as_ref();
        let container = container.map(|container| shown(container.label()));
        let path = self.incident.limit_cgroup.as_deref().unwrap_or_default();
        let is_nested = self.incident.scope == Scope::Nested;
        let nested = path.rsplit('/').next().filter(|_| is_nested).map(shown);
        let whose = match (nested, container, &self.pod) {
            (Some(name), Some(container), _) => {
                format!("Cgroup {name} within container {container}")
            }
            (Some(name), None, _) => format!("Cgroup {name} within the pod"),
            (None, Some(container), _) => format!("Container {container}"),
            (None, None, Some(_)) => "The pod".to_owned(),
            (None, None, None) => format!("Cgroup {}", shown(path)),
        };
        let limit = self.incident.limit_bytes;
        let limit = limit.map_or_else(String::new, |bytes| format!(" of {}", size(bytes)));
        let trigger = self.incident.trigger.as_ref();
        let trigger = trigger.map_or_else(String::new, |trigger| {
            format!(
                " Set off by an allocation of {} (pid {}).",
                shown(&trigger.comm),
                trigger.pid
            )
        });
        let (why, next) = match self.incident.outcome {
            Outcome::OomKillDisabled => (
                "its processes wait, as oom_kill_disable is set",
                "write 0 into memory.oom_control of the cgroup, or raise the limit; until then they hang",
            ),
            _ => (
                "the kernel finds no process that it may kill",
                "raise the limit, or oom_score_adj of a process in it above -1000; until then its allocations fail or hang",
            ),
        };
        format!(
            "{whose} is out of memory at its limit{limit}, and nobody is killed: {why}.{trigger} Next: {next}."
        )
    }
}

/// The longest names shown, in bytes.
const NAME_LEN: usize = 200;

fn shown(text: &str) -> String {
    escape::terminal_bounded(text, NAME_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::incident::sentence;

    fn sighting(cause: Cause) -> Sighting {
        Sighting {
            cause,
            cgroup: "/unkillable".to_owned(),
            limit_bytes: Some(32 << 20),
            trigger: Some(Trigger {
                pid: 7,
                comm: "tail".to_owned(),
            }),
            stamp_ns: 812_345_678_901,
        }
    }

    /// `lasts`: a sighting of the sampler.
    fn should_report(episodes: &mut Episodes, cgroup: &str, lasts: bool, now: Instant) -> bool {
        let trigger = sighting(Cause::NoKillableProcess).trigger;
        let mut sighting = Sighting {
            cgroup: cgroup.to_owned(),
            trigger: trigger.filter(|_| !lasts),
            ..sighting(Cause::NoKillableProcess)
        };
        episodes.should_report(&mut sighting, now)
    }

    #[test]
    fn the_sampler_has_the_trigger_of_the_kernels_record() {
        let mut episodes = Episodes::default();
        let start = Instant::now();
        let mut seen = sighting(Cause::NoKillableProcess);
        assert!(!episodes.should_report(&mut seen, start));
        seen.trigger = None;
        assert!(episodes.should_report(&mut seen, start + Duration::from_secs(5)));
        assert_eq!(seen, sighting(Cause::NoKillableProcess));
    }

    fn incident(cause: Cause) -> Incident {
        let host = Host {
            node: "node-a".to_owned(),
            boot: "6f1c0a52".to_owned(),
            ..Host::read(None)
        };
        let time = "2026-11-21T09:00:00Z".parse().unwrap();
        sighting(cause).into_incident(&host, &NodeRoot::default(), time)
    }

    #[test]
    fn each_episode_is_reported_once() {
        let mut episodes = Episodes::default();
        let start = Instant::now();
        assert!(should_report(&mut episodes, "/a", true, start));
        for second in 1..1000 {
            let now = start + Duration::from_secs(second);
            assert!(
                !should_report(&mut episodes, "/a", second % 2 == 0, now),
                "{second}"
            );
        }
        assert!(should_report(&mut episodes, "/b", true, start));
        let next = start + Duration::from_secs(999) + QUIET;
        assert!(should_report(&mut episodes, "/a", true, next));
    }

    #[test]
    fn a_momentary_sighting_is_not_reported() {
        let mut episodes = Episodes::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(
            !should_report(&mut episodes, "/a", false, start),
            "beside a kill"
        );
        assert!(
            !should_report(&mut episodes, "/a", false, at(60)),
            "beside another"
        );
        assert!(
            should_report(&mut episodes, "/a", false, at(70)),
            "it lasts"
        );
        assert!(!should_report(&mut episodes, "/a", false, at(80)));
        let next = at(80) + QUIET;
        assert!(!should_report(&mut episodes, "/a", false, next));
        assert!(should_report(
            &mut episodes,
            "/a",
            false,
            next + Duration::from_secs(10)
        ));
    }

    #[test]
    fn remembered_cgroups_are_bounded() {
        let mut episodes = Episodes::default();
        let start = Instant::now();
        for n in 0..CGROUPS {
            assert!(should_report(&mut episodes, &n.to_string(), true, start));
        }
        assert!(!should_report(&mut episodes, "more", true, start));
        assert!(should_report(&mut episodes, "more", true, start + QUIET));
        assert_eq!(episodes.0.len(), 1);
    }

    #[test]
    fn an_episode_is_an_incident_without_victims() {
        let incident = incident(Cause::NoKillableProcess);
        let line = serde_json::to_value(&incident).unwrap();
        assert_eq!(line["outcome"], "no-killable-process");
        assert_eq!(line["victims"], serde_json::json!([]));
        assert_eq!(line["limit_cgroup"], "/unkillable");
        assert_eq!(
            sentence(&incident),
            "No process was killed, at the limit of 32.0 MiB of cgroup /unkillable; none may be killed; set off by tail (pid 7)"
        );
        let disabled = sentence(&self::incident(Cause::OomKillDisabled));
        assert!(
            disabled.contains("; oom_kill_disable is set, and its processes wait"),
            "{disabled}"
        );
    }

    #[test]
    fn a_limit_within_a_container_is_not_the_containers() {
        let pod = "/kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8";
        let id = "17db".repeat(16);
        let main = format!("{pod}/{id}");
        for (node, cgroup, scope, whose) in [
            ("", main.clone(), Scope::Container, "Container main"),
            (
                "/docker/n",
                format!("/docker/n{main}"),
                Scope::Container,
                "Container main",
            ),
            (
                "",
                format!("{main}/docker/e62e"),
                Scope::Nested,
                "Cgroup e62e within container main",
            ),
            (
                "/docker/n",
                "/docker/n/system.slice".to_owned(),
                Scope::Ancestor,
                "Cgroup /docker/n/system.slice is",
            ),
        ] {
            let node = NodeRoot::new(node);
            let seen = Sighting {
                cgroup,
                ..sighting(Cause::NoKillableProcess)
            };
            let container = node
                .identify_path(&seen.cgroup)
                .container_id
                .map(|id| Container {
                    id,
                    name: Some("main".to_owned()),
                    runtime: None,
                });
            assert_eq!(container.is_some(), scope != Scope::Ancestor);
            let host = Host::read(None);
            let incident = seen.into_incident(&host, &node, Timestamp::UNIX_EPOCH);
            assert_eq!(incident.scope, scope);
            let no_victim = NoVictim {
                incident,
                container,
                pod: None,
            };
            let note = no_victim.event_note();
            assert!(note.starts_with(whose), "{note}");
        }
    }

    #[test]
    fn the_note_names_the_cgroup_at_its_limit_and_what_to_do() {
        let mut no_victim = NoVictim {
            incident: incident(Cause::OomKillDisabled),
            container: None,
            pod: None,
        };
        assert_eq!(
            no_victim.event_note(),
            "Cgroup /unkillable is out of memory at its limit of 32 MiB, and nobody is killed: its processes wait, as oom_kill_disable is set. \
             Set off by an allocation of tail (pid 7). \
             Next: write 0 into memory.oom_control of the cgroup, or raise the limit; until then they hang."
        );
        no_victim.incident = incident(Cause::NoKillableProcess);
        no_victim.container = Some(Container {
            id: "17db".repeat(16),
            name: Some("\u{1b}[2J".repeat(500)),
            runtime: None,
        });
        let note = no_victim.event_note();
        assert!(
            note.starts_with("Container \\u{1b}[2J") && note.len() < 1024,
            "{note}"
        );
        assert!(
            note.contains("oom_score_adj of a process in it above -1000"),
            "{note}"
        );
    }
}
