//! A node with all that an agent may meet: an API server, a container runtime, a bonker.

use std::ffi::OsStr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use lab::{Admin, Agent, ApiServer, Bonker, Containerd, Pod, interrupt};
use serde_json::{Value, json};
use xtask::cache::Cache;
use xtask::debian::Debian;
use xtask::terminal;

use super::compare::Event;
use super::kill_generator::{KillGenerator, Plan};
use super::setup::{Built, Programs};

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
    pub(super) fn start(built: &Built) -> Result<Self> {
        let programs = built.programs()?;
        let cache = Cache::open()?;
        let containerd = Containerd::prepare(&cache, Debian::new(built.consent())?)?;
        let api = ApiServer::prepare(&cache)?;
        interrupt::check()?;
        terminal::step("starting an API server, a containerd and a bonker");
        let api = ApiServer::start(&api)?;
        api.create_account(NODE, NAMESPACE, ACCOUNT)?;
        api.grant(NAMESPACE, ACCOUNT, &ApiServer::agent_rules())?;
        interrupt::check()?;
        Ok(Self {
            kubeconfig: api.kubeconfig_for(NAMESPACE, ACCOUNT)?,
            api,
            containerd: Containerd::start(&containerd)?,
            bonker: Bonker::start_with_web(&programs.bonker, &[])?,
            programs,
        })
    }

    /// Pods in the API with a kill generator each, and how their Events name these pods.
    pub(super) fn kill_generators(
        &self,
        pods: u32,
        plan: Plan,
    ) -> Result<(Vec<KillGenerator>, Vec<String>)> {
        let (mut generators, mut objects) = (Vec::new(), Vec::new());
        for n in 0..pods {
            let pod = self.pod(format!("hungry-{n}"))?;
            interrupt::check()?;
            generators.push(KillGenerator::contained(&self.containerd, &pod, plan)?);
            objects.push(format!("Pod/{}", pod.name));
        }
        Ok((generators, objects))
    }

    /// A pod in the API, without a container yet.
    fn pod(&self, name: String) -> Result<Pod> {
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
            name,
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

    /// Every Event of the agent's that the API has.
    pub(super) fn events(&self) -> Result<Vec<Event>> {
        let list = self.api.get("/apis/events.k8s.io/v1/events")?;
        let items = list.get("items").and_then(Value::as_array);
        let items = items.context("a list of Events")?;
        Ok(items.iter().filter_map(Event::parse).collect())
    }
}
