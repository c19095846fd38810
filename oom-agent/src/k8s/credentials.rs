//! Who the agent is to the API server, and where that was found.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use super::CredentialsError;

/// Given to connect; a node that has lost its API server must find out soon.
const CONNECT: Duration = Duration::from_secs(3);

/// Ready to connect with.
pub struct Credentials {
    config: Config,
    /// Where they were found.
    pub source: Source,
}

/// Where credentials come from, in the order of the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `--kubeconfig`.
    Flag(PathBuf),
    /// The pod's service account.
    InCluster,
    /// `KUBECONFIG`, else `~/.kube/config`.
    Kubeconfig(PathBuf),
}

/// Looks for credentials; `Ok(None)` when there are none anywhere. Nothing is connected to.
pub async fn find(flag: Option<&Path>) -> Result<Option<Credentials>, CredentialsError> {
    let Some(source) = source(flag) else {
        return Ok(None);
    };
    let failed = |cause| CredentialsError::Unusable {
        from: source.clone(),
        source: cause,
    };
    let mut config = match &source {
        Source::InCluster => Config::incluster().map_err(|error| failed(Box::new(error)))?,
        Source::Flag(path) | Source::Kubeconfig(path) => {
            let kubeconfig =
                Kubeconfig::read_from(path).map_err(|error| failed(Box::new(error)))?;
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                .await
                .map_err(|error| failed(Box::new(error)))?
        }
    };
    // The sink has its own bounded retries; kube's would sit on one Event for a quarter of an hour.
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    Ok(Some(Credentials { config, source }))
}

fn source(flag: Option<&Path>) -> Option<Source> {
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
    /// The API server's URL.
    pub fn server(&self) -> String {
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
