//! Answers in JSON, read up to a bound. Long strings are emptied while they are read: nothing that is
//! looked for in a pod is one, and Go writes each `<` of an environment or an annotation as six bytes.

use std::io;

use futures::io::{AsyncBufRead, AsyncBufReadExt as _};

/// Longer strings are emptied, in bytes.
const STRING_LEN: usize = 1024;

/// All of it; an answer of more than `most` bytes that are kept is an error.
pub(super) async fn whole(
    mut answer: impl AsyncBufRead + Unpin,
    most: usize,
) -> io::Result<Vec<u8>> {
    let mut json = Json::default();
    loop {
        let some = answer.fill_buf().await?;
        if some.is_empty() {
            return Ok(json.kept);
        }
        let read = some.len();
        json.read(some, most)?;
        answer.consume_unpin(read);
    }
}

/// The next line; `None` at the end. What follows the last newline was cut off, and is not given.
pub(super) async fn line(
    answer: &mut (impl AsyncBufRead + Unpin),
    most: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut json = Json::default();
    loop {
        let some = answer.fill_buf().await?;
        if some.is_empty() {
            return Ok(None);
        }
        let end = some.iter().position(|byte| *byte == b'\n');
        let read = end.map_or(some.len(), |end| end.saturating_add(1));
        json.read(some.get(..read).unwrap_or_default(), most)?;
        answer.consume_unpin(read);
        if end.is_some() {
            return Ok(Some(json.kept));
        }
    }
}

/// JSON as far as it was read.
#[derive(Default)]
struct Json {
    kept: Vec<u8>,
    /// Where in `kept` the string began that is being read.
    string: Option<usize>,
    /// That string is too long: what comes of it is left out.
    left_out: bool,
    /// The byte before was a backslash in a string.
    escaped: bool,
}

// === impl Json ===

impl Json {
    fn read(&mut self, bytes: &[u8], most: usize) -> io::Result<()> {
        for &byte in bytes {
            self.take(byte);
        }
        if self.kept.len() > most {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it is longer than {most} bytes"),
            ));
        }
        Ok(())
    }

    fn take(&mut self, byte: u8) {
        let Some(begun) = self.string else {
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
            (self.string, self.left_out) = (None, false);
        } else if !self.left_out {
            self.kept.push(byte);
            if self.kept.len().saturating_sub(begun) > STRING_LEN {
                self.kept.truncate(begun);
                self.left_out = true;
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

    async fn lines(text: &str, buffer: usize) -> Vec<Vec<u8>> {
        let mut answer = BufReader::with_capacity(buffer, text.as_bytes());
        let mut lines = Vec::new();
        while let Some(line) = line(&mut answer, 1 << 20).await.unwrap() {
            lines.push(line);
        }
        lines
    }

    /// What is left of a value.
    fn emptied(value: &Value) -> Value {
        match value {
            Value::String(text) if json!(text).to_string().len() - 2 > STRING_LEN => json!(""),
            Value::Array(all) => all.iter().map(emptied).collect(),
            Value::Object(all) => all
                .iter()
                .map(|(key, value)| (key.clone(), emptied(value)))
                .collect(),
            other => other.clone(),
        }
    }

    proptest! {
        /// Whatever is in a string, and wherever the buffer ends.
        #[test]
        fn what_is_short_comes_as_it_was_and_what_is_long_comes_empty(
            texts in prop::collection::vec(("[a-z\"\\\\<é😀\n]{0,9}", 0..400_usize), 1..6),
            buffer in 1..4096_usize,
        ) {
            let texts: Vec<String> = texts.iter().map(|(text, times)| text.repeat(*times)).collect();
            let value = json!({"texts": texts, "last": 7});
            let text = format!("{value}\n{value}\ncut off");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let lines = runtime.block_on(lines(&text, buffer));
            prop_assert_eq!(lines.len(), 2);
            for line in lines {
                let read: Value = serde_json::from_slice(&line).unwrap();
                prop_assert_eq!(read, emptied(&value));
            }
            let all = runtime.block_on(whole(BufReader::with_capacity(buffer, text.as_bytes()), 1 << 20));
            prop_assert!(all.unwrap().ends_with(b"cut off"));
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_what_is_left_out_is_not() {
        let long = format!("\"{}\"\n", "<".repeat(1 << 20));
        assert_eq!(
            line(&mut long.as_bytes(), 64).await.unwrap().unwrap(),
            b"\"\"\n"
        );
        let many = format!("[{}0]\n", "0,".repeat(64));
        for error in [
            line(&mut many.as_bytes(), 64).await.err(),
            whole(many.as_bytes(), 64).await.err(),
        ] {
            assert_eq!(error.unwrap().kind(), io::ErrorKind::FileTooLarge);
        }
    }
}
