//! `oom-agent cgroup`: parses cgroup paths.

use std::ffi::OsString;
use std::io::{self, BufRead, Write};
use std::os::unix::ffi::OsStrExt as _;

use serde::Serialize;

use memcg::cgroup::{Runtime, parse_path};

/// The longest line of standard input, in bytes: the kernel's `PATH_MAX`.
const LINE_LEN: u64 = 4096;

#[derive(Serialize)]
struct Parsed<'a> {
    path: &'a str,
    container_id: Option<String>,
    pod_uid: Option<String>,
    runtime: Option<&'static str>,
}

/// Writes a JSON line for each path, or for each line of `input` when there are none. Paths are any bytes.
pub(crate) fn run(paths: &[OsString], input: impl BufRead, mut out: impl Write) -> io::Result<()> {
    for path in paths {
        write_parsed(path.as_bytes(), &mut out)?;
    }
    if paths.is_empty() {
        for_each_line(input, |line| write_parsed(line, &mut out))?;
    }
    out.flush()
}

fn write_parsed(path: &[u8], out: &mut impl Write) -> io::Result<()> {
    let path = String::from_utf8_lossy(path);
    let identity = parse_path(&path);
    let parsed = Parsed {
        path: &path,
        container_id: identity.container_id,
        pod_uid: identity.pod_uid,
        runtime: identity.runtime.map(Runtime::as_str),
    };
    serde_json::to_writer(&mut *out, &parsed)?;
    out.write_all(b"\n")
}

/// Calls `visit` with each line, without its end and cut at `LINE_LEN`.
fn for_each_line(
    mut input: impl BufRead,
    mut visit: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut line = Vec::new();
    while io::Read::take(&mut input, LINE_LEN).read_until(b'\n', &mut line)? > 0 {
        if line.pop_if(|byte| *byte == b'\n').is_none() {
            input.skip_until(b'\n')?;
        }
        visit(&line)?;
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn output(paths: &[&str], input: &[u8]) -> Vec<serde_json::Value> {
        let paths: Vec<OsString> = paths.iter().map(OsString::from).collect();
        let mut out = Vec::new();
        run(&paths, input, &mut out).unwrap();
        String::from_utf8(out)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    const ID: &str = "17db96a24ae1e9dd57143e62b1cb0d2d35e693c65c774c7470e87b0572e07c1a";

    #[test]
    fn every_path_gives_one_line_with_four_fields() {
        let path = format!("/kubepods/poda38c12e8-255a-11e9-8cd9-0007cb0b2cc8/{ID}");
        let expected = serde_json::json!({
            "path": path, "container_id": ID,
            "pod_uid": "a38c12e8-255a-11e9-8cd9-0007cb0b2cc8", "runtime": null,
        });
        assert_eq!(
            output(&[&path], b"/ignored\n"),
            std::slice::from_ref(&expected)
        );
        let lines = format!("/init.scope\n{path}");
        let read = output(&[], lines.as_bytes());
        assert_eq!(read[0]["container_id"], serde_json::Value::Null);
        assert_eq!(read[1..], [expected]);
    }

    proptest! {
        #[test]
        fn any_input_gives_as_many_lines_as_it_has(input in proptest::collection::vec(any::<u8>(), 0..9000)) {
            let lines = input.split(|byte| *byte == b'\n').count();
            let unfinished = usize::from(input.last().is_none_or(|last| *last == b'\n'));
            prop_assert_eq!(output(&[], &input).len(), lines - unfinished);
        }
    }
}
