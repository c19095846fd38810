use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags};

use super::*;

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(dir: &Path, usage: u64) {
    let stat = "hierarchical_memory_limit 1000000\ntotal_inactive_file 0\n";
    fs::write(dir.join("memory.usage_in_bytes"), usage.to_string()).unwrap();
    fs::write(dir.join("memory.limit_in_bytes"), "1000000").unwrap();
    fs::write(dir.join("memory.stat"), stat).unwrap();
}

/// As in the `DaemonSet`, where the hierarchy is mounted read-only. A directory cannot be opened for
/// writing by anybody either.
#[test]
fn without_notifications_sweeps_and_growth_go_on_and_one_line_is_logged() {
    let root = tempfile::tempdir().unwrap();
    let source = Source {
        root: root.path().to_owned(),
        version: Version::V1,
        node: memcg::NodeRoot::default(),
    };
    let mut table = Table::new(Arc::default());
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, || {
        for name in ["a", "b"] {
            let dir = root.path().join(name);
            fs::create_dir_all(dir.join("cgroup.event_control")).unwrap();
            write(&dir, 100_000);
            table.update_limit(&source, &format!("/{name}"));
        }
        assert_eq!(table.sweep(&epoll).samples.len(), 2);
        assert_eq!(table.due_ns(), None, "no hurry");
        // It would be there soon, at that pace.
        write(&root.path().join("a"), 750_000);
        let samples = table.sweep(&epoll).samples;
        let most = samples.iter().map(|(_, sample)| sample.current).max();
        assert_eq!(most, Some(750_000));
        assert!(table.due_ns().is_some());
        // Another limit is another try.
        let stat = "hierarchical_memory_limit 900000\ntotal_inactive_file 0\n";
        fs::write(root.path().join("b/memory.stat"), stat).unwrap();
        table.update_limit(&source, "/b");
        assert_eq!(table.sweep(&epoll).samples.len(), 2);
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines = log.matches("no threshold notifications of cgroup v1");
    assert_eq!(lines.count(), 1, "{log}");
}

/// A kernel that takes its time over each threshold: a pipe that is full.
struct Slow {
    reader: std::fs::File,
    filled: usize,
}

impl Slow {
    fn make(dir: &Path) -> Self {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;

        use rustix::fs::{CWD, FileType, Mode, mknodat};

        let path = dir.join("cgroup.event_control");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
        let mut options = fs::OpenOptions::new();
        let reader = options.read(true).custom_flags(nonblocking).open(&path);
        let reader = reader.unwrap();
        let mut options = fs::OpenOptions::new();
        let writer = options.write(true).custom_flags(nonblocking).open(&path);
        let (mut writer, mut filled) = (writer.unwrap(), 0);
        while let Ok(more) = writer.write(b"-") {
            filled += more;
        }
        rustix::io::ioctl_fionbio(&reader, false).unwrap();
        Self { reader, filled }
    }

    /// All thresholds that were registered, once the writer is gone.
    fn registered(mut self) -> String {
        let mut text = String::new();
        io::Read::read_to_string(&mut self.reader, &mut text).unwrap();
        text.split_off(self.filled)
    }
}

#[test]
fn registering_holds_nothing_up_and_ends_with_the_table() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a");
    fs::create_dir(&dir).unwrap();
    write(&dir, 600_000);
    let slow = Slow::make(&dir);
    let source = Source {
        root: root.path().to_owned(),
        version: Version::V1,
        node: memcg::NodeRoot::default(),
    };
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut table = Table::new(Arc::default());
        let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        table.update_limit(&source, "/a");
        let sweeps = [
            table.sweep(&epoll).samples.len(),
            table.sweep(&epoll).samples.len(),
        ];
        drop(table);
        done.send(sweeps).unwrap();
    });
    let sweeps = ended.recv_timeout(Duration::from_mins(3));
    assert_eq!(sweeps, Ok([1, 1]), "it waits for the kernel");
    let registered = slow.registered();
    assert!(
        matches!(registered.split(' ').count(), 1 | 3),
        "{registered}"
    );
}

