//! Certificates and keys for one run of an API server.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

/// PEM files in a directory, and the admin's and the CA's in memory for a kubeconfig.
#[derive(Debug)]
pub(super) struct Pki {
    dir: PathBuf,
    /// The CA's certificate, PEM.
    pub(super) ca: String,
    /// A `system:masters` client certificate and its key, PEM.
    pub(super) admin: (String, String),
}

impl Pki {
    /// Makes all of it in `dir`.
    pub(super) fn new(dir: PathBuf) -> Result<Self> {
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        let ca_key = KeyPair::generate()?;
        let mut ca = params("oom-bonker test CA", &[])?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = ca.self_signed(&ca_key)?.pem();
        let issuer = Issuer::new(ca, ca_key);

        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"];
        let mut server = params("kube-apiserver", &names)?;
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let server_key = KeyPair::generate()?;
        let server_pem = server.signed_by(&server_key, &issuer)?.pem();

        let mut admin = params("admin", &[])?;
        admin
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let admin_key = KeyPair::generate()?;
        let admin_pem = admin.signed_by(&admin_key, &issuer)?.pem();

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
            ca: ca_pem,
            admin: (admin_pem, admin_key.serialize_pem()),
        })
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
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
