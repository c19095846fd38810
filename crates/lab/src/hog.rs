//! `cargo xtask hog`: eats memory, for the tests to have it killed.

use std::fs;
use std::io::{self, Read as _};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::thread::{SecureComputingMode, UnshareFlags, set_secure_computing_mode};
use signal_hook::consts::{SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;
use xtask::terminal;

use crate::wait;

const PAGE: usize = 4096;
const MIB: usize = 1 << 20;

/// How long a thread's end may take.
const SOON: Duration = Duration::from_secs(30);

/// Flags of the command.
#[derive(Debug, Clone, Copy, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag on the command line"
)]
pub struct Args {
    /// How many MiB to touch.
    #[arg(long)]
    mib: usize,
    /// Wait so many ms after each.
    #[arg(long, default_value_t = 0)]
    every_ms: u64,
    /// Then keep them until standard input ends.
    #[arg(long)]
    hold: bool,
    /// Print `ready` and wait for a line before anything is touched.
    #[arg(long)]
    gate: bool,
    /// Let a child process touch them, and print its fate.
    #[arg(long)]
    child: bool,
    /// Give that child a PID namespace of its own.
    #[arg(long, requires = "child")]
    nested: bool,
    /// Let a thread touch them that is not the first one.
    #[arg(long, conflicts_with = "child")]
    thread: bool,
    /// Let a thread touch them once the first one has ended.
    #[arg(long, conflicts_with_all = ["child", "thread"])]
    leaderless: bool,
    /// Touch one MiB every so many milliseconds; on SIGUSR1 print so, on SIGUSR2 free all and hold.
    #[arg(long, value_name = "MS", conflicts_with_all = ["child", "thread", "leaderless"])]
    careful: Option<u64>,
}

/// Eats, prints `touched`, and holds with `--hold`.
pub fn main(args: Args) -> Result<()> {
    if args.child {
        child(args)?;
        return hold(args, Vec::new());
    }
    let eater = (args.thread || args.leaderless)
        .then(|| eater(args))
        .transpose()?;
    if args.gate {
        terminal::line("ready");
        io::stdin()
            .read_line(&mut String::new())
            .context("wait for a line on standard input")?;
    }
    if let Some(step) = args.careful {
        return hold(args, grow(args.mib, Duration::from_millis(step))?);
    }
    match eater {
        None => hold(args, touch(args)),
        Some((open, eater)) => {
            drop(open);
            if args.leaderless {
                return end_this_thread();
            }
            eater.join().unwrap_or_else(|_| bail!("the eater died"))
        }
    }
}

/// Grows by steps to so many MiB, or until SIGUSR2 warns it that it comes near its limit.
pub(crate) fn grow(mib: usize, step: Duration) -> Result<Vec<Vec<u8>>> {
    let mut signals = Signals::new([SIGUSR1, SIGUSR2]).context("catch signals")?;
    let (sender, received) = sync_channel(8);
    thread::spawn(move || signals.forever().try_for_each(|signal| sender.send(signal)));
    let mut eaten = Vec::new();
    terminal::line("growing");
    while eaten.len() < mib {
        match received.recv_timeout(step) {
            Ok(SIGUSR2) => {
                terminal::line(format_args!("let go at {} MiB", eaten.len()));
                return Ok(Vec::new());
            }
            Ok(_) => terminal::line(format_args!("warned at {} MiB", eaten.len())),
            Err(_) => eaten.push(chunk()),
        }
    }
    Ok(eaten)
}

/// A thread that eats once its gate's other end is dropped.
fn eater(args: Args) -> Result<(std::sync::mpsc::SyncSender<()>, JoinHandle<Result<()>>)> {
    let (open, gate): (_, Receiver<()>) = sync_channel(0);
    let eater = thread::Builder::new()
        .name("eater".to_owned())
        .spawn(move || {
            let _dropped = gate.recv();
            if args.leaderless {
                // Its pid is another in the PID namespace that /proc is of.
                wait::until("end of the first thread", SOON, || {
                    // proc_pid_stat(5): `42 (hog) Z 1 …`
                    let stat = fs::read_to_string("/proc/self/stat").ok()?;
                    stat.rsplit_once(") ")?.1.starts_with('Z').then_some(())
                })?;
            }
            hold(args, touch(args))
        });
    Ok((open, eater.context("start a thread")?))
}

/// In strict mode a thread that calls what it may not is ended, and it alone
/// (seccomp(2)): returning from `main` would take the others along.
fn end_this_thread() -> Result<()> {
    set_secure_computing_mode(SecureComputingMode::Strict).context("enter strict mode")?;
    let _ended = rustix::process::getppid();
    bail!("the first thread lives on in strict mode")
}

fn hold(args: Args, eaten: Vec<Vec<u8>>) -> Result<()> {
    terminal::line(format_args!("touched {} MiB", eaten.len()));
    if args.hold {
        io::stdin()
            .read_to_end(&mut Vec::new())
            .context("wait for the end of standard input")?;
    }
    drop(eaten);
    Ok(())
}

/// Memory that is really there: every page written to.
fn touch(args: Args) -> Vec<Vec<u8>> {
    (0..args.mib)
        .map(|_| {
            let chunk = chunk();
            if args.every_ms > 0 {
                #[expect(clippy::disallowed_methods, reason = "a leak takes its time")]
                thread::sleep(Duration::from_millis(args.every_ms));
            }
            chunk
        })
        .collect()
}

/// One MiB that is really there.
fn chunk() -> Vec<u8> {
    let mut chunk = vec![0_u8; MIB];
    for byte in chunk.iter_mut().step_by(PAGE) {
        *byte = 1;
    }
    std::hint::black_box(chunk)
}

/// With a gate, it is the child that waits there.
fn child(args: Args) -> Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    let mut command = Command::new(program);
    command.args(["hog", "--mib", &args.mib.to_string()]);
    if args.gate {
        command.arg("--gate");
    } else {
        command.stdin(Stdio::null()).stdout(Stdio::null());
    }
    if args.nested {
        #[expect(
            deprecated,
            reason = "the other one is unsafe for the sake of UnshareFlags::FILES"
        )]
        rustix::thread::unshare(UnshareFlags::NEWPID).context("unshare the PID namespace")?;
    }
    let mut child = command.spawn().context("start a child")?;
    terminal::line(format_args!("child {}", child.id()));
    let status = child.wait().context("wait for the child")?;
    terminal::line(format_args!("child {}: {status}", child.id()));
    Ok(())
}
