//! The files of the page, compiled in, with headers that allow no other source.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use axum::Router;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;

/// Nothing inline, nothing of other origins, no frames.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    // Revalidated each time: another version may answer on this port tomorrow.
    (header::CACHE_CONTROL, "no-cache"),
];

#[derive(Clone, Copy)]
struct Asset {
    path: &'static str,
    kind: &'static str,
    text: &'static str,
}

macro_rules! asset {
    ($file:literal, $kind:literal) => {
        Asset {
            path: concat!("/", $file),
            kind: $kind,
            text: include_str!(concat!("assets/", $file)),
        }
    };
}

const PAGE: Asset = asset!("page.html", "text/html; charset=utf-8");

const ASSETS: [Asset; 8] = [
    asset!("page.css", "text/css; charset=utf-8"),
    asset!("stage.css", "text/css; charset=utf-8"),
    asset!("page.js", "text/javascript; charset=utf-8"),
    asset!("controls.js", "text/javascript; charset=utf-8"),
    asset!("show.js", "text/javascript; charset=utf-8"),
    asset!("stage.js", "text/javascript; charset=utf-8"),
    asset!("words.js", "text/javascript; charset=utf-8"),
    asset!("penguin.svg", "image/svg+xml"),
];

/// All that the page loads.
pub(super) fn routes() -> Router {
    ASSETS.into_iter().fold(Router::new(), |router, asset| {
        let answer = async move |headers: HeaderMap| asset.answer(&headers);
        router.route(asset.path, get(answer))
    })
}

pub(in crate::inlets::web) fn page(headers: &HeaderMap) -> Response {
    PAGE.answer(headers)
}

// === impl Asset ===

impl Asset {
    fn answer(self, request: &HeaderMap) -> Response {
        let tag = self.tag();
        let cached = request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|cached| cached.trim().trim_start_matches("W/") == tag);
        let own = [
            (header::CONTENT_TYPE, self.kind.to_owned()),
            (header::ETAG, tag),
        ];
        if cached {
            (StatusCode::NOT_MODIFIED, HEADERS, own).into_response()
        } else {
            (HEADERS, own, self.text).into_response()
        }
    }

    fn tag(self) -> String {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

    use super::{ASSETS, PAGE, page};

    #[test]
    fn nothing_is_inline_or_from_elsewhere() {
        for asset in ASSETS.iter().chain([&PAGE]) {
            let text = asset.text.replace("http://www.w3.org/2000/svg", "");
            for banned in [
                "http:",
                "https:",
                "//cdn",
                " style=",
                "<style",
                " onclick=",
                " onload=",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "javascript:",
                "data:",
                "@import",
            ] {
                assert!(!text.contains(banned), "{banned} in {}", asset.path);
            }
        }
    }

    #[test]
    fn every_file_that_the_page_names_is_served() {
        let texts: String = ASSETS
            .iter()
            .chain([&PAGE])
            .map(|asset| asset.text)
            .collect();
        for asset in ASSETS {
            let name = asset.path.trim_start_matches('/');
            assert!(texts.contains(name), "nobody names {name}");
        }
        let named = texts
            .split(['"', '\''])
            .filter_map(|part| part.strip_prefix("./").or(Some(part)))
            .filter(|part| {
                [".js", ".css", ".svg"]
                    .iter()
                    .any(|end| part.ends_with(end))
            });
        for name in named {
            let served = ASSETS.iter().any(|asset| asset.path == format!("/{name}"));
            assert!(served, "{name}");
        }
    }

    #[test]
    fn a_cached_file_is_not_sent_again() {
        let first = page(&HeaderMap::new());
        assert_eq!(first.status(), StatusCode::OK);
        let policy = first.headers().get(header::CONTENT_SECURITY_POLICY);
        let policy = policy.unwrap().to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        let tag = first.headers().get(header::ETAG).unwrap().clone();
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_NONE_MATCH, tag);
        assert_eq!(page(&headers).status(), StatusCode::NOT_MODIFIED);
        let other = HeaderValue::from_static("\"0\"");
        headers.insert(header::IF_NONE_MATCH, other);
        assert_eq!(page(&headers).status(), StatusCode::OK);
    }
}
