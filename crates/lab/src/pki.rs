//! Certificates and keys for one run of an API server.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use serde_json::{Value, json};

/// PEM files in a directory, and what signs more certificates.
#[derive(Debug)]
pub(super) struct Pki {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    /// The CA's certificate, PEM.
    pub(super) ca: String,
}

impl Pki {
    /// Makes all that a server at `address` needs in `dir`.
    pub(super) fn new(dir: PathBuf, address: &str) -> Result<Self> {
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let ca_key = KeyPair::generate()?;
        let mut ca = params("oom-bonker test CA", &[])?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);

        let names = [address, "localhost", "kubernetes.default.svc"];
        let mut server = params("kube-apiserver", &names)?;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server_key = KeyPair::generate()?;
        let server_pem = server.signed_by(&server_key, &issuer)?.pem();

        // Service account tokens are signed with a key pair of no certificate.
        let tokens = KeyPair::generate()?;
        for (name, pem) in [
            ("ca.crt", &ca_pem),
            ("server.crt", &server_pem),
            ("server.key", &server_key.serialize_pem()),
            ("sa.key", &tokens.serialize_pem()),
            ("sa.pub", &tokens.public_key_pem()),
        ] {
            let path = dir.join(name);
            fs::write(&path, pem).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(Self {
            dir,
            issuer,
            ca: ca_pem,
        })
    }

    /// A client certificate of that user in that group, and its key, PEM.
    pub(super) fn client(&self, user: &str, group: &str) -> Result<(String, String)> {
        let mut client = params(user, &[])?;
        client
            .distinguished_name
            .push(DnType::OrganizationName, group);
        client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let pem = client.signed_by(&key, &self.issuer)?.pem();
        Ok((pem, key.serialize_pem()))
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

/// What a client of the API server at `url` takes: a certificate to trust, and who it is.
pub(crate) fn kubeconfig(url: &str, ca: &str, user: &Value) -> Value {
    let cluster = json!({"server": url, "certificate-authority-data": STANDARD.encode(ca)});
    let context = json!({"cluster": "t", "user": "u", "namespace": "default"});
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "t",
        "clusters": [{"name": "t", "cluster": cluster}],
        "contexts": [{"name": "t", "context": context}],
        "users": [{"name": "u", "user": user}],
    })
}

fn params(common_name: &str, names: &[&str]) -> Result<CertificateParams> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).context("names for a certificate")?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    Ok(params)
}
