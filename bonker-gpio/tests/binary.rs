//! The program itself, from outside.

mod common;

use std::time::Duration;

use common::program::{Running, finish, program, within};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

#[tokio::test]
async fn serves_a_bonk_and_ends_at_sigterm() {
    let (server, url) = Running::serve("127.0.0.1:0", &[]).await;
    assert!(
        url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"),
        "{url}"
    );
    let hostile = "\x1b[2J";
    let (code, stdout, stderr) = finish(&["bonk", "--to", &url, "--comm", hostile]).await;
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.starts_with("ACCEPTED id=test-"), "{stdout}");
    let (code, stdout, _) = finish(&["status", "--from", &url]).await;
    assert_eq!(code, Some(0));
    assert!(
        stdout.contains("backend: sim (asked for by --backend)"),
        "{stdout}"
    );
    let (status, rest, output) = server.end(Signal::TERM).await;
    assert_eq!(status.code(), Some(0), "{output}");
    assert!(rest.is_empty(), "more than the ready line: {rest:?}");
    assert!(
        output.contains("swing step pulse_us=2000 hold_ms=250"),
        "{output}"
    );
    let rests = output
        .matches("swing step pulse_us=1000 hold_ms=350")
        .count();
    assert_eq!(rests, 3, "boot, the way back and the end: {output}");
    assert!(!output.contains('\x1b'), "{output}");
}

#[tokio::test]
async fn http_is_served_beside_grpc_and_its_port_printed() {
    let web = ["--http-listen", "127.0.0.1:0"];
    let (mut server, _) = Running::serve("127.0.0.1:0", &web).await;
    let line = server.line().await;
    let address = line.strip_prefix("web on http://").expect(&line);
    let address = address.strip_suffix('/').expect(&line).to_owned();
    let mut stream = within(TcpStream::connect(&address)).await.unwrap();
    let request = b"GET /ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    within(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let taken = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--http-listen",
        &address,
    ];
    let (code, _, stderr) = finish(&taken).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("--http-listen takes"), "{stderr}");
    let exposed = ["serve", "--http-listen", "0.0.0.0:0"];
    let (code, _, stderr) = finish(&exposed).await;
    assert_eq!(code, Some(2), "{stderr}");
    assert!(
        stderr.contains("--http-listen 0.0.0.0:0 can be reached"),
        "{stderr}"
    );
    let (status, _, output) = server.end(Signal::TERM).await;
    assert_eq!(status.code(), Some(0), "{output}");
}

