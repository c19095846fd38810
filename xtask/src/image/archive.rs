//! A container image of one layer as a tar archive, without a daemon: an OCI
//! layout that has a docker archive's `manifest.json` too, as `docker save` has
//! written it since its version 25. containerd, CRI-O's tools, Docker, Podman,
//! kind and k3s all take it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

/// An image, by what is in it: the same in gives the same bytes out.
#[derive(Debug)]
pub struct Image<'a> {
    /// Its names in full, `registry/path:tag`.
    pub names: &'a [&'a str],
    /// The object `config` of the OCI image configuration.
    pub config: Value,
    /// In the order of the archive.
    pub files: Vec<File<'a>>,
}

/// Something in the image's root file system; all of it is root's.
#[derive(Debug, Clone)]
pub enum File<'a> {
    /// At that path.
    Directory(&'a str),
    /// At that path, for all to run.
    Program(&'a str, &'a [u8]),
    /// A symbolic link.
    Link {
        /// Its path.
        at: String,
        /// What it points at.
        to: &'a str,
    },
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

impl Image<'_> {
    /// Writes the archive to `to`.
    pub fn write(&self, to: &Path) -> Result<()> {
        let bytes = self.bytes().context("pack an image")?;
        fs::write(to, bytes).with_context(|| format!("write {}", to.display()))
    }

    fn bytes(&self) -> Result<Vec<u8>> {
        let layer = Blob::new(LAYER, self.layer()?);
        let config = json!({
            "architecture": architecture(), "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", layer.digest)]},
        });
        let config = Blob::new(CONFIG, config.to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": config.descriptor(), "layers": [layer.descriptor()],
        });
        let manifest = Blob::new(MANIFEST, manifest.to_string().into_bytes());
        let named = self.names.iter().map(|name| {
            let mut descriptor = manifest.descriptor();
            let tag = name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
            let annotations = json!({
                "io.containerd.image.name": name,
                "org.opencontainers.image.ref.name": tag,
            });
            if let Some(fields) = descriptor.as_object_mut() {
                fields.insert("annotations".to_owned(), annotations);
            }
            descriptor
        });
        let index = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": named.collect::<Vec<_>>(),
        });
        let docker = json!([{
            "Config": config.path(), "RepoTags": self.names, "Layers": [layer.path()],
        }]);
        let mut tar = Builder::new(Vec::new());
        add_file(
            &mut tar,
            "oci-layout",
            br#"{"imageLayoutVersion":"1.0.0"}"#,
            0o644,
        )?;
        add_file(&mut tar, "index.json", index.to_string().as_bytes(), 0o644)?;
        add_file(
            &mut tar,
            "manifest.json",
            docker.to_string().as_bytes(),
            0o644,
        )?;
        for blob in [&manifest, &config, &layer] {
            add_file(&mut tar, &blob.path(), &blob.bytes, 0o644)?;
        }
        Ok(tar.into_inner()?)
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for file in &self.files {
            match file {
                File::Directory(path) => {
                    tar.append_data(&mut header(EntryType::Directory, 0o755), path, io::empty())?;
                }
                File::Program(path, bytes) => add_file(&mut tar, path, bytes, 0o755)?,
                File::Link { at, to } => {
                    tar.append_link(&mut header(EntryType::Symlink, 0o777), at, to)?;
                }
            }
        }
        Ok(tar.into_inner()?)
    }
}

/// Contents, named by their digest.
struct Blob {
    media_type: &'static str,
    digest: String,
    bytes: Vec<u8>,
}

impl Blob {
    fn new(media_type: &'static str, bytes: Vec<u8>) -> Self {
        let digest = Sha256::digest(&bytes)
            .iter()
            .fold(String::new(), |mut hex, byte| {
                // A String takes all that is written to it.
                let _ = write!(hex, "{byte:02x}");
                hex
            });
        Self {
            media_type,
            digest,
            bytes,
        }
    }

    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.digest)
    }

    fn descriptor(&self) -> Value {
        json!({
            "mediaType": self.media_type,
            "digest": format!("sha256:{}", self.digest),
            "size": self.bytes.len(),
        })
    }
}

fn add_file(tar: &mut Builder<Vec<u8>>, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let mut header = header(EntryType::Regular, mode);
    header.set_size(u64::try_from(bytes.len()).context("a size that fits")?);
    let added = tar.append_data(&mut header, path, bytes);
    added.with_context(|| format!("add {path}"))
}

/// With nothing in it of the machine that makes the archive.
fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(0);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// This machine's, by Go's names.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read as _;

    fn image() -> Image<'static> {
        Image {
            names: &["localhost/a/b:1", "docker.io/library/c:2"],
            config: json!({"Entrypoint": ["/b"]}),
            files: vec![
                File::Directory("bin"),
                File::Program("bin/b", b"\x7fELF"),
                File::Link {
                    at: "b".to_owned(),
                    to: "bin/b",
                },
            ],
        }
    }

    /// Every member: its bytes, and what its header has.
    fn members(archive: &[u8]) -> BTreeMap<String, (Vec<u8>, Header)> {
        let mut members = BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            members.insert(path, (bytes, entry.header().clone()));
        }
        members
    }

    fn json_of(members: &BTreeMap<String, (Vec<u8>, Header)>, path: &str) -> Value {
        serde_json::from_slice(&members[path].0).unwrap()
    }

    #[test]
    fn every_blob_is_named_by_its_digest_and_reached_from_both_indexes() {
        let archive = image().bytes().unwrap();
        let members = members(&archive);
        for (path, (bytes, _)) in &members {
            if let Some(digest) = path.strip_prefix("blobs/sha256/") {
                assert_eq!(Blob::new("", bytes.clone()).digest, digest);
            }
        }
        let blob = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let path = digest.replace("sha256:", "blobs/sha256/");
            let size = u64::try_from(members[&path].0.len()).unwrap();
            assert_eq!(descriptor["size"], size);
            path
        };
        let index = json_of(&members, "index.json");
        let names: Vec<_> = index["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["annotations"]["io.containerd.image.name"])
            .collect();
        assert_eq!(names, ["localhost/a/b:1", "docker.io/library/c:2"]);
        let manifest = json_of(&members, &blob(&index["manifests"][0]));
        let (config, layer) = (blob(&manifest["config"]), blob(&manifest["layers"][0]));
        let docker = json_of(&members, "manifest.json");
        assert_eq!(docker[0]["Config"], config);
        assert_eq!(docker[0]["Layers"], json!([layer]));
        assert_eq!(
            json_of(&members, &config)["rootfs"]["diff_ids"][0],
            manifest["layers"][0]["digest"]
        );
        assert_eq!(members.len(), 6, "nothing else in it");
    }

    #[test]
    fn the_layer_is_roots_and_of_no_time() {
        let layer = image().layer().unwrap();
        let members = members(&layer);
        let (bytes, header) = &members["bin/b"];
        assert_eq!(bytes, b"\x7fELF");
        assert_eq!(header.mode().unwrap(), 0o755);
        let link = members["b"].1.link_name().unwrap().unwrap().into_owned();
        assert_eq!(link, Path::new("bin/b"));
        for (_, header) in members.values() {
            let stamp = (header.uid(), header.gid(), header.mtime());
            assert!(matches!(stamp, (Ok(0), Ok(0), Ok(0))), "{stamp:?}");
        }
    }

    #[test]
    fn the_same_in_gives_the_same_bytes_out() {
        assert_eq!(image().bytes().unwrap(), image().bytes().unwrap());
    }
}
