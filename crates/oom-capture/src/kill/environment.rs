//! The allowed variables of a victim's environment. Pure. All others are dropped here.

use std::collections::BTreeMap;
use std::str::FromStr;

/// The longest value that is kept, in bytes; a longer one is cut and ends in `…`.
const VALUE_LEN: usize = 256;

/// The longest name, in bytes; a variable with a longer one is dropped.
const NAME_LEN: usize = 253;

/// The most variables that are kept.
const VARIABLES: usize = 64;

/// Names of variables: `*` stands for any bytes, `?` for any one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariablePattern(String);

/// The pattern cannot match the name of a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected the name of a variable, up to {NAME_LEN} bytes, with * and ? for any: as in APP_*"
)]
pub struct PatternError;

/// The variables of victims' environments that may be kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedVariables(Vec<VariablePattern>);

/// The allowed variables of one environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FilteredEnvironment {
    pub(super) variables: BTreeMap<String, String>,
    /// Why some may be missing.
    pub(super) degraded: Option<String>,
}

// === impl VariablePattern ===

impl FromStr for VariablePattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let fits = (1..=NAME_LEN).contains(&text.len()) && !text.contains(['=', '\0']);
        fits.then(|| Self(text.to_owned())).ok_or(PatternError)
    }
}

impl VariablePattern {
    /// Backtracks to the last `*` only: the later one can match whatever an earlier one could.
    fn matches(&self, name: &[u8]) -> bool {
        let pattern = self.0.as_bytes();
        let (mut p, mut n) = (0_usize, 0_usize);
        let mut star: Option<(usize, usize)> = None;
        while let Some(byte) = name.get(n) {
            match pattern.get(p) {
                Some(b'*') => {
                    star = Some((p, n));
                    p = p.saturating_add(1);
                }
                Some(wanted) if *wanted == b'?' || wanted == byte => {
                    p = p.saturating_add(1);
                    n = n.saturating_add(1);
                }
                _ => match star {
                    Some((at, from)) => {
                        let next = from.saturating_add(1);
                        star = Some((at, next));
                        (p, n) = (at.saturating_add(1), next);
                    }
                    None => return false,
                },
            }
        }
        let rest = pattern.get(p..).unwrap_or_default();
        rest.iter().all(|byte| *byte == b'*')
    }
}

// === impl AllowedVariables ===

impl AllowedVariables {
    /// Without patterns no variable is allowed.
    pub fn new(patterns: Vec<VariablePattern>) -> Self {
        Self(patterns)
    }

    /// Whether no variable is allowed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Filters `bytes`, the beginning of an environment of `size` bytes. Of two variables of one name the first
    /// counts, as for getenv(3).
    pub(super) fn filter_environment(&self, bytes: &[u8], size: usize) -> FilteredEnvironment {
        let mut filtered = FilteredEnvironment::default();
        let cut = bytes.len() < size;
        if cut {
            filtered.degraded = Some(format!("read up to {} of {size} bytes", bytes.len()));
        }
        let mut entries = bytes.split(|byte| *byte == 0).peekable();
        while let Some(entry) = entries.next() {
            let Some(equals) = entry.iter().position(|byte| *byte == b'=') else {
                continue;
            };
            let (name, value) = entry.split_at(equals);
            let value = value.get(1..).unwrap_or_default();
            let allowed = (1..=NAME_LEN).contains(&name.len())
                && self.0.iter().any(|pattern| pattern.matches(name));
            if !allowed {
                continue;
            }
            let name = String::from_utf8_lossy(name).into_owned();
            if filtered.variables.contains_key(&name) {
                continue;
            }
            if filtered.variables.len() >= VARIABLES {
                filtered.degraded = Some(format!("more than {VARIABLES} variables"));
                break;
            }
            let cut = cut && entries.peek().is_none();
            filtered.variables.insert(name, shorten_value(value, cut));
        }
        filtered
    }
}

