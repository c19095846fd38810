//! Containers near their limits, before anything is killed: the warnings of them.

use std::process::Command;

use lab::{Agent, Bonker, Cgroup, wait};
use serde_json::{Value, json};

use super::support::{MIB, SOON, agent_bin, at, bonker_bin, text};
use super::{HOG, Running, people};

/// To so many MiB of 64, within some four seconds.
fn grows(cgroup: &Cgroup, mib: &str) -> Running {
    let mut hog = cgroup.command(HOG);
    Running::spawn(hog.args(["hog", "--mib", mib, "--every-ms", "60", "--hold"]))
}

fn level(line: &str, id: &str) -> Option<Value> {
    let line: Value = serde_json::from_str(line).ok()?;
    let ours = *line.pointer("/container/id")? == json!(id);
    (ours && line.get("warning").is_some()).then_some(line)
}

#[test]
fn a_container_near_its_limit_has_a_warning_and_a_nudge_before_its_kill() {
    let bonker = Bonker::start_with_web(&bonker_bin(), &[]).unwrap();
    let args = ["--no-kubernetes", "--warn", "line,bonk", "--bonker"];
    let mut agent =
        Agent::start(&agent_bin(), &[&args[..], &[bonker.url()]].concat(), &[]).unwrap();
    let (cgroup, id) = Cgroup::of_container(64 * MIB).unwrap();
    let victim = grows(&cgroup, "200");
    let mut of_level = |expected: &str| {
        let ours = |line: &str| level(line, &id).filter(|line| line["warning"] == expected);
        agent.incidents.find(expected, SOON, ours).unwrap()
    };
    let mut ids = Vec::new();
    for (expected, percent) in [("warning", 75), ("critical", 90)] {
        let line = of_level(expected);
        assert_eq!(text(&line, "/mark"), format!("{percent} % (working set)"));
        assert_eq!(text(&line, "/cgroup"), cgroup.path());
        assert_eq!(*at(&line, "/limit_bytes"), json!(64 * MIB));
        let usage = at(&line, "/working_set_bytes").as_u64().unwrap();
        assert!(usage * 100 >= 64 * MIB * percent, "{line:#}");
        assert!(usage < 64 * MIB, "before it is there: {line:#}");
        assert_eq!(*at(&line, "/signal"), Value::Null);
        assert_eq!(*at(&line, "/again"), json!(false));
        let left = at(&line, "/seconds_to_limit").as_f64().unwrap();
        assert!((0.0..10.0).contains(&left), "{line:#}");
        ids.push(text(&line, "/id").to_owned());
    }
    let kill = agent.incident_of(victim.pid(), SOON).unwrap();
    for id in [&ids[0], &ids[1], text(&kill, "/id")] {
        let answer = agent.acknowledgement(id, SOON).unwrap();
        // While another container's swing lasts, the worst of them waits for all.
        let outcome = text(&answer, "/outcome");
        let taken = ["OUTCOME_ACCEPTED", "OUTCOME_COALESCED"];
        assert!(taken.contains(&outcome), "{answer:#}");
    }
    swings(&bonker, "bonk");
}

#[test]
fn a_container_that_stays_near_its_limit_is_nudged_for() {
    let bonker = Bonker::start_with_web(&bonker_bin(), &[]).unwrap();
    let args = ["--no-kubernetes", "--warn", "bonk", "--bonker"];
    let _agent = Agent::start(&agent_bin(), &[&args[..], &[bonker.url()]].concat(), &[]).unwrap();
    let (cgroup, _id) = Cgroup::of_container(64 * MIB).unwrap();
    let _eater = grows(&cgroup, "52");
    swings(&bonker, "nudge");
}

fn swings(bonker: &Bonker, gesture: &str) {
    let series = format!(r#"bonker_bonks_total{{gesture="{gesture}",source="oom-agent"}} "#);
    wait::until(gesture, SOON, || {
        let metrics = bonker.metrics().ok()?;
        let count = metrics.lines().find_map(|line| line.strip_prefix(&series));
        (count? != "0").then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", bonker.metrics().unwrap()));
}

#[test]
fn warnings_for_people_are_sentences_and_off_by_default() {
    let mut start_agent_for_people = people::start_agent_for_people(&["--warn", "line"]);
    let mut silent = super::agent();
    let (cgroup, id) = Cgroup::of_container(64 * MIB).unwrap();
    let victim = grows(&cgroup, "200");
    let start = format!("container {} is at ", &id[..12]);
    start_agent_for_people
        .output()
        .find("a sentence", SOON, |line| {
            let ends = " % of its memory limit of 64 MiB (critical); at this pace it is there in ";
            (line.contains(&start) && line.contains(ends)).then_some(())
        })
        .unwrap();
    silent.incident_of(victim.pid(), SOON).unwrap();
    let lines: Vec<String> = silent.incidents.so_far().map(str::to_owned).collect();
    assert!(
        lines.iter().all(|line| level(line, &id).is_none()),
        "{lines:#?}"
    );
}

#[test]
fn warnings_without_a_look_at_memory_are_refused() {
    let mut agent = Command::new(agent_bin());
    agent.args([
        "run",
        "--no-kubernetes",
        "--sample",
        "off",
        "--warn",
        "line",
    ]);
    let refused = agent.output().unwrap();
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && error.contains("leave out --sample off"),
        "{error}"
    );
}
