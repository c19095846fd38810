//! Memory of the watched containers: usage and pressure by their last samples, and the time to their limits.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::collector::encode_family;
use super::kills::{MAX_CONTAINERS, Who};
use super::{Counter, register};
use pressure::Sample;

/// At most as many containers as the kills have.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    usages: Mutex<BTreeMap<Who, Sample>>,
    forecasts: Mutex<Vec<(Who, Duration)>>,
    unrecorded: Counter,
}

/// Name, help and value of a metric.
type Figure = (&'static str, &'static str, fn(&Sample) -> Option<u64>);

const FIGURES: [Figure; 3] = [
    (
        "container_memory_usage_bytes",
        "Memory charged to a container with a limit",
        |usage| Some(usage.current),
    ),
    (
        "container_memory_working_set_bytes",
        "The same without inactive page cache",
        |usage| Some(usage.working_set),
    ),
    (
        "container_memory_limit_bytes",
        "The lowest limit on the container's memory",
        |usage| usage.limit,
    ),
];

// === impl Watched ===

impl Watched {
    pub(super) fn new(registry: &mut Registry) -> Arc<Self> {
        let this = Arc::new(Self {
            unrecorded: register(
                registry,
                "unrecorded_samples",
                "Looks at a cgroup's memory that the flight recorder had no room for",
            ),
            ..Self::default()
        });
        registry.register_collector(Box::new(Arc::clone(&this)));
        this
    }

    /// Replaces all; of two with the same name the later sample counts.
    pub(crate) fn set_usages(&self, usages: impl IntoIterator<Item = (Who, Sample)>) {
        let mut table: BTreeMap<Who, Sample> = BTreeMap::new();
        for (who, usage) in usages {
            if table.len() < MAX_CONTAINERS || table.contains_key(&who) {
                let known = table.entry(who).or_insert(usage);
                if usage.at_ns > known.at_ns {
                    *known = usage;
                }
            }
        }
        *self.usages.lock() = table;
    }

    /// The time that each growing container has left; of too many, those with most are dropped. `unrecorded`
    /// counts the samples so far for which the flight recorder had no room.
    pub(crate) fn set_forecasts(&self, mut all: Vec<(Who, Duration)>, unrecorded: u64) {
        // Of two instances of one container the one nearer to its limit.
        all.sort();
        all.dedup_by(|later, first| later.0 == first.0);
        all.sort_by_key(|(_, left)| *left);
        all.truncate(MAX_CONTAINERS);
        *self.forecasts.lock() = all;
        let more = unrecorded.saturating_sub(self.unrecorded.get());
        self.unrecorded.inc_by(more);
    }
}

impl Collector for Watched {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let usages = self.usages.lock();
        for (name, help, figure) in FIGURES {
            let values = usages
                .iter()
                .filter_map(|(who, usage)| Some((who.labels(), ConstGauge::new(figure(usage)?))));
            encode_family(&mut encoder, name, help, values)?;
        }
        encode_family(
            &mut encoder,
            "container_pressure_seconds",
            "Time in which some or all of a container's tasks waited for a resource",
            usages.iter().flat_map(stalls),
        )?;
        let forecasts = self.forecasts.lock();
        if forecasts.is_empty() {
            return Ok(());
        }
        encode_family(
            &mut encoder,
            "container_seconds_to_limit",
            "Until a container comes to its memory limit if it grows on like this",
            forecasts
                .iter()
                .map(|(who, left)| (who.labels(), ConstGauge::new(left.as_secs_f64()))),
        )
    }
}

type Stalls<'a> = Vec<([(&'static str, &'a str); 5], ConstCounter<f64>)>;

fn stalls<'a>((who, usage): (&'a Who, &Sample)) -> Stalls<'a> {
    let [namespace, pod, container] = who.labels();
    let mut series = Vec::new();
    if let Some(psi) = &usage.psi {
        for (resource, stall) in [("memory", psi.memory), ("io", psi.io), ("cpu", psi.cpu)] {
            for (kind, stalled) in [("some", stall.some), ("full", stall.full)] {
                let (resource, kind) = (("resource", resource), ("kind", kind));
                let labels = [namespace, pod, container, resource, kind];
                let waited = Duration::from_micros(stalled.total_us).as_secs_f64();
                series.push((labels, ConstCounter::new(waited)));
            }
        }
    }
    series
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;
    use crate::incident::Container;
    use memcg::Stalled;
    use pressure::{Pressure, Stall};

    fn who(id: &str) -> Who {
        let container = Container {
            id: id.to_owned(),
            ..Container::default()
        };
        Who::new(&container, None)
    }

    fn usage(current: u64, at_ns: u64) -> Sample {
        Sample {
            at_ns,
            current,
            working_set: 1,
            limit: Some(100),
            throttles: false,
            psi: None,
        }
    }

    fn encode(usages: Vec<(Who, Sample)>) -> String {
        let mut registry = Registry::default();
        Watched::new(&mut registry).set_usages(usages);
        let mut text = String::new();
        text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn each_container_has_one_series_of_each_metric() {
        let text = encode(vec![(who("a"), usage(7, 2)), (who("a"), usage(5, 1))]);
        let series = r#"container_memory_usage_bytes{namespace="",pod="",container="a"}"#;
        assert!(text.contains(&format!("{series} 7\n")), "{text}");
        assert_eq!(text.matches(series).count(), 1, "{text}");
        assert!(!text.contains("container_pressure_seconds_total"), "{text}");
    }

    #[test]
    fn stalls_are_in_seconds() {
        let stalled = Stalled {
            total_us: 2_500_000,
            ..Stalled::default()
        };
        let none = Stall {
            some: Stalled::default(),
            full: Stalled::default(),
        };
        let memory = Stall {
            some: stalled,
            ..none
        };
        let psi = Pressure {
            memory,
            io: none,
            cpu: none,
        };
        let pressed = Sample {
            throttles: false,
            psi: Some(psi),
            ..usage(1, 1)
        };
        let text = encode(vec![(who("a"), pressed)]);
        let series = r#"container_pressure_seconds_total{namespace="",pod="",container="a",resource="memory",kind="some"} 2.5"#;
        assert!(text.contains(series), "{text}");
    }

    #[test]
    fn usages_have_no_more_containers_than_kills() {
        let many = (0..=MAX_CONTAINERS).map(|n| (who(&format!("{n:04}")), usage(1, 1)));
        let text = encode(many.collect());
        let shown = text.matches("container_memory_limit_bytes{").count();
        assert_eq!(shown, MAX_CONTAINERS);
    }
}
