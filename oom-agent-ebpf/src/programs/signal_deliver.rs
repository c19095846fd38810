//! `signal:signal_deliver`: SIGKILL is delivered to a marked task. `current` is the victim and still has its address space,
//! so reading it here is free of races.

use aya_ebpf::{EbpfContext, macros::btf_tracepoint, programs::BtfTracePointContext};
use aya_log_ebpf::debug;
use oom_agent_ebpf::known;

use super::{
    autopsy::write_autopsy,
    environment::write_environment,
    marks,
    task::{self, Subject},
};

const SIGKILL: u32 = 9;

#[btf_tracepoint(function = "signal_deliver")]
pub(super) fn signal_deliver(ctx: BtfTracePointContext) -> i32 {
    // Every signal of the machine passes here.
    if ctx.arg::<u64>(0) as u32 != SIGKILL {
        return 0;
    }
    let (tid, tgid) = (ctx.pid(), ctx.tgid());
    let Some(marked) = marks::find_current_mark(tid, tgid) else {
        return 0;
    };
    // Each thread of the process gets the signal; the first one is enough.
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
    write_environment(tgid, marked.stamp_ns);
    marked.autopsied = u32::from(write_autopsy(&subject, marked.stamp_ns, known));
    debug!(&ctx, "signal_deliver: tid {} tgid {}", tid, tgid);
    0
}
