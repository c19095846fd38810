#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a helper of tests may panic"
)]

//! `calibrate` in a terminal, and without one.

mod common;

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use common::program::{finish, program, within};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use tokio::process::Child;

const PATIENCE: Duration = Duration::from_mins(3);

/// The program in a terminal of its own, and the user's end of that.
struct Terminal {
    user: File,
    shown: Receiver<Vec<u8>>,
    /// All that was shown and not waited for.
    screen: String,
    child: Child,
}

impl Terminal {
    fn start(config: &Path) -> Self {
        let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&user).unwrap();
        unlockpt(&user).unwrap();
        let name = ptsname(&user, Vec::new()).unwrap().into_string().unwrap();
        let end = || File::options().read(true).write(true).open(&name).unwrap();
        let config = config.to_str().unwrap();
        let child = program(&["calibrate", "--config", config, "--backend", "sim"])
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let user = File::from(user);
        let mut screen = user.try_clone().unwrap();
        let (shows, shown) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Fails once the program is gone.
            while let Ok(count @ 1..) = screen.read(&mut bytes) {
                if shows.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self {
            user,
            shown,
            screen: String::new(),
            child,
        }
    }

    fn press(&mut self, keys: &str) {
        self.user.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits until `words` are shown, and forgets all before them.
    fn sees(&mut self, words: &str) {
        loop {
            if let Some(at) = self.screen.find(words) {
                self.screen.drain(..at + words.len());
                return;
            }
            let more = self.shown.recv_timeout(PATIENCE);
            let more = more.unwrap_or_else(|_| panic!("no {words:?} in {:?}", self.screen));
            self.screen.push_str(&String::from_utf8_lossy(&more));
        }
    }

    async fn ends(&mut self) -> Option<i32> {
        within(self.child.wait()).await.unwrap().code()
    }
}

#[tokio::test]
async fn keys_walk_and_enter_saves() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("b.toml");
    fs::write(
        &config,
        "# mine\nrest-us = 1200 # up\nlisten = '127.0.0.1:1'\n",
    )
    .unwrap();
    let mut terminal = Terminal::start(&config);
    terminal.sees("> min    1000 µs");
    terminal.sees("  rest   1200 µs");
    terminal.sees("servo: detached");
    // Arrow up, page down.
    terminal.press("\x1b[A");
    terminal.sees("> min    1010 µs");
    terminal.sees("servo: held");
    // Nobody presses anything for a second.
    terminal.sees("servo: detached");
    terminal.press("\x1b[6~");
    terminal.sees("> min     960 µs");
    terminal.press("\t\t");
    terminal.sees("> rest   1200 µs");
    terminal.press("+");
    terminal.sees("> rest   1210 µs");
    terminal.press("\r");
    terminal.sees("saved in");
    assert_eq!(terminal.ends().await, Some(0));
    let expect = "# mine\nrest-us = 1210 # up\nlisten = '127.0.0.1:1'\n\
                  min-us = 960\nmax-us = 2000\nstrike-us = 2000\n";
    assert_eq!(fs::read_to_string(&config).unwrap(), expect);
}

#[tokio::test]
async fn leaving_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("b.toml");
    for keys in ["-q", "-\x03"] {
        let mut terminal = Terminal::start(&config);
        terminal.sees("servo: detached");
        terminal.press(keys);
        terminal.sees("> min     990 µs");
        terminal.sees("left; ");
        assert_eq!(terminal.ends().await, Some(0));
        assert!(!config.exists());
    }
    let mut terminal = Terminal::start(&config);
    terminal.sees("servo: detached");
    let pid = terminal.child.id().unwrap().try_into().unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    terminal.sees("left; ");
    assert_eq!(terminal.ends().await, Some(0));
    assert!(!config.exists());
}

#[tokio::test]
async fn without_a_terminal_it_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("b.toml");
    let args = ["calibrate", "--config", config.to_str().unwrap()];
    let (code, stdout, stderr) = finish(&args).await;
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("needs a terminal"), "{stderr}");
    let (code, _, stderr) = finish(&["calibrate"]).await;
    assert_eq!(code, Some(2));
    assert!(stderr.contains("--config"), "{stderr}");
}

#[tokio::test]
async fn calibrate_does_not_start_if_it_cannot_save() {
    let dir = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::start(&dir.path().join("nowhere/b.toml"));
    assert_eq!(terminal.ends().await, Some(1));
    let shown: Vec<u8> = terminal.shown.iter().flatten().collect();
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("cannot write the settings file"), "{shown}");
    assert!(!shown.contains("enter: save"), "{shown}");
}
