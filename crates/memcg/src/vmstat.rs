//! The kernel's own count of OOM kills.

use std::io;
use std::path::Path;

use crate::parse::parse_keyed;

/// Reads `oom_kill` of /proc/vmstat: kills since boot, of all cgroups and of the node. It is the same in every PID
/// namespace. The kernel counts the first victim of a group kill twice.
pub fn read_oom_kills(procfs: &Path) -> io::Result<u64> {
    let text = std::fs::read_to_string(procfs.join("vmstat"))?;
    parse_keyed(&text, "oom_kill").ok_or_else(|| io::Error::other("the file has no oom_kill"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_line_of_this_name_counts() {
        assert_eq!(
            parse_keyed("pgfault 5\noom_kill 17\noom_kill_other 3\n", "oom_kill"),
            Some(17)
        );
        assert_eq!(parse_keyed("pgfault 5\n", "oom_kill"), None);
        assert_eq!(parse_keyed("oom_kill many\n", "oom_kill"), None);
    }
}
