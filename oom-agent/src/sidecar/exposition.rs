//! The text that Prometheus reads: `OOMHero`'s gauges by its names, and counters of our own. Pure.

use std::fmt;

use memcg::{Percent, Stalled};

use super::processes::ProcessMetrics;
use pressure::Level;
use pressure::Stall;

/// Prometheus's text format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Kept from sweep to sweep.
#[derive(Default)]
pub(super) struct Exposition {
    processes: Vec<ProcessMetrics>,
    /// By level: acted upon, and not.
    crossings: [[u64; 2]; 2],
    /// Notices that were accepted, and not.
    notices: [u64; 2],
}

// === impl Exposition ===

impl Exposition {
    /// Replaces those of the sweep before.
    pub(super) fn set_processes(&mut self, processes: impl Iterator<Item = ProcessMetrics>) {
        self.processes.clear();
        self.processes.extend(processes);
        self.processes.sort_by_key(|process| process.pid);
    }

    pub(super) fn count_crossing(&mut self, level: Level, done: bool) {
        let counts = match level {
            Level::Warning => &mut self.crossings[0],
            Level::Critical => &mut self.crossings[1],
        };
        count(counts, done);
    }

    pub(super) fn count_notice(&mut self, taken: bool) {
        count(&mut self.notices, taken);
    }
}

fn count(counts: &mut [u64; 2], done: bool) {
    let [well, badly] = counts;
    let counter = if done { well } else { badly };
    *counter = counter.saturating_add(1);
}

impl fmt::Display for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gauge = |f: &mut fmt::Formatter<'_>, name: &str, help: &str| {
            writeln!(f, "# HELP {name} {help}\n# TYPE {name} gauge")
        };
        gauge(f, "memory_usage", "Memory in use, in percent of the limit")?;
        for ProcessMetrics {
            pid,
            command,
            variables,
            ..
        } in &self.processes
        {
            let percent = variables.sample.ratio().unwrap_or_default() * 100.0;
            writeln!(
                f,
                "memory_usage{{pid=\"{pid}\",cmdline=\"{}\"}} {percent}",
                Quoted(command)
            )?;
        }
        gauge(f, "oom_score", "As the OOM killer ranks the process")?;
        for ProcessMetrics {
            pid,
            command,
            variables,
            ..
        } in &self.processes
        {
            let score = variables.scores.oom_score;
            writeln!(
                f,
                "oom_score{{pid=\"{pid}\",cmdline=\"{}\"}} {score}",
                Quoted(command)
            )?;
        }
        for (resource, help) in [
            ("memory", "Time that was waited for memory"),
            ("io", "Time that was waited for I/O"),
            ("cpu", "Time that was waited for a CPU"),
        ] {
            gauge(f, &format!("{resource}_pressure"), help)?;
            for process in &self.processes {
                let Some(psi) = process.variables.sample.psi else {
                    continue;
                };
                let stall = match resource {
                    "memory" => psi.memory,
                    "io" => psi.io,
                    _ => psi.cpu,
                };
                pressure(f, resource, process, &stall)?;
            }
        }
        let name = "oom_agent_sidecar_seconds_to_limit";
        gauge(f, name, "Until the limit is reached at the present slope")?;
        for process in &self.processes {
            let Some(left) = process.to_limit else {
                continue;
            };
            let ProcessMetrics { pid, command, .. } = process;
            let left = left.as_secs_f64();
            writeln!(
                f,
                "{name}{{pid=\"{pid}\",cmdline=\"{}\"}} {left}",
                Quoted(command)
            )?;
        }
        let name = "oom_agent_sidecar_crossings_total";
        writeln!(
            f,
            "# HELP {name} Processes whose container came to a level, or stayed there\n# TYPE {name} counter"
        )?;
        for (level, counts) in Level::ALL.iter().zip(self.crossings) {
            for (done, count) in ["yes", "no"].iter().zip(counts) {
                writeln!(
                    f,
                    "{name}{{level=\"{}\",acted=\"{done}\"}} {count}",
                    level.as_str()
                )?;
            }
        }
        let name = "oom_agent_sidecar_notices_total";
        writeln!(f, "# HELP {name} Notices by HTTP\n# TYPE {name} counter")?;
        for (taken, count) in ["yes", "no"].iter().zip(self.notices) {
            writeln!(f, "{name}{{taken=\"{taken}\"}} {count}")?;
        }
        Ok(())
    }
}

