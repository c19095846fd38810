#[cfg(not(target_arch = "bpf"))]
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::record::{CGROUP_NAMES_LEN, COMM_LEN};

/// `out_of_memory` found no process to kill at a cgroup's limit. The cgroup livelocks, so this is written once in ten
/// seconds for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(target_arch = "bpf"),
    derive(FromBytes, IntoBytes, Immutable, KnownLayout)
)]
#[repr(C)]
pub struct NoVictim {
    /// [`NoVictim::KIND`].
    pub kind: u32,
    /// tgid of the trigger.
    pub trigger_tgid: u32,
    /// `CLOCK_MONOTONIC`, in ns.
    pub stamp_ns: u64,
    /// `mem_cgroup.memory.max` of the cgroup, in pages; 0 where it could not be read.
    pub limit_pages: u64,
    /// Name of the trigger's thread.
    pub trigger_comm: [u8; COMM_LEN],
    /// How many bytes of `memcg_names` are in use; 0 where the names could not be read.
    pub memcg_names_used: u32,
    /// Not 0 if an ancestor's name did not fit.
    pub memcg_names_cut: u32,
    /// The names of the cgroup and its ancestors, leaf first, each with its NUL.
    pub memcg_names: [u8; CGROUP_NAMES_LEN],
}

// === impl NoVictim ===

impl NoVictim {
    /// The first word of such a record.
    pub const KIND: u32 = 6;
}

const _: () = assert!(size_of::<NoVictim>() == 48 + CGROUP_NAMES_LEN);
