//! An OOM that kills nobody: no process of the cgroup may be killed, or killing is turned off there. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memcg::NodeRoot;
use oom_agent_ebpf as kernel;
use oom_capture::{Trigger, cgroup_path, decode_name};
use service::escape;

use crate::host::Host;
use crate::incident::{Container, Incident, LimitKind, Outcome, Pod, Scope, VERSION, position};
use crate::size::size;

/// A cgroup that was quiet for so long has another episode.
const QUIET: Duration = Duration::from_mins(5);

/// Seen again within this time, it lasts: the kernel's records come every ten seconds. Beside a kill the OOM
/// killer may find nobody for a moment, while the victim's memory is given back.
const AGAIN: Duration = Duration::from_secs(15);

/// Cgroups that are remembered.
const CGROUPS: usize = 1024;

/// Why nobody is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// All processes have an `oom_score_adj` of -1000, or there is none.
    NoKillableProcess,
    /// cgroup v1: `oom_kill_disable` is 1, and processes wait.
    OomKillDisabled,
}

/// What was seen of a cgroup. It is seen again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Why nobody is killed.
    pub cause: Cause,
    /// Whose limit it is: from the hierarchy's root on, with a slash in front.
    pub cgroup: String,
    /// That limit.
    pub limit_bytes: Option<u64>,
    /// Who wanted memory; `None` where the OOM itself was not seen.
    pub trigger: Option<Trigger>,
    /// `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
}

/// An episode, as it is told.
#[derive(Clone, Debug, PartialEq)]
pub struct NoVictim {
    /// Without victims; its outcome is the cause.
    pub incident: Incident,
    /// The container whose cgroup it is.
    pub container: Option<Container>,
    /// Its pod, or the pod whose cgroup it is.
    pub pod: Option<Pod>,
}

/// Which cgroups have been told of.
#[derive(Debug, Default)]
pub struct Episodes(HashMap<String, Episode>);

#[derive(Debug)]
struct Episode {
    last: Instant,
    told: bool,
    /// As the kernel's record has it.
    trigger: Option<Trigger>,
}

// === impl Cause ===

impl Cause {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::NoKillableProcess, Self::OomKillDisabled];

    /// For metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoKillableProcess => "no-killable-process",
            Self::OomKillDisabled => "oom-kill-disabled",
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::NoKillableProcess => Outcome::NoKillableProcess,
            Self::OomKillDisabled => Outcome::OomKillDisabled,
        }
    }
}

// === impl Sighting ===

