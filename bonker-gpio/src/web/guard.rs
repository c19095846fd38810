//! The token, demanded of who acts, and where the page is private of who watches, too.
//! Probes have none.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use tracing::warn;

use super::connections::Peer;
use crate::auth::Token;
use crate::bounds::Throttle;

/// Who gets through to which routes.
pub(crate) struct Guard {
    token: Option<Token>,
    private: bool,
    refused: Throttle,
}

/// What a browser makes of a refusal (RFC 9110, section 11.6.1).
#[derive(Clone, Copy)]
enum Challenge {
    /// It asks people for a password: any user, and the token.
    Basic,
    /// It leaves that to the page.
    Bearer,
}

// === impl Guard ===

impl Guard {
    /// Without a token, everybody is let in.
    pub(crate) fn new(token: Option<Token>, private: bool) -> Self {
        let refused = Throttle::default();
        Self {
            token,
            private,
            refused,
        }
    }

    /// `routes` that show, and change nothing.
    pub(super) fn watching<S>(&self, routes: Router<S>) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        if self.private {
            self.demand(Challenge::Basic, routes)
        } else {
            routes
        }
    }

    /// `routes` for programs.
    pub(super) fn acting<S>(&self, routes: Router<S>) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.demand(Challenge::Basic, routes)
    }

    /// `routes` for the page's own buttons, which have a dialog of their own.
    pub(super) fn pressing<S>(&self, routes: Router<S>) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        self.demand(Challenge::Bearer, routes)
    }

    fn demand<S>(&self, challenge: Challenge, routes: Router<S>) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let Some(token) = self.token.clone() else {
            return routes;
        };
        let refused = self.refused.clone();
        routes.route_layer(from_fn(move |request: Request, next: Next| {
            let shown = request.headers().get(header::AUTHORIZATION);
            let admitted = token.admits(shown.map(HeaderValue::as_bytes));
            // Who shows none has not been asked yet.
            if !admitted
                && shown.is_some()
                && let Some(times) = refused.count()
            {
                let peer = request.extensions().get::<Peer>().map(|peer| peer.0);
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
    let ask = match challenge {
        Challenge::Basic => "Basic realm=\"bonker\"",
        Challenge::Bearer => "Bearer realm=\"bonker\"",
    };
    let words = "show the token of --token-file, as a bearer or as the password of any user\n";
    let ask = [(header::WWW_AUTHENTICATE, ask)];
    (StatusCode::UNAUTHORIZED, ask, words).into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{Request, StatusCode, header};
    use axum::routing::post;
    use tower::ServiceExt as _;

    use super::Guard;
    use crate::auth::Token;

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
            .merge(guard.watching(route("/watch")))
            .merge(guard.acting(route("/act")))
            .merge(guard.pressing(route("/press")))
    }

    /// Status, and what is asked for.
    async fn ask(guard: &Guard, path: &str, shown: &str) -> (StatusCode, String) {
        let request = Request::post(path).header(header::AUTHORIZATION, shown);
        let request = request.body(Body::empty()).unwrap();
        let answer = routes(guard).oneshot(request).await.unwrap();
        let asked = answer.headers().get(header::WWW_AUTHENTICATE);
        let asked = asked.map(|asked| asked.to_str().unwrap().to_owned());
        (answer.status(), asked.unwrap_or_default())
    }

    #[tokio::test]
    async fn who_acts_shows_the_token_and_who_watches_where_that_is_private() {
        for private in [false, true] {
            let guard = Guard::new(Some(token()), private);
            for (path, scheme) in [
                ("/probe", None),
                ("/watch", private.then_some("Basic")),
                ("/act", Some("Basic")),
                ("/press", Some("Bearer")),
            ] {
                for shown in ["", WRONG] {
                    let (status, asked) = ask(&guard, path, shown).await;
                    let wanted = scheme.map_or(StatusCode::OK, |_| StatusCode::UNAUTHORIZED);
                    assert_eq!(status, wanted, "{path} {shown} {private}");
                    let realm = scheme.map(|scheme| format!("{scheme} realm=\"bonker\""));
                    assert_eq!(asked, realm.unwrap_or_default(), "{path}");
                }
                for shown in [BEARER, BASIC] {
                    assert_eq!(ask(&guard, path, shown).await.0, StatusCode::OK, "{path}");
                }
            }
        }
    }

    #[tokio::test]
    async fn where_there_is_no_token_everybody_is_let_in() {
        let guard = Guard::new(None, false);
        for path in ["/probe", "/watch", "/act", "/press"] {
            assert_eq!(ask(&guard, path, "").await.0, StatusCode::OK, "{path}");
        }
    }
}
