//! Files that are read again and again, parsed. Pure.

use std::num::ParseIntError;

use crate::memory::Pressure;
use crate::snapshot::{self, Version};

/// What is read of `memory.stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStat {
    /// The page cache that was not used lately, descendants' included.
    pub inactive_file: u64,
    /// The lowest limit on the path up, of cgroup v1 only.
    pub limit: Option<u64>,
}

/// A file of one number, such as `memory.current`.
pub fn parse_number(bytes: &[u8]) -> Option<u64> {
    std::str::from_utf8(bytes).ok()?.trim_ascii().parse().ok()
}

/// A limit of either version; `None` where there is none.
pub fn parse_limit(bytes: &[u8]) -> Result<Option<u64>, ParseIntError> {
    // What is no text is no number either.
    snapshot::parse_limit(std::str::from_utf8(bytes).unwrap_or_default())
}

/// `None` where there is no `inactive_file`, or on v1 no limit.
pub fn parse_stat(version: Version, bytes: &[u8]) -> Option<MemoryStat> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
    };
    Some(match version {
        Version::V1 => MemoryStat {
            inactive_file: value("total_inactive_file")?.parse().ok()?,
            limit: snapshot::parse_limit(value("hierarchical_memory_limit")?).ok()?,
        },
        Version::V2 => MemoryStat {
            inactive_file: value("inactive_file")?.parse().ok()?,
            limit: None,
        },
    })
}

/// `memory.pressure`, `io.pressure` or `cpu.pressure`, whose line `full` may be missing.
pub fn parse_stall(cpu: bool, bytes: &[u8]) -> Option<Pressure> {
    let text = std::str::from_utf8(bytes).ok()?;
    if cpu {
        snapshot::parse_cpu_psi(text)
    } else {
        snapshot::parse_psi(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::{Percent, Stalled};

    const V1: &str = "cache 0\ninactive_file 7\nhierarchical_memory_limit 67108864\n\
        hierarchical_memsw_limit 67108864\ntotal_cache 0\ntotal_inactive_file 114688\n";
    const V2: &str = "anon 4096\nfile 0\ninactive_anon 1\nactive_file 3\ninactive_file 8192\n";

    #[test]
    fn the_descendants_are_counted_on_either_version() {
        let v1 = MemoryStat {
            inactive_file: 114_688,
            limit: Some(64 << 20),
        };
        assert_eq!(parse_stat(Version::V1, V1.as_bytes()), Some(v1));
        let v2 = MemoryStat {
            inactive_file: 8192,
            limit: None,
        };
        assert_eq!(parse_stat(Version::V2, V2.as_bytes()), Some(v2));
        assert_eq!(parse_stat(Version::V1, V2.as_bytes()), None);
    }

    #[test]
    fn no_limit_is_read_in_either_notation() {
        assert_eq!(parse_limit(b"max\n"), Ok(None));
        assert_eq!(parse_limit(b"9223372036854771712\n"), Ok(None));
        assert_eq!(parse_limit(b"4096\n"), Ok(Some(4096)));
        assert!(parse_limit(b"-1\n").is_err());
    }

    #[test]
    fn the_cpu_of_old_kernels_has_no_full() {
        let some = "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\n";
        let stalled = Stalled {
            avg10: Percent(150),
            total_us: 9,
            ..Stalled::default()
        };
        let read = parse_stall(true, some.as_bytes()).unwrap();
        assert_eq!((read.some, read.full), (stalled, Stalled::default()));
        assert_eq!(parse_stall(false, some.as_bytes()), None);
    }

    fn stalled() -> impl Strategy<Value = Stalled> {
        let percent = || (0..=10_000u32).prop_map(Percent);
        (percent(), percent(), percent(), any::<u64>()).prop_map(
            |(avg10, avg60, avg300, total_us)| Stalled {
                avg10,
                avg60,
                avg300,
                total_us,
            },
        )
    }

    fn line(kind: &str, stalled: &Stalled) -> String {
        let percent = |p: Percent| format!("{}.{:02}", p.0 / 100, p.0 % 100);
        format!(
            "{kind} avg10={} avg60={} avg300={} total={}\n",
            percent(stalled.avg10),
            percent(stalled.avg60),
            percent(stalled.avg300),
            stalled.total_us
        )
    }

    proptest! {
        /// Whatever a file holds, it is read or it is not.
        #[test]
        fn no_file_makes_it_panic(bytes: Vec<u8>) {
            let _ = (parse_number(&bytes), parse_limit(&bytes), parse_stall(true, &bytes), parse_stall(false, &bytes));
            let _ = (parse_stat(Version::V1, &bytes), parse_stat(Version::V2, &bytes));
        }

        /// What the kernel writes is what is read.
        #[test]
        fn stalls_come_back(some in stalled(), full in stalled()) {
            let text = line("some", &some) + &line("full", &full);
            let read = parse_stall(false, text.as_bytes());
            prop_assert_eq!(read, Some(Pressure { some, full }));
            prop_assert_eq!(parse_stall(true, text.as_bytes()), read);
        }

        /// Wherever in `memory.stat` the lines are.
        #[test]
        fn figures_come_back(
            bytes: u64,
            allowed in 0..=i64::MAX.unsigned_abs() >> 1,
            others in proptest::collection::vec("[a-z_]{1,12}", 0..20),
            at in 0..20usize,
        ) {
            let others: Vec<String> = others
                .iter()
                .map(|name| format!("x{name} 5\n"))
                .collect();
            let (before, after) = others.split_at(at.min(others.len()));
            let figures = format!(
                "inactive_file {bytes}\nhierarchical_memory_limit {allowed}\ntotal_inactive_file {bytes}\n"
            );
            let text = [before.concat(), figures, after.concat()].concat();
            let v1 = MemoryStat { inactive_file: bytes, limit: Some(allowed) };
            prop_assert_eq!(parse_stat(Version::V1, text.as_bytes()), Some(v1));
            let v2 = MemoryStat { inactive_file: bytes, limit: None };
            prop_assert_eq!(parse_stat(Version::V2, text.as_bytes()), Some(v2));
        }
    }
}
