//! How a cgroup came to its kill: its memory in the last minute, and the pattern of its growth.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// Samples in one incident.
pub(crate) const SAMPLES: usize = 60;

/// The last minute of a cgroup's memory. What is not known is `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Whose memory: that of the cgroup with the limit, else that of the victim's.
    pub cgroup: String,
    /// Its limit, or the lowest above it.
    pub limit_bytes: Option<u64>,
    /// How many ms before the kill, and how many bytes then; oldest first, 60 at most. One
    /// of age 0 is the kernel's own count at the kill.
    pub samples: Vec<(u64, u64)>,
    /// How fast it grew at last.
    pub slope_bytes_per_second: Option<i64>,
    /// How long it took from half of the limit to the kill.
    pub half_to_limit_ms: Option<u64>,
    /// The pattern of its growth.
    #[serde(rename = "verdict")]
    pub pattern: GrowthPattern,
}

/// In which way memory came to its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GrowthPattern {
    /// It grew, evenly or by steps, and gave nothing back.
    Leak,
    /// It shot up within seconds.
    Burst,
    /// It has been near the limit for long, or again and again.
    AtTheLimit,
    /// It was sampled for too short a time, or did none of these.
    Unknown,
}

// === impl GrowthPattern ===

impl GrowthPattern {
    /// As the JSON line spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Burst => "burst",
            Self::AtTheLimit => "at-the-limit",
            Self::Unknown => "unknown",
        }
    }
}

// === impl History ===

impl History {
    /// The pattern with its figures: `a leak: +3.1 MiB/s, from half to the limit in 41 s`.
    /// `None` where it is unknown.
    pub fn describe(&self) -> Option<String> {
        let name = match self.pattern {
            GrowthPattern::Leak => "a leak",
            GrowthPattern::Burst => "a burst",
            GrowthPattern::AtTheLimit => return Some(self.describe_at_limit()),
            GrowthPattern::Unknown => return None,
        };
        let mut words = name.to_owned();
        let mut between = ": ";
        if let Some(slope) = self.slope_bytes_per_second.filter(|slope| *slope > 0) {
            let _infallible = write!(words, "{between}+{}/s", format_size(slope.unsigned_abs()));
            between = ", ";
        }
        if let Some(ms) = self.half_to_limit_ms {
            let _infallible = write!(
                words,
                "{between}from half to the limit in {}",
                format_time(ms)
            );
        }
        Some(words)
    }

    fn describe_at_limit(&self) -> String {
        let low = |&(_, bytes): &(u64, u64)| !self.limit_bytes.is_some_and(|it| is_near(bytes, it));
        let since = self
            .samples
            .iter()
            .rposition(low)
            .map_or(0, |last| last + 1);
        match self.samples.get(since) {
            Some(&(age_ms, _)) if age_ms >= 5_000 => {
                format!("at the limit: above 90 % of it for {}", format_time(age_ms))
            }
            _ => "at the limit: near it again and again".to_owned(),
        }
    }

    /// Its memory over time as at most `cells` characters from ▁ to █, the limit (else the most there
    /// was) being █. Empty where there is less than one step in time to show.
    pub fn sparkline(&self, cells: usize) -> String {
        const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        let (Some(&(oldest, _)), true) = (self.samples.first(), self.samples.len() > 1) else {
            return String::new();
        };
        let cells = cells.min(self.samples.len()).max(1);
        let mut highest: Vec<Option<u32>> = vec![None; cells];
        for ((age_ms, _), permille) in self.samples.iter().zip(self.permille()) {
            let passed = oldest.saturating_sub(*age_ms);
            let at = passed.saturating_mul(cells as u64) / (oldest + 1);
            if let Some(cell) = highest.get_mut(usize::try_from(at).unwrap_or(usize::MAX)) {
                *cell = (*cell).max(Some(permille));
            }
        }
        let mut level = 0;
        let mut show = |cell: Option<u32>| {
            // A gap is no fall.
            level = cell.map_or(level, |permille| permille.min(999) * 8 / 1000);
            LEVELS.get(level as usize).copied().unwrap_or('█')
        };
        highest.into_iter().map(&mut show).collect()
    }

