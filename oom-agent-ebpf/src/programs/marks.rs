//! A mark belongs to a task, not to its number. A task with a reused number has started after the mark was made, which
//! distinguishes it from the victim on every kernel, however late a mark comes and however long it stays.

use super::{
    access::value,
    maps::{MARKED, Marked},
    offsets as at,
    task::{self, current},
};

/// The mark of `holder`, the task with this number now; `holder` returns 0 if that is not known. Mostly there is no
/// mark, and nothing else is read then.
#[inline(always)]
pub(super) fn find_mark(number: u32, holder: impl FnOnce() -> u64) -> Option<&'static mut Marked> {
    let marked = value(MARKED.get_ptr_mut(number))?;
    let started_ns = task::member::<u64>(holder(), &at::TASK_START_TIME).unwrap_or(0);
    (started_ns < marked.stamp_ns).then_some(marked)
}

/// The mark of `current`, which may name the process or one of its threads.
#[inline(always)]
pub(super) fn find_current_mark(tid: u32, tgid: u32) -> Option<&'static mut Marked> {
    find_mark(tgid, || leader(current())).or_else(|| find_mark(tid, current))
}

#[inline(always)]
pub(super) fn leader(task: u64) -> u64 {
    task::member(task, &at::TASK_GROUP_LEADER).unwrap_or(task)
}
