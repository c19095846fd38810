//! The tools that are compared: how each is started, and what a line of it reports.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::victim::Kill;

/// A tool that is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Tool {
    /// `oom-agent run --output human`
    #[value(name = "human")]
    AgentHuman,
    /// `oom-agent run --output json`
    #[value(name = "json")]
    AgentJson,
    /// `bpftrace -e 'tracepoint:oom:mark_victim …'`
    Bpftrace,
    /// A reader of `/dev/kmsg`
    Kmsg,
}

/// What a report of a kill may have right, besides the victim's pid.
pub(super) const FACTS: [&str; 4] = ["comm", "cgroup", "cmdline", "limit"];
/// Which of these it has right.
pub(super) type Facts = [bool; 4];

/// bpftrace wants tracefs; where the host has it not, it is mounted for this process alone. The
/// first argument is for kernels whose tracepoint has the name (6.9 and its backports), the second for others.
const BPFTRACE: &str = r#"dir=/sys/kernel/tracing
[ -e $dir/events ] || [ -e /sys/kernel/debug/tracing/events ] || mount -t tracefs nodev $dir || exit
[ -e $dir/events ] || dir=/sys/kernel/debug/tracing
grep -q 'char\[\] comm;' $dir/events/oom/mark_victim/format || shift
exec bpftrace -B line -e "$1""#;
const WITH_COMM: &str =
    r#"tracepoint:oom:mark_victim { printf("%d %s\n", args->pid, str(args->comm)); }"#;
const WITHOUT_COMM: &str = r#"tracepoint:oom:mark_victim { printf("%d\n", args->pid); }"#;

impl Tool {
    /// This project's own.
    pub(super) const OURS: [Self; 2] = [Self::AgentHuman, Self::AgentJson];
    /// The others.
    pub(super) const RIVALS: [Self; 2] = [Self::Bpftrace, Self::Kmsg];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AgentHuman => "oom-agent, human",
            Self::AgentJson => "oom-agent, json",
            Self::Bpftrace => "bpftrace",
            Self::Kmsg => "/dev/kmsg reader",
        }
    }

    /// What starts it, so that the child is the tool itself.
    pub(super) fn command(self, agent: &Path) -> Result<Command> {
        let (program, args): (_, &[&str]) = match self {
            Self::AgentHuman => (
                agent.to_owned(),
                &["run", "--no-kubernetes", "--output", "human"],
            ),
            Self::AgentJson => (
                agent.to_owned(),
                &["run", "--no-kubernetes", "--output", "json"],
            ),
            Self::Bpftrace => {
                let script = &[
                    "--mount",
                    "sh",
                    "-c",
                    BPFTRACE,
                    "sh",
                    WITH_COMM,
                    WITHOUT_COMM,
                ];
                ("unshare".into(), script)
            }
            Self::Kmsg => (
                std::env::current_exe().context("find this program")?,
                &["kmsg"],
            ),
        };
        let mut command = Command::new(program);
        command.args(args);
        // The environment may have the agent set up for something else.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("OOM_AGENT_") {
                command.env_remove(name);
            }
        }
        Ok(command)
    }

    /// The victim of the kill that a line reports.
    pub(super) fn pid(self, line: &str) -> Option<u32> {
        match self {
            Self::AgentHuman => number_after(line, "(pid "),
            Self::AgentJson => {
                let incident: Value = serde_json::from_str(line).ok()?;
                let pid = incident.pointer("/victims/0/pid")?.as_u64()?;
                u32::try_from(pid).ok()
            }
            Self::Bpftrace => line.split(' ').next()?.parse().ok(),
            Self::Kmsg => number_after(line, "Killed process "),
        }
    }

    /// What a report has right of a kill.
    pub(super) fn facts(self, report: &str, kill: &Kill) -> Facts {
        let Kill {
            pid, comm, cgroup, ..
        } = kill;
        let has = |wanted: String| report.contains(&wanted);
        match self {
            Self::AgentHuman => [
                has(format!(" {comm} (pid {pid}) was OOM-killed")),
                has(format!(" in cgroup {cgroup} ")),
                has(format!("command line: {}", kill.cmdline.join(" "))),
                has(format!(" limit of {}.0 MiB", kill.limit_bytes >> 20)),
            ],
            Self::AgentJson => {
                let incident = serde_json::from_str(report).unwrap_or(Value::Null);
                let is = |at: &str, truth: Value| incident.pointer(at) == Some(&truth);
                [
                    is("/victims/0/comm", comm.as_str().into()),
                    is("/victims/0/cgroup", cgroup.as_str().into()),
                    is("/victims/0/cmdline", kill.cmdline.clone().into()),
                    is("/limit_bytes", kill.limit_bytes.into()),
                ]
            }
            Self::Bpftrace => [report == format!("{pid} {comm}"), false, false, false],
            Self::Kmsg => {
                let kib = kill.limit_bytes >> 10;
                let in_cgroup = has(format!("task_memcg={cgroup},task={comm},pid={pid},"));
                // A limit is printed without its cgroup: it belongs to what was printed with it.
                let limit = in_cgroup && has(format!(", limit {kib}kB, "));
                let killed = has(format!("Killed process {pid} ({comm})"));
                [killed, in_cgroup, false, limit]
            }
        }
    }
}

