//! Refuses presses of a button by foreign pages in a browser that can reach this server (CSRF,
//! DNS rebinding). Pure.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

/// Set by every current browser; no script can change it (Fetch Metadata, W3C).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// A form of any page could send this.
    #[error("send JSON: content-type: application/json")]
    Kind,
    #[error("this comes from another site's page; use the bonker's own")]
    Foreign,
    /// Anybody could have pointed this name here.
    #[error(
        "the buttons work only if the page was opened by the bonker's address, as localhost or by a \
         local name"
    )]
    Name,
}

/// Refuses requests of foreign pages. If the server `has_token`, it was checked before, and any
/// name will do.
pub(super) fn check_origin(headers: &HeaderMap, has_token: bool) -> Result<(), Refusal> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Refusal::Kind);
    }
    let host = text(header::HOST).unwrap_or_default();
    let ours = |origin: &str| {
        let rest = origin.split_once("://").map(|(_, rest)| rest);
        rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
    };
    let same = |site: &str| matches!(site, "same-origin" | "none");
    let foreign = |name, fine: &dyn Fn(&str) -> bool| {
        headers.contains_key(&name) && !text(name).is_some_and(fine)
    };
    if foreign(FETCH_SITE, &same) || foreign(header::ORIGIN, &ours) {
        return Err(Refusal::Foreign);
    }
    (has_token || is_local(host))
        .then_some(())
        .ok_or(Refusal::Name)
}

/// Whether nobody beyond this network can point that name here.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.to_ascii_lowercase();
    let known = |end: &str| name.strip_suffix(end).is_some_and(|host| !host.is_empty());
    !name.is_empty()
        && (name.parse::<IpAddr>().is_ok()
            || !name.contains(['.', ':'])
            || known(".local")
            || known(".localhost"))
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Kind => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Foreign | Self::Name => StatusCode::FORBIDDEN,
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Refusal, check_origin, is_local};

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
    const HOST: (&str, &str) = ("host", "127.0.0.1:5000");

    fn check(headers: &[(&'static str, &'static str)]) -> Result<(), Refusal> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        check_origin(&headers, false)
    }

    #[test]
    fn a_foreign_page_moves_nothing() {
        let own = ("origin", "http://127.0.0.1:5000");
        assert_eq!(check(&[HOST, JSON]), Ok(()));
        assert_eq!(
            check(&[HOST, JSON, own, ("sec-fetch-site", "same-origin")]),
            Ok(())
        );
        assert_eq!(check(&[HOST]), Err(Refusal::Kind));
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
        ] {
            assert_eq!(
                check(&[HOST, ("content-type", kind)]),
                Err(Refusal::Kind),
                "{kind}"
            );
        }
        for origin in [
            "http://evil.example",
            "null",
            "http://127.0.0.1:5001",
            "\u{1}",
        ] {
            if let Ok(value) = HeaderValue::from_str(origin) {
                let mut headers = HeaderMap::new();
                headers.insert("host", HeaderValue::from_static(HOST.1));
                headers.insert("content-type", HeaderValue::from_static(JSON.1));
                headers.insert("origin", value);
                assert_eq!(
                    check_origin(&headers, false),
                    Err(Refusal::Foreign),
                    "{origin}"
                );
            }
        }
        for site in ["cross-site", "same-site", ""] {
            let site = ("sec-fetch-site", site);
            assert_eq!(
                check(&[HOST, JSON, own, site]),
                Err(Refusal::Foreign),
                "{site:?}"
            );
        }
    }

    #[test]
    fn a_name_that_anybody_can_point_here_moves_nothing() {
        let rebound = [
            ("host", "evil.example"),
            JSON,
            ("origin", "http://evil.example"),
        ];
        assert_eq!(check(&rebound), Err(Refusal::Name));
        for host in [
            "127.0.0.1",
            "[::1]:80",
            "192.168.1.4:5000",
            "localhost:1",
            "penguin",
            "Penguin.LOCAL:5000",
            "a.localhost",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example:5000",
            ".local",
            "1.2.3.4.example",
            "[evil.example]",
            "local.example",
        ] {
            assert!(!is_local(host), "{host}");
        }
    }
}
