//! Over TLS, with the token: as deploy/alertmanager/receiver-tls.yml has it.

use std::fs;
use std::path::Path;
use std::process::Command;

use lab::{Alertmanager, Bonker, check_configuration, wait};
use serde_json::Value;

use crate::scene::{SOON, Scene, alertmanager, cart, impatient, swing};
use crate::shipped;
use crate::support::{at, bonker_bin, text};

#[test]
fn a_kill_comes_over_tls_with_the_token_and_not_without() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let made = Command::new(bonker_bin())
        .args(["certs", "--host", "127.0.0.1", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let (token, other) = (file("token"), file("other"));
    fs::write(&token, "0123456789abcdef").unwrap();
    fs::write(&other, "0123456789abcdeX").unwrap();
    let (cert, key) = (file("server.crt"), file("server.key"));
    let flags = [
        ["--tls-cert", &cert],
        ["--tls-key", &key],
        ["--token-file", &token],
    ];
    let mut bonker = Bonker::start_with_web(&bonker_bin(), flags.as_flattened()).unwrap();
    let url = format!("https://{}/hook", bonker.web().unwrap());
    let start = |token: &str| {
        let configuration = secured(&url, token, file("ca.crt"));
        let dir = tempfile::tempdir().unwrap();
        Alertmanager::start(&alertmanager(), &configuration, dir).unwrap()
    };
    let (known, stranger) = (start(&token), start(&other));
    let scene = Scene::start(&[stranger.address()]);
    scene.kubernetes.oom_kill(&cart());
    wait::until("the stranger's failure", SOON, || {
        let (tried, failed) = stranger.notifications().ok()?;
        (failed > 0 && failed == tried).then_some(())
    })
    .unwrap();
    let refusal = "refused an HTTP request with a wrong token";
    let found = |line: &str| line.contains(refusal).then_some(());
    bonker.log.find(refusal, SOON, found).unwrap();
    drop((scene, stranger));

    let scene = Scene::start(&[known.address()]);
    scene.kubernetes.oom_kill(&cart());
    // The first there is: nothing swung for the stranger.
    swing(&mut bonker, 1);
    assert_eq!(known.notifications().unwrap().1, 0, "some were turned away");
}

#[test]
fn the_shipped_receiver_is_the_plain_one_over_tls() {
    let configuration = configuration();
    check_configuration(&alertmanager(), &configuration).unwrap();
    let hook = |value: &Value| at(value, "/receivers/1/webhook_configs/0").clone();
    let (mut secured, mut plain) = (hook(&configuration), hook(&shipped::alertmanager()));
    assert_eq!(
        text(&secured, "/url").replace("https:", "http:"),
        text(&plain, "/url")
    );
    let more = secured.as_object_mut().unwrap();
    assert!(more.remove("http_config").is_some());
    more.remove("url");
    plain.as_object_mut().unwrap().remove("url");
    assert_eq!(secured, plain);
}

/// The shipped files as they are.
fn configuration() -> Value {
    let mut configuration = shipped::alertmanager();
    *configuration.pointer_mut("/receivers/1").unwrap() = shipped::receiver_over_tls();
    configuration
}

fn secured(url: &str, token: &str, ca: impl AsRef<Path>) -> Value {
    let mut configuration = impatient(configuration(), url);
    let mut set = |pointer: &str, to: &str| {
        let pointer = format!("/receivers/1/webhook_configs/0/http_config/{pointer}");
        *configuration.pointer_mut(&pointer).unwrap() = to.into();
    };
    set("basic_auth/password_file", token);
    set("tls_config/ca_file", ca.as_ref().to_str().unwrap());
    configuration
}
