//! A signal to exactly the process that was meant.

use std::fmt;
use std::str::FromStr;

use memcg::{ProcessHandle, ProcessIdentity};
use rustix::io::Errno;
use rustix::process::{Signal, pidfd_send_signal};
use service::escape;

/// A signal to send, by its name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Sig {
    name: &'static str,
    signal: Signal,
}

/// No signal is called that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no signal is called `{}`: use a name as in SIGUSR1, of signal(7)",
    escape::terminal(escape::truncate(.0, 64))
)]
pub struct BadSignal(String);

/// Why a process was not signalled. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// It has ended, and its number may be another's by now.
    #[error("the process has ended")]
    Ended,
    /// Whoever has the number now is another process, or has moved to another cgroup.
    #[error("it is not the process any more that it was")]
    Another,
    /// The kernel would not.
    #[error("the signal could not be sent{}", hint(*.0))]
    Refused(#[source] Errno),
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::PERM => ": CAP_KILL is needed for a process of another user",
        Errno::NOSYS => ": the kernel is older than 5.1",
        Errno::INVAL => {
            ": the process is outside of this PID namespace; see shareProcessNamespace, or hostPID"
        }
        _ => "",
    }
}

/// By name; `SIGIOT` is `SIGABRT`'s other one.
const ALL: [(&str, Signal); 32] = [
    ("SIGHUP", Signal::HUP),
    ("SIGINT", Signal::INT),
    ("SIGQUIT", Signal::QUIT),
    ("SIGILL", Signal::ILL),
    ("SIGTRAP", Signal::TRAP),
    ("SIGABRT", Signal::ABORT),
    ("SIGIOT", Signal::ABORT),
    ("SIGBUS", Signal::BUS),
    ("SIGFPE", Signal::FPE),
    ("SIGKILL", Signal::KILL),
    ("SIGUSR1", Signal::USR1),
    ("SIGSEGV", Signal::SEGV),
    ("SIGUSR2", Signal::USR2),
    ("SIGPIPE", Signal::PIPE),
    ("SIGALRM", Signal::ALARM),
    ("SIGTERM", Signal::TERM),
    ("SIGSTKFLT", Signal::STKFLT),
    ("SIGCHLD", Signal::CHILD),
    ("SIGCONT", Signal::CONT),
    ("SIGSTOP", Signal::STOP),
    ("SIGTSTP", Signal::TSTP),
    ("SIGTTIN", Signal::TTIN),
    ("SIGTTOU", Signal::TTOU),
    ("SIGURG", Signal::URG),
    ("SIGXCPU", Signal::XCPU),
    ("SIGXFSZ", Signal::XFSZ),
    ("SIGVTALRM", Signal::VTALARM),
    ("SIGPROF", Signal::PROF),
    ("SIGWINCH", Signal::WINCH),
    ("SIGIO", Signal::IO),
    ("SIGPWR", Signal::POWER),
    ("SIGSYS", Signal::SYS),
];

// === impl Sig ===

impl Sig {
    /// What a warning sends, unless told otherwise.
    pub const USR1: Self = Self {
        name: "SIGUSR1",
        signal: Signal::USR1,
    };
    /// What a critical one does.
    pub const USR2: Self = Self {
        name: "SIGUSR2",
        signal: Signal::USR2,
    };

    /// Sends it, if `held` is still the process `meant`. From the moment it was opened, its handle is
    /// of one process and no other, whoever gets its number: what is asked and what is signalled are
    /// the same.
    pub fn send(self, held: &ProcessHandle, meant: &ProcessIdentity) -> Result<(), SendError> {
        let now = held.identity().ok_or(SendError::Ended)?;
        if now != *meant {
            return Err(SendError::Another);
        }
        // A directory of procfs does for a pidfd: pidfd_send_signal(2), Linux 5.1.
        pidfd_send_signal(held, self.signal).map_err(|errno| match errno {
            Errno::SRCH => SendError::Ended,
            errno => SendError::Refused(errno),
        })
    }
}

impl FromStr for Sig {
    type Err = BadSignal;

    fn from_str(text: &str) -> Result<Self, BadSignal> {
        let upper = text.trim_ascii().to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let is = |name: &str| name.strip_prefix("SIG") == Some(bare);
        let found = ALL.into_iter().find(|(name, _)| is(name));
        let (name, signal) = found.ok_or_else(|| BadSignal(text.to_owned()))?;
        Ok(Self { name, signal })
    }
}

impl fmt::Display for Sig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Sig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, Stdio};

    use memcg::Processes;

    use super::*;

    fn sleeper() -> std::process::Child {
        let mut sleep = Command::new("sleep");
        sleep.arg("2147483647").stdout(Stdio::null());
        sleep.spawn().unwrap()
    }

    #[test]
    fn every_signal_that_the_first_oomhero_took_has_its_name() {
        for name in [
            "SIGABRT", "SIGCONT", "SIGHUP", "SIGINT", "SIGIOT", "SIGKILL", "SIGQUIT", "SIGSTOP",
            "SIGTERM", "SIGTSTP", "SIGUSR1", "SIGUSR2",
        ] {
            assert_eq!(name.parse::<Sig>().unwrap().to_string(), name);
        }
        assert_eq!("usr2".parse(), Ok(Sig::USR2));
        for bad in ["", "SIG", "SIGNO", "10", "SIGUSR1 SIGUSR2", "\u{1b}[2J"] {
            let says = bad.parse::<Sig>().unwrap_err().to_string();
            assert!(
                says.contains("no signal") && !says.contains('\u{1b}'),
                "{says}"
            );
        }
    }

    #[test]
    fn the_process_that_was_meant_gets_it() {
        let mut child = sleeper();
        let held = Processes::new("/proc").open(child.id()).unwrap();
        let meant = held.identity().unwrap();
        Sig::USR1.send(&held, &meant).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(10));
        // Its number may be anybody's now.
        let late = Sig::USR1.send(&held, &meant).unwrap_err();
        assert!(matches!(late, SendError::Ended), "{late}");
    }

    #[test]
    fn whoever_has_got_the_number_or_left_the_cgroup_gets_nothing() {
        let mut child = sleeper();
        let held = Processes::new("/proc").open(child.id()).unwrap();
        let meant = held.identity().unwrap();
        let others = [
            ProcessIdentity {
                start_ticks: meant.start_ticks + 1,
                ..meant.clone()
            },
            ProcessIdentity {
                cgroup: "/elsewhere".to_owned(),
                ..meant.clone()
            },
        ];
        for other in others {
            let error = Sig::USR1.send(&held, &other).unwrap_err();
            assert!(matches!(error, SendError::Another), "{error}");
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
