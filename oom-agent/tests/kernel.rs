//! `run` within this process, against this machine's kernel and a real bonker: what it starts is
//! connected, and ends in order.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test"
)]

use std::env;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::thread;

use clap::Parser as _;
use lab::wait::{self, HANG};
use lab::{Admin, Bonker, Cgroup, field, message};
use oom_agent::Cli;
use rustix::process::{Signal, getpid, kill_process};

#[test]
fn run_carries_a_kill_to_bonker_metrics_and_journal_and_ends_at_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let bonker = env::var_os("BONKER_GPIO_BIN").expect("the tier's programs");
    let mut bonker = Bonker::start(Path::new(&bonker), &["--log-format", "json"]).unwrap();
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let (admin, state) = (Admin(address), dir.path().join("state"));
    let listen = address.to_string();
    let flags = ["--no-kubernetes", "--http-listen", &listen, "--bonker"];
    let cli = ["oom-agent", "run"].into_iter().chain(flags);
    let cli = cli.chain([bonker.url(), "--state", state.to_str().unwrap()]);
    let cli = Cli::try_parse_from(cli).unwrap();
    // The error is not `Send`.
    let agent = thread::spawn(|| oom_agent::main(cli).map_err(|error| error.to_string()));
    wait::until("readiness", HANG, || {
        let (status, _) = admin.get("/ready").ok()?;
        (status == 200).then_some(())
    })
    .unwrap();

    // The name is its own: others' kills are reported, too.
    let comm = format!("eats{}", std::process::id());
    symlink("/usr/bin/tail", dir.path().join(&comm)).unwrap();
    let cgroup = Cgroup::new(40 << 20).unwrap();
    let mut tail = cgroup.command(dir.path().join(&comm));
    assert!(!tail.arg("/dev/zero").status().unwrap().success());
    let bonked = bonker.log.find("the bonk", HANG, |line| {
        let ours = message(line)? == "bonked" && field(line, "comm")? == comm;
        ours.then_some(())
    });
    bonked.unwrap();
    wait::until("the acknowledgement among the metrics", HANG, || {
        let done = admin
            .scrape()
            .ok()?
            .by("oom_agent_sink_done_total", ["result"]);
        let delivered = done.into_iter().find(|([result], _)| result == "delivered");
        (delivered?.1 > 0).then_some(())
    })
    .unwrap();

    kill_process(getpid(), Signal::TERM).unwrap();
    assert_eq!(agent.join().unwrap(), Ok(()));
    TcpStream::connect(address).expect_err("the port is closed");
    assert!(state.read_dir().unwrap().count() > 0, "the journal is kept");
}
