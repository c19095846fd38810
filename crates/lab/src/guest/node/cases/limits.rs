//! A limit that is changed.

use anyhow::Result;
use serde_json::{Value, json};

use super::plans::{DIED, LIMIT};
use crate::expect::{between, samples};
use crate::guest::kill::ExpectedKill;
use crate::guest::node::event::ExpectedEvent;
use crate::guest::node::manifest::{ContainerPlan, PodPlan, hog};
use crate::guest::node::stage::{ExpectedReport, Stage};
use crate::guest::pods::MIB;
use crate::guest::scene::expect;

/// The limit of a running container is set to less than it uses.
pub(super) fn limit_lowered_below_usage(stage: &mut Stage) -> Result<Value> {
    let script = hog(0, "--mib 60 --hold");
    let containers = [ContainerPlan::new("main", Some(2 * LIMIT), &script)];
    let pod = stage.kubelet.run(PodPlan::new(&containers))?;
    let main = stage.kubelet.start_container(&pod, "main")?;
    let mut holds = main.hog(0)?;
    holds.open_gate()?;
    holds.wait_for_line("touched")?;
    let victims = [main.facts()?];
    let group = &main.group;
    let kill = ExpectedKill {
        // It takes the memory back itself.
        trigger: Some(std::process::id()),
        ..ExpectedKill::at_limit(("container", LIMIT, &group.path), &victims)
    };
    let event = ExpectedEvent {
        first: &["main", "hog", "lowered", "48 MiB"],
        chars: 500,
        ..DIED
    };
    let expected = ExpectedReport {
        kill,
        fields: vec![("limit_lowered", json!(true))],
        events: vec![pod.event(event)],
    };
    let mut outcome = stage.play(&expected, || group.set("memory.max", LIMIT))?;
    // Before the kill it had the other limit, and more in use.
    expect(
        &mut outcome,
        &[
            ("/incident/memory/0/limit_bytes", json!(LIMIT)),
            ("/incident/memory/0/usage_bytes", between(1, 2 * LIMIT)),
            (
                "/incident/memory/0/peak_bytes",
                between(60 * MIB, 2 * LIMIT),
            ),
            ("/incident/before/limit_bytes", json!(LIMIT)),
            ("/incident/before/samples", samples(2, LIMIT, 2 * LIMIT)),
        ],
    )?;
    stage.kubelet.remove(&pod)?;
    Ok(outcome)
}
