//! Strings of victims and peers are hostile: they are cut, and escaped for the place they go to.

use std::fmt::Write as _;
use std::path::Path;

use service::escape::terminal;

/// `text` for a terminal or a log.
pub(crate) fn escape(text: &str) -> String {
    terminal(text).to_string()
}

pub(crate) fn escape_path(path: &Path) -> String {
    escape(&path.display().to_string())
}

/// Escapes in `json`, a document on one line, what [`escape`] does: JSON itself allows DEL, the C1
/// controls and bidirectional marks.
pub(crate) fn escape_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_ascii_graphic()
            || terminal(c.encode_utf8(&mut [0; 4]))
                .to_string()
                .chars()
                .eq([c])
        {
            safe.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{unit:04x}");
            }
        }
    }
    safe
}

/// `lines` for a terminal, in place of the last `drawn` ones.
pub(crate) fn redraw(drawn: usize, lines: &[impl AsRef<str>]) -> String {
    let mut picture = String::new();
    if drawn > 0 {
        // Writing to a String cannot fail.
        let _ = write!(picture, "\x1b[{drawn}A");
    }
    for line in lines {
        // A terminal in raw mode needs both ends of a line.
        let _ = write!(picture, "\r\x1b[K{}\r\n", line.as_ref());
    }
    picture
}

/// Cuts `text` to at most `max` bytes between two characters.
pub(crate) fn cut(text: &mut String, max: usize) {
    text.truncate(text.floor_char_boundary(max));
}

#[cfg(test)]
mod tests {
    use super::{cut, escape_json};

    #[test]
    fn escaped_json_has_the_same_value() {
        let hostile = "\u{202e}\u{9b}\x7f\x1b\"\\ \u{e0041} 🐧";
        let json = serde_json::to_string(hostile).unwrap();
        let safe = escape_json(&json);
        assert_eq!(safe, r#""\u202e\u009b\u007f\u001b\"\\ \udb40\udc41 🐧""#);
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), hostile);
    }

    #[test]
    fn a_cut_keeps_characters_whole() {
        for (max, wanted) in [(2, "a"), (3, "aü"), (64, "aüb")] {
            let mut text = "aüb".to_owned();
            cut(&mut text, max);
            assert_eq!(text, wanted);
        }
    }
}
