//! Amazon EventBridge Schemas: registries, schemas and their versions, discoverers, code. Beyond AWS: FlatBuffers
//! schemas (`Type: FlatBuffers`), code for Rust, and versions that have to be compatible (the tag
//! `fakemon:compatibility` of a schema or of its registry: `none`, `backward`, `forward`, `full`).
//!
//! - `lookup`: reads resources: created by clients, found by discoverers, and built in
//! - `registries`: registries and their policies
//! - `documents`: schemas, versions, export, search
//! - `discoverers`: discoverers and their buses
//! - `code`: types for programming languages
//! - `tagging`: tags of all of them
//!
//! Two registries always exist: `discovered-schemas`, and `fakemon.events` with our own schemas, which is read-only.

mod lookup;
mod registries;
mod documents;
mod discoverers;
mod code;
mod tagging;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::routing::{MethodFilter, MethodRouter, get};
use fakemon_aws::Api;
use fakemon_aws::request::Request;
use fakemon_aws::rest::{self, InQuery, Kind};
use fakemon_aws::{ApiError, BODY_BYTES_MAX, Operation};
use fakemon_model::envelope::ACCOUNT;
use fakemon_model::ids::Timestamp;
use serde_json::{Map, Value};
use std::sync::Arc;
pub(super) use tagging::operation as tag_operation;

const LIST: &[InQuery] = &[
    ("limit", "Limit", Kind::Number),
    ("nextToken", "NextToken", Kind::Text),
    ("registryNamePrefix", "RegistryNamePrefix", Kind::Text),
    ("scope", "Scope", Kind::Text),
    ("schemaNamePrefix", "SchemaNamePrefix", Kind::Text),
    ("keywords", "Keywords", Kind::Text),
    ("discovererIdPrefix", "DiscovererIdPrefix", Kind::Text),
    ("sourceArnPrefix", "SourceArnPrefix", Kind::Text),
];
const VERSION: &[InQuery] = &[("schemaVersion", "SchemaVersion", Kind::Text), ("type", "Type", Kind::Text)];
const POLICY: &[InQuery] = &[("registryName", "RegistryName", Kind::Text)];

/// The routes of the service.
pub(crate) fn routes() -> Router<Arc<Api>> {
    const REGISTRY: &str = "/v1/registries/name/{RegistryName}";
    let schema = |rest: &str| format!("{REGISTRY}/schemas/name/{{SchemaName}}{rest}");
    let policy = asked(registries::policy, POLICY)
        .merge(put(registries::put_policy, POLICY))
        .merge(delete(registries::delete_policy, POLICY));
    let language = asked(code::describe, VERSION).merge(rest::answered(
        MethodFilter::POST,
        code::put,
        VERSION,
        StatusCode::ACCEPTED,
    ));
    let discoverers = asked(discoverers::list, LIST).merge(created(discoverers::create));
    let router = Router::new()
        .route("/v1/registries", asked(registries::list, LIST))
        .route(REGISTRY, resource(registries::describe, registries::create, registries::update, registries::delete))
        .route("/v1/policy", policy)
        .route(&format!("{REGISTRY}/schemas"), asked(documents::list, LIST))
        .route(&format!("{REGISTRY}/schemas/search"), asked(documents::search, LIST))
        .route(&schema(""), resource(documents::describe, documents::create, documents::update, documents::delete))
        .route(&schema("/versions"), asked(documents::list_versions, LIST))
        .route(&schema("/version/{SchemaVersion}"), delete(documents::delete_version, &[]))
        .route(&schema("/export"), asked(documents::export, VERSION))
        .route(&schema("/language/{Language}"), language)
        .route(&schema("/language/{Language}/source"), get(code::source))
        .route("/v1/discover", rest::route(MethodFilter::POST, documents::discover, &[]))
        .route("/v1/discoverers", discoverers)
        .route(
            "/v1/discoverers/id/{DiscovererId}",
            asked(discoverers::describe, &[])
                .merge(put(discoverers::update, &[]))
                .merge(delete(discoverers::delete, &[])),
        )
        .route("/v1/discoverers/id/{DiscovererId}/start", rest::route(MethodFilter::POST, discoverers::start, &[]))
        .route("/v1/discoverers/id/{DiscovererId}/stop", rest::route(MethodFilter::POST, discoverers::stop, &[]));
    router.layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}

type Routed = MethodRouter<Arc<Api>>;

fn resource(describe: Operation, create: Operation, update: Operation, remove: Operation) -> Routed {
    asked(describe, VERSION).merge(created(create)).merge(put(update, &[])).merge(delete(remove, &[]))
}

fn asked(operation: Operation, query: &'static [InQuery]) -> Routed {
    rest::route(MethodFilter::GET, operation, query)
}

fn put(operation: Operation, query: &'static [InQuery]) -> Routed {
    rest::route(MethodFilter::PUT, operation, query)
}

fn created(operation: Operation) -> Routed {
    rest::answered(MethodFilter::POST, operation, &[], StatusCode::CREATED)
}

fn delete(operation: Operation, query: &'static [InQuery]) -> Routed {
    rest::answered(MethodFilter::DELETE, operation, query, StatusCode::NO_CONTENT)
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::new("BadRequestException", message)
}

fn missing(message: impl Into<String>) -> ApiError {
    ApiError::new("NotFoundException", message)
}

fn conflict(message: impl Into<String>) -> ApiError {
    ApiError::new("ConflictException", message)
}

fn forbidden(message: impl Into<String>) -> ApiError {
    ApiError { status: StatusCode::FORBIDDEN, code: "ForbiddenException", message: message.into() }
}

/// Renames validation errors as this service does.
fn as_bad(error: ApiError) -> ApiError {
    if error.code == "ValidationException" { bad(error.message) } else { error }
}

fn check(request: &Request<'_>) -> Result<(), ApiError> {
    request.check().map_err(as_bad)
}

fn arn(region: &str, resource: &str) -> String {
    format!("arn:aws:schemas:{region}:{ACCOUNT}:{resource}")
}

fn moment(at: Timestamp) -> Value {
    at.to_string().into()
}

/// A page of items, under the member `name`.
fn page(
    request: &Request<'_>,
    name: &str,
    things: impl IntoIterator<Item = (String, Value)>,
) -> Result<Value, ApiError> {
    let (page, next) = request.page(name, things).map_err(as_bad)?;
    let mut answer = Map::new();
    answer.insert(name.into(), page.into());
    next.into_iter().for_each(|next| drop(answer.insert("NextToken".into(), next.into())));
    Ok(answer.into())
}
