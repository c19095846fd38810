use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::status_check::{Judgement, MismatchKind, UndecidedReason};

/// Checks of runtimes' statuses against the kernel's kills.
pub(super) struct StatusChecks {
    agrees: Counter,
    missed: Counter,
    phantom: Counter,
    undecided: Counter,
    /// In the order of [`UndecidedReason::ALL`].
    reasons: [Counter; UndecidedReason::ALL.len()],
}

// === impl StatusChecks ===

impl StatusChecks {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let mut family = |name: &str, help: &str| {
            let family: Family<[(&str, &str); 1], Counter> = Family::default();
            registry.register(name, help, family.clone());
            family
        };
        let status_checks = family(
            "verdicts",
            "Containers whose status was compared with the kernel's kills",
        );
        let undecided = family(
            "undecided_verdicts",
            "Containers without a verdict, by reason",
        );
        let verdict = |name| status_checks.get_or_create_owned(&[("verdict", name)]);
        Self {
            agrees: verdict("agrees"),
            missed: verdict("missed"),
            phantom: verdict("phantom"),
            undecided: verdict("undecided"),
            reasons: UndecidedReason::ALL
                .map(|reason| undecided.get_or_create_owned(&[("reason", reason.as_str())])),
        }
    }

    pub(super) fn count(&self, judgement: &Judgement, containers: u64) {
        let counter = match judgement {
            Judgement::Agrees => &self.agrees,
            Judgement::Differs(mismatch) => match mismatch.verdict {
                MismatchKind::Missed => &self.missed,
                MismatchKind::Phantom => &self.phantom,
            },
            Judgement::Undecided(reason) => {
                for (known, counter) in UndecidedReason::ALL.iter().zip(&self.reasons) {
                    if known == reason {
                        counter.inc_by(containers);
                    }
                }
                &self.undecided
            }
        };
        counter.inc_by(containers);
    }
}
