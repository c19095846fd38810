#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a helper of tests may panic"
)]

//! Who may watch and who may act where there is a token, over real sockets.

mod common;

use bonker_gpio::{Access, Token};
use common::{Server, access, http, servo, within};

const WRONG: &str = "authorization: Bearer 0123456789abcdeX\r\n";
const BEARER: &str = "authorization: Bearer 0123456789abcdef\r\n";
/// me:0123456789abcdef
const BASIC: &str = "authorization: Basic bWU6MDEyMzQ1Njc4OWFiY2RlZg==\r\n";
/// me:0123456789abcdeX
const BASIC_WRONG: &str = "authorization: Basic bWU6MDEyMzQ1Njc4OWFiY2RlWA==\r\n";

const WATCHED: [&str; 4] = ["/", "/page.js", "/penguin.svg", "/events"];

async fn guarded(private: bool) -> Server {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789abcdef").unwrap();
    let token = Some(Token::read(file.path()).unwrap());
    let access = Access {
        token,
        private,
        ..access()
    };
    let (servo, _gate) = servo(None);
    let mut server = Server::guarded(servo, access).await;
    server.ready().await;
    server
}

/// The first lines of the answer, up to what is empty.
async fn head(server: &Server, request: &str) -> String {
    let stream = http::send(server.web, request).await;
    let mut answer = String::new();
    // A stream of events has no end.
    while !answer.contains("\r\n\r\n") {
        within(stream.readable()).await.unwrap();
        let mut some = [0; 4096];
        match stream.try_read(&mut some) {
            Ok(0) => break,
            Ok(read) => answer += std::str::from_utf8(some.get(..read).unwrap()).unwrap(),
            Err(why) => assert_eq!(why.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    answer.split("\r\n\r\n").next().unwrap().to_owned() + "\r\n"
}

async fn get(server: &Server, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n");
    head(server, &request).await
}

async fn post(server: &Server, path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n{body}"
    );
    head(server, &request).await
}

fn status(head: &str) -> u16 {
    head.get(9..12)
        .and_then(|code| code.parse().ok())
        .expect(head)
}

#[tokio::test]
async fn anyone_may_watch_unless_it_is_private() {
    for private in [false, true] {
        let mut server = guarded(private).await;
        for path in WATCHED {
            for (headers, admitted) in [
                ("", !private),
                (WRONG, !private),
                (BASIC_WRONG, !private),
                (BEARER, true),
                (BASIC, true),
            ] {
                let head = get(&server, path, headers).await;
                let wanted = if admitted { 200 } else { 401 };
                assert_eq!(status(&head), wanted, "{path} {headers} {head}");
                let challenge = head.contains("www-authenticate: Basic realm=\"bonker\"\r\n");
                assert_eq!(challenge, !admitted, "{head}");
            }
        }
        for probe in ["/live", "/ready"] {
            assert_eq!(status(&get(&server, probe, "").await), 200, "{probe}");
        }
        server.stop();
        server.stopped().await;
    }
}

#[tokio::test]
async fn actions_need_the_token() {
    let mut server = guarded(false).await;
    let kill = r#"{"severity":"kill"}"#;
    let rest = r#"{"seconds":60}"#;
    let fires = r#"{"status":"firing"}"#;
    for headers in ["", WRONG, BASIC_WRONG, "authorization: Basic %%%\r\n"] {
        for (path, body, scheme) in [
            ("/api/bonk", kill, "Bearer"),
            ("/api/snooze", rest, "Bearer"),
            ("/hook", fires, "Basic"),
        ] {
            let head = post(&server, path, headers, body).await;
            assert_eq!(status(&head), 401, "{path} {headers}");
            // Browsers open a dialog of their own for the other kind.
            let challenge = format!("www-authenticate: {scheme} realm=\"bonker\"\r\n");
            assert!(head.contains(&challenge), "{head}");
        }
        let scraped = get(&server, "/metrics", headers).await;
        assert_eq!(status(&scraped), 401, "{scraped}");
    }
    let before = server.app.status();
    assert_eq!((before.swings, before.queue_length), (0, 0));
    assert_eq!(before.snoozed_until, None);

    for (n, headers) in [BEARER, BASIC].into_iter().enumerate() {
        let mut swings = server.app.watch();
        let scraped = get(&server, "/metrics", headers).await;
        assert_eq!(status(&scraped), 200, "{scraped}");
        for (path, body) in [("/api/bonk", kill), ("/hook", fires)] {
            let head = post(&server, path, headers, body).await;
            assert_eq!(status(&head), 200, "{path} {headers} {head}");
            within(swings.recv()).await.unwrap();
        }
        assert_eq!(server.app.status().swings, 2 * (n as u64 + 1));
        for body in [rest, r#"{"seconds":0}"#] {
            let head = post(&server, "/api/snooze", headers, body).await;
            assert_eq!(status(&head), 200, "{head}");
            let snoozed = server.app.status().snoozed_until.is_some();
            assert_eq!(snoozed, body == rest);
        }
    }
    server.stop();
    server.stopped().await;
}

/// The token in a browser does not let other sites' pages press.
#[tokio::test]
async fn the_token_opens_nothing_to_other_sites() {
    let mut server = guarded(true).await;
    let kill = r#"{"severity":"kill"}"#;
    for more in [
        "origin: http://evil.example\r\n",
        "sec-fetch-site: cross-site\r\n",
    ] {
        let head = post(&server, "/api/bonk", &format!("{BASIC}{more}"), kill).await;
        assert_eq!(status(&head), 403, "{head}");
    }
    assert_eq!(server.app.status().queue_length, 0);
    server.stop();
    server.stopped().await;
}
