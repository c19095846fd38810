//! The hub as it is shipped, and the picture on a real terminal.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod common;

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use common::program::{Running, finish, within};
use rustix::process::Signal;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

/// The flags of the manifest's container.
fn shipped() -> Vec<String> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/hub.yaml");
    let text = std::fs::read_to_string(manifest).unwrap();
    let (_, args) = text.split_once("          args:\n").unwrap();
    let lines = args
        .lines()
        .map_while(|line| line.strip_prefix("            "));
    let flags = lines.filter_map(|line| line.strip_prefix("- ").map(str::to_owned));
    flags.collect()
}

#[tokio::test]
async fn a_follower_shows_its_certificate_and_swings_for_what_the_hub_takes() {
    let dir = tempfile::tempdir().unwrap();
    let certs = dir.path().to_str().unwrap();
    let (code, _, output) = finish(&["certs", "--dir", certs, "--host", "127.0.0.1"]).await;
    assert_eq!(code, Some(0), "{output}");
    let file = |flag: &str, name: &str| format!("--{flag}={certs}/{name}");
    let own = [
        file("tls-cert", "server.crt"),
        file("tls-key", "server.key"),
        file("tls-client-ca", "ca.crt"),
    ];
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let (_hub, hub) = Running::serve("127.0.0.1:0", &own).await;
    let shown = [
        format!("--follow={hub}"),
        file("follow-ca", "ca.crt"),
        file("follow-cert", "client.crt"),
        file("follow-key", "client.key"),
    ];
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    let (_desk, desk) = Running::serve("127.0.0.1:0", &shown).await;
    let mut watch = Running::start(&["watch", "--server", &desk, "--output", "json"]);

    // Until both are connected, a bonk may be too early to be seen; each has its own id.
    let client = [
        file("ca", "ca.crt"),
        file("cert", "client.crt"),
        file("key", "client.key"),
    ];
    let mut bonk = vec!["bonk", "--server", &hub, "--summary", "by way of the hub"];
    bonk.extend(client.iter().map(String::as_str));
    let received = async {
        tokio::select! {
            line = watch.line() => line,
            never = async {
                loop {
                    let (code, _, output) = finish(&bonk).await;
                    assert_eq!(code, Some(0), "{output}");
                }
            } => never,
        }
    };
    let line = within(received).await;
    assert!(line.contains("by way of the hub"), "{line}");
}

#[tokio::test]
async fn the_hub_starts_with_the_flags_of_its_manifest() {
    let state = tempfile::tempdir().unwrap();
    let certs = state.path().join("certs");
    let dir = certs.to_str().unwrap();
    let (code, _, output) =
        finish(&["certs", "--dir", dir, "--host", "bonker-hub.bonker-hub"]).await;
    assert_eq!(code, Some(0), "{output}");
    let flags = shipped();
    assert_eq!(flags[0], "serve");
    let flags: Vec<String> = flags
        .into_iter()
        .map(|flag| match flag.split_once('=') {
            Some(("--state", _)) => format!("--state={}", state.path().display()),
            Some(("--listen", at)) => {
                assert!(at.ends_with(":50051"));
                "--listen=127.0.0.1:0".to_owned()
            }
            _ => flag.replace("=/tls/", &format!("={dir}/")),
        })
        .collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut hub = Running::start(&flags);
    assert!(
        hub.line()
            .await
            .starts_with("listening on https://127.0.0.1:")
    );
    let (status, _, output) = hub.end(Signal::TERM).await;
    assert!(status.success(), "{output}");
}

fn terminal() -> (std::fs::File, std::fs::File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let outer: OwnedFd = openpt(flags).unwrap();
    grantpt(&outer).unwrap();
    unlockpt(&outer).unwrap();
    let name = ptsname(&outer, Vec::new()).unwrap();
    let path = Path::new(name.to_str().unwrap());
    let inner = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let size = Winsize {
        ws_row: 24,
        ws_col: 100,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&inner, size).unwrap();
    (outer.into(), inner)
}

#[tokio::test]
async fn watch_draws_on_a_terminal_and_gives_it_back() {
    let (server, url) = Running::serve("127.0.0.1:0", &[]).await;
    for (pod, leave) in [("a", "q"), ("b", "\x03"), ("c", "\x1b")] {
        let (mut outer, inner) = terminal();
        let cooked = tcgetattr(&inner).unwrap().local_modes;
        let mut watch = Command::new(env!("CARGO_BIN_EXE_bonker-gpio"))
            .args(["watch", "--from", &url])
            .stdin(inner.try_clone().unwrap())
            .stdout(inner.try_clone().unwrap())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let to = url.clone();
        let (sender, seen) = tokio::sync::oneshot::channel();
        // Not one of the runtime's threads, which would be waited for if nothing is drawn.
        std::thread::spawn(move || {
            let mut seen = String::new();
            let mut bytes = [0; 4096];
            // The last cells that change when it watches.
            while !seen.contains("leaves") {
                let n = outer.read(&mut bytes).unwrap();
                seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
            let bonk = Command::new(env!("CARGO_BIN_EXE_bonker-gpio"))
                .args([
                    "bonk",
                    "--to",
                    &to,
                    "--namespace",
                    "shop",
                    // Another of the same would be coalesced.
                    "--pod",
                    pod,
                    "--comm",
                    "\x1b[31mjava",
                ])
                .output();
            assert!(bonk.unwrap().status.success());
            while !(seen.contains("BONK") && seen.contains("shop")) {
                let n = outer.read(&mut bytes).unwrap();
                seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
            outer.write_all(leave.as_bytes()).unwrap();
            while !seen.contains("\x1b[?1049l") {
                let n = outer.read(&mut bytes).unwrap();
                seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
            // As long as it is open, the other end can be read.
            sender.send((seen, outer)).unwrap();
        });
        let (seen, _outer) = within(seen).await.unwrap();
        assert!(seen.contains("\x1b[?1049h") && seen.contains("\\u{1b}[31mjava"));
        let ended = tokio::task::spawn_blocking(move || watch.wait());
        assert!(within(ended).await.unwrap().unwrap().success());
        let now = tcgetattr(&inner).unwrap().local_modes;
        assert_eq!(now, cooked);
        assert!(now.contains(LocalModes::ICANON | LocalModes::ECHO));
    }
    server.end(Signal::TERM).await;
}
