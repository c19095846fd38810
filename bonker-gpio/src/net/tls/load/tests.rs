use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use service::error_chain::chain;
use tempfile::TempDir;

use crate::net::tls::{Acceptor, TlsFiles};

struct Files(TempDir);

impl Files {
    /// A certificate changed by `change`, its key, and a CA.
    fn new(change: impl FnOnce(&mut CertificateParams)) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["penguin".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        change(&mut params);
        let cert = params.self_signed(&key).unwrap();
        files.write("cert", cert.pem().as_bytes());
        files.write("key", key.serialize_pem().as_bytes());
        let mut ca = CertificateParams::new([]).unwrap();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        files.write("ca", ca.self_signed(&ca_key).unwrap().pem().as_bytes());
        files.write("other", ca_key.serialize_pem().as_bytes());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn check(&self, cert: &str, key: &str, ca: &str) -> Result<(), String> {
        let files = TlsFiles {
            cert: self.path(cert),
            key: self.path(key),
            client_ca: Some(self.path(ca)),
        };
        let dir = format!("{}/", self.0.path().display());
        let made = Acceptor::pair(&files);
        made.map(drop)
            .map_err(|why| chain(&why).to_string().replace(&dir, ""))
    }
}

fn refused(files: &Files, cert: &str, key: &str, ca: &str, sentence: &str) {
    let why = files.check(cert, key, ca).unwrap_err();
    assert!(why.contains(sentence), "{why}");
}

#[test]
fn a_pair_and_a_ca_make_a_port() {
    assert_eq!(Files::new(|_| ()).check("cert", "key", "ca"), Ok(()));
    let for_all = Files::new(|params| params.extended_key_usages.clear());
    assert_eq!(for_all.check("cert", "key", "ca"), Ok(()));
}

#[test]
fn each_wrong_file_gets_its_own_sentence() {
    let files = Files::new(|_| ());
    files.write("empty", b"");
    files.write("large", &vec![b'x'; 1024 * 1024 + 1]);
    files.write(
        "garbage",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    );
    let check = |cert, key, ca, sentence| refused(&files, cert, key, ca, sentence);
    check("none", "key", "ca", "cannot read none: check --tls-cert,");
    check("cert", "none", "ca", "cannot read none: check --tls-key,");
    check(
        "cert",
        "key",
        "none",
        "cannot read none: check --tls-client-ca,",
    );
    check(
        "empty",
        "key",
        "ca",
        "empty has no certificate in PEM: check --tls-cert",
    );
    check("key", "key", "ca", "key has no certificate in PEM");
    check(
        "cert",
        "cert",
        "ca",
        "cert has no private key in PEM: check --tls-key",
    );
    check(
        "cert",
        "key",
        "key",
        "key has no certificate in PEM: check --tls-client-ca",
    );
    check("large", "key", "ca", "it has over 1048576 bytes");
    check(
        "garbage",
        "key",
        "ca",
        "garbage has a certificate that cannot be read",
    );
    check(
        "cert",
        "other",
        "ca",
        "the key in other does not belong to the certificate in cert",
    );
    check("cert", "key", "cert", "the certificate in cert is no CA's");
}

#[test]
fn a_certificate_that_no_client_would_take_is_refused_at_start() {
    let expired = Files::new(|params| {
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
    });
    let sentence = "the certificate in cert expired at 2002-01-01T00:00:00Z: make a new one";
    refused(&expired, "cert", "key", "ca", sentence);
    let early = Files::new(|params| {
        params.not_before = date_time_ymd(3001, 1, 1);
        params.not_after = date_time_ymd(3002, 1, 1);
    });
    let sentence = "the certificate in cert is valid from 3001-01-01T00:00:00Z on";
    refused(&early, "cert", "key", "ca", sentence);
    let clients = Files::new(|params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    refused(
        &clients,
        "cert",
        "key",
        "ca",
        "the certificate in cert is not for servers",
    );
}
