//! Which path goes to which handler, and what all answers have in common.

use axum::{Router, extract::Request, middleware};
use http::Uri;
use tower::{ServiceBuilder, util::MapRequestLayer};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answers,
    app::App,
    audit,
    auth::{jwks, revoke, self_user, tokens},
    containers, documentation, health, jobs, keys, limits,
    limits::Crowd,
    synchronizations, templates,
};

/// Everything the gateway answers. Paths are known with and without a slash at their end.
pub fn gateway(app: App) -> Router {
    let (api, document) = api(&app).split_for_parts();
    let all = api
        .merge(documentation::routes(document))
        .layer(
            ServiceBuilder::new()
                .layer(middleware::from_fn_with_state(app.trail.clone(), audit::record))
                .layer(middleware::from_fn(answers::finish))
                .layer(CatchPanicLayer::custom(answers::panicked)),
        )
        .with_state(app);
    // Before the path is looked at, so outside of the router that does.
    Router::new().fallback_service(ServiceBuilder::new().layer(MapRequestLayer::new(without_last_slash)).service(all))
}

/// The calls and their description.
fn api(app: &App) -> OpenApiRouter<App> {
    let timely = OpenApiRouter::new()
        .routes(routes!(jobs::list::list))
        .routes(routes!(jobs::get::get))
        .routes(routes!(jobs::keys::keys))
        .routes(routes!(templates::create::create, templates::list::list))
        .routes(routes!(templates::get::get, templates::update::update, templates::delete::delete))
        .routes(routes!(containers::create::create, containers::list::list))
        .routes(routes!(containers::get::get, containers::update::update, containers::delete::delete))
        .routes(routes!(containers::update_acls::update_acls))
        .routes(routes!(containers::archive::archive))
        .routes(routes!(containers::recover::recover))
        .routes(routes!(keys::list::list))
        .routes(routes!(keys::get::get))
        .routes(routes!(synchronizations::create::create, synchronizations::list::list))
        .routes(routes!(synchronizations::get::get))
        .routes(routes!(synchronizations::cancel::cancel))
        .routes(routes!(tokens::create))
        .routes(routes!(jwks::keys))
        .routes(routes!(revoke::revoke))
        .routes(routes!(revoke::delete))
        .routes(routes!(self_user::self_user))
        .layer(middleware::from_fn_with_state(app.request_timeout, limits::deadline));
    // These know better how long they may take.
    let patient = OpenApiRouter::new().routes(routes!(jobs::create::create)).routes(routes!(jobs::cancel::cancel));
    let counted = timely.merge(patient).layer(middleware::from_fn_with_state(app.crowd.clone(), Crowd::admit));
    OpenApiRouter::with_openapi(documentation::document())
        .merge(counted)
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
}

/// Clients end paths with a slash or not, and do not follow redirects.
fn without_last_slash(mut request: Request) -> Request {
    let path = request.uri().path();
    if let Some(path) = path.strip_suffix('/').filter(|path| !path.is_empty()) {
        let path_and_query = match request.uri().query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        };
        let mut parts = request.uri().clone().into_parts();
        if let Ok(path_and_query) = path_and_query.parse() {
            parts.path_and_query = Some(path_and_query);
            if let Ok(uri) = Uri::from_parts(parts) {
                *request.uri_mut() = uri;
            }
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn one_slash_at_the_end_is_taken_away() {
        for (given, path) in [
            ("/a/b/", "/a/b"),
            ("/a/b", "/a/b"),
            ("/a/?x=/", "/a?x=/"),
            ("/a//", "/a/"),
            ("/", "/"),
            ("https://host/a/", "https://host/a"),
        ] {
            let request = Request::builder().uri(given).body(Body::empty()).unwrap();
            assert_eq!(without_last_slash(request).uri().to_string(), path);
        }
    }
}
