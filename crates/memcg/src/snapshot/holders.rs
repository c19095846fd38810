//! The usage of many cgroups, read within bounds.

use std::fs;
use std::time::Instant;

use super::files::{Dir, FILE_LEN};
use super::hierarchy::{Hierarchy, Version};
use super::reader::MemoryReader;
use crate::owners::Owners;

/// The most cgroups that are read in one call.
const MOST: usize = 4096;

/// The counter of memory and swap together that a cgroup of v1 has, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwapCounter {
    /// `memory.memsw.limit_in_bytes`.
    pub limit_bytes: u64,
    /// `memory.memsw.max_usage_in_bytes`.
    pub peak_bytes: u64,
}

/// A cgroup's usage and limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Path from the hierarchy's root.
    pub cgroup: String,
    /// The memory charged to it, in bytes.
    pub usage_bytes: u64,
    /// Its own limit, in bytes; `None` where it has none.
    pub limit_bytes: Option<u64>,
}

// === impl MemoryReader ===

impl MemoryReader {
    /// The usage of a cgroup's children; `None` where they cannot be read by the deadline.
    pub fn read_children(&self, path: &str, deadline: Instant) -> Option<Vec<Usage>> {
        let hierarchy = self.hierarchy.as_ref().ok()?;
        let mut holders = Vec::new();
        for path in list_children(hierarchy, path)?.into_iter().take(MOST) {
            // A cgroup that is removed meanwhile holds nothing.
            holders.extend(read_usage(hierarchy, path, deadline));
        }
        (Instant::now() < deadline).then_some(holders)
    }

    /// The usage of the pods, the services and the other leaf cgroups below a cgroup, and whether all of them were
    /// read.
    pub fn read_holders(&self, path: &str, deadline: Instant) -> (Vec<Usage>, bool) {
        let Ok(hierarchy) = &self.hierarchy else {
            return (Vec::new(), false);
        };
        let Some(mut paths) = list_children(hierarchy, path) else {
            return (Vec::new(), false);
        };
        let mut holders = Vec::new();
        let mut count: usize = 0;
        while let Some(path) = paths.pop() {
            count = count.saturating_add(1);
            if count > MOST || Instant::now() >= deadline {
                return (holders, false);
            }
            let is_whole =
                Owners::from_path(&path).pod == Some(&path) || path.ends_with(".service");
            let below = (!is_whole).then(|| list_children(hierarchy, &path));
            match below.flatten().filter(|below| !below.is_empty()) {
                Some(mut below) => paths.append(&mut below),
                None => holders.extend(read_usage(hierarchy, path, deadline)),
            }
        }
        (holders, true)
    }

    /// The counter of memory and swap of a cgroup of v1; `None` on v2, without swap accounting, and without a limit.
    pub fn read_swap_counter(&self, path: &str, deadline: Instant) -> Option<SwapCounter> {
        let hierarchy = self.hierarchy.as_ref().ok()?;
        if hierarchy.version() != Version::V1 {
            return None;
        }
        let mut buffer = [0; FILE_LEN];
        let mut dir = Dir::new(hierarchy.open_cgroup(path).ok()?, deadline, &mut buffer);
        Some(SwapCounter {
            limit_bytes: dir.read_limit("memory.memsw.limit_in_bytes").ok()??,
            peak_bytes: dir.read_number("memory.memsw.max_usage_in_bytes").ok()?,
        })
    }
}

/// The paths of a cgroup's children; `None` where they cannot be listed.
fn list_children(hierarchy: &Hierarchy, path: &str) -> Option<Vec<String>> {
    // Refuses a path that leads out of the hierarchy.
    let _opened = hierarchy.open_cgroup(path).ok()?;
    let dir = hierarchy.node().cgroup_dir(hierarchy.path(), path);
    let entries = fs::read_dir(dir).ok()?.flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let path = path.trim_end_matches('/');
    let below = dirs.map(|entry| format!("{path}/{}", entry.file_name().to_string_lossy()));
    Some(below.collect())
}

