//! The eBPF programs. `cargo xtask build-ebpf` builds them for `bpfel-unknown-none`; for any other target this program
//! is empty, so that one `cargo` command checks the workspace.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(
    target_arch = "bpf",
    allow(
        unsafe_code,
        reason = "helpers and the kernel's memory are raw pointers"
    )
)]

#[cfg(target_arch = "bpf")]
mod programs;

#[cfg(not(target_arch = "bpf"))]
fn main() {}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel provides some helpers, such as `bpf_probe_read_kernel`, only to GPL-compatible programs.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