fn number_after(text: &str, key: &str) -> Option<u32> {
    let (_, rest) = text.split_once(key)?;
    let end = rest.find(|c: char| !c.is_ascii_digit());
    rest.get(..end.unwrap_or(rest.len()))?.parse().ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn kill(pid: u32) -> Kill {
        Kill {
            pid,
            comm: "idle-7".into(),
            cmdline: vec!["/tmp/x/idle-7".into(), "hog".into()],
            cgroup: "/oom-bonker-1-7".into(),
            limit_bytes: 24 << 20,
            begun_ns: 100,
        }
    }

    pub(crate) const HUMAN: &str = "10:00:00.123 idle-7 (pid 42) was OOM-killed in cgroup /oom-bonker-1-7 with 23.1 MiB resident (anon 23.0 MiB, file 0.1 MiB, shmem 0.0 MiB), at the limit of 24.0 MiB of cgroup /oom-bonker-1-7 — command line: /tmp/x/idle-7 hog";
    pub(crate) const JSON: &str = r#"{"version":1,"id":"6f1c0a52-812345678901-42","limit_bytes":25165824,"victims":[{"pid":42,"comm":"idle-7","cmdline":["/tmp/x/idle-7","hog"],"cgroup":"/oom-bonker-1-7"}]}"#;
    pub(crate) const KMSG: [&str; 3] = [
        "memory: usage 24576kB, limit 24576kB, failcnt 12",
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/oom-bonker-1-7,task_memcg=/oom-bonker-1-7,task=idle-7,pid=42,uid=0",
        "Memory cgroup out of memory: Killed process 42 (idle-7) total-vm:69000kB, anon-rss:23552kB, file-rss:128kB, shmem-rss:0kB, UID:0 pgtables:140kB oom_score_adj:0",
    ];

    #[test]
    fn the_agents_lines_have_everything() {
        for (tool, line) in [(Tool::AgentHuman, HUMAN), (Tool::AgentJson, JSON)] {
            assert_eq!(tool.pid(line), Some(42), "{tool:?}");
            assert_eq!(tool.facts(line, &kill(42)), [true; 4], "{tool:?}");
        }
    }

    #[test]
    fn another_kill_is_not_reported() {
        let other = Kill {
            comm: "idle-8".into(),
            cmdline: vec!["/tmp/x/idle-8".into()],
            cgroup: "/oom-bonker-1-8".into(),
            limit_bytes: 48 << 20,
            ..kill(42)
        };
        let kmsg = KMSG.join("\n");
        for (tool, line) in [
            (Tool::AgentHuman, HUMAN),
            (Tool::AgentJson, JSON),
            (Tool::Bpftrace, "42 idle-7"),
            (Tool::Kmsg, kmsg.as_str()),
        ] {
            assert_eq!(tool.facts(line, &other), [false; 4], "{tool:?}");
        }
    }

    #[test]
    fn the_others_have_what_they_can() {
        let facts = Tool::Bpftrace.facts("42 idle-7", &kill(42));
        assert_eq!(Tool::Bpftrace.pid("42 idle-7"), Some(42));
        assert_eq!(facts, [true, false, false, false]);
        assert_eq!(Tool::Bpftrace.pid("42"), Some(42));
        assert_eq!(Tool::Bpftrace.pid("Attaching 1 probe..."), None);

        assert_eq!(Tool::Kmsg.pid(KMSG[1]), None);
        assert_eq!(Tool::Kmsg.pid(KMSG[2]), Some(42));
        let whole = Tool::Kmsg.facts(&KMSG.join("\n"), &kill(42));
        assert_eq!(whole, [true, true, false, true]);
        // A limit that was printed without a name may be another cgroup's.
        let limited = Tool::Kmsg.facts(&[KMSG[0], KMSG[2]].join("\n"), &kill(42));
        assert_eq!(limited, [true, false, false, false]);
    }
}
