//! The programs of `cargo xtask bench capture`: an empty one, to compare the costs of others with, and two that stamp
//! each mark and each written line, so that all tools are timed by one clock.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    allow(unsafe_code, reason = "the macros export symbols and sections by name")
)]

#[cfg(target_arch = "bpf")]
mod programs {
    use aya_ebpf::{
        EbpfContext, Global,
        helpers::{bpf_probe_read_kernel, generated::bpf_ktime_get_ns},
        macros::{btf_tracepoint, map},
        maps::{HashMap, LruHashMap},
        programs::BtfTracePointContext,
    };

    // The number of write(2), and the offset of its third argument in `struct pt_regs`, of this machine.
    #[unsafe(no_mangle)]
    static WRITE: Global<u32> = Global::new(0);
    #[unsafe(no_mangle)]
    static LENGTH: Global<u32> = Global::new(0);

    /// A shorter write is no line: an eventfd takes 8 bytes.
    const LINE: u64 = 9;

    /// When each listed process last wrote a line (`CLOCK_MONOTONIC`, in ns), by its tgid.
    #[map]
    static WRITTEN: HashMap<u32, u64> = HashMap::with_max_entries(16, 0);

    /// When a victim was marked (`CLOCK_MONOTONIC`, in ns), by the trigger's tgid: the benchmark's victims are also the
    /// triggers.
    #[map]
    static STAMPS: LruHashMap<u32, u64> = LruHashMap::with_max_entries(4096, 0);

    #[btf_tracepoint(function = "signal_deliver")]
    fn empty(_: BtfTracePointContext) -> i32 {
        0
    }

    #[btf_tracepoint(function = "mark_victim")]
    fn stamp(ctx: BtfTracePointContext) -> i32 {
        // SAFETY: takes nothing.
        let now = unsafe { bpf_ktime_get_ns() };
        // A stamp without room is reported as missing.
        let _full = STAMPS.insert(ctx.tgid(), now, 0);
        0
    }

    #[btf_tracepoint(function = "sys_enter")]
    fn write(ctx: BtfTracePointContext) -> i32 {
        if ctx.arg::<u64>(1) as u32 != WRITE.load() {
            return 0;
        }
        let Some(written) = WRITTEN.get_ptr_mut(ctx.tgid()) else {
            return 0;
        };
        let length = ctx.arg::<u64>(0) + u64::from(LENGTH.load());
        // SAFETY: the helper copies, and fails on an address that cannot be read; the verifier has checked that the
        // map's value is not null.
        unsafe {
            if bpf_probe_read_kernel(length as *const u64).is_ok_and(|length| length >= LINE) {
                *written = bpf_ktime_get_ns();
            }
        }
        0
    }
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The same as that of the other programs.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
