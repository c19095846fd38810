//! Notices by HTTP POST, as the third `OOMHero` sends them.

mod body;
mod config;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioIo};
use service::escape;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, ServiceExt as _};

use crate::proxy::{self, Proxy};
use config::Config;
use service::error_chain::chain;

pub(crate) use body::{Notice, NoticeProcess};
pub(crate) use config::ConfigError;

/// Given to one notice in all, as with `OOMHero`.
const PATIENCE: Duration = Duration::from_secs(3);

/// The most that is read of an answer, so that its connection can be used again, in bytes.
const ANSWER_LEN: usize = 64 << 10;

/// Where notices go.
pub(crate) struct Post {
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
    uri: Uri,
    headers: HeaderMap,
}

/// To the host itself, or through a proxy.
type Connector = BoxCloneSyncService<Uri, TokioIo<TcpStream>, BoxError>;

/// Why a notice was not accepted. `Display` leaves the source out; neither shows a header.
#[derive(Debug, thiserror::Error)]
enum PostError {
    #[error("the notice could not be written")]
    Body(#[source] serde_json::Error),
    #[error("the request could not be made")]
    Request(#[source] http::Error),
    #[error("no answer")]
    Call(#[source] hyper_util::client::legacy::Error),
    #[error("no answer within {PATIENCE:?}")]
    Silent,
    #[error("answered {0}")]
    Refused(StatusCode),
}

// === impl Post ===

impl Post {
    /// Reads the file of `--http-file-path`.
    pub(crate) fn from_file(path: &Path) -> Result<Self, ConfigError> {
        let config = Config::read(path)?;
        let proxy = proxy::find(&config.uri, |name| std::env::var(name).ok());
        Ok(Self::new(config, proxy))
    }

    fn new(config: Config, proxy: Option<Proxy>) -> Self {
        let Config { uri, headers, tls } = config;
        // Proxies forward `http://` by other means than a tunnel.
        let proxy = proxy.filter(|_| uri.scheme_str() == Some("https"));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector(proxy));
        Self {
            client: Client::builder(TokioExecutor::new()).build(https),
            uri,
            headers,
        }
    }

    /// Whether the other side has accepted it; else a line is logged.
    pub(crate) async fn send(&self, notice: &Notice) -> bool {
        let sent = self.try_send(notice).await;
        if let Err(error) = &sent {
            // Not the whole URL: path and query may hold a token.
            let host = self
                .uri
                .authority()
                .map_or("", |authority| authority.host());
            tracing::warn!(host = %escape::terminal(host), error = %chain(error), "a notice was not accepted");
        }
        sent.is_ok()
    }

    async fn try_send(&self, notice: &Notice) -> Result<(), PostError> {
        let body = serde_json::to_vec(notice).map_err(PostError::Body)?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.uri.clone())
            .body(Full::new(Bytes::from(body)))
            .map_err(PostError::Request)?;
        *request.headers_mut() = self.headers.clone();
        let exchange = async {
            let answer = self
                .client
                .request(request)
                .await
                .map_err(PostError::Call)?;
            let status = answer.status();
            // Once its body is read the connection is free for the next notice.
            let _unread = Limited::new(answer.into_body(), ANSWER_LEN).collect().await;
            if status.is_success() {
                Ok(())
            } else {
                Err(PostError::Refused(status))
            }
        };
        timeout(PATIENCE, exchange)
            .await
            .unwrap_or(Err(PostError::Silent))
    }
}

fn connector(proxy: Option<Proxy>) -> Connector {
    let mut direct = HttpConnector::new();
    direct.enforce_http(false);
    let Some(Proxy { intercept, .. }) = proxy else {
        return Connector::new(direct.map_err(BoxError::from));
    };
    let tunnel = Tunnel::new(intercept.uri().clone(), direct);
    let tunnel = match intercept.basic_auth() {
        Some(user) => tunnel.with_auth(user.clone()),
        None => tunnel,
    };
    Connector::new(tunnel.map_err(BoxError::from))
}
