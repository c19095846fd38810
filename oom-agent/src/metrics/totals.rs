/// What others count, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readings {
    /// Records that found the ring full.
    pub ring_full: u64,
    /// Victims that could not be remembered between mark and end.
    pub marks_full: u64,
    /// Ring items that were no record.
    pub malformed: u64,
    /// Records that were not kept for the case that the agent is killed.
    pub not_kept: u64,
    /// Rings of another version that were removed unread.
    pub rings_discarded: u64,
    /// Lines that the log could not take.
    pub log_lines_dropped: u64,
    /// The kernel's own count of kills since the agent attached; `None` where it cannot be read.
    pub kernel_kills: Option<u64>,
}

/// What has been counted so far, as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Incidents told.
    pub incidents: u64,
    /// Of them, group kills.
    pub groups: u64,
    /// Of all, those of kills from before the agent attached.
    pub waited: u64,
    /// Victims read, in their own context or by the trigger.
    pub autopsied: u64,
    /// Victims that were exiting already.
    pub exiting: u64,
    /// Victims not read.
    pub unseen: u64,
    /// Victims of large groups that were not to be read.
    pub counted: u64,
    /// Incidents whose mark was lost.
    pub without_mark: u64,
    /// Victims whose cgroup is not known.
    pub without_cgroup: u64,
    /// Incidents with something degraded.
    pub degraded: u64,
    /// Incidents lost in the agent.
    pub untold: u64,
    /// Lines not written.
    pub unwritten: u64,
    /// Kills that the kernel counted and the agent did not see; below zero when it is the other way round.
    pub drift: Option<i64>,
    /// What was brought last.
    pub readings: Readings,
}
