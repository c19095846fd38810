//! What came of it, for the terminal and for docs/bonker-load.md. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use lab::{Answers, Ends, Steps};

use crate::checks::Checks;
use crate::figures::{Times, mib, tenths};
use crate::table::Table;

/// What stopping may take.
const STOP: Duration = Duration::from_secs(2);
/// The pulses between which the servo stays unless it is calibrated, in µs (docs/bonker.md).
const PULSES_US: (u16, u16) = (1000, 2000);
/// How much of a minute pulses may be on: `--duty` of 20 % (docs/bonker.md).
const DUTY: Duration = Duration::from_secs(12);

/// All of one run.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) clients: u32,
    pub(super) each: u32,
    pub(super) within: Duration,
    pub(super) visits: Vec<Visit>,
}

/// One bonker's life.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) kind: &'static Kind,
    /// Peaks of its resident memory, in KiB: with no client, with all connected, in the end.
    pub(super) before: u64,
    pub(super) connected: u64,
    pub(super) peak: u64,
    pub(super) answers: Answers,
    /// By its own count; of a bonker that serves it in plaintext.
    pub(super) requests: Option<BTreeMap<String, u64>>,
    pub(super) ends: Ends,
    /// From SIGTERM to its end.
    pub(super) stopped: Duration,
    /// By its exit status.
    pub(super) well: bool,
    pub(super) steps: Steps,
}

/// How clients come.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) mutual_tls: bool,
    /// How many have a connection together.
    pub(super) sharing: u32,
    /// What a bonker may take in all, in MiB, with 5,000 of them connected. HTTP/2's buffers
    /// are at least three pages of each connection: see the method.
    memory_mib: u64,
}

pub(super) const KINDS: [Kind; 3] = [
    // As through a proxy that speaks HTTP/2.
    Kind {
        name: "plaintext, 50 to a connection",
        mutual_tls: false,
        sharing: 50,
        memory_mib: 64,
    },
    Kind {
        name: "plaintext, each with a connection",
        mutual_tls: false,
        sharing: 1,
        memory_mib: 144,
    },
    Kind {
        name: "mutual TLS, each with a connection",
        mutual_tls: true,
        sharing: 1,
        memory_mib: 192,
    },
];

// === impl Report ===

impl Report {
    pub(super) fn broken(&self) -> Vec<&'static str> {
        let all = self.visits.iter();
        all.flat_map(|visit| visit.checks(self).broken()).collect()
    }

    fn bonks(&self) -> u64 {
        u64::from(self.clients) * u64::from(self.each)
    }
}

impl Visit {
    fn checks(&self, report: &Report) -> Checks {
        let (clients, bonks) = (u64::from(report.clients), report.bonks());
        let mut checks = Checks::default();
        checks.add_equal(
            "bonks answered, each once and by its id",
            self.answers.count(),
            bonks,
        );
        let odd = self.answers.strange + self.ends.surplus;
        checks.add_equal("answers to nothing", odd, 0);
        let took = seconds(self.answers.took);
        let in_time = self.answers.took <= report.within + Duration::from_secs(1);
        checks.add(
            "seconds from the first bonk to the last answer",
            took,
            in_time,
        );
        if let Some(requests) = &self.requests {
            let found = agreeing(&self.answers, requests);
            let all = self.answers.outcomes.len() as u64;
            checks.add_equal(
                "kinds of answers of which `/metrics` counts as many",
                found,
                all,
            );
        }
        let (least, most) = self.steps.extremes().unwrap_or_default();
        let inside = least >= PULSES_US.0 && most <= PULSES_US.1 && self.steps.count() > 0;
        let pulses = format!("{least} to {most}");
        checks.add("pulses, of 1000 to 2000 µs", pulses, inside);
        let busiest = self.steps.busiest_minute();
        checks.add(
            "seconds with pulses in the busiest minute, at most 12",
            seconds(busiest),
            busiest <= DUTY,
        );
        let rest = self.steps.last();
        let at = rest.map_or_else(String::new, |us| us.to_string());
        checks.add("the last pulse, at rest", at, rest == Some(PULSES_US.0));
        let most = self.kind.memory_mib;
        let peak = format!("{}, of {most}", mib(self.peak));
        let in_room = self.peak < most << 10;
        checks.add("peak of resident memory, in MiB", peak, in_room);
        checks.add(
            "seconds from SIGTERM to a good end with all streams open, under 2",
            seconds(self.stopped),
            self.well && self.stopped < STOP,
        );
        checks.add_equal(
            "clients that were sent the shutdown",
            self.ends.orderly,
            clients,
        );
        checks
    }
}

/// Of how many outcomes both count the same.
fn agreeing(answers: &Answers, requests: &BTreeMap<String, u64>) -> u64 {
    let same = answers.outcomes.iter().filter(|(outcome, count)| {
        let name = outcome.as_str_name().trim_start_matches("OUTCOME_");
        requests.get(&name.to_lowercase()) == Some(*count)
    });
    same.count() as u64
}

