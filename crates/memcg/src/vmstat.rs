//! The kernel's own count of OOM kills, to hold ours against.

use std::io;
use std::path::Path;

/// `oom_kill` of /proc/vmstat: kills since boot, of all cgroups and of the node. The same in
/// every PID namespace. The kernel counts the first victim of a group kill twice.
pub fn oom_kills(procfs: &Path) -> io::Result<u64> {
    let text = std::fs::read_to_string(procfs.join("vmstat"))?;
    parse(&text).ok_or_else(|| io::Error::other("no oom_kill in it"))
}

fn parse(text: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))?
        .trim_ascii()
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_line_is_found() {
        assert_eq!(
            parse("pgfault 5\noom_kill 17\noom_kill_other 3\n"),
            Some(17)
        );
        assert_eq!(parse("pgfault 5\n"), None);
        assert_eq!(parse("oom_kill many\n"), None);
    }
}
