//! Finds the credentials for the API server.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::error::{BoxError, CredentialsError};
use crate::proxy;

/// To find credentials: an exec plugin or a file on a dead mount may hang.
pub(super) const FIND_TIMEOUT: Duration = Duration::from_secs(30);

/// Short, so that an agent soon notices a lost API server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) struct Credentials {
    config: Config,
    pub(crate) source: Source,
}

/// Where credentials come from, in the order of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `--kubeconfig`.
    Flag(PathBuf),
    /// The pod's service account.
    InCluster,
    /// `KUBECONFIG`, else `~/.kube/config`.
    Kubeconfig(PathBuf),
}

/// `Ok(None)` when there are none. Makes no connection. Reading credentials blocks, so it has its own thread.
pub(crate) async fn find_credentials(
    flag: Option<PathBuf>,
) -> Result<Option<Credentials>, CredentialsError> {
    let handle = Handle::current();
    let search = spawn_blocking(move || {
        let variable = |name: &str| env::var(name).ok();
        handle.block_on(find_credentials_with(flag.as_deref(), variable))
    });
    let found = timeout(FIND_TIMEOUT, search).await;
    found.map_err(|_| CredentialsError::Timeout)??
}

/// `variable` reads the environment variables that name a proxy.
async fn find_credentials_with(
    flag: Option<&Path>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Credentials>, CredentialsError> {
    let Some(source) = find_source(flag) else {
        return Ok(None);
    };
    let loaded = load_config(&source).await;
    let (mut config, cluster_proxy) = loaded.map_err(|error| CredentialsError::Unusable {
        from: source.clone(),
        source: error,
    })?;
    // As kubectl does. kube reads the environment for a kubeconfig only, and matches NO_PROXY with the
    // proxy instead of the API server.
    config.proxy_url = match cluster_proxy {
        Some(own) => {
            let url: Option<http::Uri> = own.parse().ok().filter(proxy::is_usable);
            let unusable = || CredentialsError::Proxy {
                from: source.clone(),
            };
            Some(url.ok_or_else(unusable)?)
        }
        None => proxy::find(&config.cluster_url, variable).map(|proxy| proxy.url),
    };
    // The sink has its own bounded retries; kube's would retry one Event for a quarter of an hour.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    Ok(Some(Credentials { config, source }))
}

/// With the proxy that a kubeconfig names.
async fn load_config(source: &Source) -> Result<(Config, Option<String>), BoxError> {
    let (Source::Flag(path) | Source::Kubeconfig(path)) = source else {
        return Ok((Config::incluster()?, None));
    };
    let kubeconfig = Kubeconfig::read_from(path)?;
    let cluster_proxy = cluster_proxy(&kubeconfig);
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok((config, cluster_proxy))
}

/// The `proxy-url` of the current context's cluster.
fn cluster_proxy(kubeconfig: &Kubeconfig) -> Option<String> {
    let current = kubeconfig.current_context.as_ref();
    let mut contexts = kubeconfig.contexts.iter();
    let context = contexts.find(|context| Some(&context.name) == current);
    let cluster = context.and_then(|context| Some(&context.context.as_ref()?.cluster));
    let mut clusters = kubeconfig.clusters.iter();
    let named = clusters.find(|named| Some(&named.name) == cluster);
    let proxy = named.and_then(|named| named.cluster.as_ref()?.proxy_url.clone());
    proxy.filter(|proxy| !proxy.is_empty())
}

fn find_source(flag: Option<&Path>) -> Option<Source> {
    if let Some(path) = flag {
        return Some(Source::Flag(path.to_owned()));
    }
    if env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Some(Source::InCluster);
    }
    let named = env::var_os("KUBECONFIG").filter(|path| !path.is_empty());
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".kube/config"));
    let path = named
        .map(PathBuf::from)
        .or_else(|| home().filter(|path| path.exists()))?;
    Some(Source::Kubeconfig(path))
}

// === impl Credentials ===

impl Credentials {
    /// The URL.
    pub(crate) fn server(&self) -> String {
        self.config.cluster_url.to_string()
    }

    pub(super) fn client(self) -> Result<Client, CredentialsError> {
        Client::try_from(self.config).map_err(|error| CredentialsError::Unusable {
            from: self.source,
            source: Box::new(error),
        })
    }
}

// === impl Source ===

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(path) => write!(f, "--kubeconfig {}", path.display()),
            Self::InCluster => f.write_str("the pod's service account"),
            Self::Kubeconfig(path) => write!(f, "the kubeconfig {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use serde_json::{Value, json};
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    /// The request that the proxy gets from a client of `https://api.example:6443`.
    async fn proxy_request(own: Option<&str>, variables: &[(&str, &str)]) -> String {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = format!("u:p@{}", proxy.local_addr().unwrap());
        let place = |text: &str| text.replace("PROXY", &here);
        let mut cluster = json!({"server": "https://api.example:6443"});
        cluster["proxy-url"] = own.map_or(Value::Null, |own| json!(place(own)));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "t",
            "clusters": [{"name": "other", "cluster": {"server": "https://o"}}, {"name": "t", "cluster": cluster}],
            "contexts": [{"name": "t", "context": {"cluster": "t", "user": "u"}}],
            "users": [{"name": "u", "user": {}}],
        });
        let mut kubeconfig = tempfile::NamedTempFile::new().unwrap();
        kubeconfig.write_all(config.to_string().as_bytes()).unwrap();
        let variable = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| place(value))
        };
        let found = find_credentials_with(Some(kubeconfig.path()), variable)
            .await
            .unwrap();
        let client = found.unwrap().client().unwrap();
        let request = http::Request::get("/version").body(Vec::new()).unwrap();
        let mut text = vec![0; 512];
        tokio::select! {
            _ = client.request_text(request) => panic!("the proxy got no request"),
            read = async { proxy.accept().await.unwrap().0.read(&mut text).await.unwrap() } => text.truncate(read),
        }
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn connections_use_the_proxy_of_the_kubeconfig_or_the_environment() {
        let tunnel = "CONNECT api.example:6443 HTTP/1.1\r\nHost: api.example:6443\r\nProxy-Authorization: Basic dTpw\r\n";
        for (own, variables) in [
            (Some("http://PROXY"), &[][..]),
            // As with kubectl, NO_PROXY is the environment's.
            (
                Some("http://PROXY"),
                &[("NO_PROXY", "*"), ("HTTPS_PROXY", "http://nowhere.invalid")],
            ),
            (None, &[("HTTPS_PROXY", "http://PROXY")]),
            (
                None,
                &[
                    ("https_proxy", "PROXY"),
                    ("NO_PROXY", "127.0.0.0/8,api.example:443"),
                ],
            ),
        ] {
            let request = proxy_request(own, variables).await;
            assert!(request.starts_with(tunnel), "{request}");
        }
    }
}