fn read_usage(hierarchy: &Hierarchy, path: String, deadline: Instant) -> Option<Usage> {
    let [usage, limit, _] = hierarchy.version().counter_files();
    let mut buffer = [0; FILE_LEN];
    let mut dir = Dir::new(hierarchy.open_cgroup(&path).ok()?, deadline, &mut buffer);
    Some(Usage {
        usage_bytes: dir.read_number(usage).ok()?,
        limit_bytes: dir.read_limit(limit).ok()?,
        cgroup: path,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::time::Duration;

    use super::*;
    use crate::NodeRoot;

    const UID: &str = "6a4ce4a0-ba47-11ea-b2a7-0cc47ac5979e";
    const ID: &str = "17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a";

    fn host(
        marker: &str,
        files: [&str; 2],
        cgroups: &[(&str, [&str; 2])],
    ) -> (tempfile::TempDir, MemoryReader) {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join(marker), "memory\n").unwrap();
        for (path, texts) in cgroups {
            let dir = root.path().join(path);
            fs::create_dir_all(&dir).unwrap();
            for (name, text) in files.iter().zip(texts) {
                fs::write(dir.join(name), format!("{text}\n")).unwrap();
            }
        }
        let hierarchy = Hierarchy::find(Some(root.path()));
        let reader = MemoryReader::new(Ok(hierarchy.unwrap()), Path::new("/nonexistent"));
        (root, reader)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    fn figures(holders: Vec<Usage>) -> BTreeMap<String, (u64, Option<u64>)> {
        let holders = holders.into_iter();
        holders
            .map(|holder| (holder.cgroup, (holder.usage_bytes, holder.limit_bytes)))
            .collect()
    }

    #[test]
    fn pods_and_services_are_read_as_a_whole() {
        let pod = format!("kubepods/burstable/pod{UID}");
        let cgroups = [
            ("kubepods", ["99", "max"]),
            ("kubepods/burstable", ["90", "max"]),
            (&pod, ["80", "100"]),
            (&format!("{pod}/{ID}"), ["70", "100"]),
            ("kubepods/besteffort", ["0", "max"]),
            ("system.slice", ["9", "max"]),
            ("system.slice/a.service", ["5", "max"]),
            ("system.slice/a.service/b", ["4", "max"]),
        ];
        let (_root, reader) = host(
            "cgroup.controllers",
            ["memory.current", "memory.max"],
            &cgroups,
        );
        let (holders, is_complete) = reader.read_holders("/", soon());
        assert!(is_complete);
        let expected = [
            (format!("/{pod}"), (80, Some(100))),
            ("/kubepods/besteffort".to_owned(), (0, None)),
            ("/system.slice/a.service".to_owned(), (5, None)),
        ];
        assert_eq!(figures(holders), expected.into());
        let (holders, is_complete) = reader.read_holders("/kubepods/burstable", soon());
        assert_eq!((holders.len(), is_complete), (1, true));
        let children = reader.read_children(&format!("/{pod}"), soon()).unwrap();
        let expected = [(format!("/{pod}/{ID}"), (70, Some(100)))];
        assert_eq!(figures(children), expected.into());
    }

    #[test]
    fn an_incomplete_reading_is_reported() {
        let cgroups = [("kubepods", ["99", "max"])];
        let (_root, reader) = host(
            "cgroup.controllers",
            ["memory.current", "memory.max"],
            &cgroups,
        );
        assert_eq!(
            reader.read_holders("/", Instant::now()),
            (Vec::new(), false)
        );
        assert_eq!(reader.read_children("/", Instant::now()), None);
        assert_eq!(reader.read_children("/gone", soon()), None);
        assert_eq!(reader.read_children("/kubepods/..", soon()), None);
    }

    #[test]
    fn a_node_that_is_a_part_of_the_hierarchy_lists_its_own_cgroups() {
        let (_root, reader) = host(
            "cgroup.controllers",
            ["memory.current", "memory.max"],
            &[("system.slice/a.service", ["5", "max"])],
        );
        let hierarchy = reader.hierarchy.unwrap();
        let hierarchy = hierarchy.with_node(NodeRoot::new("/docker/a"));
        let reader = MemoryReader::new(Ok(hierarchy), Path::new("/nonexistent"));
        let (holders, is_complete) = reader.read_holders("/docker/a", soon());
        assert!(is_complete);
        let path = "/docker/a/system.slice/a.service".to_owned();
        assert_eq!(figures(holders), [(path, (5, None))].into());
        assert_eq!(reader.read_holders("/", soon()), (Vec::new(), false));
    }

    #[test]
    fn a_node_in_a_container_shows_its_pods() {
        let node = format!("docker/{ID}");
        let pod = format!("{node}/kubepods/pod{UID}");
        let cgroups = [
            (node.as_str(), ["99", "9223372036854771712"]),
            (&pod, ["80", "9223372036854771712"]),
            (&format!("{node}/init.scope"), ["7", "9223372036854771712"]),
        ];
        let files = ["memory.usage_in_bytes", "memory.limit_in_bytes"];
        let (root, reader) = host("memory.limit_in_bytes", files, &cgroups);
        let expected = [
            (format!("/{pod}"), (80, None)),
            (format!("/{node}/init.scope"), (7, None)),
        ];
        let (holders, _) = reader.read_holders("/", soon());
        assert_eq!(figures(holders), expected.into());

        let write =
            |name: &str, text: &str| fs::write(root.path().join(&pod).join(name), text).unwrap();
        assert_eq!(reader.read_swap_counter(&format!("/{pod}"), soon()), None);
        write("memory.memsw.limit_in_bytes", "9223372036854771712\n");
        write("memory.memsw.max_usage_in_bytes", "50\n");
        assert_eq!(reader.read_swap_counter(&format!("/{pod}"), soon()), None);
        write("memory.memsw.limit_in_bytes", "64\n");
        let counter = SwapCounter {
            limit_bytes: 64,
            peak_bytes: 50,
        };
        assert_eq!(
            reader.read_swap_counter(&format!("/{pod}"), soon()),
            Some(counter)
        );
    }
}
