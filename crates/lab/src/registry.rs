//! A container registry that hands out images of archives, for pods that pull theirs each time they
//! start.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::net::{Shutdown, shutdown};
use serde_json::Value;

use super::namespaces::Inside;

const SOON: Duration = Duration::from_secs(20);

/// A request is no longer.
const REQUEST_LEN: u64 = 16 << 10;

/// Runtimes ask `localhost` by plain HTTP. Ends when dropped.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    listener: TcpListener,
    accepting: Option<JoinHandle<()>>,
}

/// What there is, by its digest as the archive has it: `sha256/0a1b…`.
#[derive(Debug, Default)]
struct Images {
    blobs: HashMap<String, Vec<u8>>,
    /// By repository: the digest of its one manifest, and what kind that is of.
    manifests: HashMap<String, (String, String)>,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Found<'a> {
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
        let port = listener.local_addr().context("ask for the port")?.port();
        let accepts = listener.try_clone().context("share a listener")?;
        let accepting = thread::spawn(move || {
            while let Ok((stream, _)) = accepts.accept() {
                let images = Arc::clone(&images);
                // Who hangs up asks again.
                thread::spawn(move || answer(&stream, &images));
            }
        });
        Ok(Self {
            port,
            listener,
            accepting: Some(accepting),
        })
    }

    /// What pods call the image in `repository`.
    pub fn image(&self, repository: &str) -> String {
        format!("localhost:{}/{repository}:1", self.port)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = shutdown(&self.listener, Shutdown::Both);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
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
    fn find(&self, path: &str) -> Option<Found<'_>> {
        let path = path.split('?').next()?.strip_prefix("/v2/")?;
        let found = |digest: &str, kind| {
            Some(Found {
                kind,
                digest: digest.replace('/', ":"),
                bytes: self.blobs.get(digest)?,
            })
        };
        if let Some((repository, _)) = path.split_once("/manifests/") {
            let (digest, kind) = self.manifests.get(repository)?;
            return found(digest, kind);
        }
        let (_, digest) = path.split_once("/blobs/")?;
        found(&digest.replace(':', "/"), "application/octet-stream")
    }
}

fn answer(mut stream: &TcpStream, images: &Images) -> io::Result<()> {
    stream.set_read_timeout(Some(SOON))?;
    let mut lines = BufReader::new(stream.take(REQUEST_LEN)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    for line in lines {
        if line?.is_empty() {
            break;
        }
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next(), words.next().unwrap_or_default());
    let Some(found) = images.find(path) else {
        // Also of `/v2/`, which asks whether this is a registry: nobody needs to know.
        let nothing = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        return stream.write_all(nothing.as_bytes());
    };
    let Found {
        kind,
        digest,
        bytes,
    } = found;
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ndocker-content-digest: {digest}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        bytes.len()
    )?;
    if method == Some("GET") {
        stream.write_all(bytes)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::http;
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
