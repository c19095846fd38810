//! Prints every OOM kill of this host, until it is interrupted. It needs root.

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;
use std::time::Duration;

use oom_capture::probe::{Method, Probe, Wanted};
use oom_capture::{Assembler, Expect, monotonic_ns};

fn main() -> Result<(), Box<dyn Error>> {
    let wanted = Wanted {
        method: Method::Auto,
        tuned: false,
        logging: false,
        environment: false,
        pin: None,
    };
    let _probe = Probe::attach(wanted, |_method, _kept| {
        let page_size = rustix::param::page_size() as u64;
        let mut assembler = Assembler::new(page_size, Expect::Autopsies(Duration::from_secs(10)));
        Box::new(move |record| {
            let now_ns = monotonic_ns();
            let kills = match record {
                Some(record) => assembler.take(record, now_ns),
                None => assembler.expire(now_ns),
            };
            for victim in kills.iter().flat_map(|kill| &kill.victims) {
                println!("victims: {:?}", victim.process);
            }
            assembler.deadline_ns()
        })
    })?;
    println!("watching");
    loop {
        std::thread::park();
    }
}
