//! The offset of a field in the classic tracepoint's record, by the tracepoint's `format` file in tracefs.

use std::io;
use std::path::{Path, PathBuf};

/// Where tracefs is mounted, in newer and older systems.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

const MARK_VICTIM: &str = "events/oom/mark_victim/format";

/// Why the offset of `pid` is not known. `Display` leaves the source out.
#[expect(missing_docs, reason = "each message names its fields")]
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} has no field `pid` of 4 bytes")]
    Field { path: PathBuf },
}

/// Finds the offset of `pid` in the record of `oom:mark_victim`, in bytes.
pub(super) fn find_pid_offset() -> Result<u32, FormatError> {
    let mut failed = None;
    for mount in TRACEFS {
        let path = Path::new(mount).join(MARK_VICTIM);
        match std::fs::read_to_string(&path) {
            Ok(format) => {
                return parse_field_offset(&format, "pid", 4).ok_or(FormatError::Field { path });
            }
            // The first mount's error is the one that helps.
            Err(source) => failed = failed.or(Some(FormatError::Read { path, source })),
        }
    }
    Err(failed.unwrap_or(FormatError::Field {
        path: MARK_VICTIM.into(),
    }))
}

/// The offset of a field of this size: `\tfield:int pid;\toffset:8;\tsize:4;\tsigned:1;`.
fn parse_field_offset(format: &str, name: &str, size: u32) -> Option<u32> {
    format.lines().find_map(|line| {
        let mut parts = line.trim().split(';').map(str::trim);
        let declared = parts.next()?.strip_prefix("field:")?;
        let (_, last) = declared.rsplit_once(char::is_whitespace)?;
        if last != name {
            return None;
        }
        let number = |part: &str, key| part.strip_prefix(key)?.parse::<u32>().ok();
        let offset = number(parts.next()?, "offset:")?;
        (number(parts.next()?, "size:")? == size).then_some(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COMMON: &str = "name: mark_victim
ID: 551
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
";

    /// Debian's 5.10.223.
    const SHORT: &str = "
\tfield:int pid;\toffset:8;\tsize:4;\tsigned:1;

print fmt: \"pid=%d\", REC->pid
";

    /// 6.12 and 6.18.
    const LONG: &str = "
\tfield:int pid;\toffset:8;\tsize:4;\tsigned:1;
\tfield:__data_loc char[] comm;\toffset:12;\tsize:4;\tsigned:0;
\tfield:unsigned long total_vm;\toffset:16;\tsize:8;\tsigned:0;
\tfield:unsigned long anon_rss;\toffset:24;\tsize:8;\tsigned:0;
\tfield:unsigned long file_rss;\toffset:32;\tsize:8;\tsigned:0;
\tfield:unsigned long shmem_rss;\toffset:40;\tsize:8;\tsigned:0;
\tfield:uid_t uid;\toffset:48;\tsize:4;\tsigned:0;
\tfield:unsigned long pgtables;\toffset:56;\tsize:8;\tsigned:0;
\tfield:short oom_score_adj;\toffset:64;\tsize:2;\tsigned:1;

print fmt: \"pid=%d comm=%s total-vm:%lukB\", REC->pid, __get_str(comm), REC->total_vm
";

    /// Kernels with the older real-time patches have a fifth common field.
    const LAZY: &str = "name: mark_victim
ID: 551
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;
\tfield:unsigned char common_preempt_lazy_count;\toffset:8;\tsize:1;\tsigned:0;

\tfield:int pid;\toffset:12;\tsize:4;\tsigned:1;

print fmt: \"pid=%d\", REC->pid
";

    #[test]
    fn the_pid_is_found_in_every_layout() {
        let check = |format: &str, expect: Option<u32>| {
            assert_eq!(parse_field_offset(format, "pid", 4), expect, "{format}");
        };
        check(&format!("{COMMON}{SHORT}"), Some(8));
        check(&format!("{COMMON}{LONG}"), Some(8));
        check(LAZY, Some(12));
        // Neither common_pid nor a pid of another size is the one.
        check(COMMON, None);
        check("\tfield:u64 pid;\toffset:8;\tsize:8;\tsigned:0;", None);
        check("", None);
    }

    #[test]
    fn other_fields_are_found_by_their_names() {
        let long = format!("{COMMON}{LONG}");
        assert_eq!(parse_field_offset(&long, "comm", 4), Some(12));
        assert_eq!(parse_field_offset(&long, "anon_rss", 8), Some(24));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_panic(text in "(\tfield:|offset:|size:|pid|;|\n|[0-9]| |.){0,60}") {
            let _found = parse_field_offset(&text, "pid", 4);
        }
    }
}
