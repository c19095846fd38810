//! The answer to a peer that sends plaintext to a TLS port, in its own protocol. Pure.

/// The first byte of a TLS record that starts a handshake, RFC 8446, section 5.1.
pub(super) const HANDSHAKE: u8 = 0x16;

/// An HTTP/2 client starts with this, RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI";

const TEXT: &str = "this port speaks TLS: use https:// and the CA of its certificate";

/// `first` is the start of the peer's message.
pub(super) fn to_plaintext(first: &[u8]) -> Vec<u8> {
    if first.starts_with(PREFACE) {
        // Empty SETTINGS; then a GOAWAY on stream 0: no stream was taken,
        // INADEQUATE_SECURITY, and the text for people (sections 6.5, 6.8 and 7).
        let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
        let length = u32::try_from(8 + TEXT.len()).unwrap_or_default();
        frames.extend(length.to_be_bytes().iter().skip(1));
        frames.extend([7, 0, 0, 0, 0, 0]);
        frames.extend([0, 0, 0, 0]);
        frames.extend(0xc_u32.to_be_bytes());
        frames.extend(TEXT.as_bytes());
        frames
    } else if first.first().is_some_and(u8::is_ascii_uppercase) {
        let length = TEXT.len() + 1;
        format!(
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\
             Connection: close\r\n\r\n{TEXT}\n"
        )
        .into_bytes()
    } else {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::to_plaintext;

    #[test]
    fn each_protocol_has_its_own_answer() {
        let http2 = to_plaintext(b"PRI * HTTP/2.0");
        let (settings, goaway) = http2.split_at(9);
        assert_eq!(settings, b"\0\0\0\x04\0\0\0\0\0");
        assert_eq!(usize::from(goaway[2]), goaway.len() - 9);
        assert_eq!(goaway[3], 7);
        assert!(goaway.ends_with(b"the CA of its certificate"));
        let http1 = String::from_utf8(to_plaintext(b"GET /")).unwrap();
        assert!(http1.starts_with("HTTP/1.1 400 "), "{http1}");
        assert!(http1.contains("use https://"), "{http1}");
        assert!(to_plaintext(b"\0").is_empty());
    }
}
