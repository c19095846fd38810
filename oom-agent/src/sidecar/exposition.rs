//! The text that Prometheus reads: `OOMHero`'s gauges by its names, and counters of our own. Pure.

use std::fmt;

use memcg::Percent;

use super::processes::ProcessMetrics;
use pressure::{Level, Pressure, Stall};

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
        let [warnings, criticals] = &mut self.crossings;
        match level {
            Level::Warning => count(warnings, done),
            Level::Critical => count(criticals, done),
        }
    }

    pub(super) fn count_notice(&mut self, accepted: bool) {
        count(&mut self.notices, accepted);
    }

    /// A line for each process that has a value.
    fn write_gauge(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&ProcessMetrics) -> Option<f64>,
    ) -> fmt::Result {
        writeln!(f, "# HELP {name} {help}\n# TYPE {name} gauge")?;
        for process in &self.processes {
            if let Some(value) = value(process) {
                writeln!(f, "{name}{{{}}} {value}", Labels(process))?;
            }
        }
        Ok(())
    }

    fn write_pressure(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        resource: &str,
        stall: impl Fn(&Pressure) -> Stall,
    ) -> fmt::Result {
        let help = format!("Time that was waited for {resource}");
        self.write_gauge(f, name, &help, |_| None)?;
        for process in &self.processes {
            let Some(psi) = &process.variables.sample.psi else {
                continue;
            };
            let (labels, Stall { some, full }) = (Labels(process), stall(psi));
            for (severity, stalled) in [("some", some), ("full", full)] {
                let percent = |percent: Percent| f64::from(percent.0) / 100.0;
                for (window, value) in [
                    ("avg10", percent(stalled.avg10)),
                    ("avg60", percent(stalled.avg60)),
                    ("avg300", percent(stalled.avg300)),
                ] {
                    writeln!(
                        f,
                        "{name}{{{labels},severity_level=\"{severity}\",severity_window=\"{window}\"}} {value}"
                    )?;
                }
                let total = stalled.total_us;
                writeln!(
                    f,
                    "{name}{{{labels},severity_level=\"{severity}\",severity_window=\"total\"}} {total}"
                )?;
            }
        }
        Ok(())
    }
}

/// Counts what was done, or what was not.
fn count([done, undone]: &mut [u64; 2], is_done: bool) {
    let counter = if is_done { done } else { undone };
    *counter = counter.saturating_add(1);
}

impl fmt::Display for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let help = "Memory in use, in percent of the limit";
        self.write_gauge(f, "memory_usage", help, |process| {
            Some(process.variables.sample.ratio().unwrap_or_default() * 100.0)
        })?;
        let help = "As the OOM killer ranks the process";
        self.write_gauge(f, "oom_score", help, |process| {
            Some(process.variables.scores.oom_score.into())
        })?;
        self.write_pressure(f, "memory_pressure", "memory", |psi| psi.memory)?;
        self.write_pressure(f, "io_pressure", "I/O", |psi| psi.io)?;
        self.write_pressure(f, "cpu_pressure", "a CPU", |psi| psi.cpu)?;
        let name = "oom_agent_sidecar_seconds_to_limit";
        let help = "Until the limit is reached at the present slope";
        self.write_gauge(f, name, help, |process| {
            process.to_limit.map(|left| left.as_secs_f64())
        })?;
        let name = "oom_agent_sidecar_crossings_total";
        writeln!(
            f,
            "# HELP {name} Processes whose container came to a level, or stayed there\n# TYPE {name} counter"
        )?;
        for (level, counts) in Level::ALL.iter().zip(self.crossings) {
            let level = level.as_str();
            for (acted, count) in ["yes", "no"].iter().zip(counts) {
                writeln!(f, "{name}{{level=\"{level}\",acted=\"{acted}\"}} {count}")?;
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

/// Of a process, escaped.
struct Labels<'a>(&'a ProcessMetrics);

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ProcessMetrics { pid, command, .. } = self.0;
        write!(f, "pid=\"{pid}\",cmdline=\"")?;
        for c in command.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use memcg::{OomScores, Stalled};
    use pressure::{Sample, Variables};

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
