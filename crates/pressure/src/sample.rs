use std::fmt;
use std::sync::Arc;

use memcg::cgroup::{self, PathIdentity};

use crate::stuck::NoVictimCause;

/// One measurement of a cgroup's memory, descendants included. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When: `CLOCK_MONOTONIC`, in ns.
    pub at_ns: u64,
    /// All that is charged: `memory.current`, on cgroup v1 `memory.usage_in_bytes`.
    pub current: u64,
    /// The same without `inactive_file`, as the kubelet counts: what reclaim does not get for nothing.
    pub working_set: u64,
    /// The lowest limit on the path up, `memory.high` among them; `None` where there is none.
    pub limit: Option<u64>,
    /// That is a `memory.high`: at it the kernel throttles and does not kill.
    pub throttles: bool,
    /// Time stalled; `None` on cgroup v1 and where the kernel does not count it by cgroup.
    pub psi: Option<Pressure>,
}

/// Pressure stall information of a cgroup, by resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// `memory.pressure`
    pub memory: Stall,
    /// `io.pressure`
    pub io: Stall,
    /// `cpu.pressure`; without a line `full`, as before 5.13, that is zero.
    pub cpu: Stall,
}

/// `some` and `full` over 10, 60 and 300 s, in hundredths of a percent, and in all, in µs.
pub use memcg::Pressure as Stall;

/// A cgroup that is watched. Cheap to clone; the same only while the cgroup itself is: one that is
/// made anew at the same path is another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CgroupKey {
    path: Arc<str>,
    inode: u64,
}

/// One measurement of many cgroups.
#[derive(Clone, Copy, Debug)]
pub struct Sweep<'a> {
    /// Each once, in no order.
    pub samples: &'a [(CgroupKey, Sample)],
    /// Of these, by index, cgroups that are out of memory for seconds while no process is killed.
    pub stuck: &'a [(usize, NoVictimCause)],
    /// All watched cgroups were sampled: one that is missing is gone. Else only some, that change fast
    /// or are new.
    pub whole: bool,
}

/// Receives each sweep on the sampler's thread, which it holds up.
pub type OnSweep = Box<dyn FnMut(&Sweep<'_>) + Send>;

/// Receives the path of each container's cgroup that appeared (true) or went, on that thread, too.
pub type OnContainer = Box<dyn FnMut(&str, bool) + Send>;

// === impl Sample ===

impl Sample {
    /// `current` in parts of the limit; `None` without one.
    pub fn ratio(&self) -> Option<f64> {
        ratio(self.current, self.limit?)
    }

    /// `working_set` in parts of the limit; `None` without one.
    pub fn working_set_ratio(&self) -> Option<f64> {
        ratio(self.working_set, self.limit?)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "bytes of memory are below 2^53; what is above is off by less than a page in an exabyte"
)]
fn ratio(bytes: u64, limit: u64) -> Option<f64> {
    (limit > 0).then(|| bytes as f64 / limit as f64)
}

// === impl CgroupKey ===

impl CgroupKey {
    /// `path` is from the hierarchy's root on; `inode` that of its directory.
    pub fn new(path: &str, inode: u64) -> Self {
        Self {
            path: path.into(),
            inode,
        }
    }

    /// From the hierarchy's root on, with a slash in front.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Of its directory.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// The container and pod that the path names. Parses it.
    pub fn identity(&self) -> PathIdentity {
        cgroup::parse_path(&self.path)
    }
}

impl fmt::Debug for CgroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.path, self.inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(limit: Option<u64>) -> Sample {
        Sample {
            at_ns: 0,
            current: 75,
            working_set: 50,
            limit,
            throttles: false,
            psi: None,
        }
    }

    #[test]
    fn ratios_are_of_the_limit_and_none_without_one() {
        assert_eq!(sample(Some(100)).ratio(), Some(0.75));
        assert_eq!(sample(Some(100)).working_set_ratio(), Some(0.5));
        assert_eq!(sample(None).ratio(), None);
        assert_eq!(sample(Some(0)).ratio(), None);
    }

    #[test]
    fn a_cgroup_made_anew_at_the_same_path_is_another() {
        assert_eq!(CgroupKey::new("/a", 1), CgroupKey::new("/a", 1));
        assert_ne!(CgroupKey::new("/a", 1), CgroupKey::new("/a", 2));
    }

    #[test]
    fn the_path_identifies_container_and_pod() {
        let id = "17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a";
        let uid = "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";
        let key = CgroupKey::new(&format!("/kubepods/burstable/pod{uid}/{id}"), 7);
        assert_eq!(key.identity().container_id.as_deref(), Some(id));
        assert_eq!(key.identity().pod_uid.as_deref(), Some(uid));
    }
}
