//! What a service manager hears, on a real socket.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod common;

use std::os::unix::net::UnixDatagram as Std;
use std::time::Duration;

use common::program::{Running, program, within};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};

struct Manager {
    socket: UnixDatagram,
    _dir: tempfile::TempDir,
}

impl Manager {
    fn new(command: &mut Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = Std::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        command.env("NOTIFY_SOCKET", &path);
        let socket = UnixDatagram::from_std(socket).unwrap();
        Self { socket, _dir: dir }
    }

    async fn hears(&self) -> String {
        let mut buffer = [0; 256];
        let length = within(self.socket.recv(&mut buffer)).await.unwrap();
        String::from_utf8_lossy(&buffer[..length])
            .trim_end()
            .to_owned()
    }
}

fn serve() -> Command {
    let args = ["serve", "--listen", "127.0.0.1:0", "--backend", "null"];
    let mut command = program(&args);
    command
        .env_remove("WATCHDOG_USEC")
        .env_remove("WATCHDOG_PID");
    command
}

fn terminate(child: &Child) {
    let pid = Pid::from_raw(child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
}

#[tokio::test]
async fn it_is_ready_then_alive_then_stopping() {
    let mut command = serve();
    let manager = Manager::new(&mut command);
    let mut child = command.env("WATCHDOG_USEC", "2000000").spawn().unwrap();
    let mut heard = Vec::new();
    while heard
        .iter()
        .filter(|output| *output == "WATCHDOG=1")
        .count()
        < 3
    {
        heard.push(manager.hears().await);
    }
    assert_eq!(
        heard.iter().filter(|output| *output == "READY=1").count(),
        1
    );
    terminate(&child);
    let mut last = manager.hears().await;
    while last == "WATCHDOG=1" {
        last = manager.hears().await;
    }
    assert_eq!(last, "STOPPING=1");
    assert!(within(child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn without_a_watchdog_it_sleeps() {
    let mut command = serve();
    let manager = Manager::new(&mut command);
    let mut child = command.spawn().unwrap();
    assert_eq!(manager.hears().await, "READY=1");
    let more = tokio::time::timeout(Duration::from_secs(1), manager.hears()).await;
    assert!(more.is_err(), "{more:?}");
    terminate(&child);
    assert_eq!(manager.hears().await, "STOPPING=1");
    assert!(within(child.wait()).await.unwrap().success());
}

/// Every line that the package's settings file has commented out is a setting.
#[tokio::test]
async fn the_packaged_settings_hold() {
    let packaged = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/bonker-gpio.toml");
    let text = std::fs::read_to_string(packaged).unwrap();
    let uncommented: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.is_empty() && !line.starts_with(' '))
        .collect();
    assert!(uncommented.len() > 4, "{uncommented:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), uncommented.join("\n")).unwrap();
    let path = file.path().to_str().unwrap();
    let (mut running, _url) = Running::serve("127.0.0.1:0", &["--config", path]).await;
    running.child.kill().await.unwrap();
}
