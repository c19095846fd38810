use std::collections::BTreeMap;

use service::escape;

use super::units::{When, parse_cooldown, parse_points};
use crate::act::{LevelSignals, Signal, SignalTarget};
use pressure::{Level, Thresholds};

/// Before each annotation's name.
pub(crate) const PREFIX: &str = "oom-bonker.dev/";

/// Those that are read, without the prefix.
const ANNOTATIONS: [&str; 7] = [
    "warning",
    "critical",
    "cooldown",
    "hysteresis",
    "signals",
    "warning-signal",
    "critical-signal",
];

/// The longest value that is parsed, in bytes.
const LEN: usize = 600;

/// When a pod's containers are warned, and which signals they get.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Policy {
    pub(crate) thresholds: Thresholds,
    /// `None`: no signals, as the pod has not opted in.
    target: Option<SignalTarget>,
    signals: LevelSignals,
    /// Whether this node's agent sends any.
    may_signal: bool,
}

/// An annotation that is not heeded: the node's setting holds in its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("annotation {PREFIX}{name} is not heeded: {reason}")]
pub(crate) struct AnnotationError {
    /// Without the prefix.
    pub(crate) name: &'static str,
    pub(crate) reason: String,
}

// === impl Policy ===

impl Policy {
    /// The node's own: no process is signalled whose pod has not opted in, and none at all unless `may_signal`.
    pub(crate) fn for_node(thresholds: Thresholds, may_signal: bool) -> Self {
        Self {
            may_signal,
            thresholds,
            target: None,
            signals: LevelSignals::default(),
        }
    }

    /// Which processes get which signal at that level; `None`: no process.
    pub(crate) fn signal(&self, level: Level) -> Option<(SignalTarget, Signal)> {
        Some((self.target?, self.signals.at_level(level)))
    }

    /// This policy with a pod's annotations applied.
    pub(crate) fn apply_annotations(
        &self,
        all: &BTreeMap<String, String>,
    ) -> (Self, Vec<AnnotationError>) {
        let mut policy = self.clone();
        let mut errors = Vec::new();
        for name in ANNOTATIONS {
            let Some(value) = all.get(&format!("{PREFIX}{name}")) else {
                continue;
            };
            let applied = if value.len() > LEN {
                Err(format!("it is longer than {LEN} bytes"))
            } else {
                policy.apply_annotation(name, value.trim_ascii())
            };
            if let Err(reason) = applied {
                errors.push(AnnotationError { name, reason });
            }
        }
        (policy, errors)
    }

    fn apply_annotation(&mut self, name: &str, value: &str) -> Result<(), String> {
        let threshold = || {
            let parsed = value.parse().map(|When(threshold)| threshold);
            parsed.map_err(|error| error.to_string())
        };
        let signal = || value.parse().map_err(|error| format!("{error}"));
        match name {
            "warning" => self.thresholds.warning = threshold()?,
            "critical" => self.thresholds.critical = threshold()?,
            "cooldown" => self.thresholds.cooldown = parse_cooldown(value)?,
            "hysteresis" => self.thresholds.hysteresis = parse_points(value)?,
            "signals" => self.target = self.parse_target(value)?,
            "warning-signal" => self.signals.warning = signal()?,
            "critical-signal" => self.signals.critical = signal()?,
            _ => {}
        }
        Ok(())
    }

    fn parse_target(&self, value: &str) -> Result<Option<SignalTarget>, String> {
        match value {
            "none" => Ok(None),
            "first" | "all" if !self.may_signal => {
                Err("this node's agent sends no signals: see --warn".to_owned())
            }
            "first" => Ok(Some(SignalTarget::First)),
            "all" => Ok(Some(SignalTarget::All)),
            other => Err(format!(
                "`{}` is none of first, all and none",
                escape::terminal(escape::truncate(other, 64))
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use pressure::Threshold;

    fn node() -> Policy {
        Policy::for_node(Thresholds::default(), true)
    }

    fn annotated(all: &[(&str, &str)]) -> (Policy, Vec<String>) {
        let all = all
            .iter()
            .map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()));
        let (policy, errors) = node().apply_annotations(&all.collect());
        let errors = errors.iter().map(ToString::to_string).collect();
        (policy, errors)
    }

    #[test]
    fn annotations_set_thresholds_and_signals() {
        let (policy, errors) = annotated(&[
            ("warning", "memory_usage > 60"),
            ("critical", "80%"),
            ("cooldown", "1m30s"),
            ("hysteresis", "2.5"),
            ("signals", "first"),
            ("warning-signal", "SIGHUP"),
            ("critical-signal", "term"),
            ("unheard-of", "x"),
        ]);
        assert_eq!(errors, [""; 0]);
        let thresholds = Thresholds {
            warning: Some("memory_usage > 60".parse().unwrap()),
            critical: Some(Threshold::WorkingSet(80.0)),
            cooldown: Duration::from_secs(90),
            hysteresis: 2.5,
        };
        let expected = Policy {
            thresholds,
            target: Some(SignalTarget::First),
            signals: LevelSignals {
                warning: "SIGHUP".parse().unwrap(),
                critical: "SIGTERM".parse().unwrap(),
            },
            may_signal: true,
        };
        assert_eq!(policy, expected);
        let (never, _) = annotated(&[("warning", "never"), ("signals", "all")]);
        assert_eq!(
            (never.thresholds.warning, never.target),
            (None, Some(SignalTarget::All))
        );
    }

    #[test]
    fn without_annotations_the_nodes_thresholds_hold_and_no_process_is_signalled() {
        let (policy, errors) = annotated(&[]);
        assert_eq!((policy, errors.len()), (node(), 0));
    }

    #[test]
    fn signals_are_refused_where_none_are_sent() {
        let node = Policy::for_node(Thresholds::default(), false);
        let apply = |target: &str| {
            let all = [(format!("{PREFIX}signals"), target.to_owned())].into();
            let (policy, errors) = node.apply_annotations(&all);
            assert_eq!(policy, node);
            errors.len()
        };
        assert_eq!([apply("first"), apply("all"), apply("none")], [1, 1, 0]);
    }

    #[test]
    fn a_bad_annotation_is_named_with_its_position_and_the_nodes_setting_holds() {
        let long = "1 ".repeat(400);
        for (name, value, expected) in [
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
            let (policy, errors) = annotated(&[(name, value)]);
            assert_eq!(policy, node(), "{name}");
            let [error] = errors.as_slice() else {
                panic!("{errors:?}");
            };
            let begins = format!("annotation oom-bonker.dev/{name} is not heeded: ");
            assert!(
                error.starts_with(&begins) && error.contains(expected),
                "{error}"
            );
            assert!(!error.contains('\u{1b}'), "{error}");
        }
    }
}
