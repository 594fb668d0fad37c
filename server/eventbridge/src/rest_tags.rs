//! Tags of resources whose service has paths of its own. The services share the path `/tags/{ResourceArn}`; the ARN
//! tells the service.

use crate::{pipes, schedules, schemas};
use axum::Router;
use axum::routing::MethodFilter;
use fakemon_aws::Api;
use fakemon_aws::request::Request;
use fakemon_aws::rest::{self, Kind};
use fakemon_aws::{ApiError, Call, Operation, Reply, services};
use fakemon_resource::Registry;
use std::sync::Arc;

pub(crate) fn routes() -> Router<Arc<Api>> {
    let list = rest::route(MethodFilter::GET, |registry, request, call| of("list", registry, request, call), &[]);
    let tag = rest::route(MethodFilter::POST, |registry, request, call| of("tag", registry, request, call), &[]);
    let keys = &[("TagKeys", "TagKeys", Kind::Texts), ("tagKeys", "TagKeys", Kind::Texts)];
    let untag =
        rest::route(MethodFilter::DELETE, |registry, request, call| of("untag", registry, request, call), keys);
    Router::new().route("/tags/{ResourceArn}", list.merge(tag).merge(untag))
}

/// Passes the request to the service of the resource.
fn of(act: &str, registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let arn = request.required("ResourceArn");
    request.check()?;
    let operation: Option<Operation> = match arn.split(':').nth(2) {
        Some("pipes") => pipes::tag_operation(act),
        Some("scheduler") => schedules::tag_operation(act),
        Some("schemas") => schemas::tag_operation(act),
        Some("apigateway") => {
            let name = match act {
                "list" => "GetTags",
                "tag" => "TagResource",
                _ => "UntagResource",
            };
            return Err(services::not_here("apigateway", name));
        }
        _ => None,
    };
    let unknown =
        || ApiError::invalid(format!("Parameter {arn} is not valid. Reason: it names nothing that has tags."));
    operation.ok_or_else(unknown)?(registry, request, call)
}
