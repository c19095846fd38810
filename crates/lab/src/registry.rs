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
use axum::http::header::CONTENT_TYPE;
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

/// What there is, by its digest as the archive has it: `sha256/0a1b…`.
#[derive(Debug, Default)]
struct Images {
    blobs: HashMap<String, Vec<u8>>,
    /// By repository: the digest of its one manifest, and what kind that is of.
    manifests: HashMap<String, (String, String)>,
}

/// A manifest or a part of an image.
struct Blob<'a> {
    kind: &'a str,
    digest: String,
    bytes: &'a [u8],
}

// === impl Registry ===

impl Registry {
    pub(super) fn start(inside: Inside, archives: &[(&str, &Path)]) -> Result<Self> {
        let mut images = Images::default();
        for (repository, archive) in archives {
            let attempt = || format!("read the image of {}", archive.display());
            let file = File::open(archive).with_context(attempt)?;
            images.add(repository, file).with_context(attempt)?;
        }
        let images = Arc::new(images);
        let listener = inside.listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let port = listener.local_addr().context("read the port")?.port();
        let server = http::serve(listener, move |_, uri, _| answer(&images, uri.path()))?;
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

// === impl Images ===

impl Images {
    /// Of an OCI layout in a tar archive, the one image.
    fn add(&mut self, repository: &str, archive: impl io::Read) -> Result<()> {
        let mut index = Value::Null;
        for member in tar::Archive::new(archive).entries()? {
            let mut member = member?;
            let path = member.path()?.display().to_string();
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes)?;
            if let Some(digest) = path.strip_prefix("blobs/") {
                self.blobs.insert(digest.to_owned(), bytes);
            } else if path == "index.json" {
                index = serde_json::from_slice(&bytes)?;
            }
        }
        let text = |field| {
            let pointer = format!("/manifests/0/{field}");
            let text = index.pointer(&pointer).and_then(Value::as_str);
            text.with_context(|| format!("no {pointer} in its index"))
        };
        let manifest = (
            text("digest")?.replace(':', "/"),
            text("mediaType")?.to_owned(),
        );
        self.manifests.insert(repository.to_owned(), manifest);
        Ok(())
    }

    /// By the paths of the OCI distribution specification; any tag is that of the one image.
    fn find(&self, path: &str) -> Option<Blob<'_>> {
        let path = path.strip_prefix("/v2/")?;
        let blob = |digest: &str, kind| {
            Some(Blob {
                kind,
                digest: digest.replace('/', ":"),
                bytes: self.blobs.get(digest)?,
            })
        };
        if let Some((repository, _)) = path.split_once("/manifests/") {
            let (digest, kind) = self.manifests.get(repository)?;
            return blob(digest, kind);
        }
        let (_, digest) = path.split_once("/blobs/")?;
        blob(&digest.replace(':', "/"), "application/octet-stream")
    }
}

fn answer(images: &Images, path: &str) -> Response {
    let Some(blob) = images.find(path) else {
        // Also of `/v2/`, by which clients check that this is a registry: they need not.
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = (
        [("docker-content-digest", blob.digest)],
        blob.bytes.to_vec(),
    )
        .into_response();
    if let Ok(kind) = blob.kind.parse() {
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
    response
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
