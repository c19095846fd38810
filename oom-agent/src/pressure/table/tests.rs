use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

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
fn without_marks_passes_and_growth_go_on_and_the_log_says_so_once() {
    let root = tempfile::tempdir().unwrap();
    let source = Source::Containers {
        root: root.path().to_owned(),
        version: Version::V1,
    };
    let mut table = Table::new(SamplerCounts::default());
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
            table.limit(&source, &format!("/{name}"));
        }
        assert_eq!(table.pass(&epoll).len(), 2);
        assert_eq!(table.next_ns(), None, "no hurry");
        // It would be there soon, at that pace.
        write(&root.path().join("a"), 750_000);
        let usages = table.pass(&epoll);
        let most = usages.iter().map(|(_, usage)| usage.current).max();
        assert_eq!(most, Some(750_000));
        assert!(table.next_ns().is_some());
        // Another limit is another try.
        let stat = "hierarchical_memory_limit 900000\ntotal_inactive_file 0\n";
        fs::write(root.path().join("b/memory.stat"), stat).unwrap();
        table.limit(&source, "/b");
        assert_eq!(table.pass(&epoll).len(), 2);
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let said = log.matches("the kernel does not tell when a container crosses a mark");
    assert_eq!(said.count(), 1, "{log}");
}
