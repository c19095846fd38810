//! `bonker-gpio certs`: a CA of one's own, and certificates of the server and its clients.

mod make;

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::args::CertsArgs;
use crate::text::escape_path;
use make::{Authority, Pair};

const CA: &str = "ca";
const SERVER: &str = "server";
const DEFAULT_CLIENT: &str = "client";

#[derive(Debug, thiserror::Error)]
pub(crate) enum CertsError {
    #[error("there is no CA in {dir} yet: give --host with the names or addresses of the server")]
    NoHost { dir: String },
    #[error("there is a CA in {dir} already: give --host or --client to have it sign certificates")]
    Nothing { dir: String },
    #[error(
        "{path} exists already, and nothing is overwritten: take it away, or use another --dir"
    )]
    Exists { path: String },
    #[error("{path} is there without {other}: a CA is both of them")]
    Half { path: String, other: String },
    #[error("cannot read {path}")]
    Read { path: String, source: io::Error },
    #[error("cannot write {path}")]
    Write { path: String, source: io::Error },
    #[error("{path} is no CA that this command made")]
    NoCa { path: String, source: rcgen::Error },
    #[error("cannot make the certificate of {name}")]
    Make { name: String, source: rcgen::Error },
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

/// Makes all of the files or, if one exists already, none.
pub(crate) fn certs(args: &CertsArgs) -> Result<(), CertsError> {
    let dir = args.dir.as_path();
    let (now, old) = (SystemTime::now(), existing(dir)?);
    let mut clients = args.client.clone();
    match &old {
        Some(_) if args.host.is_empty() && clients.is_empty() => {
            return Err(CertsError::Nothing {
                dir: escape_path(dir),
            });
        }
        None if args.host.is_empty() => {
            return Err(CertsError::NoHost {
                dir: escape_path(dir),
            });
        }
        None if clients.is_empty() => clients.push(DEFAULT_CLIENT.to_owned()),
        _ => (),
    }
    clients.sort();
    clients.dedup();

    let mut files = Vec::new();
    let authority = if let Some(authority) = old {
        authority
    } else {
        let (authority, pair) = Authority::new(now)?;
        files.extend(both(dir, CA, pair));
        authority
    };
    if !args.host.is_empty() {
        let pair = authority.server(&args.host, now)?;
        files.extend(both(dir, SERVER, pair));
    }
    for client in &clients {
        files.extend(both(dir, client, authority.client(client, now)?));
    }
    if let Some(file) = files
        .iter()
        .find(|file| file.path.symlink_metadata().is_ok())
    {
        let path = escape_path(&file.path);
        return Err(CertsError::Exists { path });
    }
    let written = |path: &Path| {
        let path = escape_path(path);
        move |source| CertsError::Write { path, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(written(dir))?;
    for file in &files {
        let mut open = OpenOptions::new();
        open.write(true).create_new(true).mode(file.mode);
        let path = &file.path;
        let mut to = open.open(path).map_err(written(path))?;
        to.write_all(file.pem.as_bytes()).map_err(written(path))?;
        to.sync_all().map_err(written(path))?;
    }
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(next_steps(dir, &args.host, &clients).as_bytes())
        .and_then(|()| stdout.flush())
        .map_err(CertsError::Output)
}

struct NewFile {
    path: PathBuf,
    pem: String,
    mode: u32,
}

fn both(dir: &Path, name: &str, pair: Pair) -> [NewFile; 2] {
    let file = |ending: &str, pem, mode| NewFile {
        path: dir.join(format!("{name}.{ending}")),
        pem,
        mode,
    };
    [file("key", pair.key, 0o600), file("crt", pair.cert, 0o644)]
}

fn existing(dir: &Path) -> Result<Option<Authority>, CertsError> {
    let (cert_path, key_path) = (dir.join("ca.crt"), dir.join("ca.key"));
    let read = |path: &Path| match fs::read_to_string(path) {
        Ok(pem) => Ok(Some(pem)),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CertsError::Read {
            path: escape_path(path),
            source,
        }),
    };
    let half = |path: &Path, other: &Path| CertsError::Half {
        path: escape_path(path),
        other: escape_path(other),
    };
    match (read(&cert_path)?, read(&key_path)?) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(half(&cert_path, &key_path)),
        (None, Some(_)) => Err(half(&key_path, &cert_path)),
        (Some(cert), Some(key)) => {
            let authority = Authority::read(&cert, &key).map_err(|source| CertsError::NoCa {
                path: escape_path(&cert_path),
                source,
            })?;
            Ok(Some(authority))
        }
    }
}

fn next_steps(dir: &Path, hosts: &[String], clients: &[String]) -> String {
    let mut text = String::new();
    let dir = escape_path(dir);
    // Writing to a String cannot fail.
    if let Some(host) = hosts.first() {
        let url_host = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let _ = writeln!(
            text,
            "Server: take server.crt, server.key and ca.crt to it, and start\n  \
             bonker-gpio serve --listen 0.0.0.0:50051 --tls-cert {dir}/server.crt \
             --tls-key {dir}/server.key --tls-client-ca {dir}/ca.crt"
        );
        if let Some(client) = clients.first() {
            let _ = writeln!(
                text,
                "Try it:\n  bonker-gpio bonk --to https://{url_host}:50051 --ca {dir}/ca.crt \
                 --cert {dir}/{client}.crt --key {dir}/{client}.key"
            );
        }
    }
    for client in clients {
        let _ = writeln!(
            text,
            "Client {client}: take ca.crt, {client}.crt and {client}.key to it"
        );
    }
    if let Some(client) = clients.first() {
        let _ = writeln!(
            text,
            "In a cluster, for oom-agent (the Secret that daemonset.yaml mounts):\n  \
             kubectl create secret generic oom-agent-bonker --namespace oom-bonker \
             --from-file=ca.crt={dir}/ca.crt --from-file=tls.crt={dir}/{client}.crt \
             --from-file=tls.key={dir}/{client}.key"
        );
    }
    let _ = writeln!(
        text,
        "Keep {dir}/ca.key where nobody gets it: it lets anybody in. It signs more clients by\n  \
         bonker-gpio certs --dir {dir} --client NAME"
    );
    text
}
