//! Operations of Amazon EventBridge, its Pipes, Scheduler and Schemas.
//!
//! - `lookup`: resources by name, or the service's error
//! - `http_parameters`: parameters that targets and connections add to requests
//! - [`partners`], `tags`, `buses`, `rules`, `targets`, [`events`], `connections`, [`archives`]: operations of
//!   `AWSEvents`
//! - `pipes`: operations of Amazon EventBridge Pipes
//! - `schedules`: operations of Amazon EventBridge Scheduler
//! - `schemas`: operations of Amazon EventBridge Schemas
//! - `rest_tags`: tags of resources whose service has paths of its own
//!
//! Beyond AWS: an entry for a bus that does not exist fails; tags of a rule set the order of its deliveries
//! (`fakemon:order`: `total` or `none`, `fakemon:concurrency`: 1 to 64); `TestEventPattern` takes `Explain`. Regions
//! and accounts share one namespace: those in an ARN are stored and shown, but have no effect.

#![allow(
    missing_docs,
    reason = "nothing outside of this workspace reads them; a doc that repeats a name says nothing"
)]

mod lookup;
mod http_parameters;
pub mod partners;
mod tags;
mod buses;
mod rules;
mod targets;
pub mod events;
mod connections;
pub mod archives;
mod pipes;
mod schedules;
mod schemas;
mod rest_tags;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use fakemon_aws::{Api, BODY_BYTES_MAX, Operation};
use std::sync::Arc;

/// The operation of `AWSEvents` of a name, if only the registry decides it.
pub fn operation(name: &str) -> Option<Operation> {
    let families = [
        buses::operation,
        partners::operation,
        rules::operation,
        targets::operation,
        connections::operation,
        archives::operation,
        tags::operation,
    ];
    families.iter().find_map(|family| family(name))
}

/// Operations with paths of their own.
pub fn routes() -> Router<Arc<Api>> {
    let routes = pipes::routes().merge(schedules::routes()).merge(schemas::routes()).merge(rest_tags::routes());
    routes.layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
}
