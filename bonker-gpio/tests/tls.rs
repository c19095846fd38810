#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper of tests may panic"
)]

//! The program and its certificates, from outside: who is let in, and what the others are
//! received.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use common::program::{Running, finish};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, date_time_ymd};
use rustix::process::Signal;
use tempfile::TempDir;

/// What `bonker-gpio certs` made.
struct Certs(TempDir);

impl Certs {
    async fn new(host: &[&str]) -> Self {
        let certs = Self(tempfile::tempdir().unwrap());
        let (code, output, why) = certs.make(&[&["--host"], host].concat()).await;
        assert_eq!(code, Some(0), "{why}");
        assert!(output.contains("bonker-gpio serve"), "{output}");
        certs
    }

    async fn make(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let dir = self.0.path().to_str().unwrap();
        finish(&[&["certs", "--dir", dir], args].concat()).await
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// One more client, whose certificate expired long ago.
    fn expired(&self) {
        let ca_key = KeyPair::from_pem(&self.read("ca.key")).unwrap();
        let ca = Issuer::from_ca_cert_pem(&self.read("ca.crt"), ca_key).unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(2002, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &ca).unwrap();
        fs::write(self.path("old.crt"), cert.pem()).unwrap();
        fs::write(self.path("old.key"), key.serialize_pem()).unwrap();
    }

    async fn serve(&self, more: &[&str]) -> (Running, String) {
        let (cert, key) = (self.file("server.crt"), self.file("server.key"));
        let tls = ["--tls-cert", &cert, "--tls-key", &key];
        let (running, url) = Running::serve("127.0.0.1:0", &[&tls, more].concat()).await;
        assert!(url.starts_with("https://127.0.0.1:"), "{url}");
        (running, url)
    }

    async fn serve_clients(&self) -> (Running, String) {
        self.serve(&["--tls-client-ca", &self.file("ca.crt")]).await
    }
}

/// A bonk sent to `url` with the files of these flags; what it output on both streams.
async fn bonk(url: &str, flags: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut args = vec!["bonk", "--to", url];
    for (flag, value) in flags {
        args.extend([*flag, *value]);
    }
    let (code, stdout, stderr) = finish(&args).await;
    (code, stdout + &stderr)
}

fn with<'a>(ca: &'a str, cert: &'a str, key: &'a str) -> [(&'a str, &'a str); 3] {
    [("--ca", ca), ("--cert", cert), ("--key", key)]
}

async fn refused(url: &str, flags: &[(&str, &str)], sentence: &str) {
    let (code, output) = bonk(url, flags).await;
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains(sentence), "{output}");
    assert!(!output.contains("ACCEPTED"), "{output}");
}

async fn accepted(url: &str, flags: &[(&str, &str)]) {
    let (code, output) = bonk(url, flags).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(output.starts_with("ACCEPTED"), "{output}");
}

fn port(url: &str) -> &str {
    url.rsplit_once(':').unwrap().1
}

#[tokio::test]
async fn certificates_are_made_once_and_clients_added() {
    let certs = Certs::new(&["penguin.test", "192.0.2.1"]).await;
    for name in ["ca", "server", "client"] {
        let mode = |ending| {
            let file = fs::metadata(certs.path(&format!("{name}.{ending}"))).unwrap();
            file.permissions().mode() & 0o777
        };
        assert_eq!((mode("key"), mode("crt")), (0o600, 0o644), "{name}");
    }
    let before = certs.read("server.crt") + &certs.read("ca.crt") + &certs.read("client.key");
    for (args, sentence) in [
        (&[][..], "give --host or --client"),
        (&["--host", "penguin.test"], "server.key exists already"),
        (&["--client", "a", "client"], "client.key exists already"),
        (&["--client", "../a"], "use up to 64"),
        (
            &["--host", "https://penguin"],
            "use a DNS name or an IP address",
        ),
    ] {
        let (code, _, why) = certs.make(args).await;
        assert_ne!(code, Some(0), "{args:?}");
        assert!(why.contains(sentence), "{why}");
    }
    assert!(!certs.path("a.key").exists(), "made by half");
    let (code, output, why) = certs.make(&["--client", "a", "b"]).await;
    assert_eq!(code, Some(0), "{why}");
    assert!(
        output.contains("a.crt") && output.contains("b.key"),
        "{output}"
    );
    let after = certs.read("server.crt") + &certs.read("ca.crt") + &certs.read("client.key");
    assert_eq!(before, after);
    assert_ne!(certs.read("a.crt"), certs.read("b.crt"));

    let (server, url) = certs.serve_clients().await;
    let ca = certs.file("ca.crt");
    for client in ["client", "a", "b"] {
        let (cert, key) = (
            certs.file(&format!("{client}.crt")),
            certs.file(&format!("{client}.key")),
        );
        accepted(&url, &[("--ca", &ca), ("--cert", &cert), ("--key", &key)]).await;
    }
    let (status, _, _) = server.end(Signal::TERM).await;
    assert!(status.success(), "{status}");

    fs::remove_file(certs.path("ca.key")).unwrap();
    let (code, _, why) = certs.make(&["--client", "c"]).await;
    assert_eq!(code, Some(1), "{why}");
    assert!(why.contains("ca.crt is there without"), "{why}");
}

