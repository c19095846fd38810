//! A container registry that hands out images of archives, for pods that pull theirs each time they
//! start.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;

use crate::background::Background;
use crate::http;
use crate::namespaces::Inside;

/// Runtimes use plain HTTP with `localhost`. Ends when dropped.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    _server: Background,
}

/// The parts of images by their digests, and manifests by their repositories too: each has one.
type Blobs = HashMap<String, Blob>;

/// A manifest or a part of an image.
#[derive(Debug, Clone)]
struct Blob {
    kind: String,
    digest: String,
    bytes: Vec<u8>,
}

// === impl Registry ===

impl Registry {
    pub(super) fn start(inside: Inside, archives: &[(&str, &Path)]) -> Result<Self> {
        let mut blobs = Blobs::new();
        for (repository, archive) in archives {
            let attempt = || format!("read the image of {}", archive.display());
            let file = File::open(archive).with_context(attempt)?;
            add(&mut blobs, repository, file).with_context(attempt)?;
        }
        let blobs = Arc::new(blobs);
        let listener = inside.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let port = listener.local_addr().context("read the port")?.port();
        let server = http::serve(listener, move |_, uri, _| answer(&blobs, uri.path()))?;
        Ok(Self {
            port,
            _server: server,
        })
    }

    /// What pods call the image in `repository`.
    pub fn image(&self, repository: &str) -> String {
        format!("localhost:{}/{repository}:1", self.port)
    }
}

/// Of an OCI layout in a tar archive, the one image.
fn add(blobs: &mut Blobs, repository: &str, archive: impl io::Read) -> Result<()> {
    let mut index = Value::Null;
    for member in tar::Archive::new(archive).entries()? {
        let mut member = member?;
        let path = member.path()?.display().to_string();
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes)?;
        if let Some(digest) = path.strip_prefix("blobs/") {
            let digest = digest.replace('/', ":");
            let kind = "application/octet-stream".to_owned();
            let blob = Blob {
                kind,
                digest,
                bytes,
            };
            blobs.insert(blob.digest.clone(), blob);
        } else if path == "index.json" {
            index = serde_json::from_slice(&bytes)?;
        }
    }
    let text = |field| {
        let pointer = format!("/manifests/0/{field}");
        let text = index.pointer(&pointer).and_then(Value::as_str);
        text.with_context(|| format!("no {pointer} in its index"))
    };
    let manifest = blobs.get(text("digest")?).context("no manifest in it")?;
    let kind = text("mediaType")?.to_owned();
    let manifest = Blob {
        kind,
        ..manifest.clone()
    };
    blobs.insert(repository.to_owned(), manifest);
    Ok(())
}

/// By the paths of the OCI distribution specification; any tag is that of the one image.
fn find<'a>(blobs: &'a Blobs, path: &str) -> Option<&'a Blob> {
    let path = path.strip_prefix("/v2/")?;
    let manifest = path
        .split_once("/manifests/")
        .map(|(repository, _)| repository);
    let part = || path.split_once("/blobs/").map(|(_, digest)| digest);
    blobs.get(manifest.or_else(part)?)
}

fn answer(blobs: &Blobs, path: &str) -> Response {
    let Some(blob) = find(blobs, path) else {
        // Also of `/v2/`, by which clients check that this is a registry: they need not.
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        ("docker-content-digest", blob.digest.clone()),
        ("content-type", blob.kind.clone()),
    ];
    (headers, blob.bytes.clone()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use xtask::image::{File as Packed, Image};

    #[test]
    fn an_image_is_found_by_any_tag_and_its_parts_by_their_digests() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("a.tar");
        let image = Image {
            names: &["localhost/a:1"],
            config: serde_json::json!({}),
            files: vec![Packed::Program("a", b"#!")],
        };
        image.write(&archive).unwrap();
        let registry = Registry::start(Inside::Host, &[("b/a", &archive)]).unwrap();
        assert_eq!(
            registry.image("b/a"),
            format!("localhost:{}/b/a:1", registry.port)
        );
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, registry.port));
        let get = |path: &str| http::get(address, &format!("/v2/{path}")).unwrap();
        let (status, manifest) = get("b/a/manifests/1");
        assert_eq!(status, 200);
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        for part in ["/config", "/layers/0"] {
            let part = manifest.pointer(part).unwrap();
            let digest = part["digest"].as_str().unwrap();
            let (status, bytes) = get(&format!("b/a/blobs/{digest}?ns=localhost"));
            assert_eq!(
                (status, part["size"].as_u64()),
                (200, Some(bytes.len() as u64))
            );
        }
        for nothing in ["", "a/manifests/1", "b/a/blobs/sha256:0", "b/a/tags/list"] {
            assert_eq!(get(nothing).0, 404, "{nothing}");
        }
    }
}
