/// Values that are counted elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readings {
    /// Records that found the ring full.
    pub(crate) ring_full: u64,
    /// Victims for which the map of marks had no room.
    pub(crate) marks_full: u64,
    /// Ring items that were no record.
    pub(crate) malformed: u64,
    /// Records that were not kept for a restart of the agent.
    pub(crate) not_kept: u64,
    /// Rings of another version, removed unread.
    pub(crate) rings_discarded: u64,
    /// Lines that the log dropped.
    pub(crate) log_lines_dropped: u64,
    /// The kernel's own count of kills since the agent attached; `None` where it cannot be read.
    pub(crate) kernel_kills: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Incidents reported.
    pub(crate) incidents: u64,
    /// Of them, group kills.
    pub(crate) groups: u64,
    /// Of all, those of kills from before the agent attached.
    pub(crate) waited: u64,
    /// Victims read, in their own context or by the trigger.
    pub(crate) autopsied: u64,
    /// Victims that were exiting already.
    pub(crate) exiting: u64,
    /// Victims not read.
    pub(crate) unseen: u64,
    /// Victims of large groups, counted only.
    pub(crate) counted: u64,
    /// Incidents whose mark was lost.
    pub(crate) without_mark: u64,
    /// Victims whose cgroup is not known.
    pub(crate) without_cgroup: u64,
    /// Incidents with something degraded.
    pub(crate) degraded: u64,
    /// Incidents lost in the agent.
    pub(crate) lost: u64,
    /// Lines not written.
    pub(crate) unwritten: u64,
    /// Kills that the kernel counted and the agent did not see; below zero when it is the other way round.
    pub(crate) drift: Option<i64>,
    pub(crate) readings: Readings,
}
