//! OOMs without a victim.

use lab::{Agent, Cgroup, wait};
use serde_json::{Value, json};

use super::support::admin::{Admin, LISTEN};
use super::support::{MIB, SOON, agent_bin, at};
use super::tail;

/// cgroup v1 only: v2 has no such switch.
#[test]
fn processes_that_wait_as_killing_is_turned_off_are_reported_once() {
    let (cgroup, _id) = Cgroup::of_container(32 * MIB).unwrap();
    let control = cgroup.dir().join("memory.oom_control");
    if !control.exists() {
        return;
    }
    let args = [&["--no-kubernetes", "--sample", "1s"][..], &LISTEN].concat();
    let mut agent = Agent::start(&agent_bin(), &args, &[]).unwrap();
    let admin = Admin::of_agent(&mut agent);
    std::fs::write(&control, "1").unwrap();
    let mut hangs = tail(&cgroup);
    let of_ours = |line: &str| {
        let incident: Value = serde_json::from_str(line).ok()?;
        (*at(&incident, "/limit_cgroup") == json!(cgroup.path())).then_some(incident)
    };
    let incident = agent
        .incidents
        .find("an incident of it", SOON, of_ours)
        .unwrap();
    assert_eq!(*at(&incident, "/outcome"), json!("oom-kill-disabled"));
    assert_eq!(*at(&incident, "/scope"), json!("container"));
    assert_eq!(*at(&incident, "/limit_bytes"), json!(32 * MIB));
    assert_eq!(*at(&incident, "/victims"), json!([]));
    assert!(hangs.0.try_wait().unwrap().is_none(), "it hangs");
    // It is looked at again and again, and not reported again.
    let passes = || admin.series("oom_agent_sampler_passes_total");
    let begun = passes().unwrap();
    wait::until("more passes", SOON, || {
        (passes()? >= begun + 3.0).then_some(())
    })
    .unwrap();
    // With its end its process is killed, which is reported as a kill.
    std::fs::write(&control, "0").unwrap();
    let kill = agent.incident_of(hangs.pid(), SOON).unwrap();
    assert_eq!(*at(&kill, "/limit_cgroup"), json!(cgroup.path()));
    let lines = agent.incidents.so_far().filter_map(of_ours);
    let empty = |incident: &Value| *at(incident, "/victims") == json!([]);
    assert_eq!(lines.filter(empty).count(), 1);
    let counted = r#"oom_agent_ooms_without_victim_total{cause="oom-kill-disabled"}"#;
    assert_eq!(admin.series(counted), Some(1.0));
}
