//! The path of this process's own cgroup in the kernel.

use std::time::{Duration, Instant};

use aya::maps::Array;
use aya::programs::BtfTracePoint;
use oom_agent_ebpf::CGROUP_NAMES_LEN;

use super::attach_points::{EXIT, new_loader, read_kernel_btf};
use super::error::ProbeError;
use super::object::{OBJECT, OWN_CGROUP as PROGRAM, map_error, program_mut};
use super::options::Method;

const MAP: &str = "OWN_CGROUP";

/// `TASK_COMM_LEN` without its NUL.
const COMM_LEN: usize = 15;

/// The longest time from joining a thread to its exit's record: before 6.16 the kernel wakes the joining thread
/// first.
const EXIT_WAIT: Duration = Duration::from_secs(5);

const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Finds the path of this process's memory cgroup from the hierarchy's root on, with a BPF program: in a cgroup
/// namespace /proc has only the part below the namespace's root. `is_unified`: the memory controller is in the
/// unified hierarchy. `None` where the program cannot read the path.
pub fn find_own_cgroup(is_unified: bool) -> Result<Option<String>, ProbeError> {
    let kernel_btf = read_kernel_btf(Method::Auto).map_err(|source| ProbeError::Btf { source })?;
    let Some((btf, offsets)) = kernel_btf else {
        return Ok(None);
    };
    let name = std::iter::repeat_with(fastrand::alphanumeric).take(COMM_LEN);
    let name: String = name.collect();
    let mut comm = [0; COMM_LEN + 1];
    for (byte, letter) in comm.iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    let (words, _) = comm.as_chunks::<8>();
    let mut loader = new_loader(true);
    for (global, value) in &offsets.globals {
        loader.override_global(global, value, true);
    }
    let words: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    for (global, word) in ["OWN_COMM_0", "OWN_COMM_1"].iter().zip(&words) {
        loader.override_global(global, word, true);
    }
    let is_unified = u32::from(is_unified);
    loader.override_global("OWN_UNIFIED", &is_unified, true);
    // The other programs' maps are not used here.
    for map in ["UNTOLD", "TOLD", "MARKED", "INVOCATIONS"] {
        loader.map_max_entries(map, 1);
    }
    let load = |source| ProbeError::Load {
        source: Box::new(source),
    };
    let mut ebpf = loader.load(OBJECT).map_err(load)?;
    drop(loader);
    let program: &mut BtfTracePoint = program_mut(&mut ebpf, PROGRAM)?;
    let (_, tracepoint) = EXIT;
    program
        .load(tracepoint.name, &btf)
        .map_err(|source| ProbeError::from_load_error(PROGRAM, source))?;
    let _attached = program.attach().map_err(|source| ProbeError::Attach {
        program: PROGRAM,
        source: Box::new(source),
    })?;
    let thread = std::thread::Builder::new().name(name).spawn(|| {});
    let thread = thread.map_err(|source| ProbeError::Reader { source })?;
    if thread.join().is_err() {
        return Ok(None);
    }
    let map = ebpf.map(MAP).ok_or(ProbeError::Missing { name: MAP })?;
    let map: Array<_, [u8; CGROUP_NAMES_LEN]> =
        Array::try_from(map).map_err(|source| map_error(MAP, source))?;
    let begun = Instant::now();
    loop {
        let names = map.get(&0, 0).map_err(|source| map_error(MAP, source))?;
        let path = join_names(&names);
        if path.is_some() || begun.elapsed() > EXIT_WAIT {
            return Ok(path);
        }
        std::thread::park_timeout(POLL_INTERVAL);
    }
}

/// `names` are leaf first, each with its NUL; there are none before the program has run.
fn join_names(names: &[u8]) -> Option<String> {
    let names = names.split(|byte| *byte == 0);
    let names: Vec<_> = names.take_while(|name| !name.is_empty()).collect();
    let path = names.iter().rev().fold(String::new(), |path, name| {
        path + "/" + &String::from_utf8_lossy(name)
    });
    (!path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_joined_from_the_root_on() {
        assert_eq!(join_names(b"c\0b\0a\0\0\0").as_deref(), Some("/a/b/c"));
        assert_eq!(join_names(&[0; 8]), None);
    }
}