    /// Each sample in thousandths of the limit, of the most there was where there is no limit.
    pub fn permille(&self) -> impl Iterator<Item = u32> {
        let most = self.samples.iter().map(|&(_, bytes)| bytes).max();
        let whole = self.limit_bytes.or(most).unwrap_or(1).max(1);
        let of_whole = move |&(_, bytes): &(u64, u64)| {
            let permille = u128::from(bytes) * 1000 / u128::from(whole);
            u32::try_from(permille).unwrap_or(u32::MAX).min(1000)
        };
        self.samples.iter().map(of_whole)
    }
}

/// Nine tenths of the limit and more.
pub(crate) fn is_near(bytes: u64, limit: u64) -> bool {
    bytes >= limit / 10 * 9
}

/// `3.1 MiB`, `12 KiB`.
fn format_size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    if bytes < MIB {
        return format!("{} KiB", bytes >> 10);
    }
    let tenths = (bytes.saturating_mul(10).saturating_add(MIB / 2)) / MIB;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

/// `41 s`, `1.2 s`, `5 min`.
fn format_time(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        10_000..300_000 => format!("{} s", ms.saturating_add(500) / 1000),
        _ => format!("{} min", ms / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn history(pattern: GrowthPattern, samples: &[(u64, u64)]) -> History {
        History {
            cgroup: "/c".to_owned(),
            limit_bytes: Some(100 * MIB),
            samples: samples
                .iter()
                .map(|&(s, mib)| (s * 1000, mib * MIB))
                .collect(),
            slope_bytes_per_second: Some(3_250_000),
            half_to_limit_ms: Some(41_400),
            pattern,
        }
    }

    #[test]
    fn a_pattern_is_described_with_its_figures() {
        let check = |history: History, text: Option<&str>| {
            assert_eq!(history.describe().as_deref(), text);
        };
        let leak = history(GrowthPattern::Leak, &[]);
        check(
            leak.clone(),
            Some("a leak: +3.1 MiB/s, from half to the limit in 41 s"),
        );
        check(
            History {
                half_to_limit_ms: None,
                slope_bytes_per_second: Some(12_345),
                ..leak.clone()
            },
            Some("a leak: +12 KiB/s"),
        );
        check(
            History {
                half_to_limit_ms: Some(1_250),
                slope_bytes_per_second: None,
                ..history(GrowthPattern::Burst, &[])
            },
            Some("a burst: from half to the limit in 1.2 s"),
        );
        check(
            history(GrowthPattern::AtTheLimit, &[(60, 50), (57, 95), (0, 100)]),
            Some("at the limit: above 90 % of it for 57 s"),
        );
        check(
            history(GrowthPattern::AtTheLimit, &[(60, 95), (2, 50), (0, 100)]),
            Some("at the limit: near it again and again"),
        );
        check(history(GrowthPattern::Unknown, &[]), None);
    }

    #[test]
    fn a_sparkline_shows_the_limit_as_a_full_block() {
        let check = |samples: &[(u64, u64)], cells, line: &str| {
            assert_eq!(history(GrowthPattern::Leak, samples).sparkline(cells), line);
        };
        check(&[], 8, "");
        check(&[(0, 100)], 8, "");
        check(
            &[
                (7, 0),
                (6, 13),
                (5, 26),
                (4, 38),
                (3, 51),
                (2, 63),
                (1, 76),
                (0, 100),
            ],
            8,
            "▁▂▃▄▅▆▇█",
        );
        check(&[(3, 0), (2, 50), (1, 99), (0, 100)], 2, "▅█");
        // Nothing was sampled in between.
        check(&[(10, 50), (9, 50), (1, 100), (0, 200)], 4, "▅▅▅█");
    }

    #[test]
    fn without_a_limit_the_most_there_was_is_the_whole() {
        let mut history = history(GrowthPattern::Unknown, &[(1, 25), (0, 50)]);
        history.limit_bytes = None;
        assert_eq!(history.permille().collect::<Vec<_>>(), [500, 1000]);
    }
}
