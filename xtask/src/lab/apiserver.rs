//! A real API server with RBAC, and the etcd behind it.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use super::containerd::last_lines;
use super::kubernetes;
use super::pki::Pki;
use super::{Cache, port, wait};
use crate::process::{capture, stop};

const READY: Duration = Duration::from_secs(90);
const GRACE: Duration = Duration::from_secs(10);

/// A running kube-apiserver on a loopback port. Dropping it ends it and its etcd.
#[derive(Debug)]
pub struct ApiServer {
    // Declared in the order they are to be ended.
    api: Server,
    _etcd: Server,
    kubectl: PathBuf,
    url: String,
    pki: Pki,
    dir: tempfile::TempDir,
    _port: OwnedFd,
}

impl ApiServer {
    /// Builds what it takes into the cache, where it is not there yet: about two
    /// minutes. Nothing is installed.
    pub fn prepare(cache: &Cache) -> Result<PathBuf> {
        kubernetes::prepare(cache)
    }

    /// Starts one from `parts`, see [`ApiServer::prepare`], and waits until it is
    /// ready.
    pub fn start(parts: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("oom-bonker-api-")
            .tempdir()
            .context("make a directory for an API server")?;
        let pki = Pki::new(dir.path().join("pki"))?;
        let bin = parts.join("bin");
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
        let (port, guard) = port::reserve()?;
        let api = Server::start(
            "kube-apiserver",
            Command::new(bin.join("kube-apiserver"))
                .args([
                    "--etcd-servers=unix://localhost:1",
                    "--permit-port-sharing=true",
                ])
                .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
                .arg(format!("--secure-port={port}"))
                .args([
                    "--authorization-mode=Node,RBAC",
                    "--enable-admission-plugins=NodeRestriction",
                ])
                // Its controller, which would make each namespace's default account, does not run here.
                .arg("--disable-admission-plugins=ServiceAccount")
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
                .arg(flag("--cert-dir", pki.dir())),
            dir.path(),
        )?;
        let mut server = Self {
            api,
            _etcd: etcd,
            kubectl: bin.join("kubectl"),
            url: format!("https://127.0.0.1:{port}"),
            pki,
            dir,
            _port: guard,
        };
        let (certificate, key) = server.pki.admin.clone();
        server.write_kubeconfig(
            "admin",
            &json!({
                "client-certificate-data": base64(&certificate)?,
                "client-key-data": base64(&key)?,
            }),
        )?;
        server.wait_until_ready()?;
        Ok(server)
    }

    /// `kubectl` as the administrator.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(&self.kubectl);
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

    /// Ends the server, so that connections to its port are refused from here on:
    /// the port stays reserved.
    pub fn end(&mut self) {
        stop(&mut self.api.child, GRACE);
    }

    fn with_input(&self, args: &[&str], input: &Value) -> Result<String> {
        let mut file = tempfile::tempfile().context("make a file")?;
        file.write_all(input.to_string().as_bytes())
            .context("write an object")?;
        std::io::Seek::rewind(&mut file).context("rewind a file")?;
        let mut command = self.kubectl();
        let output = command
            .args(args)
            .stdin(file)
            .output()
            .context("start kubectl")?;
        if !output.status.success() {
            bail!(
                "{}: {}",
                crate::process::show(&command),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn write_kubeconfig(&self, name: &str, user: &Value) -> Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "t",
            "clusters": [{"name": "t", "cluster": {
                "server": self.url, "certificate-authority-data": base64(&self.pki.ca)?,
            }}],
            "contexts": [{"name": "t", "context": {"cluster": "t", "user": "u", "namespace": "default"}}],
            "users": [{"name": "u", "user": user}],
        });
        let path = self.dir.path().join(format!("{name}.kubeconfig"));
        // JSON is YAML.
        fs::write(&path, config.to_string())
            .with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let ready = wait::until("kube-apiserver's readiness", READY, || {
            if !matches!(self.api.child.try_wait(), Ok(None)) {
                return Some(false);
            }
            let answer = capture(self.kubectl().args(["get", "--raw", "/readyz"])).ok()?;
            (answer.trim() == "ok").then_some(true)
        });
        match ready {
            Ok(true) => Ok(()),
            Ok(false) => bail!("kube-apiserver ended:\n{}", self.api.log()),
            Err(error) => Err(error.context(self.api.log())),
        }
    }
}

/// A server process, which ends when dropped.
#[derive(Debug)]
struct Server {
    child: Child,
    log: PathBuf,
}

impl Server {
    fn start(name: &str, command: &mut Command, dir: &Path) -> Result<Self> {
        let log = dir.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        let child = command
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("share a log file")?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Self { child, log })
    }

    fn log(&self) -> String {
        last_lines(&fs::read_to_string(&self.log).unwrap_or_default())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        stop(&mut self.child, GRACE);
    }
}

fn flag(name: &str, path: &Path) -> String {
    format!("{name}={}", path.display())
}

fn base64(text: &str) -> Result<String> {
    let mut file = tempfile::NamedTempFile::new().context("make a file")?;
    file.write_all(text.as_bytes()).context("write a file")?;
    let encoded = capture(Command::new("base64").arg("--wrap=0").arg(file.path()))?;
    Ok(encoded.trim().to_owned())
}
