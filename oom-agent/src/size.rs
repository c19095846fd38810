//! Sizes as a manifest has them.

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TEN_GIB: u64 = 10 * GIB;

/// `64 MiB` for `64Mi`; one decimal, rounded down, where it is not whole.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..MIB => format!("{} KiB", bytes >> 10),
        GIB.. if bytes.is_multiple_of(GIB) => format!("{} GiB", bytes / GIB),
        MIB..TEN_GIB if bytes.is_multiple_of(MIB) => format!("{} MiB", bytes / MIB),
        MIB..TEN_GIB => tenths(bytes, MIB, "MiB"),
        _ => tenths(bytes, GIB, "GiB"),
    }
}

fn tenths(bytes: u64, unit: u64, name: &str) -> String {
    let (whole, rest) = (bytes / unit, bytes % unit);
    format!("{whole}.{} {name}", rest * 10 / unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_reads_as_it_is_written_in_a_manifest() {
        for (bytes, expect) in [
            (0, "0 KiB"),
            (4096, "4 KiB"),
            (MIB - 1, "1023 KiB"),
            (MIB, "1 MiB"),
            (64 * MIB, "64 MiB"),
            (64 * MIB - 4096, "63.9 MiB"),
            (GIB, "1 GiB"),
            (1536 * MIB, "1536 MiB"),
            (8 * GIB - 4096, "8191.9 MiB"),
            (16 * GIB, "16 GiB"),
            (16 * GIB - 4096, "15.9 GiB"),
            (u64::MAX, "17179869183.9 GiB"),
        ] {
            assert_eq!(size(bytes), expect, "{bytes}");
        }
    }
}
