//! A network and a view of the file systems of a cluster's own: its addresses,
//! its ports and its mounts are its own, and end with it.

use std::fs::File;
use std::io::Read as _;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use xtask::process::{Guard, capture};

const GRACE: Duration = Duration::from_secs(5);

/// A process that holds both open and waits for its standard input to end,
/// which it does with this process at the latest.
#[derive(Debug)]
pub(super) struct Namespaces {
    holder: Guard,
}

/// Programs are started in the host's namespaces, or in a cluster's.
#[derive(Debug, Clone, Copy)]
pub(super) enum Inside {
    Host,
    /// With the network, and the file systems, of that process.
    Process(u32),
    /// With the file systems and the cgroups of that process, which is in them.
    Node(u32),
}

impl Namespaces {
    /// Makes both; the loopback interface has `address` as well.
    pub(super) fn new(busybox: &Path, address: &str) -> Result<Self> {
        // Shared in itself, as systemd makes it: what is unmounted must go from the containers, too.
        let setup = format!(
            "set -e
            busybox=$0
            mount --make-rshared /
            $busybox ip link set lo up
            $busybox ip address add {address}/32 dev lo
            echo
            exec cat"
        );
        let mut unshare = Command::new("unshare");
        unshare
            .args(["--net", "--mount", "--propagation=private", "--"])
            .args(["/bin/sh", "-c", &setup])
            .arg(busybox);
        let holder = hold(&mut unshare)?;
        Ok(Self { holder })
    }

    pub(super) fn inside(&self) -> Inside {
        Inside::Process(self.holder.id())
    }

    /// Runs a shell's script in there, with `args` as `$1` and so on.
    pub(super) fn script(&self, script: &str, args: &[&Path]) -> Result<()> {
        let mut shell = self.inside().command(Path::new("/bin/sh"));
        capture(shell.args(["-ec", script, "sh"]).args(args)).map(drop)
    }
}

impl Inside {
    /// A command of that program; its child's pid is the program's.
    pub(super) fn command(self, program: &Path) -> Command {
        self.nsenter(program, &["--net", "--mount"])
    }

    /// A command of that program, in the cgroup of that name at the top of every hierarchy.
    pub(super) fn joining(cgroup: &str, program: &Path) -> Command {
        let join = "for top in /sys/fs/cgroup/*/$0 /sys/fs/cgroup/$0; do
                [ ! -d $top ] || echo $$ > $top/cgroup.procs
            done
            exec \"$@\"";
        let mut command = Command::new("/bin/sh");
        command.args(["-ec", join, cgroup]).arg(program);
        command
    }

    /// Where the file systems that are mounted there are seen from here.
    pub(super) fn root(self) -> PathBuf {
        match self {
            Self::Host => PathBuf::from("/"),
            Self::Process(pid) | Self::Node(pid) => format!("/proc/{pid}/root").into(),
        }
    }

    /// The same with the host's file systems, and so with a working directory.
    pub(super) fn command_in_network(self, program: &Path) -> Command {
        self.nsenter(program, &["--net"])
    }

    /// Listens there, from here: a socket stays in the network that it was made in.
    pub(super) fn listen(self, address: SocketAddr) -> Result<TcpListener> {
        let listen =
            move || TcpListener::bind(address).with_context(|| format!("listen on {address}"));
        let (Self::Process(pid) | Self::Node(pid)) = self else {
            return listen();
        };
        let path = format!("/proc/{pid}/ns/net");
        let network = File::open(&path).with_context(|| format!("open {path}"))?;
        // A thread that has moved is of no other use.
        let moved = thread::spawn(move || {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                .context("move into a network namespace")?;
            listen()
        });
        moved.join().unwrap_or_else(|_| bail!("the listener died"))
    }

    fn nsenter(self, program: &Path, namespaces: &[&str]) -> Command {
        match self {
            Self::Host => Command::new(program),
            Self::Process(pid) => {
                let mut command = Command::new("nsenter");
                command
                    .args(["--target", &pid.to_string()])
                    .args(namespaces)
                    .arg("--")
                    .arg(program);
                command
            }
            Self::Node(pid) => {
                // nsenter joins the namespace, and not the cgroup.
                let name = node_cgroup(pid);
                let mut command = Self::joining(&name, Path::new("nsenter"));
                command
                    .args(["--target", &pid.to_string(), "--mount", "--cgroup", "--"])
                    .arg(program);
                command
            }
        }
    }
}

/// Starts what makes namespaces, writes a line, and keeps them until its standard input ends.
pub(crate) fn hold(command: &mut Command) -> Result<Guard> {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = Guard::spawn(command, GRACE)?;
    let mut out = holder.stdout.take().context("a piped standard output")?;
    if out.read_exact(&mut [0]).is_err() {
        bail!("no namespaces could be made: see above what is missing");
    }
    Ok(holder)
}

/// The name of the cgroup of that process, which is at the top of every hierarchy.
fn node_cgroup(pid: u32) -> String {
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let path = cgroups.lines().find_map(|line| line.rsplit(':').next());
    path.unwrap_or_default().trim_start_matches('/').to_owned()
}
