//! `signal:signal_deliver`: SIGKILL reaches a marked task. `current` is the victim and its
//! address space is whole: what is read here cannot be raced.

use aya_ebpf::{EbpfContext, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use oom_agent_ebpf::known;

use super::{
    autopsy, environment, marks,
    task::{self, Subject},
};

const SIGKILL: u32 = 9;

#[btf_tracepoint(function = "signal_deliver")]
pub(super) fn signal_deliver(ctx: BtfTracePointContext) -> i32 {
    // Every signal of the machine passes here: leave at once.
    if ctx.arg::<u64>(0) as u32 != SIGKILL {
        return 0;
    }
    let (tid, tgid) = (ctx.pid(), ctx.tgid());
    let Some(marked) = marks::of_current(tid, tgid) else {
        return 0;
    };
    // Each thread of the process is told; the first one speaks for all.
    if marked.autopsied != 0 {
        return 0;
    }
    let subject = Subject {
        task: task::current(),
        tid,
        tgid,
        own: true,
    };
    let known = if marked.confirmed == 0 {
        known::UNCONFIRMED
    } else {
        0
    };
    environment::write(tgid, marked.stamp_ns);
    marked.autopsied = u32::from(autopsy::write(&subject, marked.stamp_ns, known));
    debug!(&ctx, "signal_deliver: tid {} tgid {}", tid, tgid);
    0
}
