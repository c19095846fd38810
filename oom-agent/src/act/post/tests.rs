use std::fs;
use std::path::PathBuf;

use memcg::OomScores;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use pressure::{Crossing, Level, Sample};

fn file(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn notice() -> Notice {
    let sample = Sample {
        at_ns: 1,
        current: 150,
        working_set: 120,
        limit: Some(200),
        throttles: false,
        psi: None,
    };
    let crossing = Crossing {
        level: Level::Warning,
        sample,
        forecast: Some(Duration::from_millis(1500)),
        again: false,
    };
    let scores = OomScores {
        oom_score: 250,
        oom_score_adj: -1,
    };
    let process = NoticeProcess {
        pid: 1234,
        cmdline: "/usr/bin/myapp".to_owned(),
    };
    let time = "2026-11-21T09:00:01Z".parse().unwrap();
    Notice::new(&crossing, scores, process, time, "/kubepods/x")
}

/// Takes one request, answers it with that status, and gives its head and body.
async fn served(listener: TcpListener, status: &str) -> (String, Value) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..read]).unwrap());
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            return (head.to_ascii_lowercase(), body);
        }
    }
}

#[tokio::test]
async fn a_notice_has_what_the_third_oomhero_sends_and_the_headers_of_the_file() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let config = format!(
        "url: http://{at}/hook?key=k\nheaders:\n  - name: Authorization\n    value: Bearer token123\n"
    );
    let (_dir, path) = file(&config);
    let post = Post::from_file(&path).unwrap();
    let notice = notice();
    let (sent, (head, body)) = tokio::join!(post.send(&notice), served(listener, "204 No Content"));
    assert!(sent);
    assert!(head.starts_with("post /hook?key=k http/1.1"), "{head}");
    for header in [
        "authorization: bearer token123",
        "content-type: application/json",
    ] {
        assert!(head.lines().any(|line| line == header), "{head}");
    }
    let zero = json!({"avg10": 0.0, "avg60": 0.0, "avg300": 0.0, "total": 0});
    let none = json!({"some": zero, "full": zero});
    assert_eq!(body["severity"], json!("Warning"));
    assert_eq!(
        body["process"],
        json!({"pid": 1234, "cmdline": "/usr/bin/myapp"})
    );
    let expected = json!({
        "memory_max": 200, "memory_current": 150, "memory_usage": 75.0, "memory_working_set": 120,
        "oom_score": 250, "oom_score_adj": -1,
        "pressure": {"memory": none, "io": none, "cpu": none},
    });
    assert_eq!(body["collected_data"], expected);
    assert_eq!(body["kind"], json!("warning"));
    assert_eq!(body["forecast_seconds"], json!(1.5));
}

#[tokio::test]
async fn a_refusal_has_its_status() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_dir, path) = file(&format!(
        "url: http://{}/\n",
        listener.local_addr().unwrap()
    ));
    let post = Post::from_file(&path).unwrap();
    let notice = notice();
    let (sent, _) = tokio::join!(post.try_send(&notice), served(listener, "403 Forbidden"));
    assert_eq!(sent.unwrap_err().to_string(), "answered 403 Forbidden");
}

#[tokio::test(start_paused = true)]
async fn a_silent_host_is_waited_for_three_seconds() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_dir, path) = file(&format!(
        "url: http://{}/\n",
        listener.local_addr().unwrap()
    ));
    let post = Post::from_file(&path).unwrap();
    let begun = tokio::time::Instant::now();
    let error = post.try_send(&notice()).await.unwrap_err();
    assert!(matches!(error, PostError::Silent), "{error}");
    assert_eq!(begun.elapsed(), PATIENCE);
}

#[test]
fn a_file_that_is_no_such_file_is_refused_without_its_secrets() {
    let url = "url: http://h/\n";
    let cases = [
        ("", "expected `url:"),
        ("url: [", "is not as it should be"),
        ("url: ftp://host/s3cret\n", "no http:// or https:// URL"),
        ("url: /s3cret\n", "no http:// or https:// URL"),
        ("url: http://h:70000/s3cret\n", "from 1 to 65535"),
        ("url: http://h:65536/s3cret\n", "from 1 to 65535"),
        ("url: https://[::1]:0/s3cret\n", "from 1 to 65535"),
        ("url: https://user:s3cret@h/\n", "`value: Basic BASE64`"),
        ("url: https://s3cret@h:70000/\n", "`value: Basic BASE64`"),
        (
            "url: https://h/\nca: /nowhere/ca.pem\n",
            "cannot read /nowhere/ca.pem",
        ),
        (
            &format!("{url}headers:\n- name: X\n  valu: s3cret\n"),
            "in line",
        ),
        (
            &format!("{url}headers:\n- name: A\n  value: b\n- name: 'X Y'\n  value: s3cret\n"),
            "header 2 of",
        ),
        (
            &format!("{url}headers:\n- name: X\n  value: \"s3cret\\n\"\n"),
            "header 1 of",
        ),
        (&format!("{url}hedaers: s3cret\n"), "in line"),
    ];
    let reserved = [
        ("content-length", "that of each notice"),
        ("Transfer-Encoding", "that of each notice"),
        ("Host", "that of the url"),
        ("CONNECTION", "not the file's"),
        ("upgrade", "not the file's"),
        ("te", "not the file's"),
        ("trailer", "not the file's"),
    ];
    let reserved = reserved.map(|(name, expected)| {
        let header = format!("headers:\n- name: {name}\n  value: s3cret\n");
        (format!("{url}{header}"), expected)
    });
    let reserved = reserved
        .iter()
        .map(|(text, expected)| (text.as_str(), *expected));
    for (text, expected) in cases.into_iter().chain(reserved) {
        let (_dir, path) = file(text);
        let error = Post::from_file(&path).err().unwrap();
        let whole = chain(&error).to_string();
        assert!(whole.contains(expected), "{text:?}: {whole}");
        let debug = format!("{error:?}");
        assert!(
            !whole.contains("s3cret") && !debug.contains("s3cret"),
            "{whole} {debug}"
        );
    }
}

#[test]
fn a_url_may_have_any_port_or_none() {
    for authority in ["h", "h:1", "h:65535", "[::1]", "[::1]:8080", "127.0.0.1:80"] {
        let (_dir, path) = file(&format!("url: http://{authority}/\n"));
        Post::from_file(&path).unwrap();
    }
}

#[tokio::test]
async fn a_proxy_is_asked_for_a_tunnel_to_an_https_host() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = format!("u:p@{}", listener.local_addr().unwrap());
    let variable = |name: &str| (name == "HTTPS_PROXY").then(|| proxy.clone());
    let (_dir, path) = file("url: https://hooks.example/hook\n");
    let config = Config::read(&path).unwrap();
    let proxy = proxy::find(&config.uri, variable);
    let post = Post::new(config, proxy);
    let notice = notice();
    let mut text = vec![0; 512];
    tokio::select! {
        sent = post.send(&notice) => panic!("the proxy got no request: {sent:?}"),
        read = async { listener.accept().await.unwrap().0.read(&mut text).await.unwrap() } => text.truncate(read),
    }
    let request = String::from_utf8(text).unwrap();
    let tunnel = "CONNECT hooks.example:443 HTTP/1.1\r\nHost: hooks.example:443\r\nProxy-Authorization: Basic dTpw\r\n";
    assert!(request.starts_with(tunnel), "{request}");
}
