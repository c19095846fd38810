//! A real API server with RBAC, and the etcd behind it.

use std::fs;
use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use xtask::cache::Cache;
use xtask::process::capture;

use crate::http;
use crate::kubernetes;
use crate::namespaces::Inside;
use crate::pki::{Pki, kubeconfig};
use crate::port;
use crate::server::Server;
use crate::wait::HANG;

const AUDIT_LOG: &str = "audit.log";
const NAME: &str = "kube-apiserver";

/// A running kube-apiserver on a loopback port. Dropping it ends it and its etcd.
#[derive(Debug)]
pub struct ApiServer {
    // Declared in the order they are to be ended.
    api: Server,
    command: Command,
    _etcd: Server,
    kubectl: PathBuf,
    url: String,
    pki: Pki,
    dir: tempfile::TempDir,
    inside: Inside,
    _port: Option<OwnedFd>,
}

/// Where one runs, and what is on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    /// On a loopback port, with nothing beside it: objects are what tests create.
    Alone,
    /// In a cluster's network, at that address and port 443, with what the other
    /// servers of a cluster expect, and an audit log.
    Cluster(Inside, &'static str),
}

const AUDIT_POLICY: &str = "apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  # What a kubelet reports of its pods, word for word.
  - {level: Request, verbs: [patch, update], resources: [{group: \"\", resources: [pods/status]}]}
  - {level: Metadata}
";

impl ApiServer {
    /// Builds what it takes into the cache, where it is not there yet: some minutes.
    /// Nothing is installed.
    pub fn prepare(cache: &Cache) -> Result<PathBuf> {
        kubernetes::prepare(cache)
    }

    /// Starts one from `parts`, see [`ApiServer::prepare`], and waits until it is
    /// ready.
    pub fn start(parts: &Path) -> Result<Self> {
        Self::start_as(parts, Role::Alone)
    }

    pub(super) fn start_as(parts: &Path, role: Role) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("oom-bonker-api-")
            .tempdir()
            .context("make a directory for an API server")?;
        let bin = parts.join("bin");
        let (address, port, guard, inside) = match role {
            Role::Alone => {
                let (port, guard) = port::reserve()?;
                ("127.0.0.1", port, Some(guard), Inside::Host)
            }
            Role::Cluster(inside, address) => (address, 443, None, inside),
        };
        let pki = Pki::new(dir.path().join("pki"), address)?;
        // Sockets in the working directory, whose names etcd wants to look like this: no port that could be another's.
        let etcd = Server::start(
            "etcd",
            Command::new(bin.join("etcd"))
                .args(["--name=t", "--data-dir=etcd", "--unsafe-no-fsync"])
                .args([
                    "--listen-client-urls=unix://localhost:1",
                    "--advertise-client-urls=unix://localhost:1",
                ])
                .args([
                    "--listen-peer-urls=unix://localhost:2",
                    "--initial-advertise-peer-urls=unix://localhost:2",
                ])
                .arg("--initial-cluster=t=unix://localhost:2"),
            dir.path(),
        )?;
        let mut command = inside.command_in_network(&bin.join("kube-apiserver"));
        command
            .args([
                "--etcd-servers=unix://localhost:1",
                "--permit-port-sharing=true",
            ])
            .arg(format!("--bind-address={address}"))
            .arg(format!("--advertise-address={address}"))
            .arg(format!("--secure-port={port}"))
            .args([
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
            ])
            .args([
                "--service-cluster-ip-range=10.0.0.0/24",
                "--allow-privileged=true",
            ])
            .args(["--service-account-issuer=https://kubernetes.default.svc"])
            .args(["--api-audiences=https://kubernetes.default.svc"])
            .arg(flag("--client-ca-file", &pki.file("ca.crt")))
            .arg(flag("--tls-cert-file", &pki.file("server.crt")))
            .arg(flag("--tls-private-key-file", &pki.file("server.key")))
            .arg(flag("--service-account-key-file", &pki.file("sa.pub")))
            .arg(flag(
                "--service-account-signing-key-file",
                &pki.file("sa.key"),
            ))
            .arg(flag("--cert-dir", pki.dir()));
        match role {
            // Its controller, which would make each namespace's default account, does not run here.
            Role::Alone => command.arg("--disable-admission-plugins=ServiceAccount"),
            Role::Cluster(..) => {
                let policy = dir.path().join("audit.yaml");
                fs::write(&policy, AUDIT_POLICY)
                    .with_context(|| format!("write {}", policy.display()))?;
                command
                    .arg(flag("--audit-policy-file", &policy))
                    .arg(flag("--audit-log-path", &dir.path().join(AUDIT_LOG)))
                    .arg("--audit-log-mode=blocking")
            }
        };
        let mut server = Self {
            api: Server::start(NAME, &mut command, dir.path())?,
            command,
            _etcd: etcd,
            kubectl: bin.join("kubectl"),
            inside,
            url: format!("https://{address}:{port}"),
            pki,
            dir,
            _port: guard,
        };
        server.kubeconfig_of("admin", "system:masters")?;
        server.wait_until_ready()?;
        Ok(server)
    }

    /// `kubectl` as the administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = self.inside.command_in_network(&self.kubectl);
        command
            .arg("--kubeconfig")
            .arg(self.dir.path().join("admin.kubeconfig"))
            .args(["--request-timeout=10s", "--cache-dir"])
            .arg(self.dir.path().join("cache"));
        command
    }

    /// Creates any object, as `kubectl create -f -` does; returns it as stored.
    pub fn create(&self, object: &Value) -> Result<Value> {
        let stored = self.with_input(&["create", "--output=json", "--filename=-"], object)?;
        serde_json::from_str(&stored).context("read an object as stored")
    }

    /// Creates a node, and a namespace with a service account.
    pub fn create_account(&self, node: &str, namespace: &str, account: &str) -> Result<()> {
        let metadata = json!({"name": account, "namespace": namespace});
        for object in [
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}),
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}}),
            json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
        ] {
            self.create(&object)?;
        }
        Ok(())
    }

    /// Grants these rules to a service account, in the whole cluster.
    pub fn grant(&self, namespace: &str, account: &str, rules: &Value) -> Result<()> {
        let group = "rbac.authorization.k8s.io";
        let version = format!("{group}/v1");
        self.create(&json!({
            "apiVersion": version, "kind": "ClusterRole", "metadata": {"name": account},
            "rules": rules,
        }))?;
        self.create(&json!({
            "apiVersion": version, "kind": "ClusterRoleBinding", "metadata": {"name": account},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": account},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        }))?;
        Ok(())
    }

    /// The rules of the agent's manifest: to create and patch events, and to read pods.
    pub fn agent_rules() -> Value {
        json!([
            {"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]},
        ])
    }

    /// PUTs an object to a path of the API, which may be a subresource.
    pub fn put(&self, path: &str, object: &Value) -> Result<()> {
        self.with_input(&["replace", "--raw", path, "--filename=-"], object)?;
        Ok(())
    }

    /// GETs a path of the API.
    pub fn get(&self, path: &str) -> Result<Value> {
        let body = capture(self.kubectl().args(["get", "--raw", path]))?;
        serde_json::from_str(&body).context("read the API's answer")
    }

    /// A kubeconfig with a token of that service account, which must exist.
    pub fn kubeconfig_for(&self, namespace: &str, account: &str) -> Result<PathBuf> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3600},
        });
        let answer: Value = serde_json::from_str(
            &self.with_input(&["create", "--raw", &path, "--filename=-"], &request)?,
        )
        .context("read a token request's answer")?;
        let token = answer
            .pointer("/status/token")
            .context("a token request's answer without a token")?;
        self.write_kubeconfig(&format!("{namespace}-{account}"), &json!({"token": token}))
    }

    /// A kubeconfig with a client certificate of that user in that group.
    pub(super) fn kubeconfig_of(&self, user: &str, group: &str) -> Result<PathBuf> {
        let (certificate, key) = self.pki.client(user, group)?;
        self.write_kubeconfig(
            user,
            &json!({
                "client-certificate-data": STANDARD.encode(certificate),
                "client-key-data": STANDARD.encode(key),
            }),
        )
    }

    /// The certificate that clients are to trust, and the key that service
    /// accounts' tokens are signed with.
    pub(super) fn ca_and_token_key(&self) -> (PathBuf, PathBuf) {
        (self.pki.file("ca.crt"), self.pki.file("sa.key"))
    }

    /// Every request that was answered so far; empty where none are logged.
    pub fn audit(&self) -> Result<Vec<Value>> {
        let log = fs::read_to_string(self.dir.path().join(AUDIT_LOG)).unwrap_or_default();
        log.lines()
            .map(|line| serde_json::from_str(line).context("read the audit log"))
            .collect()
    }

    /// Ends the server, so that connections to its port are refused from here on:
    /// the port stays reserved.
    pub fn end(&mut self) {
        self.api.end();
    }

    /// Ends the server as a crash does, by SIGKILL; etcd lives on.
    pub fn crash(&mut self) {
        self.api.crash();
    }

    /// Starts it again, after [`ApiServer::crash`] or [`ApiServer::end`], at the same
    /// address with all that it knew, and waits until it is ready.
    pub fn restart(&mut self) -> Result<()> {
        self.api.end();
        self.api = Server::start(NAME, &mut self.command, self.dir.path())?;
        self.wait_until_ready()
    }

    /// Has etcd forget every change so far but the newest of each object, as API servers have it every
    /// few minutes: a watch from before is answered by 410. A running server remembers some itself.
    pub fn compact(&self) -> Result<()> {
        let pods = self.get("/api/v1/pods?limit=1")?;
        let revision = pods
            .pointer("/metadata/resourceVersion")
            .context("a list without a version")?;
        let attempt = || format!("compact etcd at {revision}");
        let socket = self.dir.path().join("localhost:1");
        let mut etcd = UnixStream::connect(socket).with_context(attempt)?;
        etcd.set_read_timeout(Some(HANG)).with_context(attempt)?;
        let body = json!({"revision": revision, "physical": true}).to_string();
        let request = "POST /v3/kv/compaction";
        let (status, answer) =
            http::exchange(&mut etcd, request, "etcd", &body).with_context(attempt)?;
        ensure!(status == 200, "{}: {status}: {answer}", attempt());
        Ok(())
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.api.pid()
    }

    /// The server's own metrics.
    pub fn metrics(&self) -> Result<String> {
        capture(self.kubectl().args(["get", "--raw", "/metrics"]))
    }

    fn with_input(&self, args: &[&str], input: &Value) -> Result<String> {
        let mut file = tempfile::tempfile().context("make a file")?;
        write!(file, "{input}").context("write an object")?;
        file.rewind().context("rewind a file")?;
        capture(self.kubectl().args(args).stdin(file))
    }

    fn write_kubeconfig(&self, name: &str, user: &Value) -> Result<PathBuf> {
        let config = kubeconfig(&self.url, &self.pki.ca, user);
        let path = self.dir.path().join(format!("{name}.kubeconfig"));
        // JSON is YAML.
        fs::write(&path, config.to_string())
            .with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let mut readyz = self.kubectl();
        readyz.args(["get", "--raw", "/readyz"]);
        self.api
            .wait_until_ready(|| (capture(&mut readyz).ok()?.trim() == "ok").then_some(Ok(())))
    }
}

fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}
