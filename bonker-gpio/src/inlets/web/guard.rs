//! Requires the token for actions and, if the page is private, for views. Probes have none.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tracing::warn;

use crate::net::auth::Token;
use crate::net::limits::Throttle;

pub(super) struct Guard {
    token: Option<Token>,
    private: bool,
    refused: Throttle,
}

/// What a browser does after a refusal (RFC 9110, section 11.6.1).
#[derive(Clone, Copy)]
enum Challenge {
    /// It opens its dialog for a password: any user, and the token.
    Basic,
    /// It leaves that to the page.
    Bearer,
}

// === impl Guard ===

impl Guard {
    /// Without a token, all requests pass.
    pub(super) fn new(token: Option<Token>, private: bool) -> Self {
        let refused = Throttle::default();
        Self {
            token,
            private,
            refused,
        }
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// For routes that change nothing.
    pub(super) fn protect_views(&self, routes: Router) -> Router {
        if self.private {
            self.require_token(Challenge::Basic, routes)
        } else {
            routes
        }
    }

    /// For routes that programs call.
    pub(super) fn protect_actions(&self, routes: Router) -> Router {
        self.require_token(Challenge::Basic, routes)
    }

    /// For the page's own buttons, which open a dialog of their own.
    pub(super) fn protect_buttons(&self, routes: Router) -> Router {
        self.require_token(Challenge::Bearer, routes)
    }

    fn require_token(&self, challenge: Challenge, routes: Router) -> Router {
        let Some(token) = self.token.clone() else {
            return routes;
        };
        let refused = self.refused.clone();
        routes.route_layer(from_fn(move |request: Request, next: Next| {
            let shown = request.headers().get(header::AUTHORIZATION);
            let admitted = token.admits(shown.map(HeaderValue::as_bytes));
            // Without one, it is a browser's first request.
            if !admitted
                && shown.is_some()
                && let Some(times) = refused.count()
            {
                let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
                let peer = peer.map(|peer| peer.0);
                warn!(?peer, times, "refused an HTTP request with a wrong token");
            }
            async move {
                if admitted {
                    next.run(request).await
                } else {
                    refusal(challenge)
                }
            }
        }))
    }
}

fn refusal(challenge: Challenge) -> Response {
    let challenge = match challenge {
        Challenge::Basic => "Basic realm=\"bonker\"",
        Challenge::Bearer => "Bearer realm=\"bonker\"",
    };
    let why = "show the token of --token-file, as a bearer or as the password of any user\n";
    let challenge = [(header::WWW_AUTHENTICATE, challenge)];
    (StatusCode::UNAUTHORIZED, challenge, why).into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{Request, StatusCode, header};
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::Guard;
    use crate::net::auth::Token;

    const BEARER: &str = "Bearer 0123456789abcdef";
    const BASIC: &str = "Basic bWU6MDEyMzQ1Njc4OWFiY2RlZg==";
    const WRONG: &str = "Bearer 0123456789abcdeX";

    fn token() -> Token {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef").unwrap();
        Token::read(file.path()).unwrap()
    }

    fn routes(guard: &Guard) -> Router {
        let route =
            |path| Router::new().route(path, post(|| async { "in" }).get(|| async { "in" }));
        route("/probe")
            .merge(guard.protect_views(route("/watch")))
            .merge(guard.protect_actions(route("/act")))
            .merge(guard.protect_buttons(route("/press")))
    }

    /// Status and challenge.
    async fn request(guard: &Guard, path: &str, shown: &str) -> (StatusCode, String) {
        let request = Request::post(path).header(header::AUTHORIZATION, shown);
        let request = request.body(Body::empty()).unwrap();
        let answer = routes(guard).oneshot(request).await.unwrap();
        let challenge = answer.headers().get(header::WWW_AUTHENTICATE);
        let challenge = challenge.map(|it| it.to_str().unwrap().to_owned());
        (answer.status(), challenge.unwrap_or_default())
    }

    #[tokio::test]
    async fn actions_need_the_token_and_so_do_views_if_the_page_is_private() {
        for private in [false, true] {
            let guard = Guard::new(Some(token()), private);
            for (path, scheme) in [
                ("/probe", None),
                ("/watch", private.then_some("Basic")),
                ("/act", Some("Basic")),
                ("/press", Some("Bearer")),
            ] {
                for shown in ["", WRONG] {
                    let (status, challenge) = request(&guard, path, shown).await;
                    let wanted = scheme.map_or(StatusCode::OK, |_| StatusCode::UNAUTHORIZED);
                    assert_eq!(status, wanted, "{path} {shown} {private}");
                    let realm = scheme.map(|scheme| format!("{scheme} realm=\"bonker\""));
                    assert_eq!(challenge, realm.unwrap_or_default(), "{path}");
                }
                for shown in [BEARER, BASIC] {
                    assert_eq!(
                        request(&guard, path, shown).await.0,
                        StatusCode::OK,
                        "{path}"
                    );
                }
            }
        }
    }

    #[tokio::test]
    async fn without_a_token_all_requests_pass() {
        let guard = Guard::new(None, false);
        for path in ["/probe", "/watch", "/act", "/press"] {
            assert_eq!(request(&guard, path, "").await.0, StatusCode::OK, "{path}");
        }
    }
}