fn shorten_value(value: &[u8], cut: bool) -> String {
    let mut text = String::from_utf8_lossy(value).into_owned();
    if cut || text.len() > VALUE_LEN {
        text.truncate(text.floor_char_boundary(VALUE_LEN));
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn allow(patterns: &[&str]) -> AllowedVariables {
        AllowedVariables::new(patterns.iter().map(|text| text.parse().unwrap()).collect())
    }

    fn check(patterns: &[&str], bytes: &[u8], expected: &[(&str, &str)]) {
        let filtered = allow(patterns).filter_environment(bytes, bytes.len());
        let variables: Vec<(&str, &str)> = filtered
            .variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            variables,
            expected,
            "{patterns:?} of {}",
            bytes.escape_ascii()
        );
    }

    #[test]
    fn a_pattern_matches_the_whole_name() {
        let check = |pattern: &str, name: &str, matches: bool| {
            let parsed: VariablePattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(name.as_bytes()), matches, "{pattern} {name}");
        };
        check("APP", "APP", true);
        check("APP", "APP_NAME", false);
        check("APP", "app", false);
        check("APP_*", "APP_NAME", true);
        check("APP_*", "APP_", true);
        check("APP_*", "MY_APP_NAME", false);
        check("*_URL", "DB_URL_URL", true);
        check("*_URL", "DB_URLS", false);
        check("*A*B?", "xAyABB", true);
        check("*A*B?", "xAyAB", false);
        check("?", "", false);
        check("**", "", true);
    }

    #[test]
    fn a_pattern_that_is_no_name_is_refused() {
        for wrong in ["", "A=B", "A\0", &"A".repeat(254)] {
            assert_eq!(
                wrong.parse::<VariablePattern>(),
                Err(PatternError),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn only_what_is_allowed_is_kept() {
        let bytes = b"SECRET=hunter2\0APP=a\0PATH=/bin\0APP_B=x=y\0";
        check(&["APP"], bytes, &[("APP", "a")]);
        check(&["APP*", "HOME"], bytes, &[("APP", "a"), ("APP_B", "x=y")]);
        check(&[], bytes, &[]);
    }

    #[test]
    fn hostile_bytes_are_bounded() {
        check(&["*"], b"", &[]);
        check(&["*"], b"\0\0=\0=x\0novalue\0A=\0", &[("A", "")]);
        check(&["A"], b"A=1\0A=2\0", &[("A", "1")]);
        check(
            &["A*"],
            b"A\xff=\xfe\x1b\0",
            &[("A\u{fffd}", "\u{fffd}\u{1b}")],
        );
        let long = format!("A={}\0{}=x\0", "é".repeat(200), "A".repeat(254));
        check(
            &["A*"],
            long.as_bytes(),
            &[("A", &format!("{}…", "é".repeat(128)))],
        );
    }

    #[test]
    fn a_cut_environment_is_degraded() {
        let filtered = allow(&["*"]).filter_environment(b"A=1\0B=23", 5000);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            filtered.variables,
            [pair("A", "1"), pair("B", "23…")].into()
        );
        assert_eq!(filtered.degraded.unwrap(), "read up to 8 of 5000 bytes");
        let many: Vec<String> = (0..100).map(|n| format!("V{n}=\0")).collect();
        let many = many.concat();
        let filtered = allow(&["*"]).filter_environment(many.as_bytes(), many.len());
        assert_eq!(filtered.variables.len(), VARIABLES);
        assert!(filtered.degraded.unwrap().contains("more than 64"));
    }

    proptest! {
        #[test]
        fn only_allowed_variables_are_kept_of_any_bytes(
            bytes in proptest::collection::vec(prop_oneof![Just(0), Just(b'='), Just(b'A'), Just(b'_'), any::<u8>()], 0..600),
            more in 0_usize..10,
        ) {
            let filtered = allow(&["A*_", "?"]).filter_environment(&bytes, bytes.len() + more);
            prop_assert!(filtered.variables.len() <= VARIABLES);
            for (name, value) in &filtered.variables {
                let starts_and_ends = name.starts_with('A') && name.ends_with('_');
                prop_assert!(starts_and_ends || name.chars().count() == 1, "{name:?}");
                prop_assert!(value.len() <= VALUE_LEN + '…'.len_utf8());
            }
        }
    }
}