impl Sighting {
    /// Of the kernel's record; `None` where the cgroup's name could not be read.
    pub fn of_record(record: &kernel::NoVictim, page_size: u64) -> Option<Self> {
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

    /// As an incident, at `time` on the wall.
    pub fn incident(self, host: &Host, node: &NodeRoot, time: Timestamp) -> Incident {
        let below = node.path_on_node(&self.cgroup);
        let scope = below.map_or(Scope::Ancestor, |path| position(path, None));
        let mut degraded = Vec::new();
        if self.trigger.is_none() {
            degraded.push("trigger: out_of_memory was not seen, only what it left".to_owned());
        }
        Incident {
            version: VERSION,
            // A victim's pid is none of these.
            id: format!("{}-{}-0", host.boot, self.stamp_ns),
            time,
            node: host.node.clone(),
            scope,
            limit_bytes: self.limit_bytes,
            limit_cgroup: Some(self.cgroup),
            limit_kind: Some(LimitKind::Memory),
            limit_lowered: false,
            setting: None,
            holders: Vec::new(),
            oom: None,
            outcome: self.cause.outcome(),
            trigger: self.trigger,
            victims: Vec::new(),
            victim_count: 0,
            memory: Vec::new(),
            before: None,
            degraded,
            stamp_ns: self.stamp_ns,
            stamps: Vec::new(),
        }
    }
}

// === impl Episodes ===

impl Episodes {
    /// Whether an episode of that cgroup is to be told. One that the sampler reports gets the trigger of
    /// the kernel's record before it.
    pub fn begins(&mut self, sighting: &mut Sighting, now: Instant) -> bool {
        let since = |last: Instant| now.saturating_duration_since(last);
        // The sampler sees what has lasted already, and not the trigger.
        let lasts = sighting.trigger.is_none();
        if !self.0.contains_key(&sighting.cgroup) {
            if self.0.len() >= CGROUPS {
                self.0.retain(|_, episode| since(episode.last) < QUIET);
            }
            // As many at once are told of by the others.
            if self.0.len() >= CGROUPS {
                return false;
            }
            let episode = Episode {
                last: now,
                told: lasts,
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
        let told_before = episode.told && quiet < QUIET;
        let begins = !told_before && (lasts || quiet <= AGAIN);
        episode.told = told_before || begins;
        begins
    }
}

// === impl NoVictim ===

impl NoVictim {
    /// For its Event: what happens, and what to do next. Others' text in it is escaped and bounded.
    pub fn note(&self) -> String {
        let container = self.container.as_ref();
        let container = container.map(|container| match &container.name {
            Some(name) => shown(name),
            None => shown(escape::truncate(&container.id, 12)),
        });
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
    let text = escape::terminal(escape::truncate(text, NAME_LEN)).to_string();
    escape::truncate(&text, NAME_LEN).to_owned()
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

    /// The sampler's sightings last.
    fn begins(episodes: &mut Episodes, cgroup: &str, lasts: bool, now: Instant) -> bool {
        let trigger = sighting(Cause::NoKillableProcess).trigger;
        let mut sighting = Sighting {
            cgroup: cgroup.to_owned(),
            trigger: trigger.filter(|_| !lasts),
            ..sighting(Cause::NoKillableProcess)
        };
        episodes.begins(&mut sighting, now)
    }

    #[test]
    fn the_sampler_has_the_trigger_of_the_kernels_record() {
        let mut episodes = Episodes::default();
        let start = Instant::now();
        let mut seen = sighting(Cause::NoKillableProcess);
        assert!(!episodes.begins(&mut seen, start));
        seen.trigger = None;
        assert!(episodes.begins(&mut seen, start + Duration::from_secs(5)));
        assert_eq!(seen, sighting(Cause::NoKillableProcess));
    }

    fn incident(cause: Cause) -> Incident {
        let host = Host {
            node: "node-a".to_owned(),
            boot: "6f1c0a52".to_owned(),
            ..Host::read(None)
        };
        let time = "2026-11-21T09:00:00Z".parse().unwrap();
        sighting(cause).incident(&host, &NodeRoot::default(), time)
    }

    #[test]
    fn an_episode_is_told_once_and_the_next_one_too() {
        let mut episodes = Episodes::default();
        let start = Instant::now();
        assert!(begins(&mut episodes, "/a", true, start));
        for second in 1..1000 {
            let now = start + Duration::from_secs(second);
            assert!(
                !begins(&mut episodes, "/a", second % 2 == 0, now),
                "{second}"
            );
        }
        assert!(begins(&mut episodes, "/b", true, start));
        let next = start + Duration::from_secs(999) + QUIET;
        assert!(begins(&mut episodes, "/a", true, next));
    }

    #[test]
    fn what_was_seen_for_a_moment_is_not_told() {
        let mut episodes = Episodes::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!begins(&mut episodes, "/a", false, start), "beside a kill");
        assert!(
            !begins(&mut episodes, "/a", false, at(60)),
            "beside another"
        );
        assert!(begins(&mut episodes, "/a", false, at(70)), "it lasts");
        assert!(!begins(&mut episodes, "/a", false, at(80)));
        let next = at(80) + QUIET;
        assert!(!begins(&mut episodes, "/a", false, next));
        assert!(begins(
            &mut episodes,
            "/a",
            false,
            next + Duration::from_secs(10)
        ));
    }

    #[test]
    fn no_more_cgroups_are_remembered_than_there_is_room_for() {
        let mut episodes = Episodes::default();
        let start = Instant::now();
        for n in 0..CGROUPS {
            assert!(begins(&mut episodes, &n.to_string(), true, start));
        }
        assert!(!begins(&mut episodes, "more", true, start));
        assert!(begins(&mut episodes, "more", true, start + QUIET));
        assert_eq!(episodes.0.len(), 1);
    }

    #[test]
    fn it_is_an_incident_without_victims() {
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
            let incident = seen.incident(&host, &node, Timestamp::UNIX_EPOCH);
            assert_eq!(incident.scope, scope);
            let told = NoVictim {
                incident,
                container,
                pod: None,
            };
            let note = told.note();
            assert!(note.starts_with(whose), "{note}");
        }
    }

    #[test]
    fn the_note_says_whose_limit_it_is_and_what_to_do() {
        let mut told = NoVictim {
            incident: incident(Cause::OomKillDisabled),
            container: None,
            pod: None,
        };
        assert_eq!(
            told.note(),
            "Cgroup /unkillable is out of memory at its limit of 32 MiB, and nobody is killed: its processes wait, as oom_kill_disable is set. \
             Set off by an allocation of tail (pid 7). \
             Next: write 0 into memory.oom_control of the cgroup, or raise the limit; until then they hang."
        );
        told.incident = incident(Cause::NoKillableProcess);
        told.container = Some(Container {
            id: "17db".repeat(16),
            name: Some("\u{1b}[2J".repeat(500)),
            runtime: None,
        });
        let note = told.note();
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
