//! Debian's Chromium, headless, driven over its own debugging protocol.

mod page;

use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

pub use page::{Look, Page};
use xtask::debian::Debian;
use xtask::process::{Guard, which};

const GRACE: Duration = Duration::from_secs(5);

/// Without a screen, and without what would go to the net by itself.
const FLAGS: [&str; 11] = [
    "--headless",
    "--remote-debugging-pipe",
    // Its sandbox refuses root, and what it shows is this project's own page.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
];

/// A browser with a profile of its own; ends when dropped.
#[derive(Debug)]
pub struct Chromium {
    _child: Guard,
    /// The pipes of the protocol, until a page has them.
    pipes: Option<(ChildStdin, ChildStdout)>,
    _profile: TempDir,
}

impl Chromium {
    /// Installs Debian's packages where absent: its 100 libraries expect to lie where
    /// Debian puts them. The font is for the looks of screenshots.
    pub fn prepare(debian: Debian) -> Result<()> {
        debian.install("the page's tests", &["chromium", "fonts-inter"])
    }

    /// Starts it without a page.
    pub fn start() -> Result<Self> {
        let program =
            which("chromium").context("no chromium on PATH: `apt-get install chromium`")?;
        let profile = tempfile::tempdir().context("make a directory for a profile")?;
        // It reads commands from descriptor 3 and answers on 4.
        let mut command = Command::new("sh");
        command
            .args(["-c", r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null"#, "sh"])
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            // Debian's wrapper and its helpers write there, too.
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = Guard::spawn(&mut command, GRACE)?;
        let commands = child.stdin.take().context("a piped standard input")?;
        let answers = child.stdout.take().context("a piped standard output")?;
        Ok(Self {
            pipes: Some((commands, answers)),
            _child: child,
            _profile: profile,
        })
    }

    /// The one page, still blank; everything it does is noted from now on.
    pub fn page(&mut self) -> Result<Page> {
        let pipes = self.pipes.take();
        let (commands, answers) = pipes.context("a page was opened before")?;
        Page::open(commands, answers)
    }
}
