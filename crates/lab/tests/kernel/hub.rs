//! The agent bonks a hub, and a bonker elsewhere follows that.

use lab::{Agent, Bonker, Cgroup, field, message, stamp};

use super::tail;
use crate::support::{MIB, SOON, agent_bin, at, bonker_bin};

#[test]
fn a_follower_of_the_hub_swings_once_for_a_kill() {
    // Two kills of one node would be one bonk.
    let quiet = ["--backend=null", "--log-format=json", "--window=0s"];
    let hub = Bonker::start_as(&bonker_bin(), &quiet).unwrap();
    let follow = ["--follow", hub.url(), "--backend", "sim"];
    let flags = [&follow[..], &quiet[1..]].concat();
    let mut follower = Bonker::start_as(&bonker_bin(), &flags).unwrap();
    let following = |line: &str| (message(line)? == "following").then_some(());
    follower
        .log
        .find("that it follows", SOON, following)
        .unwrap();
    let args = ["--no-kubernetes", "--bonker", hub.url()];
    let mut agent = Agent::start(&agent_bin(), &args, &[]).unwrap();
    let cgroup = Cgroup::new(16 * MIB).unwrap();
    let victim = tail(&cgroup);
    let incident = agent.incident_of(victim.pid(), SOON).unwrap();
    let id = at(&incident, "/id").as_str().unwrap();
    let mut lines = Vec::new();
    follower
        .log
        .find("its swing", SOON, |line| {
            lines.push(line.to_owned());
            swing_of(id, line).then_some(())
        })
        .unwrap();
    // The last two are the way there and the way back.
    let steps = lines.iter().enumerate();
    let steps = steps.filter(|(_, line)| message(line).is_some_and(|text| text == "swing step"));
    let strike = steps.map(|(n, _)| n).rev().nth(1).unwrap();
    let mut n = 0;
    let (swung, ()) = follower
        .log
        .find_at("its strike", SOON, |_| {
            n += 1;
            (n > strike).then_some(())
        })
        .unwrap();
    let took = swung.saturating_duration_since(stamp(id).unwrap());
    println!("from the kernel's stamp to the follower's pulse: {took:?}");
    agent.acknowledgement(id, SOON).unwrap();

    // What there could be more of this one comes before the next one's swing.
    let cgroup = Cgroup::new(16 * MIB).unwrap();
    let next = tail(&cgroup);
    let incident = agent.incident_of(next.pid(), SOON).unwrap();
    let after = at(&incident, "/id").as_str().unwrap();
    let mut swings = 0;
    follower
        .log
        .find("the next swing", SOON, |line| {
            swings += usize::from(swing_of(id, line));
            swing_of(after, line).then_some(())
        })
        .unwrap();
    assert_eq!(swings, 1);
}

fn swing_of(id: &str, line: &str) -> bool {
    message(line).is_some_and(|text| text == "bonked")
        && field(line, "id").is_some_and(|of| of == id)
}
