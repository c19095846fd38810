//! The text of a scrape, parsed as Prometheus does.

use std::collections::BTreeMap;
use std::time::Duration;

use memcg::Stalled;
use oom_capture::probe::DropCounts;
use oom_capture::{Kill, Reading, Trigger, Victim as KernelVictim};

use super::kills::{KILLED_TTL, MAX_CONTAINERS, UNKILLED_TTL};
use super::{Metrics, Readings, Who};
use crate::incident::{Container, Incident, Outcome, Pod, Scope, Victim};
use pressure::{Pressure, Sample, Stall};

/// Series by name and labels; sums of seconds left out.
type Series = BTreeMap<String, i64>;

fn scrape(metrics: &Metrics, now: Duration) -> Series {
    parse(&metrics.encode(nanos(now)).unwrap())
}

fn parse(text: &str) -> Series {
    let lines = text.strip_suffix("# EOF\n").expect("it ends as it should");
    let samples = lines.lines().filter(|line| !line.starts_with('#'));
    let mut series = Series::new();
    for line in samples {
        let (name, value) = line.rsplit_once(' ').unwrap();
        if name.contains("_seconds_sum") || name.contains("_seconds_total") {
            continue;
        }
        let twice = series.insert(name.to_owned(), value.parse().unwrap());
        assert_eq!(twice, None, "{line}");
    }
    series
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap()
}

fn container(name: &str) -> (Container, Pod) {
    let container = Container {
        id: "0".repeat(64),
        name: Some(name.to_owned()),
        runtime: None,
    };
    let pod = Pod {
        namespace: Some("shop".to_owned()),
        name: Some("hungry".to_owned()),
        uid: None,
    };
    (container, pod)
}

fn who(name: &str) -> Who {
    let (container, pod) = container(name);
    Who::new(&container, Some(&pod))
}

fn incident(victims: Vec<Victim>) -> Incident {
    Incident {
        scope: Scope::Container,
        outcome: Outcome::ContainerDied,
        victim_count: victims.len() as u64,
        victims,
        ..Incident::new(
            "6f1c0a52-1-1".to_owned(),
            "2026-11-21T09:00:00.5Z".parse().unwrap(),
            "node-a".to_owned(),
        )
    }
}

/// A kill in the container of that name.
fn kill(name: &str) -> Incident {
    let (container, pod) = container(name);
    incident(vec![Victim {
        process: oom_capture::Process {
            cgroup: Some("/a".to_owned()),
            ..oom_capture::Process::default()
        },
        container: Some(container),
        pod: Some(pod),
        ..Victim::default()
    }])
}

fn kills(container: &str, scope: &str, outcome: &str) -> String {
    format!(
        r#"oom_agent_kills_total{{namespace="shop",pod="hungry",container="{container}",scope="{scope}",outcome="{outcome}"}}"#
    )
}

const HOUR: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);

/// Every reported kill is in one of these series.
fn all_kills(series: &Series) -> i64 {
    let is_kills = |(name, _): &(&String, &i64)| {
        name.starts_with("oom_agent_kills_total") || name.starts_with("oom_agent_retired_kills")
    };
    series.iter().filter(is_kills).map(|(_, kills)| kills).sum()
}