#[tokio::test]
async fn every_wrong_certificate_gets_a_clear_answer_and_nothing_moves() {
    let certs = Certs::new(&["penguin.test"]).await;
    let others = Certs::new(&["penguin.test"]).await;
    certs.expired();
    let (server, url) = certs.serve_clients().await;
    let (ca, other_ca) = (certs.file("ca.crt"), others.file("ca.crt"));
    let (cert, key) = (certs.file("client.crt"), certs.file("client.key"));

    refused(&url, &[], "needs --ca").await;
    refused(
        &url,
        &[("--ca", &ca)],
        "it demands a certificate: give --cert and --key",
    )
    .await;
    let sentence = "its certificate is not of the CA in --ca";
    refused(&url, &with(&other_ca, &cert, &key), sentence).await;
    let (other, secret) = (others.file("client.crt"), others.file("client.key"));
    let sentence = "it does not know the CA of the certificate in --cert";
    refused(&url, &with(&ca, &other, &secret), sentence).await;
    let (old, secret) = (certs.file("old.crt"), certs.file("old.key"));
    refused(&url, &with(&ca, &old, &secret), "--cert for expired").await;
    let (own, secret) = (certs.file("server.crt"), certs.file("server.key"));
    let sentence = "use one for clients";
    refused(&url, &with(&ca, &own, &secret), sentence).await;
    let sentence = "check --ca, --cert, and that --key belongs to --cert";
    refused(&url, &with(&ca, &cert, &secret), sentence).await;
    refused(
        &url,
        &with("/none", &cert, &key),
        "cannot read /none: check --ca",
    )
    .await;
    refused(
        &url,
        &with(&key, &cert, &key),
        "has no certificate in PEM: check --ca",
    )
    .await;
    refused(
        &url,
        &with(&ca, &cert, &cert),
        "has no private key in PEM: check --key",
    )
    .await;
    let plain = format!("http://127.0.0.1:{}", port(&url));
    refused(&plain, &[], "use https://").await;
    refused(
        &plain,
        &with(&ca, &cert, &key),
        "is plaintext: use https://",
    )
    .await;

    let (_, output, why) = finish(&[
        "status", "--server", &url, "--ca", &ca, "--cert", &cert, "--key", &key,
    ])
    .await;
    assert!(output.contains("swings: 0, 0 failed"), "{output} {why}");
    let (_, _, output) = server.end(Signal::TERM).await;
    assert!(
        output.contains("the client showed no certificate"),
        "{output}"
    );
}

#[tokio::test]
async fn a_server_of_another_name_is_not_trusted() {
    let certs = Certs::new(&["penguin.test"]).await;
    let (cert, key) = (certs.file("server.crt"), certs.file("server.key"));
    let args = ["--tls-cert", &cert, "--tls-key", &key, "--insecure"];
    let (_server, url) = Running::serve("0.0.0.0:0", &args).await;
    let ca = certs.file("ca.crt");
    accepted(
        &format!("https://localhost:{}", port(&url)),
        &[("--ca", &ca)],
    )
    .await;
    let other = format!("https://127.0.0.2:{}", port(&url));
    refused(
        &other,
        &[("--ca", &ca)],
        "its certificate is for other names",
    )
    .await;
}

