//! `/tags/{ResourceArn}`: tags of whatever has paths of its own. The ARN says which service is meant; what each wants to
//! see and says differs a little.

use super::request::Request;
use super::rest::{InQuery, Kind, route};
use super::{ApiError, Call, Operation, Reply, pipes};
use crate::control::Shared;
use axum::Router;
use axum::routing::MethodFilter;
use fakemon_engine::bus::Registry;
use std::sync::Arc;

const IN_UNTAG: &[InQuery] = &[("tagKeys", "TagKeys", Kind::Texts)];

/// The paths.
pub(in crate::control) fn routes() -> Router<Arc<Shared>> {
    let all = route(MethodFilter::POST, tag, &[]).merge(route(MethodFilter::DELETE, untag, IN_UNTAG)).merge(route(
        MethodFilter::GET,
        list,
        &[],
    ));
    Router::new().route("/tags/{ResourceArn}", all)
}

/// The operations of a service on tags: put, take away, list.
fn operations(request: &Request<'_>) -> Result<[Operation; 3], ApiError> {
    let arn = request.required("ResourceArn");
    request.check()?;
    match arn.split(':').nth(2) {
        Some("pipes") => Ok([pipes::tag, pipes::untag, pipes::list_tags]),
        _ => Err(ApiError::new("NotFoundException", format!("there is no resource {arn} here"))),
    }
}

fn tag(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let [tag, ..] = operations(request)?;
    tag(registry, request, call)
}

fn untag(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let [_, untag, _] = operations(request)?;
    untag(registry, request, call)
}

fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let [.., list] = operations(request)?;
    list(registry, request, call)
}
