//! The files of a memory controller with kernels' texts, in a temporary directory.

use std::fs;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::stat::{Table, parse_kinds};
use super::*;
use crate::memory::{Memory, Percent, Stat};
use crate::parse::parse_psi;

/// Of Linux 6.12.
const STAT_V2: &str = "anon 50331648\nfile 4096\nkernel 1048576\nkernel_stack 16384\n\
    pagetables 131072\nsec_pagetables 0\npercpu 0\nsock 512\nvmalloc 0\nshmem 2048\n\
    file_mapped 1024\nfile_dirty 10\nfile_writeback 20\nswapcached 0\ninactive_file 30\n\
    active_file 40\nunevictable 50\nslab_reclaimable 60\nslab_unreclaimable 70\nslab 130\n";

/// Of Linux 6.18.
const STAT_V1: &str = "cache 1\nrss 2\nshmem 3\nhierarchical_memory_limit 9223372036854771712\n\
    total_cache 4096\ntotal_rss 50331648\ntotal_shmem 2048\ntotal_mapped_file 1024\n\
    total_dirty 10\ntotal_writeback 20\ntotal_swap 8192\ntotal_inactive_file 30\n\
    total_active_file 40\ntotal_unevictable 50\n";

const PRESSURE: &str = "some avg10=12.34 avg60=5.00 avg300=0.07 total=987654\n\
    full avg10=100.00 avg60=0.00 avg300=0.00 total=5\n";

const KINDS: Stat = Stat {
    anon: Some(50_331_648),
    file: Some(4096),
    shmem: Some(2048),
    file_mapped: Some(1024),
    file_dirty: Some(10),
    file_writeback: Some(20),
    active_file: Some(40),
    inactive_file: Some(30),
    unevictable: Some(50),
    kernel: Some(1_048_576),
    kernel_stack: None,
    page_tables: None,
    slab: None,
    percpu: None,
    sock: Some(512),
};

const UNIFIED: &[(&str, &str)] = &[
    ("memory.stat", STAT_V2),
    ("memory.max", "67108864\n"),
    ("memory.current", "67100000\n"),
    ("memory.peak", "67108864\n"),
    ("memory.swap.current", "8192\n"),
    ("memory.swap.max", "max\n"),
    ("memory.pressure", PRESSURE),
];

fn host(marker: &str, path: &str, files: &[(&str, &str)]) -> (TempDir, MemoryReader) {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join(marker), "memory\n").unwrap();
    let dir = root.path().join(path.trim_start_matches('/'));
    fs::create_dir_all(&dir).unwrap();
    for (name, text) in files {
        fs::write(dir.join(name), text).unwrap();
    }
    let procfs = root.path().join("proc");
    let reader = MemoryReader::new(Ok(Hierarchy::find(Some(root.path())).unwrap()), procfs);
    (root, reader)
}

fn cgroup(path: &str) -> Memory {
    Memory {
        cgroup: Some(path.to_owned()),
        ..Memory::default()
    }
}

fn fill(reader: &MemoryReader, memory: Memory) -> (Memory, Vec<String>) {
    let (mut memory, mut degraded) = ([memory], Vec::new());
    let deadline = Instant::now() + Duration::from_mins(1);
    reader.fill_memory(&mut memory, deadline, &mut degraded);
    let [memory] = memory;
    (memory, degraded)
}

#[test]
fn a_cgroup_of_v2_is_read_whole() {
    let (_root, reader) = host("cgroup.controllers", "/kube/pod", UNIFIED);
    let (memory, degraded) = fill(&reader, cgroup("/kube/pod"));
    assert_eq!(degraded, Vec::<String>::new());
    let pressure = memory.pressure.unwrap();
    assert_eq!(pressure.some.avg10, Percent(1234));
    assert_eq!(pressure.some.avg300, Percent(7));
    assert_eq!(pressure.some.total_us, 987_654);
    assert_eq!(pressure.full.avg10, Percent(10_000));
    assert_eq!(
        memory,
        Memory {
            limit_bytes: Some(67_108_864),
            usage_bytes: Some(67_100_000),
            peak_bytes: Some(67_108_864),
            swap_bytes: Some(8192),
            swap_limit_bytes: None,
            stat: Some(Stat {
                kernel_stack: Some(16384),
                page_tables: Some(131_072),
                slab: Some(130),
                percpu: Some(0),
                ..KINDS
            }),
            pressure: Some(pressure),
            ..cgroup("/kube/pod")
        }
    );
}

