//! The path of this process's own cgroup in the kernel.

use std::time::{Duration, Instant};

use aya::maps::Array;
use oom_agent_ebpf::CGROUP_NAMES_LEN;

use super::attach_points::{OWN_CGROUP, new_loader, read_kernel_btf};
use super::error::ProbeError;
use super::object::load_object;
use super::options::Method;
use super::programs::Programs;

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
    let Some((btf, offsets)) = read_kernel_btf(Method::Auto)? else {
        return Ok(None);
    };
    let name = std::iter::repeat_with(fastrand::alphanumeric).take(COMM_LEN);
    let name: String = name.collect();
    let mut comm = [0; COMM_LEN + 1];
    for (byte, letter) in comm.iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    let comm = u128::from_ne_bytes(comm);
    let is_unified = u32::from(is_unified);
    let mut loader = new_loader(true);
    for (global, value) in &offsets.globals {
        loader.override_global(global, value, true);
    }
    loader.override_global("OWN_COMM", &comm, true);
    loader.override_global("OWN_UNIFIED", &is_unified, true);
    // The other programs' maps are not used here.
    for map in ["UNREPORTED", "REPORTED", "MARKED", "INVOCATIONS"] {
        loader.map_max_entries(map, 1);
    }
    let mut programs = Programs {
        ebpf: load_object(loader)?,
        btf: Some(btf),
    };
    programs.load(OWN_CGROUP)?;
    let _attached = programs.attach(OWN_CGROUP)?;
    let thread = std::thread::Builder::new().name(name).spawn(|| {});
    if thread.map_err(ProbeError::Reader)?.join().is_err() {
        return Ok(None);
    }
    let map: Array<_, [u8; CGROUP_NAMES_LEN]> = programs.take_map(MAP)?;
    let begun = Instant::now();
    loop {
        let names = map.get(&0, 0).map_err(|source| ProbeError::Map {
            map: MAP,
            source: Box::new(source),
        })?;
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
