//! `GET /topology`: who emits what and who consumes it, as JSON.

use super::Shared;
use super::refusal::Refusal;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// The graph of now. Rules are looked at one by one, so it is made beside the thread that answers everybody.
pub(super) async fn get(State(shared): State<Arc<Shared>>) -> Response {
    let engine = shared.engine.clone();
    match tokio::task::spawn_blocking(move || engine.topology()).await {
        Ok(topology) => Json(topology).into_response(),
        Err(error) => Refusal::stopped(Some(error.to_string())).into_response(),
    }
}
