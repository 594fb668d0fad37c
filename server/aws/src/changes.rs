//! Changes of resources: decided on the registry, durable before the answer, one request at a time.

use crate::request::Request;
use crate::{ApiError, Call, Operation, Reply};
use axum::http::StatusCode;
use fakemon_http::Backend;
use fakemon_http::desk::{self, EngineClientError};
use fakemon_resource::Registry;
use fakemon_resource::resource::Change;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Retries of throttled changes whose secrets are written already.
const SECRET_TRIES_MAX: u32 = 50;

/// While one is held, no other request changes resources.
pub type Turn = tokio::sync::OwnedMutexGuard<()>;

/// Decides, makes the changes durable, answers. One at a time, so that no operation decides on state that another one
/// is about to change.
pub async fn change(
    backend: &Arc<Backend>,
    operation: Operation,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    carry_out(backend, |registry: &Registry| operation(registry, request, call)).await
}

/// As [`change`], for any function that decides.
pub async fn carry_out<E: From<ApiError>>(
    backend: &Arc<Backend>,
    decide: impl FnOnce(&Registry) -> Result<Reply, E>,
) -> Result<Value, E> {
    let one_at_a_time = Arc::clone(&backend.changing).lock_owned().await;
    carry_out_in(one_at_a_time, backend, decide).await
}

/// The same in a turn that began before.
pub async fn carry_out_in<E: From<ApiError>>(
    one_at_a_time: Turn,
    backend: &Arc<Backend>,
    decide: impl FnOnce(&Registry) -> Result<Reply, E>,
) -> Result<Value, E> {
    let registry = backend.engine.registry();
    let Reply { answer, changes, secrets } = decide(&registry)?;
    drop(registry);
    if changes.is_empty() && secrets.is_empty() {
        return Ok(answer);
    }
    // A task of its own holds the lock until all is durable: the client may hang up, and the next operation must not
    // decide before these changes are written.
    let backend = Arc::clone(backend);
    let written = tokio::spawn(async move {
        let _one_at_a_time = one_at_a_time;
        write(&backend, changes, secrets).await
    });
    written.await.map_err(|error| ApiError::internal(error.to_string()))??;
    Ok(answer)
}

/// Makes changes durable, with the secrets of connections: new secrets before them, so that no connection exists
/// without its secret; deleted ones after.
async fn write(
    backend: &Backend,
    changes: Vec<Change>,
    secrets: Vec<(String, Option<Value>)>,
) -> Result<(), ApiError> {
    let (new, gone): (Vec<_>, Vec<_>) = secrets.into_iter().partition(|(_, secret)| secret.is_some());
    let mut tries_left = if new.is_empty() { 0 } else { SECRET_TRIES_MAX };
    write_secrets(backend, new).await?;
    while !changes.is_empty() {
        match desk::change(&backend.orders, changes.clone()).await {
            Ok(_) => break,
            // The secret is written: refusing now would leave the old connection with the new secret.
            Err(EngineClientError::Throttled(retry_after_ms)) if tries_left > 0 => {
                tries_left -= 1;
                tokio::time::sleep(Duration::from_millis(retry_after_ms.into())).await;
            }
            Err(error) => return Err(unavailable(backend, &error)),
        }
    }
    write_secrets(backend, gone).await
}

async fn write_secrets(backend: &Backend, secrets: Vec<(String, Option<Value>)>) -> Result<(), ApiError> {
    for (connection, secret) in secrets {
        let engine = backend.engine.clone();
        let written = tokio::task::spawn_blocking(move || {
            let secret = secret.map(|secret| secret.to_string().into_bytes());
            engine.secrets().set(&connection, secret.as_deref())
        });
        written.await.map_err(|error| ApiError::internal(error.to_string()))?.map_err(ApiError::internal)?;
    }
    Ok(())
}

pub fn unavailable(backend: &Backend, error: &EngineClientError) -> ApiError {
    match error {
        EngineClientError::Throttled(retry_after_ms) => {
            ApiError::new("ThrottlingException", format!("Rate exceeded: try again after {retry_after_ms} ms"))
        }
        EngineClientError::TooLarge => {
            ApiError::invalid("Total size of the entries in the request is over the limit.")
        }
        EngineClientError::Refused(error) => ApiError::invalid(error.to_string()),
        EngineClientError::Reserved(error) => ApiError::invalid(error.to_string()),
        EngineClientError::Invalid(error) => ApiError::invalid(error.to_string()),
        EngineClientError::Stopped => ApiError {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "ServiceUnavailable",
            message: backend.engine.failure().unwrap_or_else(|| "the server is stopping".into()),
        },
    }
}
