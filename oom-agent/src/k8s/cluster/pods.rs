//! Lists all pods and watches their changes.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use futures::TryStreamExt as _;
use futures::io::AsyncBufRead;
use http_body_util::BodyExt as _;
use kube::api::{ListParams, WatchParams};
use kube::core::Request;
use kube::core::response::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ApiError, Cluster, read};
use crate::k8s::error::{Attempt, CONTROLLER};
use crate::k8s::pod::Pod;
use crate::k8s::wire::{CallError, Prepared, open};

/// The longest page and the longest change, in bytes, long strings not counted. etcd refuses objects above
/// 1.5 MiB, and Go's JSON makes them six times as long at most.
const PAGE_LEN: usize = 24 << 20;
const CHANGE_LEN: usize = 16 << 20;

/// For one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The server ends a watch after this time; the next one resumes there.
const WATCH_SECONDS: u32 = 290;

/// Bookmarks come every minute; a connection without any for this long is lost.
const IDLE_TIMEOUT: Duration = Duration::from_mins(3);

static LIST: Attempt = Attempt {
    to: "list pods",
    right: "`list` on `pods`",
    quota: "count/pods",
    client: &CONTROLLER,
};
static WATCH: Attempt = Attempt {
    to: "watch pods",
    right: "`watch` on `pods`",
    quota: "count/pods",
    client: &CONTROLLER,
};

/// A page of the list of pods.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) metadata: PageMetadata,
    pub(crate) items: Vec<Pod>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PageMetadata {
    /// The version from which to watch after the last page.
    pub(crate) resource_version: String,
    /// The next page's token; empty on the last page.
    #[serde(default, rename = "continue")]
    pub(crate) next: String,
}

#[derive(Debug)]
pub(crate) enum Change {
    Applied(Pod),
    /// With the pod's last status.
    Deleted(Pod),
    /// Only the version has changed.
    Bookmark,
}

#[derive(Deserialize)]
#[serde(tag = "type", content = "object", rename_all = "UPPERCASE")]
enum WatchEvent {
    #[serde(alias = "ADDED")]
    Modified(Pod),
    Deleted(Pod),
    Bookmark(Pod),
    Error(Box<Status>),
}

pub(crate) struct PodStream {
    lines: Pin<Box<dyn AsyncBufRead + Send>>,
    /// The version of the last change returned.
    pub(crate) version: String,
}

// === impl Cluster ===

impl Cluster {
    /// The first page, or the one of token `next`, of `limit` pods. Its whole text is in memory. Tokens expire.
    pub(crate) async fn list_pods(&self, next: &str, limit: u32) -> Result<Page, ApiError> {
        let mut params = ListParams::default().limit(limit);
        params.continue_token = Some(next.to_owned()).filter(|next| !next.is_empty());
        let request = Request::new("/api/v1/pods").list(&params);
        let answer = LIST.within(PAGE_TIMEOUT, self.open(request)).await?;
        let text = LIST.within(PAGE_TIMEOUT, read::read_all(answer, PAGE_LEN));
        parse(&LIST, &text.await?)
    }

    /// Changes since `version`.
    pub(crate) async fn watch_pods(&self, version: &str) -> Result<PodStream, ApiError> {
        let params = WatchParams::default().timeout(WATCH_SECONDS);
        let request = Request::new("/api/v1/pods").watch(&params, version);
        Ok(PodStream {
            lines: WATCH.within(PAGE_TIMEOUT, self.open(request)).await?,
            version: version.to_owned(),
        })
    }

    async fn open(
        &self,
        request: Prepared,
    ) -> Result<Pin<Box<dyn AsyncBufRead + Send>>, CallError> {
        let body = open(&self.client, request).await?;
        let chunks = body.into_data_stream().map_err(io::Error::other);
        Ok(Box::pin(chunks.into_async_read()))
    }
}

// === impl PodStream ===

impl PodStream {
    /// The next change; `None` when the server has ended the watch.
    pub(crate) async fn next(&mut self) -> Result<Option<Change>, ApiError> {
        let line = read::read_line(&mut self.lines, CHANGE_LEN);
        let Some(line) = WATCH.within(IDLE_TIMEOUT, line).await? else {
            return Ok(None);
        };
        let (pod, change): (_, fn(Pod) -> Change) = match parse(&WATCH, &line)? {
            WatchEvent::Modified(pod) => (pod, Change::Applied),
            WatchEvent::Deleted(pod) => (pod, Change::Deleted),
            WatchEvent::Bookmark(pod) => (pod, |_| Change::Bookmark),
            WatchEvent::Error(status) => {
                return Err(WATCH.error(CallError::from_status(status.code, &status, None)));
            }
        };
        self.version.clone_from(&pod.metadata.resource_version);
        Ok(Some(change(pod)))
    }
}

fn parse<T: DeserializeOwned>(attempt: &'static Attempt, text: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(text).map_err(|error| attempt.error(CallError::Malformed(error)))
}
