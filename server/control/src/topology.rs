//! `GET /topology`: the graph of sources, buses, rules and targets, as JSON.

use super::Shared;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use fakemon_http::refusal::Refusal;
use std::sync::Arc;

/// The graph of now. Rules are looked at one by one, so it is made beside the thread that answers everybody, once for
/// all who ask within a moment.
pub(super) async fn get(State(shared): State<Arc<Shared>>) -> Result<impl IntoResponse, Refusal> {
    let engine = shared.engine.clone();
    let made = shared.topology.get(async {
        let made = tokio::task::spawn_blocking(move || serde_json::to_vec(&engine.topology()));
        let json = made.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        Ok::<_, String>(json.into())
    });
    let json = made.await.map_err(|error| Refusal::stopped(Some(error)))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], json))
}