/// The kernel does not notify of what was crossed before.
#[test]
fn there_is_a_sample_once_thresholds_are_registered() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("a");
    fs::create_dir(&dir).unwrap();
    write(&dir, 100_000);
    fs::write(dir.join("cgroup.event_control"), "").unwrap();
    let source = Source {
        root: root.path().to_owned(),
        version: Version::V1,
        node: memcg::NodeRoot::default(),
    };
    let mut table = Table::new(Arc::default());
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    table.update_limit(&source, "/a");
    let mut set = |usage, is_fast, expected: &str| {
        write(&dir, usage);
        assert_eq!(table.sweep(&epoll).samples.len(), 1);
        assert_eq!(table.due_ns().is_some(), is_fast);
        let mut events = [epoll::Event {
            flags: epoll::EventFlags::empty(),
            data: epoll::EventData::new_u64(0),
        }];
        let patience = rustix::event::Timespec::try_from(Duration::from_mins(3)).unwrap();
        assert_eq!(epoll::wait(&epoll, &mut events, Some(&patience)), Ok(1));
        table.handle_notification(events[0].data.u64());
        assert!(table.due_ns().is_some());
        // Each was written to the beginning of the file.
        let last = fs::read_to_string(dir.join("cgroup.event_control")).unwrap();
        assert!(last.contains(expected), "{last}");
    };
    // The lowest only, and then the others, from the nearest on.
    set(100_000, false, " 500000");
    set(410_000, true, " 950000");
}

/// Its cgroup, with a limit or without.
fn v2(dir: &Path, max: &str) {
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("memory.max"), max).unwrap();
    fs::write(dir.join("memory.current"), "900\n").unwrap();
    fs::write(dir.join("memory.stat"), "inactive_file 0\n").unwrap();
}

#[test]
fn a_pod_is_watched_where_its_limit_is_not_the_sum_of_its_containers() {
    let root = tempfile::tempdir().unwrap();
    let source = Source {
        root: root.path().to_owned(),
        version: Version::V2,
        node: memcg::NodeRoot::default(),
    };
    let epoll = epoll::create(CreateFlags::CLOEXEC).unwrap();
    let mut table = Table::new(Arc::default());
    let pod = "/kubepods/burstable/pod6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";
    let [first, second] = [1, 2].map(|n| format!("{pod}/{n:064x}"));
    let dir = |path: &str| root.path().join(path.trim_start_matches('/'));
    let set = |table: &mut Table, path: &str, mib: Option<u64>| {
        let limit = mib.map_or("max".to_owned(), |mib| (mib << 20).to_string());
        v2(&dir(path), &format!("{limit}\n"));
        table.update_limit(&source, path);
    };
    let watched = |table: &mut Table| -> Vec<String> {
        let samples = table.sweep(&epoll).samples;
        let mut paths: Vec<_> = samples
            .iter()
            .map(|(key, _)| key.path().to_owned())
            .collect();
        paths.sort();
        paths
    };
    let all = [pod.to_owned(), first.clone(), second.clone()];
    set(&mut table, pod, Some(128));
    set(&mut table, &first, None);
    assert_eq!(watched(&mut table), [pod], "containers without limits");
    // The kubelet gives a container without a limit its pod's.
    set(&mut table, &first, Some(128));
    assert_eq!(watched(&mut table), all[1..2], "one, with the pod's");
    set(&mut table, &second, Some(128));
    assert_eq!(watched(&mut table), all, "two, each with the pod's");
    set(&mut table, &first, Some(64));
    set(&mut table, &second, Some(64));
    assert_eq!(watched(&mut table), all[1..], "each its own");
    // The pod's limit was an init container's.
    fs::remove_dir_all(dir(&second)).unwrap();
    table.remove(&source, &second);
    assert_eq!(watched(&mut table), all[..2], "less than the pod's");
    set(&mut table, pod, None);
    assert_eq!(watched(&mut table), [first], "none of the pod's");
}
