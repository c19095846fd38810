//! Flags of `certs`.

use std::path::PathBuf;

use clap::Args;
use rustls::pki_types::ServerName;

/// A name is part of file names.
const MAX_NAME: usize = 64;

#[derive(Debug, Args)]
pub(crate) struct CertsArgs {
    /// Directory of the CA and all other files
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Names and addresses by which clients reach the server; localhost is always one
    #[arg(long, value_name = "NAME|IP", num_args = 1.., value_parser = host)]
    pub(crate) host: Vec<String>,
    /// Clients to make a certificate for; the name is that of the files [default with a new CA: client]
    #[arg(long, value_name = "NAME", num_args = 1.., value_parser = name)]
    pub(crate) client: Vec<String>,
}

fn host(text: &str) -> Result<String, String> {
    let shown = "use a DNS name or an IP address, without port and https://";
    ServerName::try_from(text).map_err(|why| format!("{why}: {shown}"))?;
    Ok(text.to_owned())
}

fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let fine = !text.is_empty() && text.len() <= MAX_NAME && text.chars().all(plain);
    if !fine || text.starts_with(['.', '-']) {
        return Err(format!(
            "use up to {MAX_NAME} of a-z, A-Z, 0-9, '-', '_' and '.', and start with a letter, a digit or '_'"
        ));
    }
    if matches!(text, "ca" | "server") {
        return Err("these files are the CA's and the server's: use another name".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{host, name};

    #[test]
    fn names_make_certificates_and_files() {
        for fine in ["penguin", "penguin.local", "192.168.1.4", "fe80::1"] {
            assert!(host(fine).is_ok(), "{fine}");
        }
        for wrong in ["", "https://penguin", "penguin:50051", "a b", "-"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
        for fine in ["node-1", "oom-agent", "a.b_c"] {
            assert!(name(fine).is_ok(), "{fine}");
        }
        for wrong in [
            "",
            "ca",
            "server",
            "../x",
            ".x",
            "-x",
            "a/b",
            "ü",
            &"x".repeat(65),
        ] {
            assert!(name(wrong).is_err(), "{wrong}");
        }
    }
}