fn pressure(
    f: &mut fmt::Formatter<'_>,
    resource: &str,
    process: &ProcessMetrics,
    stall: &Stall,
) -> fmt::Result {
    let ProcessMetrics { pid, command, .. } = process;
    for (severity, stalled) in [("some", &stall.some), ("full", &stall.full)] {
        for (window, value) in windows(stalled) {
            writeln!(
                f,
                "{resource}_pressure{{pid=\"{pid}\",cmdline=\"{}\",severity_level=\"{severity}\",severity_window=\"{window}\"}} {value}",
                Quoted(command)
            )?;
        }
    }
    Ok(())
}

fn windows(stalled: &Stalled) -> [(&'static str, String); 4] {
    let percent = |percent: Percent| (f64::from(percent.0) / 100.0).to_string();
    [
        ("avg10", percent(stalled.avg10)),
        ("avg60", percent(stalled.avg60)),
        ("avg300", percent(stalled.avg300)),
        ("total", stalled.total_us.to_string()),
    ]
}

/// As a label's value is written.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use memcg::OomScores;
    use pressure::Variables;
    use pressure::{Pressure, Sample};

    #[test]
    fn the_third_oomheros_gauges_have_its_names_and_labels() {
        let zero = Stalled {
            avg10: Percent(0),
            avg60: Percent(0),
            avg300: Percent(0),
            total_us: 0,
        };
        let waited = Stalled {
            avg10: Percent(520),
            total_us: 1_500_000,
            ..zero
        };
        let none = memcg::Pressure {
            some: zero,
            full: zero,
        };
        let psi = Pressure {
            memory: memcg::Pressure {
                some: waited,
                full: zero,
            },
            io: none,
            cpu: none,
        };
        let shown = ProcessMetrics {
            pid: 7,
            command: "a\"b\\\nc".to_owned(),
            variables: Variables {
                sample: Sample {
                    at_ns: 0,
                    current: 75,
                    working_set: 0,
                    limit: Some(100),
                    throttles: false,
                    psi: Some(psi),
                },
                scores: OomScores {
                    oom_score: 250,
                    oom_score_adj: 0,
                },
            },
            to_limit: Some(Duration::from_millis(12_500)),
        };
        let flat = ProcessMetrics {
            pid: 8,
            command: String::new(),
            to_limit: None,
            ..shown
        };
        let mut exposition = Exposition::default();
        exposition.set_processes([shown, flat].into_iter());
        exposition.count_crossing(Level::Critical, true);
        exposition.count_crossing(Level::Critical, false);
        exposition.count_notice(false);
        let text = exposition.to_string();
        let labels = r#"pid="7",cmdline="a\"b\\\nc""#;
        for line in [
            &format!("memory_usage{{{labels}}} 75"),
            &format!("oom_score{{{labels}}} 250"),
            &format!("oom_agent_sidecar_seconds_to_limit{{{labels}}} 12.5"),
            &format!(
                r#"memory_pressure{{{labels},severity_level="some",severity_window="avg10"}} 5.2"#
            ),
            &format!(
                r#"memory_pressure{{{labels},severity_level="some",severity_window="total"}} 1500000"#
            ),
            &format!(r#"io_pressure{{{labels},severity_level="full",severity_window="avg300"}} 0"#),
            &format!(r#"cpu_pressure{{{labels},severity_level="full",severity_window="avg60"}} 0"#),
            r#"oom_agent_sidecar_crossings_total{level="critical",acted="yes"} 1"#,
            r#"oom_agent_sidecar_crossings_total{level="critical",acted="no"} 1"#,
            r#"oom_agent_sidecar_crossings_total{level="warning",acted="yes"} 0"#,
            r#"oom_agent_sidecar_notices_total{taken="no"} 1"#,
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        // Of what does not grow there is nothing to show.
        assert!(!text.contains("to_limit{pid=\"8\""), "{text}");
    }
}
