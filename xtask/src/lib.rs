//! Builds and packs what cargo alone cannot, and runs the tiers of tests: one file a command. What starts
//! real parts is in the crate `lab`.

pub mod binaries;
pub mod build_ebpf;
pub mod cache;
pub mod cross;
pub mod deb;
pub mod debian;
pub mod dist;
pub mod docs;
pub mod image;
pub mod process;
pub mod terminal;
pub mod test;
mod toolchain;
pub mod workspace;
