//! The program itself, from outside.

use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// With no `BONKER_` variable set.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bonker-gpio"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BONKER_") {
            command.env_remove(name);
        }
    }
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

pub async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(super::HANG, wait)
        .await
        .expect("in time")
}

/// Exit code, standard output and standard error of a program that ends by itself.
pub async fn finish(args: &[&str]) -> (Option<i32>, String, String) {
    let output = within(program(args).output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    (output.status.code(), stdout, stderr)
}

pub struct Running {
    pub child: Child,
    pub lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub fn start(args: &[&str]) -> Self {
        let mut child = program(args).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let lines = BufReader::new(stdout).lines();
        Self { child, lines }
    }

    pub async fn serve(listen: &str, more: &[&str]) -> (Self, String) {
        let args = ["serve", "--listen", listen, "--backend", "sim"];
        let mut running = Self::start(&[&args, more].concat());
        let line = running.line().await;
        let url = line.strip_prefix("listening on ").expect(&line).to_owned();
        (running, url)
    }

    pub async fn line(&mut self) -> String {
        within(self.lines.next_line()).await.unwrap().unwrap()
    }

    /// Sends `signal`; returns the status, the rest of standard output, and standard error.
    pub async fn end(mut self, signal: Signal) -> (ExitStatus, Vec<String>, String) {
        let mut stderr = self.child.stderr.take().unwrap();
        let (status, rest) = self.stop(signal).await;
        let mut output = String::new();
        within(stderr.read_to_string(&mut output)).await.unwrap();
        (status, rest, output)
    }

    /// Sends `signal`; returns the status and the rest of standard output.
    pub async fn stop(mut self, signal: Signal) -> (ExitStatus, Vec<String>) {
        let pid = Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
        let mut rest = Vec::new();
        while let Some(line) = within(self.lines.next_line()).await.unwrap() {
            rest.push(line);
        }
        (within(self.child.wait()).await.unwrap(), rest)
    }
}
