//! `POST /checkpoint`: copies the data directory while the server runs. It writes where the caller says, so the
//! caller has to send the word stored in the data directory: a process that can read it has all the data already, and
//! a web page, or a client that merely reaches the port, has not. The command `fakemon checkpoint` makes the request.
//!
//! `{"to":"/an/absolute/path","word":"…"}` → `{"position":"4711"}`: the copy has all events before it.

use super::Shared;
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use fakemon_http::refusal::Refusal;

use fakemon_pattern::typed;
use serde::Deserialize;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Deserialize)]
struct Request {
    to: PathBuf,
    word: String,
}

/// Copies; answers once the copy is on disk.
pub(super) async fn post(State(shared): State<Arc<Shared>>, body: Bytes) -> Result<Json<Value>, Refusal> {
    let request: Request = typed::from_slice(&body).map_err(|error| {
        Refusal::new(StatusCode::BAD_REQUEST, "bad_request", format!("it must be {{\"to\",\"word\"}}: {error}"))
    })?;
    if !shared.options.word.is(&request.word) {
        let message = "the word is not the one in the data directory: use `fakemon checkpoint`";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "wrong_word", message));
    }
    if !request.to.is_absolute() {
        return Err(Refusal::field("bad_path", "to", "to must be an absolute path"));
    }
    let engine = shared.engine.clone();
    let copied = tokio::task::spawn_blocking(move || engine.checkpoint(&request.to)).await;
    let failed = |why: String| Refusal::new(StatusCode::CONFLICT, "not_copied", why);
    let copied = copied.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
    tracing::info!(position = %copied.position, "a checkpoint was made");
    Ok(Json(json!({ "position": copied.position.to_string() })))
}
