//! A node with all that an agent may meet: an API server, a container runtime, a bonker.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use lab::{Admin, Agent, ApiServer, Bonker, Containerd, Pod, interrupt};
use serde_json::{Value, json};
use xtask::cache::Cache;
use xtask::debian::{Consent, Debian};
use xtask::process::capture;
use xtask::terminal;

use super::compare::Event;
use super::setup::Programs;

const NODE: &str = "node-a";
const NAMESPACE: &str = "penguins";
const ACCOUNT: &str = "oom-agent";

/// Dropping it ends all of it.
#[derive(Debug)]
pub(super) struct Site {
    // Declared in the order they are to be ended.
    pub(super) bonker: Bonker,
    pub(super) containerd: Containerd,
    pub(super) api: ApiServer,
    kubeconfig: PathBuf,
    programs: Programs,
}

impl Site {
    /// Sets up what is not there yet and starts everything but an agent.
    pub(super) fn start(programs: Programs, consent: Consent) -> Result<Self> {
        let cache = Cache::open()?;
        let containerd = Containerd::prepare(&cache, Debian::new(consent)?)?;
        let api = ApiServer::prepare(&cache)?;
        interrupt::check()?;
        terminal::step("starting an API server, a containerd and a bonker");
        let api = ApiServer::start(&api)?;
        for object in [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE}}),
            json!({
                "apiVersion": "v1", "kind": "ServiceAccount",
                "metadata": {"name": ACCOUNT, "namespace": NAMESPACE},
            }),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
                "metadata": {"name": ACCOUNT},
                "rules": [
                    {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
                    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
                ],
            }),
            json!({
                "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
                "metadata": {"name": ACCOUNT},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ACCOUNT},
                "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": NAMESPACE}],
            }),
        ] {
            api.create(&object)?;
        }
        interrupt::check()?;
        Ok(Self {
            kubeconfig: api.kubeconfig_for(NAMESPACE, ACCOUNT)?,
            api,
            containerd: Containerd::start(&containerd)?,
            bonker: Bonker::start(&programs.bonker, &[])?,
            programs,
        })
    }

    /// A pod in the API, without a container yet.
    pub(super) fn pod(&self, name: &str) -> Result<Pod> {
        let stored = self.api.create(&json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "nodeName": NODE, "automountServiceAccountToken": false,
                "containers": [{"name": "main", "image": "localhost/busybox:1"}],
            },
        }))?;
        let uid = stored.pointer("/metadata/uid").and_then(Value::as_str);
        Ok(Pod {
            namespace: NAMESPACE.to_owned(),
            name: name.to_owned(),
            uid: uid.context("a pod with a uid")?.to_owned(),
            annotations: Vec::new(),
        })
    }

    /// An agent that reports to all of them.
    pub(super) fn agent(&self, more: &[&OsStr]) -> Result<Agent> {
        let endpoint = format!("unix://{}", self.containerd.socket().display());
        let mut args: Vec<&OsStr> = Admin::LISTEN.iter().map(AsRef::as_ref).collect();
        let ours: [&OsStr; 6] = [
            "--cri-endpoint".as_ref(),
            endpoint.as_ref(),
            "--kubeconfig".as_ref(),
            self.kubeconfig.as_ref(),
            "--bonker".as_ref(),
            self.bonker.url().as_ref(),
        ];
        args.extend(ours);
        args.extend(more);
        Agent::start(&self.programs.agent, &args, &[("NODE_NAME", NODE.as_ref())])
    }

    /// Which of these flags this agent has.
    pub(super) fn agent_has(&self, flag: &str) -> Result<bool> {
        let help = capture(Command::new(&self.programs.agent).args(["run", "--help"]))?;
        Ok(has_flag(&help, flag))
    }

    /// Every Event of the agent's that the API has.
    pub(super) fn events(&self) -> Result<Vec<Event>> {
        let list = self.api.get("/apis/events.k8s.io/v1/events")?;
        let items = list.get("items").and_then(Value::as_array);
        let items = items.context("a list of Events")?;
        Ok(items.iter().filter_map(Event::parse).collect())
    }

    /// How the bonker answered so far.
    pub(super) fn answers(&self) -> Result<Answers> {
        let mut command = Command::new(&self.programs.bonker);
        let status = capture(command.args(["status", "--from", self.bonker.url()]))?;
        Answers::parse(&status).with_context(|| format!("read a bonker's status:\n{status}"))
    }

    /// As a pod's Events name it.
    pub(super) fn object(pod: &str) -> String {
        format!("Pod/{pod}")
    }
}

/// A bonker's answers to bonks, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Answers {
    pub(super) accepted: u64,
    pub(super) coalesced: u64,
    pub(super) duplicates: u64,
    pub(super) rate_limited: u64,
    pub(super) full: u64,
    /// Rejected, expired, or in a quiet time.
    pub(super) rejected: u64,
}

// === impl Answers ===

impl Answers {
    /// `answers: 1 accepted, 2 coalesced, …`
    fn parse(status: &str) -> Option<Self> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("answers: "))?;
        let count = |kind: &str| -> Option<u64> {
            let mut all = line.split(", ");
            let number = all.find_map(|one| one.strip_suffix(kind))?;
            number.trim().parse().ok()
        };
        Some(Self {
            accepted: count("accepted")?,
            coalesced: count("coalesced")?,
            duplicates: count("duplicates")?,
            rate_limited: count("rate-limited")?,
            full: count("full")?,
            rejected: count("rejected")?
                .saturating_add(count("expired")?)
                .saturating_add(count("quiet")?),
        })
    }

    pub(super) fn count(self) -> u64 {
        [self.coalesced, self.duplicates, self.rate_limited]
            .into_iter()
            .chain([self.full, self.rejected])
            .fold(self.accepted, u64::saturating_add)
    }
}

fn has_flag(help: &str, flag: &str) -> bool {
    help.split_whitespace().any(|word| word == flag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bonkers_answers_are_read() {
        let status = "queue: 0 of 16\nanswers: 1 accepted, 2 coalesced, 3 duplicates, \
                      4 rate-limited, 5 quiet, 6 expired, 7 full, 8 rejected\n";
        let answers = Answers {
            accepted: 1,
            coalesced: 2,
            duplicates: 3,
            rate_limited: 4,
            full: 7,
            rejected: 19,
        };
        assert_eq!(Answers::parse(status), Some(answers));
        assert_eq!(answers.count(), 36);
        assert_eq!(Answers::parse("answers: 1 accepted"), None);
    }

    #[test]
    fn a_flag_is_a_word() {
        let help = "      --pinned X  not it\n      --state <DIR>\n          Kept Events [env: X]";
        assert!(has_flag(help, "--state"));
        assert!(!has_flag(help, "--pin"));
    }
}