#[tokio::test]
async fn a_plaintext_server_is_no_tls_server() {
    let certs = Certs::new(&["penguin.test"]).await;
    let (_server, url) = Running::serve("127.0.0.1:0", &[]).await;
    let tls = url.replace("http://", "https://");
    refused(&tls, &[("--ca", &certs.file("ca.crt"))], "speaks no TLS").await;
}

#[tokio::test]
async fn only_who_shows_the_token_bonks() {
    let certs = Certs::new(&["penguin.test"]).await;
    for (name, token) in [
        ("right", "0123456789abcdef\n"),
        ("wrong", "0123456789abcdeF"),
    ] {
        fs::write(certs.path(name), token).unwrap();
    }
    fs::write(certs.path("short"), "secret").unwrap();
    let (right, wrong) = (certs.file("right"), certs.file("wrong"));
    let short = certs.file("short");
    let (server, url) = certs.serve(&["--token-file", &right]).await;
    let ca = certs.file("ca.crt");
    refused(
        &url,
        &[("--ca", &ca)],
        "Unauthenticated: this bonker requires its token",
    )
    .await;
    let with = |token| [("--ca", ca.as_str()), ("--token-file", token)];
    refused(&url, &with(&wrong), "this is not the token of this bonker").await;
    refused(&url, &with(&short), "has 6 bytes, and 16 are the least").await;
    accepted(&url, &with(&right)).await;
    let (_, _, output) = server.end(Signal::TERM).await;
    assert!(
        output.contains("refused a call without the right token"),
        "{output}"
    );
    assert!(!output.contains("0123456789abcde"), "{output}");
}

#[tokio::test]
async fn a_server_does_not_start_with_what_cannot_work() {
    let certs = Certs::new(&["penguin.test"]).await;
    fs::write(certs.path("empty"), "").unwrap();
    let check = async |args: &[&str], code: i32, sentence: &str| {
        let file = |arg: &&str| {
            if arg.starts_with('-') || arg.contains(':') {
                (*arg).to_owned()
            } else {
                certs.file(arg)
            }
        };
        let args: Vec<String> = args.iter().map(file).collect();
        let mut line = vec!["serve", "--backend", "null"];
        line.extend(args.iter().map(String::as_str));
        let (status, out, why) = finish(&line).await;
        assert_eq!(status, Some(code), "{why}");
        assert!(why.contains(sentence), "{why}");
        assert_eq!(out, "");
    };
    let open = ["--listen", "0.0.0.0:0"];
    let pair = ["--tls-cert", "server.crt", "--tls-key", "server.key"];
    check(&open, 2, "nothing would be encrypted").await;
    check(&[&open[..], &pair].concat(), 2, "anybody there might bonk").await;
    check(&["--tls-key", "server.key"], 2, "without --tls-cert").await;
    let clients = ["--tls-cert", "client.crt", "--tls-key", "client.key"];
    check(&clients, 1, "is not for servers").await;
    let mixed = ["--tls-cert", "server.crt", "--tls-key", "client.key"];
    check(&mixed, 1, "does not belong to the certificate").await;
    check(
        &["--token-file", "empty"],
        1,
        "has 0 bytes, and 16 are the least",
    )
    .await;
    check(&["--token-file", "none"], 1, "cannot read the token file").await;
}

#[tokio::test]
async fn a_key_that_everybody_can_read_is_warned_of_once() {
    let certs = Certs::new(&["penguin.test"]).await;
    let (quiet, _) = certs.serve(&[]).await;
    let (_, _, output) = quiet.end(Signal::TERM).await;
    assert!(!output.contains("chmod 600"), "{output}");
    let open = fs::Permissions::from_mode(0o644);
    fs::set_permissions(certs.path("server.key"), open).unwrap();
    let (server, _) = certs.serve(&[]).await;
    let (_, _, output) = server.end(Signal::TERM).await;
    assert_eq!(output.matches("chmod 600").count(), 1, "{output}");
}
