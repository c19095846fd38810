use std::collections::BTreeMap;

use service::escape;

use crate::act::{Sig, Whom};
use crate::args::span;
use crate::args::warnings::cooldown;
use pressure::{Level, Threshold, Thresholds};

/// Before each annotation's name.
pub const PREFIX: &str = "oom-bonker.dev/";

/// The longest value that is looked at, in bytes.
const LEN: usize = 600;

/// When and how a pod's containers are warned.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// When.
    pub settings: Thresholds,
    /// Whom to signal; `None`: nobody, as nobody asked for it.
    pub signals: Option<Whom>,
    /// What a warning sends.
    pub warning_signal: Sig,
    /// What a critical one does.
    pub critical_signal: Sig,
    /// Whether this node's agent sends any.
    may_signal: bool,
}

/// An annotation that cannot be heeded: the node's setting holds in its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {PREFIX}{name} is not heeded: {why}")]
pub struct Complaint {
    /// Which, without the prefix.
    pub name: &'static str,
    /// What is wrong with it, and where.
    pub why: String,
}

// === impl Policy ===

impl Policy {
    /// The node's: nobody is signalled who has not asked for it, and nobody at all unless `may_signal`.
    pub fn of_node(settings: Thresholds, may_signal: bool) -> Self {
        Self {
            may_signal,
            settings,
            signals: None,
            warning_signal: Sig::USR1,
            critical_signal: Sig::USR2,
        }
    }

    /// Whom to signal at that level, and with what; `None`: nobody.
    pub fn signal(&self, level: Level) -> Option<(Whom, Sig)> {
        let signal = match level {
            Level::Warning => self.warning_signal,
            Level::Critical => self.critical_signal,
        };
        self.signals.map(|whom| (whom, signal))
    }

    /// What a pod's annotations make of these.
    pub fn annotated(&self, all: &BTreeMap<String, String>) -> (Self, Vec<Complaint>) {
        let mut marks = self.clone();
        let mut complaints = Vec::new();
        let mut heed = |name, heed: &mut dyn FnMut(&str) -> Result<(), String>| {
            let Some(value) = all.get(&format!("{PREFIX}{name}")) else {
                return;
            };
            let heeded = if value.len() > LEN {
                Err(format!("it is longer than {LEN} bytes"))
            } else {
                heed(value.trim_ascii())
            };
            if let Err(why) = heeded {
                complaints.push(Complaint { name, why });
            }
        };
        heed("warning", &mut |value| {
            mark(value, &mut marks.settings.warning)
        });
        heed("critical", &mut |value| {
            mark(value, &mut marks.settings.critical)
        });
        heed("cooldown", &mut |value| {
            marks.settings.cooldown = cooldown(value)?;
            Ok(())
        });
        heed("hysteresis", &mut |value| {
            marks.settings.hysteresis = span::points(value)?;
            Ok(())
        });
        heed("signals", &mut |value| {
            let whom = match value {
                "first" => Some(Whom::First),
                "all" => Some(Whom::All),
                "none" => None,
                other => return Err(choice(other, "first, all and none")),
            };
            if whom.is_some() && !marks.may_signal {
                return Err("this node's agent sends no signals: see --warn".to_owned());
            }
            marks.signals = whom;
            Ok(())
        });
        heed("warning-signal", &mut |value| {
            signal(value, &mut marks.warning_signal)
        });
        heed("critical-signal", &mut |value| {
            signal(value, &mut marks.critical_signal)
        });
        (marks, complaints)
    }
}

fn mark(value: &str, mark: &mut Option<Threshold>) -> Result<(), String> {
    *mark = match value {
        "never" => None,
        value => Some(Threshold::parse_working_set(value).map_err(|error| error.to_string())?),
    };
    Ok(())
}

fn signal(value: &str, signal: &mut Sig) -> Result<(), String> {
    *signal = value.parse().map_err(|error| format!("{error}"))?;
    Ok(())
}

fn choice(value: &str, choices: &str) -> String {
    format!(
        "`{}` is none of {choices}",
        escape::terminal(escape::truncate(value, 64))
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn node() -> Policy {
        Policy::of_node(Thresholds::default(), true)
    }

    fn annotated(all: &[(&str, &str)]) -> (Policy, Vec<String>) {
        let all = all
            .iter()
            .map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()));
        let (marks, complaints) = node().annotated(&all.collect());
        let said = complaints.iter().map(ToString::to_string).collect();
        (marks, said)
    }

    #[test]
    fn a_pod_says_when_and_how_it_is_warned() {
        let (marks, said) = annotated(&[
            ("warning", "memory_usage > 60"),
            ("critical", "80%"),
            ("cooldown", "1m30s"),
            ("hysteresis", "2.5"),
            ("signals", "first"),
            ("warning-signal", "SIGHUP"),
            ("critical-signal", "term"),
            ("unheard-of", "x"),
        ]);
        assert_eq!(said, [""; 0]);
        let settings = Thresholds {
            warning: Some("memory_usage > 60".parse().unwrap()),
            critical: Some(Threshold::WorkingSet(80.0)),
            cooldown: Duration::from_secs(90),
            hysteresis: 2.5,
        };
        let expected = Policy {
            settings,
            signals: Some(Whom::First),
            warning_signal: "SIGHUP".parse().unwrap(),
            critical_signal: "SIGTERM".parse().unwrap(),
            may_signal: true,
        };
        assert_eq!(marks, expected);
        let (never, _) = annotated(&[("warning", "never"), ("signals", "all")]);
        assert_eq!(
            (never.settings.warning, never.signals),
            (None, Some(Whom::All))
        );
    }

    #[test]
    fn without_annotations_the_nodes_marks_hold_and_nobody_is_signalled() {
        let (marks, said) = annotated(&[]);
        assert_eq!((marks, said.len()), (node(), 0));
    }

    #[test]
    fn who_asks_for_signals_where_none_are_sent_is_told() {
        let node = Policy::of_node(Thresholds::default(), false);
        let asks = |whom: &str| {
            let all = [(format!("{PREFIX}signals"), whom.to_owned())].into();
            let (marks, complaints) = node.annotated(&all);
            assert_eq!(marks, node);
            complaints.len()
        };
        assert_eq!([asks("first"), asks("all"), asks("none")], [1, 1, 0]);
    }

    #[test]
    fn what_cannot_be_heeded_is_named_with_its_position_and_the_nodes_holds() {
        let long = "1 ".repeat(400);
        for (name, value, says) in [
            (
                "warning",
                "memory_usge > 75",
                "nothing is called `memory_usge`",
            ),
            ("critical", "memory_usage > 75 &", "at character 19 of: "),
            ("critical", &long, "longer than 600 bytes"),
            ("cooldown", "10ms", "1s at least"),
            ("hysteresis", "-1", "from 0 to less than 100"),
            ("signals", "\u{1b}[2J", "none of first, all and none"),
            ("warning-signal", "SIGNO", "no signal is called"),
        ] {
            let (marks, said) = annotated(&[(name, value)]);
            assert_eq!(marks, node(), "{name}");
            let [said] = said.as_slice() else {
                panic!("{said:?}");
            };
            let begins = format!("annotation oom-bonker.dev/{name} is not heeded: ");
            assert!(said.starts_with(&begins) && said.contains(says), "{said}");
            assert!(!said.contains('\u{1b}'), "{said}");
        }
    }
}
