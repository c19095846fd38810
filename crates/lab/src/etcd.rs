//! What is asked of etcd itself, by its gateway from JSON.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::wait::HANG;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// In etcd's directory: it wants the names of its sockets to look like this.
pub(super) const SOCKET: &str = "localhost:1";

/// Forgets what was before `revision`, a number in decimal.
pub(super) fn compact(socket: &Path, revision: &Value) -> Result<()> {
    let body = json!({"revision": revision, "physical": true}).to_string();
    let attempt = || format!("compact etcd at {revision}");
    let mut stream = UnixStream::connect(socket).with_context(attempt)?;
    stream.set_read_timeout(Some(HANG)).with_context(attempt)?;
    write!(
        stream,
        "POST /v3/kv/compaction HTTP/1.1\r\nhost: etcd\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .with_context(attempt)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).with_context(attempt)?;
    ensure!(
        answer.starts_with("HTTP/1.1 200 "),
        "{}: {answer}",
        attempt()
    );
    Ok(())
}