/// The figures.
pub(super) fn tables(report: &Report) -> String {
    let mut text = format!(
        "**{} clients with a stream each, {} bonks in {} s.**\n",
        report.clients,
        report.bonks(),
        report.within.as_secs()
    );
    for visit in &report.visits {
        let checks = visit.checks(report).list();
        let _infallible = write!(
            text,
            "\n## What has to hold: {}\n\n{checks}",
            visit.kind.name
        );
        for (what, times) in &visit.ends.broken {
            let _infallible = writeln!(text, "- a stream ended otherwise: {what}: {times}");
        }
    }
    let _infallible = write!(text, "\n## Memory\n\n{}", memory(report));
    let _infallible = write!(text, "\n## Answers\n\n{}", answers(report));
    text
}

fn memory(report: &Report) -> Table<'_, Visit> {
    let each = |visit: &Visit| {
        let of_clients = visit.peak.saturating_sub(visit.before) * 10;
        of_clients / u64::from(report.clients.max(1))
    };
    Table::new(&report.visits)
        .column("peak of resident memory, MiB", |visit| visit.kind.name)
        .column("no client", |visit| mib(visit.before))
        .column("all connected", |visit| mib(visit.connected))
        .column("after the bonks", |visit| mib(visit.peak))
        .column("KiB a client", |visit| tenths(each(visit)))
}

fn answers(report: &Report) -> Table<'_, Visit> {
    let outcomes = |visit: &Visit| {
        let counts = visit.answers.outcomes.iter().map(|(outcome, count)| {
            let name = outcome.as_str_name().trim_start_matches("OUTCOME_");
            format!("{count} {name}")
        });
        counts.collect::<Vec<_>>().join(", ")
    };
    let ms = |visit: &Visit, figure: fn(Times) -> u64| {
        let times = Times::summarize(visit.answers.delays.iter().copied());
        let ns = times.map(figure);
        ns.map_or_else(String::new, |ns| tenths(ns / 100_000))
    };
    Table::new(&report.visits)
        .column("", |visit| visit.kind.name)
        .column("answers", outcomes)
        .column("p50 ms", |visit| ms(visit, |times| times.p50))
        .column("p99 ms", |visit| ms(visit, |times| times.p99))
        .column("max ms", |visit| ms(visit, |times| times.max))
}

fn seconds(took: Duration) -> String {
    format!("{}.{:02}", took.as_secs(), took.subsec_millis() / 10)
}

#[cfg(test)]
mod tests {
    use proto::bonk::Outcome;

    use super::*;

    fn step(pulse_us: u16) -> String {
        format!(
            r#"{{"timestamp":"2026-11-21T16:00:00Z","fields":{{"message":"swing step","pulse_us":{pulse_us},"hold_ms":350}}}}"#
        )
    }

    fn report(pulses: &[u16]) -> Report {
        let lines: Vec<String> = pulses.iter().map(|us| step(*us)).collect();
        Report {
            clients: 10,
            each: 1,
            within: Duration::from_secs(1),
            visits: vec![Visit {
                kind: &KINDS[0],
                before: 8192,
                connected: 9216,
                peak: 10_240,
                answers: Answers {
                    outcomes: BTreeMap::from([(Outcome::Accepted, 3), (Outcome::Full, 7)]),
                    delays: vec![1_200_000; 10],
                    took: Duration::from_millis(990),
                    ..Answers::default()
                },
                requests: Some(BTreeMap::from([
                    ("accepted".to_owned(), 3),
                    ("full".to_owned(), 7),
                ])),
                ends: Ends {
                    orderly: 10,
                    ..Ends::default()
                },
                stopped: Duration::from_millis(1230),
                well: true,
                steps: Steps::parse(lines.iter().map(String::as_str)),
            }],
        }
    }

    #[test]
    fn the_page_has_every_figure() {
        let report = report(&[1000, 2000, 1000]);
        assert!(report.broken().is_empty(), "{:?}", report.broken());
        let page = tables(&report);
        for part in [
            "**10 clients with a stream each, 10 bonks in 1 s.**",
            "answered, each once and by its id: 10 of 10",
            "`/metrics` counts as many: 2 of 2",
            "1000 to 2000",
            "at most 12: 1.05",
            "with all streams open, under 2: 1.23",
            "| 3 ACCEPTED, 7 FULL |    1.2 |",
            " 8.0 |           9.0 |            10.0 |        204.8 |",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }

    #[test]
    fn each_broken_promise_is_named() {
        let check = |spoil: fn(&mut Visit), pulses: &[u16], what: &str| {
            let mut report = report(pulses);
            report.visits.iter_mut().for_each(spoil);
            let broken = report.broken();
            assert!(
                matches!(broken.as_slice(), [one] if one.contains(what)),
                "{what}: {broken:?}"
            );
        };
        let fine = [1000, 2000, 1000];
        check(|_| (), &[1000, 2001, 1000], "pulses, of");
        check(|_| (), &[1000, 2000], "at rest");
        check(|_| (), &fine.repeat(12), "busiest minute");
        let lost = |visit: &mut Visit| visit.answers.strange = 1;
        check(lost, &fine, "answers to nothing");
        let many = |visit: &mut Visit| visit.peak = 64 << 10;
        check(many, &fine, "memory");
        let late = |visit: &mut Visit| visit.stopped = STOP;
        check(late, &fine, "SIGTERM");
        let silent = |visit: &mut Visit| visit.ends.orderly = 9;
        check(silent, &fine, "sent the shutdown");
        let miscounted = |visit: &mut Visit| visit.requests = Some(BTreeMap::new());
        check(miscounted, &fine, "/metrics");
    }
}