#[tokio::test]
async fn logs_json_and_ends_at_sigint() {
    let (server, _) = Running::serve("127.0.0.1:0", &["--log-format", "json"]).await;
    let (status, _, output) = server.end(Signal::INT).await;
    assert_eq!(status.code(), Some(0), "{output}");
    for line in output.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).expect(line);
        assert!(entry["message"].is_string(), "{line}");
    }
    assert!(output.contains(r#""pulse_us":1000"#), "{output}");
}

#[tokio::test]
async fn a_watcher_comes_back_and_complains_once() {
    let (server, url) = Running::serve("127.0.0.1:0", &[]).await;
    let mut watcher = Running::start(&["watch", "--from", &url, "--output", "json"]);
    let mut output = BufReader::new(watcher.child.stderr.take().unwrap()).lines();
    let mut wait_for = async |words: &str| {
        let mut complaints = 0;
        loop {
            let line = within(output.next_line()).await.unwrap().expect(words);
            complaints += usize::from(line.contains("not watching"));
            if line.contains(words) {
                return complaints;
            }
        }
    };
    assert_eq!(wait_for("watching").await, 0);
    let bonk = ["bonk", "--to", &url, "--comm", "\u{202e}x"];
    assert_eq!(finish(&bonk).await.0, Some(0));
    let line = watcher.line().await;
    assert!(line.is_ascii(), "{line}");
    let swing: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(swing["comm"], "\u{202e}x");
    assert_eq!(swing["swings"], 1);

    server.end(Signal::TERM).await;
    // Long enough away for several attempts.
    tokio::time::timeout(Duration::from_millis(1500), wait_for("watching again"))
        .await
        .expect_err("there is no server");
    let (_server, _) = Running::serve(url.strip_prefix("http://").unwrap(), &[]).await;
    assert_eq!(wait_for("watching again").await, 0);
    assert_eq!(finish(&bonk).await.0, Some(0));
    let swing: serde_json::Value = serde_json::from_str(&watcher.line().await).unwrap();
    assert_eq!(swing["swings"], 1);
    let pid = Pid::from_raw(watcher.child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    assert_eq!(within(watcher.child.wait()).await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn the_environment_says_what_flags_do() {
    let mut server = program(&["serve"]);
    server
        .env("BONKER_LISTEN", "0.0.0.0:0")
        .env("BONKER_INSECURE", "1")
        .env("BONKER_BACKEND", "null")
        .env("BONKER_LOG_FORMAT", "json");
    let mut child = server.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within(lines.next_line()).await.unwrap().unwrap();
    let url = line.strip_prefix("listening on ").expect(&line);
    let url = url.replace("0.0.0.0", "127.0.0.1");
    let status = program(&["status"]).env("BONKER_URL", url).output();
    let status = within(status).await.unwrap();
    let output = String::from_utf8(status.stdout).unwrap();
    assert!(output.contains("backend: null"), "{output}");
}

#[tokio::test]
async fn an_empty_variable_counts_as_unset() {
    let empty = |args: &[&str]| {
        let mut command = program(args);
        for name in [
            "LISTEN",
            "INSECURE",
            "BACKEND",
            "GPIO_PIN",
            "URL",
            "LOG_LEVEL",
            "LOG_FORMAT",
        ] {
            command.env(format!("BONKER_{name}"), "");
        }
        command
    };
    let mut child = empty(&["serve", "--listen", "127.0.0.1:0"])
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = within(lines.next_line()).await.unwrap().unwrap();
    let url = line.strip_prefix("listening on ").expect(&line);
    for args in [["bonk", "--to", url], ["status", "--from", url]] {
        let output = within(empty(&args).output()).await.unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    // With no address given, the default one: nobody has to listen there.
    let output = within(empty(&["status"]).output()).await.unwrap();
    assert_ne!(output.status.code(), Some(2), "{output:?}");
    let exposed = ["serve", "--listen", "0.0.0.0:0"];
    let output = within(empty(&exposed).output()).await.unwrap();
    let output = String::from_utf8(output.stderr).unwrap();
    assert!(output.contains("--insecure"), "{output}");
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = nobody.local_addr().unwrap().to_string();
    let check = async |args: &[&str], code: i32, words: &[&str]| {
        let (exit, stdout, stderr) = finish(args).await;
        assert_eq!((exit, stdout.as_str()), (Some(code), ""), "{stderr}");
        for word in words {
            assert!(stderr.contains(word), "{word:?} in {stderr}");
        }
    };
    let exposed = ["serve", "--listen", "0.0.0.0:0"];
    check(&exposed, 2, &["0.0.0.0:0", "--insecure"]).await;
    check(&["serve", "--listen", "here"], 2, &["--listen"]).await;
    check(
        &["serve", "--backend", "steam"],
        2,
        &["rppal", "sim", "null"],
    )
    .await;
    check(&["serve", "--gpio-pin", "28"], 2, &["0..=27"]).await;
    let empty = ["serve", "--min-us", "2000", "--max-us", "1000"];
    check(&empty, 1, &["2000 µs", "1000 µs", "--min-us"]).await;
    let outside = ["serve", "--rest-us", "900"];
    check(&outside, 1, &["900 µs", "--rest-us", "widen --min-us"]).await;
    let beyond = ["serve", "--max-us", "3000"];
    check(&beyond, 1, &["3000 µs", "500 to 2500 µs"]).await;
    check(&["serve", "--duty", "2%"], 1, &["duty of 2%", "raise"]).await;
    check(&["serve", "--duty", "0%"], 2, &["1% to 100%"]).await;
    check(&["serve", "--pwm-chip", "x"], 2, &["auto, or the number"]).await;
    check(&["bonk", "--to", "https://x"], 1, &["--ca"]).await;
    let port = ["status", "--from", "http://127.0.0.1:99999"];
    check(&port, 2, &["1 to 65535", "99999"]).await;
    check(
        &["serve", "--listen", &taken],
        1,
        &["cannot listen", "in use"],
    )
    .await;
    let silent = format!("http://{taken}");
    check(&["bonk", "--to", &silent], 1, &["within 5s"]).await;
    drop(nobody);
    let words = ["bonker-gpio serve", "Connection refused"];
    check(&["bonk", "--to", &silent], 1, &words).await;
    // True of any machine but a Raspberry Pi.
    if !std::path::Path::new("/proc/device-tree/model").exists() {
        check(&["serve", "--backend", "rppal"], 1, &["not a Raspberry Pi"]).await;
    }
}

#[tokio::test]
async fn a_snooze_outlives_a_restart_and_the_state_is_locked() {
    let dir = tempfile::tempdir().unwrap();
    let state = ["--state", dir.path().to_str().unwrap()];
    let (server, url) = Running::serve("127.0.0.1:0", &state).await;
    let (code, stdout, _) = finish(&["bonk", "--to", &url, "--pod", "web"]).await;
    assert!(
        code == Some(0) && stdout.starts_with("ACCEPTED"),
        "{stdout}"
    );
    let (code, stdout, _) = finish(&["bonk", "--to", &url, "--pod", "web"]).await;
    assert!(
        code == Some(0) && stdout.starts_with("COALESCED"),
        "{stdout}"
    );
    let (code, stdout, _) = finish(&["snooze", "2h", "--to", &url]).await;
    assert!(
        code == Some(0) && stdout.starts_with("snoozed until 20"),
        "{stdout}"
    );
    let second = ["serve", "--listen", "127.0.0.1:0", "--backend", "null"];
    let (code, _, output) = finish(&[&second[..], &state].concat()).await;
    assert!(
        code == Some(1) && output.contains("another bonker-gpio"),
        "{output}"
    );
    server.end(Signal::TERM).await;

    let (server, url) = Running::serve("127.0.0.1:0", &state).await;
    let (code, stdout, output) = finish(&["bonk", "--to", &url]).await;
    assert!(code == Some(1) && stdout.starts_with("QUIET"), "{stdout}");
    assert!(output.contains("snoozed until 20"), "{output}");
    let (_, stdout, _) = finish(&["status", "--from", &url]).await;
    assert!(
        stdout.contains("history: 1 swings, the last 0 days ago"),
        "{stdout}"
    );
    assert!(stdout.contains("snoozed: until 20"), "{stdout}");
    let (code, stdout, _) = finish(&["snooze", "off", "--to", &url]).await;
    assert_eq!((code, stdout.as_str()), (Some(0), "not snoozed\n"));
    for wrong in ["8d", "0s", "soon", "-1h"] {
        let (code, _, output) = finish(&["snooze", "--to", &url, "--", wrong]).await;
        assert!(
            code == Some(2) && output.contains("off"),
            "{wrong}: {output}"
        );
    }
    server.end(Signal::TERM).await;
}

#[tokio::test]
async fn an_unusable_hub_is_an_error_at_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("b.toml");
    let check = async |settings: &str, output: &str| {
        std::fs::write(&config, settings).unwrap();
        let config = config.to_str().unwrap();
        let serve = [
            "serve",
            "--listen=127.0.0.1:0",
            "--backend=null",
            "--config",
        ];
        let (code, out, why) = finish(&[&serve[..], &[config]].concat()).await;
        assert_eq!((code, out.as_str()), (Some(1), ""), "{settings}: {why}");
        assert!(why.contains(output), "{settings}: {why}");
    };
    let https = "follow = 'https://127.0.0.1:1'\n";
    check(https, "needs --follow-ca").await;
    let ca = "follow-ca = '/nonexistent'\n";
    check(&format!("{https}{ca}"), "check --follow-ca").await;
    check(
        "follow-ca = '/dev/zero'\nfollow = 'https://a:1'",
        "check --follow-ca",
    )
    .await;
    check(
        "follow-ca = '/etc/hosts'\nfollow = 'https://a:1'",
        "no certificate in PEM",
    )
    .await;
    check(ca, "does nothing without --follow").await;
    let token = "follow = 'http://127.0.0.1:1'\nfollow-token-file = '/nonexistent'\n";
    check(token, "check --follow-token-file").await;
}

#[tokio::test]
async fn a_variable_that_is_not_utf8_is_named_and_escaped() {
    let garbled = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff\xfe");
    let garbled: &std::ffi::OsStr = garbled;
    let mut serve = program(&["serve", "--listen=127.0.0.1:0", "--backend=null"]);
    let ended = within(serve.env("BONKER_QUEUE", garbled).output())
        .await
        .unwrap();
    let output = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(2), "{output}");
    assert!(output.contains("BONKER_QUEUE is not UTF-8"), "{output}");

    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("b.toml");
    std::fs::write(&config, format!("a\x1b[31m = {}", "[".repeat(50_000))).unwrap();
    let (code, _, output) = finish(&["serve", "--config", config.to_str().unwrap()]).await;
    assert_eq!(code, Some(2), "{output}");
    assert!(
        output.contains("is no TOML") && output.contains("line 1, column"),
        "{output}"
    );
    assert!(!output.contains('\x1b') && output.len() < 1000, "{output}");
}
