//! Refuses presses of a button by foreign pages in a browser that can reach this server (CSRF,
//! DNS rebinding). Pure.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use crate::inlets::web::refusal::{Refusal, require_json};

/// Set by every current browser; no script can change it (Fetch Metadata, W3C).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses requests of foreign pages. If the server `has_token`, it was checked before, and any
/// name will do.
pub(super) fn check_origin(headers: &HeaderMap, has_token: bool) -> Result<(), Refusal> {
    // A form of any page could send other kinds.
    require_json(headers)?;
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
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
        let why = "this comes from another site's page; use the bonker's own";
        return Err(Refusal::new(StatusCode::FORBIDDEN, why));
    }
    // Anybody could have pointed another name here.
    if has_token || is_local(host) {
        Ok(())
    } else {
        let why = "the buttons work only if the page was opened by the bonker's address, as \
                   localhost or by a local name";
        Err(Refusal::new(StatusCode::FORBIDDEN, why))
    }
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

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};

    use super::{Refusal, check_origin, is_local};

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
    const KIND: Option<(u16, &str)> = Some((415, "JSON"));
    const FOREIGN: Option<(u16, &str)> = Some((403, "another site"));
    const NAME: Option<(u16, &str)> = Some((403, "local name"));
    const HOST: (&str, &str) = ("host", "127.0.0.1:5000");

    /// Status, and a word of the reason.
    fn answer(checked: Result<(), Refusal>) -> Option<(u16, &'static str)> {
        let refusal = checked.err()?;
        let words = ["JSON", "another site", "local name"];
        let word = words.into_iter().find(|word| refusal.why.contains(word));
        Some((refusal.status.as_u16(), word.unwrap_or_default()))
    }

    fn check(headers: &[(&'static str, &'static str)]) -> Option<(u16, &'static str)> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        answer(check_origin(&headers, false))
    }

    #[test]
    fn a_foreign_page_moves_nothing() {
        let own = ("origin", "http://127.0.0.1:5000");
        assert_eq!(check(&[HOST, JSON]), None);
        assert_eq!(
            check(&[HOST, JSON, own, ("sec-fetch-site", "same-origin")]),
            None
        );
        assert_eq!(check(&[HOST]), KIND);
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
        ] {
            assert_eq!(check(&[HOST, ("content-type", kind)]), KIND, "{kind}");
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
                assert_eq!(answer(check_origin(&headers, false)), FOREIGN, "{origin}");
            }
        }
        for site in ["cross-site", "same-site", ""] {
            let site = ("sec-fetch-site", site);
            assert_eq!(check(&[HOST, JSON, own, site]), FOREIGN, "{site:?}");
        }
    }

    #[test]
    fn a_name_that_anybody_can_point_here_moves_nothing() {
        let rebound = [
            ("host", "evil.example"),
            JSON,
            ("origin", "http://evil.example"),
        ];
        assert_eq!(check(&rebound), NAME);
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
