//! Texts of the kernel's files, parsed. Pure.

use std::num::ParseIntError;

use crate::memory::{Percent, Pressure, Stalled};
use crate::snapshot::Version;

/// The least number that stands for no limit: cgroup v1 shows `PAGE_COUNTER_MAX` pages, which is `i64::MAX` less a part
/// of a page, of 64 KiB at most.
const UNLIMITED: u64 = i64::MAX.unsigned_abs() - (64 << 10);

/// What is read of `memory.stat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStat {
    /// The page cache that was not used lately, descendants' included.
    pub inactive_file: u64,
    /// The lowest limit on the path up, of cgroup v1 only.
    pub limit: Option<u64>,
}

/// A file of one number, such as `memory.current`.
pub fn parse_number(text: &str) -> Option<u64> {
    text.trim_ascii().parse().ok()
}

/// A limit of either version; `None` where there is none.
pub fn parse_limit(text: &str) -> Result<Option<u64>, ParseIntError> {
    let text = text.trim_ascii();
    if text == "max" {
        return Ok(None);
    }
    let limit: u64 = text.parse()?;
    Ok((limit < UNLIMITED).then_some(limit))
}

/// The number in the line of that key, of a file with lines `key number`.
pub fn parse_keyed(text: &str, key: &str) -> Option<u64> {
    parse_number(find_value(text, key)?)
}

fn find_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
}

/// `None` where there is no `inactive_file`, or on v1 no limit.
pub fn parse_stat(version: Version, text: &str) -> Option<MemoryStat> {
    Some(match version {
        Version::V1 => MemoryStat {
            inactive_file: parse_keyed(text, "total_inactive_file")?,
            limit: parse_limit(find_value(text, "hierarchical_memory_limit")?).ok()?,
        },
        Version::V2 => MemoryStat {
            inactive_file: parse_keyed(text, "inactive_file")?,
            limit: None,
        },
    })
}

/// Pressure stall information, the kernel's Documentation/accounting/psi.rst; `None` where the text is something else.
/// Before Linux 5.13 `cpu.pressure` has no line `full`, which is zero then.
pub fn parse_psi(text: &str) -> Option<Pressure> {
    let full = find_value(text, "full").map(parse_stalled);
    Some(Pressure {
        some: parse_stalled(find_value(text, "some")?)?,
        full: full.unwrap_or(Some(Stalled::default()))?,
    })
}

fn parse_stalled(text: &str) -> Option<Stalled> {
    let value = |key: &str| {
        text.split(' ')
            .find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    };
    Some(Stalled {
        avg10: parse_percent(value("avg10")?)?,
        avg60: parse_percent(value("avg60")?)?,
        avg300: parse_percent(value("avg300")?)?,
        total_us: value("total")?.parse().ok()?,
    })
}

/// The kernel always writes two digits after the point.
fn parse_percent(text: &str) -> Option<Percent> {
    let (whole, hundredths) = text.split_once('.')?;
    if hundredths.len() != 2 {
        return None;
    }
    let whole: u32 = whole.parse().ok()?;
    let hundredths: u32 = hundredths.parse().ok()?;
    Some(Percent(whole.checked_mul(100)?.checked_add(hundredths)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    const V1: &str = "cache 0\ninactive_file 7\nhierarchical_memory_limit 67108864\n\
        hierarchical_memsw_limit 67108864\ntotal_cache 0\ntotal_inactive_file 114688\n";
    const V2: &str = "anon 4096\nfile 0\ninactive_anon 1\nactive_file 3\ninactive_file 8192\n";

    #[test]
    fn the_descendants_are_counted_on_either_version() {
        let v1 = MemoryStat {
            inactive_file: 114_688,
            limit: Some(64 << 20),
        };
        assert_eq!(parse_stat(Version::V1, V1), Some(v1));
        let v2 = MemoryStat {
            inactive_file: 8192,
            limit: None,
        };
        assert_eq!(parse_stat(Version::V2, V2), Some(v2));
        assert_eq!(parse_stat(Version::V1, V2), None);
    }

    #[test]
    fn no_limit_is_read_in_either_notation() {
        assert_eq!(parse_limit("max\n"), Ok(None));
        assert_eq!(parse_limit("9223372036854771712\n"), Ok(None));
        assert_eq!(parse_limit("4096\n"), Ok(Some(4096)));
        assert!(parse_limit("-1\n").is_err());
    }

    #[test]
    fn the_cpu_of_old_kernels_has_no_full() {
        let some = "some avg10=1.50 avg60=0.00 avg300=0.00 total=9\n";
        let stalled = Stalled {
            avg10: Percent(150),
            total_us: 9,
            ..Stalled::default()
        };
        let read = parse_psi(some).unwrap();
        assert_eq!((read.some, read.full), (stalled, Stalled::default()));
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
        fn no_file_makes_it_panic(text: String) {
            let _ = (parse_number(&text), parse_limit(&text), parse_psi(&text), parse_keyed(&text, "a"));
            let _ = (parse_stat(Version::V1, &text), parse_stat(Version::V2, &text));
        }

        /// What the kernel writes is what is read.
        #[test]
        fn stalls_come_back(some in stalled(), full in stalled()) {
            let text = line("some", &some) + &line("full", &full);
            let read = parse_psi(&text);
            prop_assert_eq!(read, Some(Pressure { some, full }));
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
            prop_assert_eq!(parse_stat(Version::V1, &text), Some(v1));
            let v2 = MemoryStat { inactive_file: bytes, limit: None };
            prop_assert_eq!(parse_stat(Version::V2, &text), Some(v2));
        }
    }
}
