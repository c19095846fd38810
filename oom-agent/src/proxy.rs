//! The HTTP proxy that the environment names for a URL, by the rules of Go and curl: `HTTPS_PROXY` for
//! `https://`, `HTTP_PROXY` for `http://`, unless `NO_PROXY` has the host. The environment is an argument.

use std::net::IpAddr;

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// A proxy reached by plain HTTP. `https://` passes through it encrypted.
pub(crate) struct Proxy {
    /// As written, with a scheme and the user, if any.
    pub(crate) url: Uri,
    /// The same, with the header for the user.
    pub(crate) intercept: Intercept,
}

/// `variable` reads an environment variable. `None`: connect directly.
pub(crate) fn find(uri: &Uri, variable: impl Fn(&str) -> Option<String>) -> Option<Proxy> {
    let either = |names: [&str; 2]| {
        let mut values = names.into_iter().filter_map(&variable);
        values.find(|value| !value.is_empty())
    };
    let host = strip_brackets(uri.host()?);
    let (written, port) = match uri.scheme_str()? {
        "https" => (either(["HTTPS_PROXY", "https_proxy"])?, 443),
        "http" => (either(["HTTP_PROXY", "http_proxy"])?, 80),
        _ => return None,
    };
    // As in Go: a proxy cannot reach this host's loopback.
    if host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback()) {
        return None;
    }
    let port = uri.port_u16().unwrap_or(port);
    let no_proxy = either(["NO_PROXY", "no_proxy"]).unwrap_or_default();
    let entries: Vec<&str> = no_proxy
        .split([',', ' '])
        .filter_map(|entry| match_port(entry, port))
        .collect();
    let url = if written.contains("://") {
        written
    } else {
        format!("http://{written}")
    };
    let url: Uri = url.parse().ok()?;
    let matcher = Matcher::builder()
        .all(url.to_string())
        .no(entries.join(","));
    let intercept = matcher.build().intercept(uri)?;
    if !is_usable(&url) {
        tracing::warn!(
            host = uri.host(),
            "connecting directly: the proxy in the environment is not an http:// URL"
        );
        return None;
    }
    Some(Proxy { url, intercept })
}

/// Only plain HTTP is supported.
pub(crate) fn is_usable(proxy: &Uri) -> bool {
    proxy.scheme_str().is_none_or(|scheme| scheme == "http")
}

/// An entry of `NO_PROXY` without its port; `None` where the port differs.
fn match_port(entry: &str, port: u16) -> Option<&str> {
    let entry = entry
        .strip_prefix("*")
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(entry);
    let (host, entry_port) = match entry.rsplit_once(':') {
        Some((host, entry_port)) if !host.contains(':') || host.ends_with(']') => {
            (host, entry_port.parse().ok()?)
        }
        _ => (entry, port),
    };
    (entry_port == port).then(|| strip_brackets(host))
}

/// An IPv6 address without its brackets.
fn strip_brackets(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    inner.unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(uri: &str, environment: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let mut all = environment.iter();
            all.find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Some(find(&uri.parse().unwrap(), variable)?.url.to_string())
    }

    #[test]
    fn each_scheme_has_its_own_variable() {
        let both = [("HTTPS_PROXY", "http://s:1"), ("http_proxy", "p:2")];
        for (uri, proxy) in [
            ("https://api.example:6443", Some("http://s:1/")),
            ("http://api.example", Some("http://p:2/")),
            ("https://localhost:6443", None),
            ("https://127.0.0.1:6443", None),
            ("https://[::1]:6443", None),
        ] {
            assert_eq!(found(uri, &both).as_deref(), proxy, "{uri}");
        }
        assert_eq!(found("https://a", &[("HTTP_PROXY", "http://p:2")]), None);
        assert_eq!(
            found("https://a", &[("HTTPS_PROXY", ""), ("https_proxy", "p:2")]).unwrap(),
            "http://p:2/"
        );
        for unusable in ["not a url", "socks5://u:secret@p:1", "https://p:1"] {
            assert_eq!(found("https://a", &[("HTTPS_PROXY", unusable)]), None);
        }
    }

    #[test]
    fn hosts_in_no_proxy_have_no_proxy() {
        for (uri, no_proxy, direct) in [
            ("https://10.96.0.1", "10.0.0.0/8", true),
            ("https://10.96.0.1:443", "192.168.0.0/16, 10.96.0.1", true),
            ("https://11.96.0.1", "10.0.0.0/8", false),
            ("https://[fd00::1]:6443", "fd00::/8", true),
            ("https://[fd00::1]:6443", "[fd00::1]:6443", true),
            ("https://[fd00::1]:6443", "[fd00::1]", true),
            ("https://[fd00::1]:6443", "[fd00::1]:443", false),
            ("https://[fd00::1]", "fd00::1", true),
            (
                "https://kubernetes.default.svc",
                ".svc,.cluster.local",
                true,
            ),
            ("https://kubernetes.default.svc", "*.svc", true),
            ("https://kubernetes.default.svc", "svc", true),
            ("https://kubernetes.default.svc", "ault.svc", false),
            ("https://api.example:6443", "api.example:6443", true),
            ("https://api.example:6443", "api.example:443", false),
            ("https://api.example", "api.example:443", true),
            ("https://api.example", ".example:443", true),
            ("https://10.0.0.1:6443", "10.0.0.1:6443", true),
            ("https://api.example", ",, ,:,a:b:c", false),
            ("https://api.example", "*", true),
            ("https://api.example", "", false),
        ] {
            let found = found(
                uri,
                &[("HTTPS_PROXY", "http://p:3128"), ("NO_PROXY", no_proxy)],
            );
            assert_eq!(found.is_none(), direct, "{uri} {no_proxy}");
        }
    }

    #[test]
    fn a_proxys_user_is_kept() {
        let uri = "https://api.example".parse().unwrap();
        let proxy = find(&uri, |name| {
            (name == "HTTPS_PROXY").then(|| "u:p%40@p:1".to_owned())
        })
        .unwrap();
        assert_eq!(proxy.url.authority().unwrap(), "u:p%40@p:1");
        // u:p@
        assert_eq!(proxy.intercept.basic_auth().unwrap(), "Basic dTpwQA==");
        assert_eq!(proxy.intercept.uri(), "http://p:1/");
    }
}
