//! Answers, read up to a bound.

use std::io;

use futures::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// All of it; an answer of more than `most` bytes is an error.
pub(super) async fn whole(answer: impl AsyncBufRead + Unpin, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    answer.take(most + 1).read_to_end(&mut bytes).await?;
    bounded(bytes, most)
}

/// The next line; `None` at the end. What follows the last newline was cut off, and is not given.
pub(super) async fn line(
    answer: &mut (impl AsyncBufRead + Unpin),
    most: u64,
) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    answer.take(most + 1).read_until(b'\n', &mut line).await?;
    let line = bounded(line, most)?;
    Ok(line.ends_with(b"\n").then_some(line))
}

fn bounded(bytes: Vec<u8>, most: u64) -> io::Result<Vec<u8>> {
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("it is longer than {most} bytes")));
    }
    Ok(bytes)
}
