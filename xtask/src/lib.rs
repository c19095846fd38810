//! What the workspace needs done beyond cargo: the eBPF object, static
//! binaries and an image, the demo, and the tests against real parts.
//!
//! One file a command; [`lab`] starts the real parts that the demo and the
//! tests share.

pub mod bench;
mod binaries;
pub mod bloat;
pub mod build_ebpf;
pub mod cross;
pub mod deb;
pub mod demo;
pub mod dist;
pub mod expect;
pub mod guest;
pub mod hog;
pub mod image;
mod interrupt;
pub mod lab;
pub mod load_ebpf;
pub mod process;
pub mod say;
pub mod screenshots;
pub mod test;
mod toolchain;
pub mod workspace;
