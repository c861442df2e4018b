//! `/api/openapi.json` and a page to browse it at `/api/docs`.
//!
//! Handlers describe themselves; what holds for all of them (the error bodies, the headers) is added here in one place,
//! from the same table that the errors themselves are made from.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::Path,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, header};
use utoipa::{
    OpenApi as _, ToSchema as _,
    openapi::{
        ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder,
        header::HeaderBuilder,
        path::{Operation, Parameter, ParameterIn, PathItem},
        schema::{ObjectBuilder, Type},
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};
use utoipa_swagger_ui::Config;

use crate::{answers::ErrorBody, app::App, error::ApiError};

/// Where the document is.
const DOCUMENT: &str = "/api/openapi.json";
/// What scripts and styles the page may use: its own.
const PAGE_POLICY: &str =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'";
/// The page. Its files are named in full, so that it also works without a slash at its own path's end.
const PAGE: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="UTF-8">
<title>Keyfleet API</title>
<link rel="stylesheet" href="/api/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/api/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="/api/docs/swagger-ui-bundle.js"></script>
<script src="/api/docs/swagger-ui-standalone-preset.js"></script>
<script src="/api/docs/swagger-initializer.js"></script>
</body>
</html>
"#;

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Keyfleet",
        description = "Runs one AWS KMS operation over a whole fleet of keys, and stops it on demand. Every path is also known with a slash at its end. The calls and bodies are those of Thales CipherTrust Cloud Key Manager's bulk jobs."
    ),
    components(schemas(ErrorBody)),
    security(("token" = []))
)]
struct Base;

/// The document before the calls are added.
pub(crate) fn document() -> OpenApi {
    let mut document = Base::openapi();
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    document.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    document
}

/// The document and the page.
pub(crate) fn routes(mut document: OpenApi) -> Router<App> {
    add_errors(&mut document);
    let document = Arc::new(document);
    let config = Arc::new(Config::from(DOCUMENT));
    Router::new()
        .route(DOCUMENT, get(async move || Json(&*document).into_response()))
        .route("/api/docs", get(async || page(PAGE.as_bytes().to_vec(), "text/html; charset=utf-8")))
        .route("/api/docs/{*file}", get(async move |Path(file): Path<String>| page_file(&file, config)))
}

fn page_file(file: &str, config: Arc<Config<'static>>) -> Response {
    match utoipa_swagger_ui::serve(file, config) {
        Ok(Some(found)) => {
            let gzipped = found.gzpipped;
            let mut response = page(found.bytes.into_owned(), &found.content_type);
            if gzipped {
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
        Ok(None) => ApiError::NotFound("there is nothing under this path".to_owned()).into_response(),
        Err(error) => {
            tracing::error!(%error, file, "A file of the documentation could not be made.");
            ApiError::Internal.into_response()
        }
    }
}

fn page(content: Vec<u8>, content_type: &str) -> Response {
    let mut response = content.into_response();
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(PAGE_POLICY));
    response
}

/// Adds to each call the errors that it can answer with.
fn add_errors(document: &mut OpenApi) {
    for (path, item) in &mut document.paths.paths {
        let has_id = path.contains("{id}");
        for operation in operations(item) {
            add_errors_of(operation, path, has_id);
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch].into_iter().flatten()
}

fn add_errors_of(operation: &mut Operation, path: &str, has_id: bool) {
    let text = String::new;
    let takes_body = operation.request_body.is_some();
    let in_query = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query);
    let takes_query = operation.parameters.iter().flatten().any(in_query);
    let open = operation.security.is_some();
    let login = path.ends_with("/auth/tokens");
    let under_api = path.starts_with("/api/v1");
    let mut errors = BTreeMap::new();
    let mut add = |holds: bool, error: ApiError, when: &'static str| {
        if holds {
            errors.insert(error.kind().0.as_u16(), (error, when));
        }
    };
    add(takes_body || takes_query, ApiError::BadRequest(text()), "Malformed or invalid; the message names the field");
    add(!open, ApiError::Unauthorized(text()), "No token, a bad or an expired one");
    add(login, ApiError::Unauthorized(text()), "Wrong user, password, domain or refresh token");
    let forbidden = "A permission is missing on a container; the message names both";
    add(!open && !path.contains("/auth/"), ApiError::Forbidden(text()), forbidden);
    add(has_id, ApiError::NotFound(text()), "Unknown, or another tenant's");
    add(takes_body, ApiError::BodyTooSlow, "The body did not arrive in time");
    add(takes_body, ApiError::TooLarge(0), "The body is too large");
    add(takes_body, ApiError::UnsupportedType(text()), "The Content-Type is not JSON");
    if let Some(when) = conflict(operation.operation_id.as_deref().unwrap_or_default()) {
        add(true, ApiError::Conflict(text()), when);
    }
    let too_fast = ApiError::TooFast { message: text(), retry_after: Duration::ZERO };
    add(!open, too_fast.clone(), "Too many requests of this token, or running jobs of this tenant");
    add(login, too_fast, "Too many failed logins of this user from this address");
    add(
        under_api,
        ApiError::Unavailable(text()),
        "A part is down, no scheduler leads yet, or too much is asked at once",
    );
    add(under_api, ApiError::Internal, "A fault of Keyfleet's own");
    for (status, (error, when)) in errors {
        operation.responses.responses.entry(status.to_string()).or_insert_with(|| response(&error, when));
    }
}

/// When this call contradicts what is there, if it can.
fn conflict(call: &str) -> Option<&'static str> {
    match call {
        "create_job" => Some("The same Idempotency-Key with another body, or a key's container is archived"),
        "create_template" => Some("There is one of this name"),
        "update_template" => Some("auto_push, and the container of a key that has it is archived"),
        "create_synchronization" => Some("One runs for one of the containers, or one of them is archived"),
        "create_container" => Some("The name is taken, or another container has the account"),
        "update_container" => Some("The name is taken, or it is the default container"),
        "delete_container" => Some("A job or a synchronization of it runs, or it is the default container"),
        "archive_container" | "recover_container" => Some("It is the default container"),
        _ => None,
    }
}

fn response(error: &ApiError, when: &str) -> RefOr<utoipa::openapi::Response> {
    let (_, code, desc) = error.kind();
    let text = |description: &str| {
        HeaderBuilder::new()
            .schema(Some(ObjectBuilder::new().schema_type(Type::String)))
            .description(Some(description))
            .build()
    };
    let mut response = ResponseBuilder::new()
        .description(format!("{when}. Code {code}, {desc}"))
        .content(
            "application/json",
            ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build(),
        )
        .header("X-Request-Id", text("The request's id"));
    if matches!(error, ApiError::TooFast { .. } | ApiError::Unavailable(_)) {
        response = response.header("Retry-After", text("Seconds"));
    }
    RefOr::T(response.build())
}
