use std::fmt;
use std::sync::Arc;

use memcg::cgroup::{self, PathIdentity};

use crate::no_victim::Cause;

/// One look at a cgroup's memory, descendants included. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// When: `CLOCK_MONOTONIC`, in ns.
    pub at_ns: u64,
    /// All that is charged: `memory.current`, on cgroup v1 `memory.usage_in_bytes`.
    pub current: u64,
    /// The same without `inactive_file`, as the kubelet counts: what reclaim does not get for nothing.
    pub working_set: u64,
    /// The lowest limit on the path up, `memory.high` among them; `None` where there is none.
    pub limit: Option<u64>,
    /// That is a `memory.high`: who reaches it is throttled, and not killed.
    pub throttles: bool,
    /// How much was waited; `None` on cgroup v1 and where the kernel does not tell it by cgroup.
    pub psi: Option<Pressure>,
}

/// Pressure stall information of a cgroup, by resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub struct Key {
    path: Arc<str>,
    inode: u64,
}

/// What one pass has read.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// Each once, in no order.
    pub usages: &'a [(Key, Usage)],
    /// Of these, who are out of memory for seconds while nobody is killed.
    pub stuck: &'a [(usize, Cause)],
    /// All that are watched were looked at: one that is missing is gone. Else some in
    /// between, that change fast or are new.
    pub whole: bool,
}

/// Takes each pass, in the sampler's thread: it waits for whoever waits here.
pub type Take = Box<dyn FnMut(&Pass<'_>) + Send>;

/// Is told of each container's cgroup, by its path, that is there (true) or gone. In that thread, too.
pub type Notice = Box<dyn FnMut(&str, bool) + Send>;

// === impl Usage ===

impl Usage {
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

// === impl Key ===

impl Key {
    /// `path` is from the hierarchy's root on, as in an incident; `inode` that of its directory.
    pub fn new(path: &str, inode: u64) -> Self {
        Self {
            path: path.into(),
            inode,
        }
    }

    /// From the hierarchy's root on, with a slash in front: as in an incident.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Of its directory.
    pub fn inode(&self) -> u64 {
        self.inode
    }

    /// Whose it is, as far as the path tells. Parses it.
    pub fn identity(&self) -> PathIdentity {
        cgroup::parse_path(&self.path)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.path, self.inode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(limit: Option<u64>) -> Usage {
        Usage {
            at_ns: 0,
            current: 75,
            working_set: 50,
            limit,
            throttles: false,
            psi: None,
        }
    }

    #[test]
    fn shares_are_of_the_limit_and_without_one_there_are_none() {
        assert_eq!(usage(Some(100)).ratio(), Some(0.75));
        assert_eq!(usage(Some(100)).working_set_ratio(), Some(0.5));
        assert_eq!(usage(None).ratio(), None);
        assert_eq!(usage(Some(0)).ratio(), None);
    }

    #[test]
    fn a_cgroup_made_anew_at_the_same_path_is_another() {
        assert_eq!(Key::new("/a", 1), Key::new("/a", 1));
        assert_ne!(Key::new("/a", 1), Key::new("/a", 2));
    }

    #[test]
    fn the_path_tells_whose_it_is() {
        let id = "17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a";
        let uid = "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";
        let key = Key::new(&format!("/kubepods/burstable/pod{uid}/{id}"), 7);
        assert_eq!(key.identity().container_id.as_deref(), Some(id));
        assert_eq!(key.identity().pod_uid.as_deref(), Some(uid));
    }
}