#[test]
fn a_cgroup_of_v1_is_read_in_the_same_words() {
    let files = [
        ("memory.stat", STAT_V1),
        ("memory.limit_in_bytes", "67108864\n"),
        ("memory.usage_in_bytes", "67100000\n"),
        ("memory.max_usage_in_bytes", "67108000\n"),
        ("memory.memsw.limit_in_bytes", "100663296\n"),
        ("memory.kmem.usage_in_bytes", "1048576\n"),
        ("memory.kmem.tcp.usage_in_bytes", "512\n"),
    ];
    let (root, reader) = host("memory.limit_in_bytes", "/docker/c", &files);
    let (memory, degraded) = fill(&reader, cgroup("/docker/c"));
    assert_eq!(degraded, Vec::<String>::new());
    let expected = Memory {
        limit_bytes: Some(67_108_864),
        usage_bytes: Some(67_100_000),
        peak_bytes: Some(67_108_000),
        swap_bytes: Some(8192),
        swap_limit_bytes: Some(33_554_432),
        stat: Some(KINDS),
        pressure: None,
        ..cgroup("/docker/c")
    };
    assert_eq!(memory, expected);

    for name in ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"] {
        let path = root.path().join("docker/c").join(name);
        fs::write(path, "9223372036854771712\n").unwrap();
    }
    let (memory, degraded) = fill(&reader, cgroup("/docker/c"));
    assert_eq!(degraded, Vec::<String>::new());
    assert_eq!((memory.limit_bytes, memory.swap_limit_bytes), (None, None));
}

#[test]
fn known_fields_are_not_read() {
    let (_root, reader) = host("cgroup.controllers", "/c", UNIFIED);
    let known = Memory {
        limit_bytes: Some(1),
        usage_bytes: Some(2),
        peak_bytes: Some(3),
        ..cgroup("/c")
    };
    let (memory, _) = fill(&reader, known);
    let figures = (memory.limit_bytes, memory.usage_bytes, memory.peak_bytes);
    assert_eq!(figures, (Some(1), Some(2), Some(3)));
    assert_eq!(memory.swap_bytes, Some(8192));
}

#[test]
fn an_absent_cgroup_has_one_reason() {
    let (_root, reader) = host("cgroup.controllers", "/c", UNIFIED);
    for (path, reason) in [
        (
            "/gone",
            "memory[0]: cannot read /gone: No such file or directory (os error 2)",
        ),
        ("/…/c", "memory[0]: its path is not known whole"),
        ("/../c", "memory[0]: its path is not known whole"),
    ] {
        assert_eq!(
            fill(&reader, cgroup(path)),
            (cgroup(path), vec![reason.to_owned()])
        );
    }
}

#[test]
fn each_unreadable_file_has_a_reason() {
    let files = [
        ("memory.stat", "anon 1\n"),
        ("memory.max", "much\n"),
        ("memory.current", "5\n"),
    ];
    let (_root, reader) = host("cgroup.controllers", "/c", &files);
    let (memory, degraded) = fill(&reader, cgroup("/c"));
    assert_eq!(memory.usage_bytes, Some(5));
    assert_eq!(memory.stat.unwrap().anon, Some(1));
    let absent = "No such file or directory (os error 2)";
    let expected = [
        "memory[0].limit_bytes: memory.max is not what it should be".to_owned(),
        format!("memory[0].peak_bytes: cannot read memory.peak: {absent}"),
        format!("memory[0].pressure: cannot read memory.pressure: {absent}"),
    ];
    assert_eq!(degraded, expected);
}

#[test]
fn the_root_has_no_reasons_for_files_it_lacks() {
    let (_root, reader) = host("cgroup.controllers", "/", &[("memory.stat", STAT_V2)]);
    let (memory, degraded) = fill(&reader, cgroup("/"));
    assert_eq!(memory.stat.unwrap().anon, Some(50_331_648));
    assert_eq!(degraded, Vec::<String>::new());
}

#[test]
fn after_the_deadline_nothing_is_read() {
    let (_root, reader) = host("cgroup.controllers", "/c", UNIFIED);
    let (mut memory, mut degraded) = ([cgroup("/c"), cgroup("/c")], Vec::new());
    reader.fill_memory(&mut memory, Instant::now(), &mut degraded);
    assert_eq!(memory, [cgroup("/c"), cgroup("/c")]);
    let fields =
        "stat, usage_bytes, limit_bytes, peak_bytes, swap_bytes, swap_limit_bytes, pressure";
    let expected = [0, 1].map(|n| format!("memory[{n}]: no time was left for {fields}"));
    assert_eq!(degraded, expected);
}

