//! A mark belongs to a task, not to its number. A task that gets the number of a victim that is gone has
//! started after the mark was made: that distinguishes the two on every kernel, however late a mark
//! comes and however long it stays.

use super::{
    maps::{MARKED, Marked},
    offsets as at,
    task::{self, current},
};

/// The mark under `number`, if it is that of `holder`, the task that has this number now. 0 stands for
/// a task that is not known. Mostly there is none: nothing else is read then.
#[inline(always)]
pub(super) fn of(number: u32, holder: impl FnOnce() -> u64) -> Option<&'static mut Marked> {
    let marked = MARKED.get_ptr_mut(number)?;
    // SAFETY: the verifier saw it to be non-null; the map's memory outlives the program.
    let marked = unsafe { &mut *marked };
    let started_ns = task::member::<u64>(holder(), &at::TASK_START_TIME).unwrap_or(0);
    (started_ns < marked.stamp_ns).then_some(marked)
}

/// That of `current`: it may name the process or one of its threads.
#[inline(always)]
pub(super) fn of_current(tid: u32, tgid: u32) -> Option<&'static mut Marked> {
    of(tgid, || leader(current())).or_else(|| of(tid, current))
}

#[inline(always)]
pub(super) fn leader(task: u64) -> u64 {
    task::member(task, &at::TASK_GROUP_LEADER).unwrap_or(task)
}
