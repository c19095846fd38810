//! `cargo xtask hog`: eats memory, for the tests to have it killed.

use std::io::{self, Read as _};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::say;

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// Flags of the command.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Args {
    /// How many MiB to touch.
    #[arg(long)]
    pub mib: usize,
    /// Then keep them until standard input ends.
    #[arg(long)]
    pub hold: bool,
    /// Let a child process touch them, and tell its fate.
    #[arg(long)]
    pub child: bool,
}

/// Eats, says `touched`, and holds if told to.
pub fn main(args: Args) -> Result<()> {
    let eaten = if args.child {
        child(args.mib)?;
        Vec::new()
    } else {
        touch(args.mib)
    };
    say::line(format_args!("touched {} MiB", eaten.len()));
    if args.hold {
        io::stdin()
            .read_to_end(&mut Vec::new())
            .context("wait for the end of standard input")?;
    }
    drop(eaten);
    Ok(())
}

/// Memory that is really there: every page written to.
fn touch(mib: usize) -> Vec<Vec<u8>> {
    (0..mib)
        .map(|_| {
            let mut chunk = vec![0_u8; MIB];
            for byte in chunk.iter_mut().step_by(PAGE) {
                *byte = 1;
            }
            std::hint::black_box(chunk)
        })
        .collect()
}

fn child(mib: usize) -> Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    let mut child = Command::new(program)
        .args(["hog", "--mib", &mib.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("start a child")?;
    say::line(format_args!("child {}", child.id()));
    let status = child.wait().context("wait for the child")?;
    say::line(format_args!("child {}: {status}", child.id()));
    Ok(())
}
