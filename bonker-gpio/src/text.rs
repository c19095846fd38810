//! Strings from victims are hostile: they are cut, and escaped wherever a person reads them.

use std::fmt::Write as _;

/// `text` for a terminal or a log: control characters, ANSI sequences, bidirectional and
/// invisible marks and line breaks appear as `\u{…}`, a backslash as `\\`.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if c == '\\' {
            safe.push_str("\\\\");
        } else if is_hostile(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// `json`, a serialised document on one line, with what [`escape`] hides as `\uXXXX`:
/// JSON itself lets DEL, the C1 controls and bidirectional marks through.
pub(crate) fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if is_hostile(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        } else {
            safe.push(c);
        }
    }
    safe
}

/// `text`, cut to at most `max` bytes between two characters.
pub(crate) fn cut(mut text: String, max: usize) -> String {
    text.truncate(text.floor_char_boundary(max));
    text
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::{cut, escape, escape_json};

    #[test]
    fn hostile_text_is_made_harmless() {
        let check = |hostile: &str, shown: &str| assert_eq!(escape(hostile), shown);
        check("tail", "tail");
        check("Pingüin 🐧", "Pingüin 🐧");
        check("\x1b[2J", "\\u{1b}[2J");
        check("a\nb\r", "a\\u{a}b\\u{d}");
        check("\u{202e}gpj", "\\u{202e}gpj");
        check("\u{9b}31m\x7f", "\\u{9b}31m\\u{7f}");
        check("\\u{1b}", "\\\\u{1b}");
    }

    #[test]
    fn escaped_json_still_says_the_same() {
        let hostile = "\u{202e}\u{9b}\x7f\x1b\"\\ \u{e0041} 🐧";
        let json = serde_json::to_string(hostile).unwrap();
        let safe = escape_json(&json);
        assert_eq!(safe, r#""\u202e\u009b\u007f\u001b\"\\ \udb40\udc41 🐧""#);
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), hostile);
    }

    #[test]
    fn a_cut_keeps_characters_whole() {
        assert_eq!(cut("aüb".to_owned(), 2), "a");
        assert_eq!(cut("aüb".to_owned(), 3), "aü");
        assert_eq!(cut("aüb".to_owned(), 64), "aüb");
    }
}
