//! Prints every OOM kill of this host until it is interrupted. It has to run as root.

#![expect(clippy::print_stdout, reason = "this is the output of the example")]

use std::{error::Error, thread, time::Duration};

use oom_capture::probe::{AttachOptions, Method, Probe};
use oom_capture::{Assembler, AutopsyWait, monotonic_ns, page_size};

fn main() -> Result<(), Box<dyn Error>> {
    let _probe = Probe::attach(AttachOptions::default(), |method, _pinned| {
        let wait = match method {
            Method::Classic => AutopsyWait::None,
            _ => AutopsyWait::UpTo(Duration::from_secs(1)),
        };
        let mut assembler = Assembler::new(page_size() as u64, wait);
        Box::new(move |record| {
            let kills = match record {
                Some(record) => assembler.accept_record(record, monotonic_ns()),
                None => assembler.take_overdue(monotonic_ns()),
            };
            for victim in kills.iter().flat_map(|kill| &kill.victims) {
                println!("killed: {:?}", victim.process);
            }
            assembler.deadline_ns()
        })
    })?;
    println!("attached");
    loop {
        thread::park();
    }
}
