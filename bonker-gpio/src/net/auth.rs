//! The token of clients, read from a file.

use std::fmt;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use service::file::read_bounded;
use subtle::ConstantTimeEq as _;

use crate::text::escape_path;

/// The shortest token, in bytes: `openssl rand -hex 16` makes 32.
pub(crate) const MIN_TOKEN_BYTES: usize = 16;

const MAX_FILE_BYTES: u64 = 4096;

/// Read once; a new one takes effect after a restart.
#[derive(Clone)]
pub struct Token(String);

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("cannot read the token file {path}")]
    Read { path: String, source: io::Error },
    /// It is empty, or too short to be safe.
    #[error(
        "the token in {path} has {bytes} bytes, and {MIN_TOKEN_BYTES} are the least: make one by \
         `openssl rand -hex 32 > {path}`"
    )]
    Short {
        path: String,
        /// Without the line break at its end.
        bytes: usize,
    },
    #[error(
        "the token in {path} is no single line of at most {MAX_FILE_BYTES} visible ASCII \
         characters: make one by `openssl rand -hex 32 > {path}`"
    )]
    Malformed { path: String },
}

// === impl Token ===

impl Token {
    /// Reads the first and only line of the file.
    pub fn read(file: &Path) -> Result<Self, TokenError> {
        let path = || escape_path(file);
        let read = |source| TokenError::Read {
            path: path(),
            source,
        };
        let bytes = match read_bounded(file, MAX_FILE_BYTES) {
            Err(why) if why.kind() == io::ErrorKind::FileTooLarge => {
                return Err(TokenError::Malformed { path: path() });
            }
            bytes => bytes.map_err(read)?,
        };
        let token = bytes.trim_ascii();
        let visible = token.iter().all(u8::is_ascii_graphic);
        let Some(text) = str::from_utf8(token).ok().filter(|_| visible) else {
            return Err(TokenError::Malformed { path: path() });
        };
        if text.len() < MIN_TOKEN_BYTES {
            return Err(TokenError::Short {
                path: path(),
                bytes: text.len(),
            });
        }
        Ok(Self(text.to_owned()))
    }

    /// Whether an `Authorization` header has it: as `Bearer TOKEN`, or as the password of `Basic`
    /// with any user, for the dialog of browsers. Takes the same time wherever a wrong token of
    /// the right length differs.
    pub fn admits(&self, authorization: Option<&[u8]>) -> bool {
        let header = authorization.and_then(|header| std::str::from_utf8(header).ok());
        let Some((scheme, shown)) = header.and_then(|header| header.split_once(' ')) else {
            return false;
        };
        let shown = shown.trim_start_matches(' ');
        if scheme.eq_ignore_ascii_case("bearer") {
            self.is(shown.as_bytes())
        } else if scheme.eq_ignore_ascii_case("basic") {
            let pair = STANDARD.decode(shown).unwrap_or_default();
            let colon = pair.iter().position(|byte| *byte == b':');
            colon.is_some_and(|at| self.is(pair.get(at + 1..).unwrap_or_default()))
        } else {
            false
        }
    }

    /// The `Authorization` header that has it.
    pub(crate) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    fn is(&self, shown: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(shown).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{Token, TokenError};

    const SECRET: &str = "0123456789abcdef";

    fn token(file: &[u8]) -> Result<Token, TokenError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, file).unwrap();
        Token::read(&path)
    }

    #[test]
    fn a_file_holds_one_line_that_is_long_enough() {
        assert_eq!(token(b"0123456789abcdef\r\n").unwrap().0, SECRET);
        for (file, sentence) in [
            (&b""[..], "has 0 bytes, and 16 are the least"),
            (b"\n", "has 0 bytes"),
            (b"0123456789abcde\n", "has 15 bytes"),
            (b"0123456789abcdef\nmore\n", "no single line"),
            (b"0123456789abcde\xc3\xbc\n", "visible ASCII"),
            (&[b'x'; 4097], "at most 4096"),
        ] {
            let why = token(file).unwrap_err().to_string();
            assert!(why.contains(sentence), "{why}");
            assert!(why.contains("openssl rand"), "{why}");
        }
        let missing = Token::read("/nonexistent/token".as_ref()).unwrap_err();
        assert_eq!(
            missing.to_string(),
            "cannot read the token file /nonexistent/token"
        );
    }

    #[test]
    fn only_the_token_itself_is_let_in() {
        let token = token(SECRET.as_bytes()).unwrap();
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (header, fine) in [
            (token.header(), true),
            (format!("bearer  {SECRET}"), true),
            (basic(&format!("me:{SECRET}")), true),
            (basic(&format!(":{SECRET}")), true),
            (basic(&format!("{SECRET}:")), false),
            (basic(SECRET), false),
            (basic(&format!("me:x:{SECRET}")), false),
            ("Basic %%%".to_owned(), false),
            (format!("Bearer {SECRET}0"), false),
            ("Bearer 0123456789abcdeX".to_owned(), false),
            ("Bearer ".to_owned(), false),
            (SECRET.to_owned(), false),
            (format!("Digest {SECRET}"), false),
        ] {
            assert_eq!(token.admits(Some(header.as_bytes())), fine, "{header}");
        }
        assert!(!token.admits(None));
        assert!(!token.admits(Some(b"Bearer \xff")));
    }

    #[test]
    fn logs_do_not_show_it() {
        let shown = format!("{:?}", token(SECRET.as_bytes()).unwrap());
        assert!(!shown.contains(SECRET), "{shown}");
    }
}
