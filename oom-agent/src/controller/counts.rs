//! `oom_agent_watch_updates_total`, by `update_type`.

/// How a container's status, or a kill in it, was handled. As text, the label's value: the first, second and fourth
/// are those of kubernetes-oom-event-generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
pub(super) enum UpdateType {
    /// No instance of the container was OOM-killed.
    #[strum(serialize = "not_oomkilled")]
    NotOomKilled,
    /// A kill from before the lookback.
    #[strum(serialize = "oomkilled_termination_too_old")]
    TooOld,
    /// A kill that an earlier status has shown.
    #[strum(serialize = "oomkilled_seen_before")]
    SeenBefore,
    #[strum(serialize = "oomkilled_event_sent")]
    EventSent,
    /// A kill that the node's agent has reported.
    #[strum(serialize = "oomkilled_told_by_agent")]
    ReportedByAgent,
    /// A kill whose Event exists already: this controller wrote it before a restart, or another replica did.
    #[strum(serialize = "oomkilled_told_before")]
    ReportedBefore,
    #[strum(serialize = "oomkilled_event_failed")]
    EventFailed,
}

#[cfg(test)]
mod tests {
    use strum::VariantArray as _;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn each_type_has_a_count_and_a_label_of_its_own() {
        let metrics = Metrics::default();
        for (n, update) in UpdateType::VARIANTS.iter().enumerate() {
            metrics.watch_update(update.into()).inc_by(1 + n as u64);
        }
        let all = UpdateType::VARIANTS.iter();
        let read: Vec<u64> = all
            .map(|update| metrics.watch_update(update.into()).get())
            .collect();
        assert_eq!(read, [1, 2, 3, 4, 5, 6, 7]);
        let all = UpdateType::VARIANTS.iter();
        let mut labels: Vec<&str> = all.map(Into::into).collect();
        let text = metrics.encode(0).unwrap();
        let sent = "oom_agent_watch_updates_total{update_type=\"oomkilled_event_sent\"} 4\n";
        assert!(text.contains(sent), "{text}");
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), read.len());
    }
}
