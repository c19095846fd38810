//! A signal to exactly the process that was expected.

use std::fmt;
use std::str::FromStr;

use memcg::{ProcessHandle, ProcessIdentity};
use pressure::Level;
use rustix::io::Errno;
use rustix::process::{Signal as Number, pidfd_send_signal};
use rustix::thread::CapabilitySet;
use service::escape;

/// A signal, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    name: &'static str,
    number: Number,
}

/// No signal has that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no signal is called `{}`: use a name as in SIGUSR1, of signal(7)",
    escape::terminal(escape::truncate(.0, 64))
)]
pub struct BadSignal(String);

/// Why a process was not signalled. `Display` leaves the source out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// Another process may have its pid by now.
    #[error("the process has ended")]
    Ended,
    /// The pid is another process's, or the process has moved to another cgroup.
    #[error("it is not the process any more that it was")]
    Another,
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
const ALL: [(&str, Number); 32] = [
    ("SIGHUP", Number::HUP),
    ("SIGINT", Number::INT),
    ("SIGQUIT", Number::QUIT),
    ("SIGILL", Number::ILL),
    ("SIGTRAP", Number::TRAP),
    ("SIGABRT", Number::ABORT),
    ("SIGIOT", Number::ABORT),
    ("SIGBUS", Number::BUS),
    ("SIGFPE", Number::FPE),
    ("SIGKILL", Number::KILL),
    ("SIGUSR1", Number::USR1),
    ("SIGSEGV", Number::SEGV),
    ("SIGUSR2", Number::USR2),
    ("SIGPIPE", Number::PIPE),
    ("SIGALRM", Number::ALARM),
    ("SIGTERM", Number::TERM),
    ("SIGSTKFLT", Number::STKFLT),
    ("SIGCHLD", Number::CHILD),
    ("SIGCONT", Number::CONT),
    ("SIGSTOP", Number::STOP),
    ("SIGTSTP", Number::TSTP),
    ("SIGTTIN", Number::TTIN),
    ("SIGTTOU", Number::TTOU),
    ("SIGURG", Number::URG),
    ("SIGXCPU", Number::XCPU),
    ("SIGXFSZ", Number::XFSZ),
    ("SIGVTALRM", Number::VTALARM),
    ("SIGPROF", Number::PROF),
    ("SIGWINCH", Number::WINCH),
    ("SIGIO", Number::IO),
    ("SIGPWR", Number::POWER),
    ("SIGSYS", Number::SYS),
];

/// The signal of each level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LevelSignals {
    pub(crate) warning: Signal,
    pub(crate) critical: Signal,
}

/// Whether this process may signal those of other users.
pub(crate) fn may_signal_other_users() -> bool {
    let sets = rustix::thread::capabilities(None);
    sets.is_ok_and(|sets| sets.effective.contains(CapabilitySet::KILL))
}

// === impl LevelSignals ===

impl LevelSignals {
    pub(crate) fn at_level(&self, level: Level) -> Signal {
        match level {
            Level::Warning => self.warning,
            Level::Critical => self.critical,
        }
    }
}

impl Default for LevelSignals {
    fn default() -> Self {
        Self {
            warning: Signal::USR1,
            critical: Signal::USR2,
        }
    }
}

// === impl Signal ===

impl Signal {
    /// The default at the level of a warning.
    pub const USR1: Self = Self {
        name: "SIGUSR1",
        number: Number::USR1,
    };
    /// The default at the critical level.
    pub const USR2: Self = Self {
        name: "SIGUSR2",
        number: Number::USR2,
    };

    /// Sends it, if `process` has the `expected` identity. A handle is of one process from the moment it was
    /// opened: what is compared and what is signalled are the same.
    pub(crate) fn send(
        self,
        process: &ProcessHandle,
        expected: &ProcessIdentity,
    ) -> Result<(), SendError> {
        let now = process.identity().ok_or(SendError::Ended)?;
        if now != *expected {
            return Err(SendError::Another);
        }
        // A directory of procfs does for a pidfd: pidfd_send_signal(2), Linux 5.1.
        pidfd_send_signal(process, self.number).map_err(|errno| match errno {
            Errno::SRCH => SendError::Ended,
            errno => SendError::Refused(errno),
        })
    }
}

impl FromStr for Signal {
    type Err = BadSignal;

    fn from_str(text: &str) -> Result<Self, BadSignal> {
        let upper = text.trim_ascii().to_ascii_uppercase();
        let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
        let is = |name: &str| name.strip_prefix("SIG") == Some(bare);
        let found = ALL.into_iter().find(|(name, _)| is(name));
        let (name, number) = found.ok_or_else(|| BadSignal(text.to_owned()))?;
        Ok(Self { name, number })
    }
}

impl fmt::Display for Signal {
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
    fn every_signal_of_the_first_oomhero_has_its_name() {
        for name in [
            "SIGABRT", "SIGCONT", "SIGHUP", "SIGINT", "SIGIOT", "SIGKILL", "SIGQUIT", "SIGSTOP",
            "SIGTERM", "SIGTSTP", "SIGUSR1", "SIGUSR2",
        ] {
            assert_eq!(name.parse::<Signal>().unwrap().to_string(), name);
        }
        assert_eq!("usr2".parse(), Ok(Signal::USR2));
        for bad in ["", "SIG", "SIGNO", "10", "SIGUSR1 SIGUSR2", "\u{1b}[2J"] {
            let error = bad.parse::<Signal>().unwrap_err().to_string();
            assert!(
                error.contains("no signal") && !error.contains('\u{1b}'),
                "{error}"
            );
        }
    }

    #[test]
    fn the_expected_process_gets_it() {
        let mut child = sleeper();
        let process = Processes::new("/proc").open(child.id()).unwrap();
        let expected = process.identity().unwrap();
        Signal::USR1.send(&process, &expected).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(10));
        // Its pid may be another process's now.
        let late = Signal::USR1.send(&process, &expected).unwrap_err();
        assert!(matches!(late, SendError::Ended), "{late}");
    }

    #[test]
    fn a_reused_pid_or_a_process_that_left_the_cgroup_is_not_signalled() {
        let mut child = sleeper();
        let process = Processes::new("/proc").open(child.id()).unwrap();
        let expected = process.identity().unwrap();
        let others = [
            ProcessIdentity {
                start_ticks: expected.start_ticks + 1,
                ..expected.clone()
            },
            ProcessIdentity {
                cgroup: "/elsewhere".to_owned(),
                ..expected.clone()
            },
        ];
        for other in others {
            let error = Signal::USR1.send(&process, &other).unwrap_err();
            assert!(matches!(error, SendError::Another), "{error}");
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
