//! Who holds memory: cgroups by their usage, read at once and within bounds.

use std::fs;
use std::time::Instant;

use super::Snapshots;
use super::files::{Dir, FILE_LEN};
use super::hierarchy::{Hierarchy, Version};
use super::{SwapCounter, Usage};
use crate::owners::Owners;

/// Directories that are looked into at once.
const MOST: usize = 4096;

// === impl Snapshots ===

impl Snapshots {
    /// The cgroups directly below that one; `None` where they cannot be read, or not before `deadline`.
    pub fn children(&self, path: &str, deadline: Instant) -> Option<Vec<Usage>> {
        let hierarchy = self.hierarchy.as_ref().ok()?;
        let mut holders = Vec::new();
        for path in list_below(hierarchy, path)?.into_iter().take(MOST) {
            // One that is gone meanwhile holds nothing.
            holders.extend(read(hierarchy, path, deadline));
        }
        (Instant::now() < deadline).then_some(holders)
    }

    /// The pods below a cgroup, its services, and what else has no cgroups below it; and whether
    /// all of them were read.
    pub fn holders(&self, path: &str, deadline: Instant) -> (Vec<Usage>, bool) {
        let Ok(hierarchy) = &self.hierarchy else {
            return (Vec::new(), false);
        };
        let Some(mut left) = list_below(hierarchy, path) else {
            return (Vec::new(), false);
        };
        let mut holders = Vec::new();
        let mut looked: usize = 0;
        while let Some(path) = left.pop() {
            looked = looked.saturating_add(1);
            if looked > MOST || Instant::now() >= deadline {
                return (holders, false);
            }
            let whole = Owners::of_path(&path).pod == Some(&path) || path.ends_with(".service");
            let below = (!whole).then(|| list_below(hierarchy, &path));
            match below.flatten().filter(|below| !below.is_empty()) {
                Some(mut below) => left.append(&mut below),
                None => holders.extend(read(hierarchy, path, deadline)),
            }
        }
        (holders, true)
    }

    /// What cgroup v1 counts of memory and swap together; `None` on v2, without swap accounting, and
    /// without a limit.
    pub fn swap_counter(&self, path: &str, deadline: Instant) -> Option<SwapCounter> {
        let hierarchy = self.hierarchy.as_ref().ok()?;
        if hierarchy.version() != Version::V1 {
            return None;
        }
        let mut buffer = [0; FILE_LEN];
        let mut dir = Dir::new(hierarchy.cgroup(path).ok()?, deadline, &mut buffer);
        Some(SwapCounter {
            limit_bytes: dir.limit("memory.memsw.limit_in_bytes").ok()??,
            peak_bytes: dir.number("memory.memsw.max_usage_in_bytes").ok()?,
        })
    }
}

/// The paths of the cgroups directly below `path`; `None` where that cannot be listed.
fn list_below(hierarchy: &Hierarchy, path: &str) -> Option<Vec<String>> {
    // Refuses what does not stay below the root.
    let _there = hierarchy.cgroup(path).ok()?;
    let dir = hierarchy.node().dir(hierarchy.path(), path);
    let entries = fs::read_dir(dir).ok()?.flatten();
    let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let path = path.trim_end_matches('/');
    let below = dirs.map(|entry| format!("{path}/{}", entry.file_name().to_string_lossy()));
    Some(below.collect())
}

fn read(hierarchy: &Hierarchy, path: String, deadline: Instant) -> Option<Usage> {
    let (usage, limit) = match hierarchy.version() {
        Version::V1 => ("memory.usage_in_bytes", "memory.limit_in_bytes"),
        Version::V2 => ("memory.current", "memory.max"),
    };
    let mut buffer = [0; FILE_LEN];
    let mut dir = Dir::new(hierarchy.cgroup(&path).ok()?, deadline, &mut buffer);
    Some(Usage {
        usage_bytes: dir.number(usage).ok()?,
        limit_bytes: dir.limit(limit).ok()?,
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
    ) -> (tempfile::TempDir, Snapshots) {
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
        let snapshots = Snapshots::new(Ok(hierarchy.unwrap()), Path::new("/nonexistent"));
        (root, snapshots)
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
    fn a_pod_counts_as_a_whole_and_so_does_a_service() {
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
        let (_root, snapshots) = host(
            "cgroup.controllers",
            ["memory.current", "memory.max"],
            &cgroups,
        );
        let (holders, whole) = snapshots.holders("/", soon());
        assert!(whole);
        let expected = [
            (format!("/{pod}"), (80, Some(100))),
            ("/kubepods/besteffort".to_owned(), (0, None)),
            ("/system.slice/a.service".to_owned(), (5, None)),
        ];
        assert_eq!(figures(holders), expected.into());
        let (holders, whole) = snapshots.holders("/kubepods/burstable", soon());
        assert_eq!((holders.len(), whole), (1, true));
        let children = snapshots.children(&format!("/{pod}"), soon()).unwrap();
        let expected = [(format!("/{pod}/{ID}"), (70, Some(100)))];
        assert_eq!(figures(children), expected.into());
    }

    #[test]
    fn what_cannot_be_read_in_time_is_said() {
        let cgroups = [("kubepods", ["99", "max"])];
        let (_root, snapshots) = host(
            "cgroup.controllers",
            ["memory.current", "memory.max"],
            &cgroups,
        );
        assert_eq!(snapshots.holders("/", Instant::now()), (Vec::new(), false));
        assert_eq!(snapshots.children("/", Instant::now()), None);
        assert_eq!(snapshots.children("/gone", soon()), None);
        assert_eq!(snapshots.children("/kubepods/..", soon()), None);
    }

    #[test]
    fn a_node_that_is_a_part_of_the_hierarchy_lists_its_own() {
        let (_root, snapshots) = host(
            "cgroup.controllers",
            ["memory.current", "memory.max"],
            &[("system.slice/a.service", ["5", "max"])],
        );
        let hierarchy = snapshots.hierarchy.unwrap();
        let hierarchy = hierarchy.with_node(NodeRoot::new("/docker/a"));
        let snapshots = Snapshots::new(Ok(hierarchy), Path::new("/nonexistent"));
        let (holders, whole) = snapshots.holders("/docker/a", soon());
        assert!(whole);
        let path = "/docker/a/system.slice/a.service".to_owned();
        assert_eq!(figures(holders), [(path, (5, None))].into());
        assert_eq!(snapshots.holders("/", soon()), (Vec::new(), false));
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
        let (root, snapshots) = host("memory.limit_in_bytes", files, &cgroups);
        let expected = [
            (format!("/{pod}"), (80, None)),
            (format!("/{node}/init.scope"), (7, None)),
        ];
        let (holders, _) = snapshots.holders("/", soon());
        assert_eq!(figures(holders), expected.into());

        let write =
            |name: &str, text: &str| fs::write(root.path().join(&pod).join(name), text).unwrap();
        assert_eq!(snapshots.swap_counter(&format!("/{pod}"), soon()), None);
        write("memory.memsw.limit_in_bytes", "9223372036854771712\n");
        write("memory.memsw.max_usage_in_bytes", "50\n");
        assert_eq!(snapshots.swap_counter(&format!("/{pod}"), soon()), None);
        write("memory.memsw.limit_in_bytes", "64\n");
        let counter = SwapCounter {
            limit_bytes: 64,
            peak_bytes: 50,
        };
        assert_eq!(
            snapshots.swap_counter(&format!("/{pod}"), soon()),
            Some(counter)
        );
    }
}
