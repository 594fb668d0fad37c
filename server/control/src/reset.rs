//! `POST /_reset`, with `serve --dev` only: between two tests, the bus as in a new data directory.
//!
//! Emptied: event buses (`default` and `fakemon` stay, without policies and tags), rules, targets and what waits for
//! them, archives, replays, connections with their secrets, API destinations, queues with their messages, message
//! move tasks, log groups with their lines, log policies, answers to log queries, pipes with their cursors, partner
//! event sources and webhooks, API keys with what they used, answer webhooks. Requests to webhooks in progress are
//! cut off.
//!
//! What stays: the journal, with all its events; fakémon, players, collections; counters in `/metrics`. Events put
//! before, commands included, have been processed when the answer comes.

use super::Shared;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use fakemon_http::desk;
use fakemon_http::refusal::Refusal;
use fakemon_model::limits::PUT_EVENTS_MAX;
use fakemon_sqs::moves;
use serde_json::{Value, json};
use std::sync::Arc;

/// Empties the bus; answers once it is empty, on disk too, with the position of that.
pub(super) async fn post(State(shared): State<Arc<Shared>>) -> Result<Json<Value>, Refusal> {
    if !shared.options.dev {
        let message = "this would empty the whole bus, for tests: start the server with --dev to allow it";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "not_dev", message));
    }
    // A task of its own: it is not cancelled when the client disconnects.
    let emptied = tokio::spawn(async move { empty(&shared).await }).await;
    emptied.unwrap_or_else(|error| Err(failed(error.to_string())))
}

async fn empty(shared: &Shared) -> Result<Json<Value>, Refusal> {
    let _nobody_makes_resources = shared.changing.lock().await;
    moves::end_all(&shared.sqs).await;
    let changes = shared.engine.registry().emptied();
    shared.recent.clear();
    shared.api.meters.clear();
    shared.sqs.pauses.clear();
    shared.logs.queries.clear();
    for changes in changes.chunks(PUT_EVENTS_MAX) {
        let written = desk::change(&shared.orders, changes.to_vec()).await;
        written.map_err(|error| error.refusal(&shared.engine))?;
    }
    let (engine, end) = (shared.engine.clone(), shared.engine.position());
    let emptied = tokio::task::spawn_blocking(move || engine.empty_bus(end)).await;
    emptied.unwrap_or_else(|error| Err(error.to_string())).map_err(failed)?;
    tracing::info!(position = %end, "the bus is empty: somebody asked for it");
    Ok(Json(json!({ "position": end.to_string() })))
}

fn failed(why: String) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_empty", why)
}
