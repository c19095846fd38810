//! A program that does nothing: what `cargo xtask bench capture` measures the others' cost against.
//! Hung on whichever tracepoint that benchmark names when it loads it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    allow(unsafe_code, reason = "the macros export symbols and sections by name")
)]

#[cfg(target_arch = "bpf")]
use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

#[cfg(target_arch = "bpf")]
#[btf_tracepoint(function = "signal_deliver")]
fn empty(_: BtfTracePointContext) -> i32 {
    0
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// As the programs it is compared with.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
