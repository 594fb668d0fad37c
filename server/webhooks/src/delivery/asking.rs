//! A single request to an API destination whose answer is awaited: with the credentials, the rate and the guard of
//! deliveries, but without retries, within the time of the caller.

use super::connection::{ANSWER_BYTES_MAX, Wire, exchange_within};
use super::request::{self, Content, Stamp};
use super::{Webhooks, destination};
use axum::http::StatusCode;
use fakemon_delivery::{Failed, FailureCode};
use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Idle connections that are kept: of authorizers, and of all pipes.
const IDLE_MAX: usize = 256;

/// Connections not in use now.
#[derive(Default)]
pub(crate) struct Idle(Mutex<Vec<Wire>>);

impl Idle {
    pub(crate) fn take(&self, authority: &str) -> Option<Wire> {
        let mut wires = self.0.lock();
        let index = wires.iter().rposition(|wire| wire.is_to(authority))?;
        Some(wires.swap_remove(index))
    }

    pub(crate) fn keep(&self, wire: Wire) {
        let mut wires = self.0.lock();
        if wires.len() >= IDLE_MAX {
            wires.remove(0); // used longest ago
        }
        wires.push(wire);
    }
}

/// Sends a JSON body to an API destination; returns the status and the start of the answer.
pub async fn ask(
    hooks: &Webhooks,
    name: &str,
    body: &str,
    patience: Duration,
) -> Result<(StatusCode, Vec<u8>), Failed> {
    let deadline = Instant::now() + patience;
    let late = |_| {
        Failed::for_now(FailureCode::Timeout, format!("{name} did not answer within {} s", patience.as_secs_f32()))
    };
    tokio::time::timeout_at(deadline, exchange(hooks, name, body, deadline)).await.map_err(late)?
}

async fn exchange(
    hooks: &Webhooks,
    name: &str,
    body: &str,
    deadline: Instant,
) -> Result<(StatusCode, Vec<u8>), Failed> {
    let recipient = destination(&hooks.engine.registry(), name)?;
    hooks.pace(&recipient).await;
    let additions = hooks.additions(&recipient, false).await?;
    let content = Content { parameters: None, body, stamp: Stamp::of_question() };
    let outgoing = request::build(&recipient.destination, &additions, &content)?;
    let mut wire = hooks.idle.take(&outgoing.authority());
    let left = deadline.saturating_duration_since(Instant::now());
    let answered = exchange_within(hooks, &mut wire, outgoing, left, ANSWER_BYTES_MAX).await;
    if let Some(wire) = wire {
        hooks.idle.keep(wire);
    }
    answered.map(|answered| (answered.status, answered.body))
}
