//! The token, demanded of everybody but probes.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};

use crate::auth::Token;

/// Probes have no token.
const OPEN: [&str; 2] = ["/live", "/ready"];

/// `routes`, for who shows the token as a bearer or as a password, if there is one.
pub(super) fn demand(token: Option<Token>, routes: Router) -> Router {
    let Some(token) = token else { return routes };
    routes.layer(from_fn(move |request: Request, next: Next| {
        let shown = request.headers().get(header::AUTHORIZATION);
        let open = OPEN.contains(&request.uri().path());
        let admitted = open || token.admits(shown.map(HeaderValue::as_bytes));
        async move {
            if admitted {
                next.run(request).await
            } else {
                refusal()
            }
        }
    }))
}

fn refusal() -> Response {
    // Browsers ask people for a password then: any user, and the token.
    let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"bonker\"")];
    let words = "show the token of --token-file, as a bearer or as the password of any user\n";
    (StatusCode::UNAUTHORIZED, ask, words).into_response()
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::http::{Request, StatusCode, header};
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::demand;
    use crate::auth::Token;

    #[tokio::test]
    async fn only_probes_come_in_without_the_token() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "0123456789abcdef").unwrap();
        let token = Token::read(file.path()).unwrap();
        let routes = ["/", "/live", "/ready"]
            .iter()
            .fold(Router::new(), |routes, path| {
                routes.route(path, get(|| async { "in" }))
            });
        let guarded = demand(Some(token), routes.clone());
        let status = async |routes: &Router, path: &str, shown: &str| {
            let request = Request::get(path).header(header::AUTHORIZATION, shown);
            let answer = routes
                .clone()
                .oneshot(request.body(Body::empty()).unwrap())
                .await;
            answer.unwrap().status()
        };
        for (path, shown, wanted) in [
            ("/", "", StatusCode::UNAUTHORIZED),
            ("/none", "", StatusCode::UNAUTHORIZED),
            ("/", "Bearer 0123456789abcdeX", StatusCode::UNAUTHORIZED),
            ("/", "Bearer 0123456789abcdef", StatusCode::OK),
            ("/", "Basic bWU6MDEyMzQ1Njc4OWFiY2RlZg==", StatusCode::OK),
            ("/live", "", StatusCode::OK),
            ("/ready", "", StatusCode::OK),
        ] {
            assert_eq!(
                status(&guarded, path, shown).await,
                wanted,
                "{path} {shown}"
            );
        }
        assert_eq!(status(&demand(None, routes), "/", "").await, StatusCode::OK);
    }
}
