//! The last minute before a kill, as the flight recorder has seen it.

use std::time::Duration;

use lab::Cgroup;
use serde_json::{Value, json};

use super::support::{MIB, at};
use super::{HOG, Running, agent};

/// The processes take their time on purpose.
const LATER: Duration = Duration::from_mins(1);

fn number(incident: &Value, field: &str) -> u64 {
    at(incident, field)
        .as_u64()
        .unwrap_or_else(|| panic!("{field}: {incident:#}"))
}

/// What goes for every `before` of a cgroup with a limit of 64 MiB.
fn is_whole(incident: &Value, cgroup: &Cgroup) {
    assert_eq!(*at(incident, "/before/cgroup"), json!(cgroup.path()));
    assert_eq!(*at(incident, "/before/limit_bytes"), json!(64 * MIB));
    let samples = at(incident, "/before/samples").as_array().unwrap();
    assert!((4..=60).contains(&samples.len()), "{incident:#}");
    let ages = samples.iter().map(|sample| number(sample, "/0"));
    assert!(ages.rev().is_sorted(), "{incident:#}");
    let last = samples.last().unwrap();
    assert_eq!(number(last, "/0"), 0);
    let at_kill = number(last, "/1");
    assert!((63 * MIB..=65 * MIB).contains(&at_kill), "{incident:#}");
}

#[test]
fn a_leak_is_reported_as_one() {
    let mut agent = agent();
    let (cgroup, _id) = Cgroup::of_container(64 * MIB).unwrap();
    // 8 MiB a second, or less on a machine that has more to do.
    let mut hog = cgroup.command(HOG);
    let victim = Running::spawn(hog.args(["hog", "--mib", "200", "--every-ms", "125"]));
    let incident = agent.incident_of(victim.pid(), LATER).unwrap();
    is_whole(&incident, &cgroup);
    assert_eq!(*at(&incident, "/before/verdict"), "leak", "{incident:#}");
    let slope = number(&incident, "/before/slope_bytes_per_second");
    assert!((2 * MIB..10 * MIB).contains(&slope), "{incident:#}");
    let half = number(&incident, "/before/half_to_limit_ms");
    assert!((3_000..20_000).contains(&half), "{incident:#}");
}

#[test]
fn a_burst_is_reported_as_one() {
    let mut agent = agent();
    let (cgroup, _id) = Cgroup::of_container(64 * MIB).unwrap();
    let mut idle = cgroup.command("/bin/sh");
    let victim = Running::spawn(idle.args(["-c", "sleep 6; exec tail /dev/zero"]));
    let incident = agent.incident_of(victim.pid(), LATER).unwrap();
    is_whole(&incident, &cgroup);
    assert_eq!(*at(&incident, "/before/verdict"), "burst", "{incident:#}");
    let slope = number(&incident, "/before/slope_bytes_per_second");
    assert!(slope > 20 * MIB, "{incident:#}");
    let half = number(&incident, "/before/half_to_limit_ms");
    assert!(half < 3_000, "{incident:#}");
}