#[test]
fn without_a_hierarchy_there_is_one_reason_for_all() {
    let reader = MemoryReader::new(Err(HierarchyError::NotMounted.to_string()), "/nonexistent");
    let (mut memory, mut degraded) = ([cgroup("/c"), cgroup("/d")], Vec::new());
    let deadline = Instant::now() + Duration::from_mins(1);
    reader.fill_memory(&mut memory, deadline, &mut degraded);
    assert_eq!(degraded.len(), 1, "{degraded:?}");
    assert!(
        degraded[0].starts_with("memory: ") && degraded[0].contains("--cgroupfs"),
        "{degraded:?}"
    );
}

#[test]
fn the_nodes_own_memory_is_read_from_proc() {
    let (root, reader) = host("cgroup.controllers", "/c", UNIFIED);
    let proc = root.path().join("proc");
    fs::create_dir_all(proc.join("pressure")).unwrap();
    let meminfo = "MemTotal:        1000 kB\nMemFree:           50 kB\nMemAvailable:    100 kB\n\
        Buffers:             5 kB\nCached:            200 kB\nActive(file):       11 kB\n\
        Inactive(file):     12 kB\nUnevictable:        13 kB\nSwapTotal:         400 kB\n\
        SwapFree:          100 kB\nDirty:               1 kB\nWriteback:           2 kB\n\
        AnonPages:         600 kB\nMapped:             14 kB\nShmem:              15 kB\n\
        Slab:               16 kB\nKernelStack:        17 kB\nPageTables:         18 kB\n\
        Percpu:             19 kB\n";
    fs::write(proc.join("meminfo"), meminfo).unwrap();
    fs::write(proc.join("pressure/memory"), PRESSURE).unwrap();
    let (memory, degraded) = fill(&reader, Memory::default());
    assert_eq!(degraded, Vec::<String>::new());
    let kib = |kib: u64| Some(kib << 10);
    assert_eq!(
        memory,
        Memory {
            cgroup: None,
            limit_bytes: kib(1000),
            usage_bytes: kib(900),
            peak_bytes: None,
            swap_bytes: kib(300),
            swap_limit_bytes: kib(400),
            stat: Some(Stat {
                anon: kib(600),
                file: kib(205),
                shmem: kib(15),
                file_mapped: kib(14),
                file_dirty: kib(1),
                file_writeback: kib(2),
                active_file: kib(11),
                inactive_file: kib(12),
                unevictable: kib(13),
                kernel: None,
                kernel_stack: kib(17),
                page_tables: kib(18),
                slab: kib(16),
                percpu: kib(19),
                sock: None,
            }),
            pressure: memory.pressure,
        }
    );
    fs::write(proc.join("meminfo"), "\u{1}").unwrap();
    fs::remove_file(proc.join("pressure/memory")).unwrap();
    let (_, degraded) = fill(&reader, Memory::default());
    assert_eq!(degraded.len(), 2, "{degraded:?}");
}

proptest::proptest! {
    /// The files are the kernel's, but anything can be mounted.
    #[test]
    fn any_text_is_read_without_a_panic(text in "(\\PC|[ \n=.0-9]){0,200}") {
        let _stat = parse_kinds(&text, Table::V2);
        let _stat = parse_kinds(&text, Table::V1);
        let _pressure = parse_psi(&text);
    }
}

#[test]
fn each_ancestors_count_is_compared_with_its_last_one() {
    let (root, reader) = host("cgroup.controllers", "/kube/pod/c", &[]);
    let write = |path: &str, count: u64| {
        let text = format!("low 0\nhigh 0\nmax 9\noom {count}\noom_kill 5\n");
        fs::write(root.path().join(path).join("memory.events.local"), text).unwrap();
    };
    write("kube", 2);
    write("kube/pod", 0);
    write("kube/pod/c", 1);
    let rose = |path: &str, now_ns: u64| {
        let deadline = Instant::now() + Duration::from_mins(1);
        reader.read_limit_hits(path, now_ns - 1, now_ns, deadline)
    };
    assert_eq!(rose("/kube/pod/c", 10_000_000_000), None);
    reader.start_counting_hits(10_000_000_000);
    let (no, yes) = (LimitHit::No, LimitHit::Yes);
    assert_eq!(rose("/kube/pod/c", 20_000_000_000), Some(vec![no, no, no]));
    write("kube/pod", 1);
    assert_eq!(rose("/kube/pod/c", 30_000_000_000), Some(vec![no, yes, no]));
    fs::create_dir(root.path().join("kube/new")).unwrap();
    write("kube/new", 1);
    assert_eq!(rose("/kube/new", 40_000_000_000), Some(vec![yes, no]));
    assert_eq!(
        rose("/kube/gone/", 50_000_000_000),
        Some(vec![LimitHit::Unread, no])
    );
}
