//! Reads JSON up to a limit and empties long strings. No field that is needed is long, and Go writes
//! each `<` of an environment or an annotation as six bytes.

use std::io;

use futures::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Longer strings are emptied, in bytes.
const STRING_LEN: usize = 1024;

/// An error where more than `max` bytes are kept.
pub(super) async fn read_all(
    mut answer: impl AsyncBufRead + Unpin,
    max: usize,
) -> io::Result<Vec<u8>> {
    let mut json = Json::default();
    loop {
        let some = answer.fill_buf().await?;
        if some.is_empty() {
            return Ok(json.kept);
        }
        let read = some.len();
        json.push_all(some, max)?;
        answer.consume_unpin(read);
    }
}

/// The next line; `None` at the end. Text after the last newline is dropped: it was cut off.
pub(super) async fn read_line(
    answer: &mut (impl AsyncBufRead + Unpin),
    max: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut json = Json::default();
    loop {
        let some = answer.fill_buf().await?;
        if some.is_empty() {
            return Ok(None);
        }
        let end = some.iter().position(|byte| *byte == b'\n');
        let read = end.map_or(some.len(), |end| end.saturating_add(1));
        json.push_all(some.get(..read).unwrap_or_default(), max)?;
        answer.consume_unpin(read);
        if end.is_some() {
            return Ok(Some(json.kept));
        }
    }
}

#[derive(Default)]
struct Json {
    kept: Vec<u8>,
    /// Where in `kept` the current string starts.
    string: Option<usize>,
    /// The current string is too long: its rest is skipped.
    skipping: bool,
    /// The last byte was a backslash in a string.
    escaped: bool,
}

// === impl Json ===

impl Json {
    fn push_all(&mut self, bytes: &[u8], max: usize) -> io::Result<()> {
        for &byte in bytes {
            self.push(byte);
        }
        if self.kept.len() > max {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is longer than {max} bytes"),
            ));
        }
        Ok(())
    }

    fn push(&mut self, byte: u8) {
        let Some(start) = self.string else {
            self.kept.push(byte);
            if byte == b'"' {
                self.string = Some(self.kept.len());
            }
            return;
        };
        let ends = byte == b'"' && !self.escaped;
        self.escaped = byte == b'\\' && !self.escaped;
        if ends {
            self.kept.push(byte);
            (self.string, self.skipping) = (None, false);
        } else if !self.skipping {
            self.kept.push(byte);
            if self.kept.len().saturating_sub(start) > STRING_LEN {
                self.kept.truncate(start);
                self.skipping = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::io::BufReader;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    async fn read_lines(text: &str, buffer: usize) -> Vec<Vec<u8>> {
        let mut answer = BufReader::with_capacity(buffer, text.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = read_line(&mut answer, 1 << 20).await.unwrap() {
            lines.push(line);
        }
        lines
    }

    fn without_long_strings(value: &Value) -> Value {
        match value {
            Value::String(text) if json!(text).to_string().len() - 2 > STRING_LEN => json!(""),
            Value::Array(all) => all.iter().map(without_long_strings).collect(),
            Value::Object(all) => all
                .iter()
                .map(|(key, value)| (key.clone(), without_long_strings(value)))
                .collect(),
            other => other.clone(),
        }
    }

    proptest! {
        /// For any strings and any buffer size.
        #[test]
        fn long_strings_are_emptied_and_all_else_is_kept(
            texts in prop::collection::vec(("[a-z\"\\\\<é😀\n]{0,9}", 0..400_usize), 1..6),
            buffer in 1..4096_usize,
        ) {
            let texts: Vec<String> = texts.iter().map(|(text, times)| text.repeat(*times)).collect();
            let value = json!({"texts": texts, "last": 7});
            let text = format!("{value}\n{value}\ncut off");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let lines = runtime.block_on(read_lines(&text, buffer));
            prop_assert_eq!(lines.len(), 2);
            for line in lines {
                let read: Value = serde_json::from_slice(&line).unwrap();
                prop_assert_eq!(read, without_long_strings(&value));
            }
            let all = runtime.block_on(read_all(BufReader::with_capacity(buffer, text.as_bytes()), 1 << 20));
            prop_assert!(all.unwrap().ends_with(b"cut off"));
        }
    }

    #[tokio::test]
    async fn only_kept_bytes_count_towards_the_limit() {
        let long = format!("\"{}\"\n", "<".repeat(1 << 20));
        assert_eq!(
            read_line(&mut long.as_bytes(), 64).await.unwrap().unwrap(),
            b"\"\"\n"
        );
        let many = format!("[{}0]\n", "0,".repeat(64));
        for error in [
            read_line(&mut many.as_bytes(), 64).await.err(),
            read_all(many.as_bytes(), 64).await.err(),
        ] {
            assert_eq!(error.unwrap().kind(), io::ErrorKind::FileTooLarge);
        }
    }
}