#[test]
fn a_running_container_is_at_zero_and_kept_after_its_end() {
    let metrics = Metrics::default();
    metrics.kills.set_running(vec![who("main"), who("side")], 0);
    let killed = kills("main", "container", "container-died");
    let unkilled = kills("side", "container", "container-died");
    let mut series = scrape(&metrics, HOUR * 24);
    assert_eq!((series[&killed], series[&unkilled]), (0, 0));
    assert_eq!(series[&kills("main", "node", "child-died")], 0);
    assert_eq!(series["oom_agent_running_containers"], 2);

    metrics.count_incident(&kill("main"), nanos(HOUR * 24));
    metrics.kills.set_running(vec![], nanos(HOUR * 24));
    series = scrape(&metrics, HOUR * 24 + UNKILLED_TTL.saturating_sub(SECOND));
    assert_eq!((series[&killed], series[&unkilled]), (1, 0));
    series = scrape(&metrics, HOUR * 24 + UNKILLED_TTL);
    assert_eq!(series[&killed], 1);
    assert!(!series.contains_key(&unkilled));
    series = scrape(&metrics, HOUR * 24 + KILLED_TTL);
    assert!(!series.contains_key(&killed));
    assert_eq!(
        series[r#"oom_agent_retired_containers_total{reason="ended"}"#],
        2
    );
    assert_eq!(
        series[r#"oom_agent_retired_kills_total{reason="ended"}"#],
        1
    );
    assert_eq!(all_kills(&series), 1);
}

#[test]
fn a_container_that_is_started_again_counts_on() {
    let metrics = Metrics::default();
    for minute in 0..3 {
        metrics
            .kills
            .set_running(vec![who("main")], nanos(Duration::from_mins(minute)));
        metrics.count_incident(&kill("main"), nanos(Duration::from_mins(minute)));
        metrics
            .kills
            .set_running(vec![], nanos(Duration::from_mins(minute)));
    }
    let series = scrape(&metrics, Duration::from_mins(3));
    assert_eq!(series[&kills("main", "container", "container-died")], 3);
}

#[test]
fn of_too_many_containers_the_one_killed_longest_ago_is_removed_and_counted() {
    let metrics = Metrics::default();
    let limit = u64::try_from(MAX_CONTAINERS).unwrap();
    for n in 0..limit + 10 {
        metrics.count_incident(&kill(&format!("c{n}")), n);
    }
    // Containers with kills make no room for zeros.
    metrics.kills.set_running(vec![who("late")], limit + 10);
    let series = scrape(&metrics, Duration::from_millis(1));
    let kept =
        |n: u64| series.contains_key(&kills(&format!("c{n}"), "container", "container-died"));
    assert!(!kept(0) && !kept(9) && kept(10) && kept(limit + 9));
    assert_eq!(
        series[r#"oom_agent_retired_containers_total{reason="full"}"#],
        10
    );
    assert_eq!(
        series[r#"oom_agent_retired_kills_total{reason="full"}"#],
        10
    );
    assert_eq!(series["oom_agent_running_containers_without_series"], 1);
    assert_eq!(all_kills(&series), i64::try_from(limit).unwrap() + 10);
}

#[test]
fn zeros_make_room_for_kills_and_running_containers_keep_their_series() {
    let metrics = Metrics::default();
    let many: Vec<Who> = (0..MAX_CONTAINERS + 5)
        .map(|n| who(&format!("c{n}")))
        .collect();
    for now in 0..3 {
        metrics.kills.set_running(many.clone(), now);
    }
    let series = scrape(&metrics, HOUR);
    // The same containers stay.
    assert_eq!(
        series[r#"oom_agent_retired_containers_total{reason="full"}"#],
        0
    );
    assert_eq!(series["oom_agent_running_containers_without_series"], 5);
    metrics.count_incident(&kill("new"), nanos(HOUR));
    let series = scrape(&metrics, HOUR);
    assert_eq!(series[&kills("new", "container", "container-died")], 1);
    assert_eq!(
        series[r#"oom_agent_retired_containers_total{reason="full"}"#],
        1
    );
}

#[test]
fn a_hostile_name_is_escaped_and_bounded() {
    let metrics = Metrics::default();
    let hostile = "x\"} 7\n# EOF\noom_agent_kills_total{pod=\"\\";
    metrics.count_incident(&kill(hostile), 0);
    metrics.count_incident(&kill(&"ö".repeat(10_000)), 0);
    let text = metrics.encode(0).unwrap();
    let escaped = r#"container="x\"} 7\n# EOF\noom_agent_kills_total{pod=\"\\","#;
    assert!(text.contains(escaped), "{text}");
    assert_eq!(text.matches("\n# EOF\n").count(), 1);
    assert_eq!(all_kills(&parse(&text)), 2);
    assert!(text.lines().all(|line| line.len() < 1024));
}

#[test]
fn a_host_process_has_empty_labels_and_is_at_zero_from_the_start() {
    let metrics = Metrics::default();
    let host =
        r#"oom_agent_kills_total{namespace="",pod="",container="",scope="node",outcome="unknown"}"#;
    assert_eq!(scrape(&metrics, Duration::ZERO)[host], 0);
    let mut on_host = incident(vec![Victim::default()]);
    (on_host.scope, on_host.outcome) = (Scope::Node, Outcome::Unknown);
    metrics.count_incident(&on_host, 0);
    assert_eq!(scrape(&metrics, HOUR * 100)[host], 1);
}

#[test]
fn a_container_without_a_name_has_its_id() {
    let metrics = Metrics::default();
    let id = "17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a";
    let victim = Victim {
        container: Some(Container {
            id: id.to_owned(),
            ..Container::default()
        }),
        ..Victim::default()
    };
    metrics.count_incident(&incident(vec![victim]), 0);
    let name = format!(
        r#"oom_agent_kills_total{{namespace="",pod="",container="{id}",scope="container",outcome="container-died"}}"#
    );
    assert_eq!(scrape(&metrics, HOUR / 2)[&name], 1);
}

fn new_kill(fates: &[Reading], trigger: bool) -> Kill {
    let victim = |fate: &Reading| KernelVictim {
        reading: *fate,
        ..KernelVictim::default()
    };
    Kill {
        stamp_ns: 0,
        trigger: trigger.then(|| Trigger {
            pid: 1,
            comm: "a".to_owned(),
        }),
        control: None,
        victims: fates.iter().map(victim).collect(),
        ..Kill::default()
    }
}

#[test]
fn drift_counts_as_the_kernel_does() {
    let metrics = Metrics::default();
    metrics.count_kill(
        &new_kill(
            &[Reading::Autopsied, Reading::Autopsied, Reading::Outside],
            true,
        ),
        false,
    );
    let mut exiting = new_kill(&[Reading::Unseen, Reading::Autopsied], false);
    exiting.victims[1].exiting = true;
    metrics.count_kill(&exiting, false);
    let drift = |kernel_kills| {
        metrics.external.update(|| Readings {
            kernel_kills,
            ..Readings::default()
        });
        let series = scrape(&metrics, Duration::ZERO);
        assert_eq!(
            metrics.external.readings().1,
            series.get("oom_agent_drift").copied()
        );
        metrics.external.readings().1
    };
    assert_eq!(drift(Some(4)), Some(0));
    assert_eq!(drift(Some(9)), Some(5));
    assert_eq!(drift(None), None);
    let mut group = new_kill(&[Reading::Autopsied], true);
    group.victims[0].group = Some("/a".to_owned());
    assert!(group.is_group());
    group.first_twice = true;
    metrics.count_kill(&group, false);
    // A group's first is counted twice.
    assert_eq!(drift(Some(6)), Some(0));
    // Unless it was gone by then.
    group.first_twice = false;
    group.unlisted.autopsied = 10;
    group.unlisted.exiting = 1;
    metrics.count_kill(&group, false);
    assert_eq!(drift(Some(6 + 1 + 10)), Some(0));
    let series = scrape(&metrics, Duration::ZERO);
    for (name, value) in [
        (r#"oom_agent_victims_total{fate="autopsied"}"#, 14),
        (r#"oom_agent_victims_total{fate="outside"}"#, 1),
        (r#"oom_agent_victims_total{fate="exiting"}"#, 2),
        (r#"oom_agent_victims_total{fate="unseen"}"#, 1),
        ("oom_agent_incidents_without_mark_total", 1),
        ("oom_agent_group_kills_total", 4),
    ] {
        assert_eq!(series[name], value, "{name}");
    }
}

#[test]
fn a_kill_that_waited_is_not_in_the_drift() {
    let metrics = Metrics::default();
    let mut waited = new_kill(&[Reading::Autopsied, Reading::Autopsied], true);
    waited.victims[1].exiting = true;
    metrics.count_kill(&waited, true);
    metrics.count_kill(&new_kill(&[Reading::Autopsied], true), false);
    metrics.external.update(|| Readings {
        kernel_kills: Some(1),
        ..Readings::default()
    });
    assert_eq!(metrics.external.readings().1, Some(0));
    assert_eq!(metrics.waited.get(), 1);
}

#[test]
fn losses_are_counted_by_reason() {
    let metrics = Metrics::default();
    let readings = Readings {
        drops: DropCounts {
            ring_full: 1,
            marks_full: 2,
            malformed: 3,
            not_kept: 6,
            discarded: 7,
        },
        log_lines_dropped: 4,
        kernel_kills: Some(5),
    };
    metrics.external.update(|| readings);
    // A reading that fails lowers no counter.
    metrics.external.update(|| Readings {
        drops: DropCounts {
            ring_full: 0,
            ..readings.drops
        },
        ..readings
    });
    metrics.incidents_lost.inc();
    metrics.lines_unwritten.inc();
    assert_eq!(metrics.external.readings(), (readings, Some(5)));
    let series = scrape(&metrics, Duration::ZERO);
    for (name, value) in [
        (r#"oom_agent_lost_total{reason="ring-full"}"#, 1),
        (r#"oom_agent_lost_total{reason="marks-full"}"#, 2),
        (r#"oom_agent_lost_total{reason="malformed"}"#, 3),
        (r#"oom_agent_lost_total{reason="not-kept"}"#, 6),
        (r#"oom_agent_lost_total{reason="ring-discarded"}"#, 7),
        (r#"oom_agent_lost_total{reason="log"}"#, 4),
        ("oom_agent_incidents_untold_total", 1),
        ("oom_agent_lines_unwritten_total", 1),
    ] {
        assert_eq!(series[name], value, "{name}");
    }
}

#[test]
fn latencies_and_degraded_fields_are_counted() {
    let metrics = Metrics::default();
    let mut degraded = kill("main");
    degraded.stamp_ns = 1_000_000_000;
    degraded.degraded = vec![
        "victims[0].pod: gone".to_owned(),
        "victims[1].pod: gone too".to_owned(),
    ];
    metrics.count_incident(&degraded, 1_003_000_000);
    let sink = metrics.sink("kubernetes");
    sink.offered.inc_by(3);
    sink.count_delivered(1_000_000_000, 1_200_000_000);
    sink.failed.inc();
    assert_eq!(sink.pending(), 1);
    let series = scrape(&metrics, Duration::ZERO);
    for (name, value) in [
        (
            r#"oom_agent_incident_latency_seconds_bucket{le="0.0025"}"#,
            0,
        ),
        (
            r#"oom_agent_incident_latency_seconds_bucket{le="0.005"}"#,
            1,
        ),
        (
            r#"oom_agent_sink_latency_seconds_bucket{le="0.1",sink="kubernetes"}"#,
            0,
        ),
        (
            r#"oom_agent_sink_latency_seconds_bucket{le="0.25",sink="kubernetes"}"#,
            1,
        ),
        (r#"oom_agent_sink_offered_total{sink="kubernetes"}"#, 3),
        (
            r#"oom_agent_sink_done_total{sink="kubernetes",result="delivered"}"#,
            1,
        ),
        (
            r#"oom_agent_sink_done_total{sink="kubernetes",result="failed"}"#,
            1,
        ),
        (
            r#"oom_agent_sink_done_total{sink="kubernetes",result="overflowed"}"#,
            0,
        ),
        (r#"oom_agent_degraded_fields_total{field="pod"}"#, 1),
        (r#"oom_agent_degraded_fields_total{field="cgroup"}"#, 0),
        ("oom_agent_degraded_incidents_total", 1),
        ("oom_agent_incidents_total", 1),
    ] {
        assert_eq!(series.get(name), Some(&value), "{name}");
    }
}

/// With all optional fields.
fn pressed() -> Sample {
    let stall = Stall {
        some: Stalled::default(),
        full: Stalled::default(),
    };
    Sample {
        at_ns: 1,
        current: 2,
        working_set: 1,
        limit: Some(3),
        throttles: false,
        psi: Some(Pressure {
            memory: stall,
            io: stall,
            cpu: stall,
        }),
    }
}

/// The names, types and labels.
#[test]
fn docs_and_registry_have_the_same_metrics() {
    let metrics = Metrics::default();
    metrics.sink("kubernetes");
    metrics.watch_update("not_oomkilled");
    metrics.watched.set_usages([(who("app"), pressed())]);
    let container = Who::new(&Container::default(), None);
    metrics
        .watched
        .set_forecasts(vec![(container, Duration::ZERO)], 0);
    metrics.external.update(|| Readings {
        kernel_kills: Some(0),
        ..Readings::default()
    });
    let text = metrics.encode(0).unwrap();
    let mut registered: Vec<(String, String, String)> = Vec::new();
    for line in text.lines() {
        let Some((family, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|line| line.split_once(' '))
        else {
            continue;
        };
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let sample = text
            .lines()
            .find(|line| !line.starts_with('#') && line.starts_with(family))
            .unwrap_or_else(|| panic!("{family} has no sample"));
        let labels: Vec<&str> = sample
            .split_once('{')
            .and_then(|(_, rest)| rest.rsplit_once('}'))
            .map_or("", |(labels, _)| labels)
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0))
            .filter(|label| *label != "le")
            .collect();
        let labels = labels.iter().map(|label| format!("`{label}`"));
        registered.push((
            format!("`{family}{suffix}`"),
            kind.to_owned(),
            labels.collect::<Vec<_>>().join(", "),
        ));
    }
    let table = include_str!("../../../docs/metrics.md");
    let mut documented: Vec<(String, String, String)> = table
        .lines()
        .filter(|line| line.starts_with("| `oom_agent_"))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let mut cell = || cells.next().unwrap().to_owned();
            (cell(), cell(), cell())
        })
        .collect();
    registered.sort();
    documented.sort();
    assert_eq!(registered, documented);
}

#[test]
fn forecasts_are_those_of_the_containers_nearest_to_their_limits() {
    let metrics = Metrics::default();
    let name = "oom_agent_container_seconds_to_limit";
    let who = |n: usize| {
        let container = Container {
            id: format!("c{n:04}"),
            ..Container::default()
        };
        Who::new(&container, None)
    };
    assert!(!metrics.encode(0).unwrap().contains(name));
    metrics
        .watched
        .set_forecasts(vec![(who(7), Duration::from_millis(1500))], 5);
    let text = metrics.encode(0).unwrap();
    let line = format!("{name}{{namespace=\"\",pod=\"\",container=\"c0007\"}} 1.5\n");
    assert!(text.contains(&line), "{text}");
    assert!(
        text.contains("oom_agent_unrecorded_samples_total 5\n"),
        "{text}"
    );
    let all = (0..1000).map(|n| (who(n), Duration::from_millis(2000 - n as u64)));
    // Another instance of the same container.
    let again = (who(999), Duration::from_secs(40));
    metrics
        .watched
        .set_forecasts(all.chain([again]).collect(), 5);
    let text = metrics.encode(0).unwrap();
    let series: Vec<&str> = text.lines().filter(|line| line.starts_with(name)).collect();
    assert_eq!(series.len(), 512);
    assert!(
        series[0].ends_with("container=\"c0999\"} 1.001"),
        "{}",
        series[0]
    );
    metrics.watched.set_forecasts(Vec::new(), 5);
    assert!(!metrics.encode(0).unwrap().contains(name));
}
