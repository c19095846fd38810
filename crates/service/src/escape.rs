//! Escapes foreign text for one line of a terminal or a log.
//!
//! A process chooses its own name and arguments. They can contain terminal sequences, line breaks that forge a log
//! line, or characters that reorder the text.

use std::fmt::{self, Display, Write as _};

/// Text whose [`Display`] is safe to print; made by [`terminal`].
#[derive(Clone, Copy, Debug)]
pub struct Terminal<'a>(&'a str);

/// Shows `s` on one line, without terminal sequences and invisible characters.
///
/// It escapes control characters (`\n`, `\u{1b}`); all that Unicode counts as format, private, unassigned or a
/// separator other than the plain space, such as bidi controls, zero-width characters and line separators; marks that
/// join the character before them; and letters that look blank. A backslash is always doubled, so the original can be
/// restored, and no name can look like an escape.
///
/// The result is at most six times as long, in bytes; use [`truncate`] first.
pub fn terminal(s: &str) -> Terminal<'_> {
    Terminal(s)
}

/// The beginning of `s` as [`terminal`] shows it, with at most `max_bytes` bytes.
pub fn terminal_bounded(s: &str, max_bytes: usize) -> String {
    let text = terminal(truncate(s, max_bytes)).to_string();
    truncate(&text, max_bytes).to_owned()
}

/// The longest beginning of `s` with at most `max_bytes` bytes that ends between characters.
pub fn truncate(s: &str, max_bytes: usize) -> &str {
    s.get(..s.floor_char_boundary(max_bytes))
        .unwrap_or_default()
}

// === impl Terminal ===

impl Display for Terminal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\'' | '"' => f.write_char(c)?,
                // Hangul fillers and the empty Braille pattern: printable by Unicode, but blank.
                '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}' => {
                    write!(f, "{}", c.escape_unicode())?;
                }
                _ => write!(f, "{}", c.escape_debug())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{terminal, truncate};

    #[test]
    fn only_harmful_characters_are_escaped() {
        check("", "");
        check("tail", "tail");
        check("it's \"fine\" ~", "it's \"fine\" ~");
        check("höhle 東京 Ω 🐧 \u{fffd}", "höhle 東京 Ω 🐧 \u{fffd}");
        check("a\nb\r\n\tc", r"a\nb\r\n\tc");
        check(r"a\nb", r"a\\nb");
        check(r"\u{1b}", r"\\u{1b}");
        check("\0\u{7}\u{8}\u{7f}", r"\0\u{7}\u{8}\u{7f}");
        check(
            "\u{1b}[2J\u{1b}]0;pwned\u{7}",
            r"\u{1b}[2J\u{1b}]0;pwned\u{7}",
        );
        check("\u{9b}31mred\u{85}", r"\u{9b}31mred\u{85}");
        check("\u{202e}gpj.exe\u{202c}", r"\u{202e}gpj.exe\u{202c}");
        check(
            "\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
            r"\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}",
        );
        check(
            "pa\u{200b}use\u{feff}\u{200d}",
            r"pa\u{200b}use\u{feff}\u{200d}",
        );
        check("a\u{2028}b\u{2029}c", r"a\u{2028}b\u{2029}c");
        check("a\u{a0}b\u{3000}c", r"a\u{a0}b\u{3000}c");
        check("e\u{301}\u{fe0f}", r"e\u{301}\u{fe0f}");
        check(
            "\u{e0041}\u{e000}\u{10ffff}\u{378}",
            r"\u{e0041}\u{e000}\u{10ffff}\u{378}",
        );
        check("a\u{3164}b\u{115f}", r"a\u{3164}b\u{115f}");
    }

    #[test]
    fn truncation_is_between_characters() {
        for (max, expect) in [
            (0, ""),
            (1, "a"),
            (2, "a"),
            (3, "aé"),
            (4, "aé"),
            (6, "aé"),
            (7, "aé🐧"),
            (99, "aé🐧"),
        ] {
            assert_eq!(truncate("aé🐧", max), expect, "{max} bytes");
        }
        assert_eq!(truncate("", usize::MAX), "");
    }

    proptest! {
        #[test]
        fn output_has_no_misleading_characters(s in hostile()) {
            for c in terminal(&s).to_string().chars() {
                prop_assert!(!misleads(c), "{c:?} from {s:?}");
            }
        }

        /// Two texts never look the same.
        #[test]
        fn the_original_can_be_restored(s in hostile()) {
            prop_assert_eq!(unescape(&terminal(&s).to_string()), s);
        }

        #[test]
        fn output_is_bounded(s in hostile()) {
            prop_assert!(terminal(&s).to_string().len() <= 6 * s.len());
        }

        #[test]
        fn truncation_is_the_longest_start(s in any::<String>(), max in 0_usize..64) {
            let cut = truncate(&s, max);
            prop_assert!(s.starts_with(cut) && cut.len() <= max);
            let next = s[cut.len()..].chars().next();
            prop_assert!(next.is_none_or(|c| cut.len() + c.len_utf8() > max));
        }
    }

    fn check(input: &str, expect: &str) {
        assert_eq!(terminal(input).to_string(), expect, "{input:?}");
    }

    /// Text with many characters that must be escaped.
    fn hostile() -> impl Strategy<Value = String> {
        let c = prop_oneof![
            any::<char>(),
            proptest::char::range('\0', '\u{ff}'),
            proptest::char::range('\u{2000}', '\u{206f}'),
            proptest::char::range('\u{e0000}', '\u{e01ef}'),
            Just('\\'),
        ];
        proptest::collection::vec(c, 0..32).prop_map(String::from_iter)
    }

    /// From Unicode's tables rather than the implementation's source.
    fn misleads(c: char) -> bool {
        matches!(c,
            '\0'..='\u{1f}' | '\u{7f}'..='\u{a0}' | '\u{ad}' | '\u{34f}' | '\u{61c}'
            | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}'
            | '\u{3000}' | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}'
            | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
    }

    fn unescape(s: &str) -> String {
        let mut text = String::new();
        let mut rest = s.chars();
        while let Some(c) = rest.next() {
            text.push(match c {
                '\\' => match rest.next().expect("an escape is whole") {
                    '0' => '\0',
                    't' => '\t',
                    'n' => '\n',
                    'r' => '\r',
                    'u' => {
                        let hex: String = rest.by_ref().skip(1).take_while(|&c| c != '}').collect();
                        let code = u32::from_str_radix(&hex, 16).expect("hex digits");
                        char::from_u32(code).expect("a character")
                    }
                    other => other,
                },
                plain => plain,
            });
        }
        text
    }
}
