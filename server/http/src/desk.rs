//! The engine client of the control thread. A client belongs to one thread, and its requests have tokens; HTTP
//! requests are tasks that wait for an answer. The desk takes all waiting orders as one batch, and returns each
//! answer to its task.

use crate::refusal::Refusal;
use anyhow::Context;
use axum::http::StatusCode;
use fakemon_capture::command::{Completion, Spawn, SpawnError, SubmitError};
use fakemon_delivery::commands::field_of;
use fakemon_engine::{Client, Engine};
use fakemon_model::authorship::Reserved;
use fakemon_model::ids::{FakemonId, Position, Token};
use fakemon_resource::resource::Change;
use fakemon_resource::{InvalidChange, NewEvent};
use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};

/// Orders that may wait for the desk; more are throttled.
pub const ORDERS_WAITING_MAX: usize = 1_024;
/// Orders that the engine has not completed, at most.
const IN_FLIGHT_MAX: usize = 4_096;

/// A request to the engine, and the channel for its answer.
pub struct Order {
    what: What,
    answer: oneshot::Sender<Answer>,
}

enum What {
    Spawn(Spawn),
    Put(Vec<NewEvent>),
    /// Events of the server itself.
    Tell(Vec<NewEvent>),
    Change(Vec<Change>),
}

/// The position in the journal and, for a spawn, the fakémon; or the error.
type Answer = Result<(Position, Option<FakemonId>), SubmitError>;

/// The client, and the orders that wait for it.
pub struct EngineClient {
    client: Client,
    readiness: AsyncFd<OwnedFd>,
    waiting: HashMap<Token, oneshot::Sender<Answer>>,
    next_token: u64,
    completions: Vec<Completion>,
}

/// Submits a spawn and waits until it is durable.
pub async fn spawn(orders: &mpsc::Sender<Order>, spawn: Spawn) -> Result<(Position, FakemonId), EngineClientError> {
    let (position, fakemon_id) = bring(orders, What::Spawn(spawn)).await?;
    Ok((position, fakemon_id.expect("a spawn is answered with its fakémon")))
}

/// Submits events and waits until they are durable; returns the position of the first.
pub async fn put(orders: &mpsc::Sender<Order>, events: Vec<NewEvent>) -> Result<Position, EngineClientError> {
    Ok(bring(orders, What::Put(events)).await?.0)
}

/// As [`put`], for events of the server itself, whose sources are reserved.
pub async fn tell(orders: &mpsc::Sender<Order>, events: Vec<NewEvent>) -> Result<Position, EngineClientError> {
    Ok(bring(orders, What::Tell(events)).await?.0)
}

/// Submits changes of resources and waits until they are durable; returns the position of the first.
pub async fn change(orders: &mpsc::Sender<Order>, changes: Vec<Change>) -> Result<Position, EngineClientError> {
    Ok(bring(orders, What::Change(changes)).await?.0)
}

async fn bring(orders: &mpsc::Sender<Order>, what: What) -> Result<(Position, Option<FakemonId>), EngineClientError> {
    let (answer, answered) = oneshot::channel();
    match orders.try_send(Order { what, answer }) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(_)) => return Err(EngineClientError::Throttled(RETRY_AFTER_MS)),
        Err(mpsc::error::TrySendError::Closed(_)) => return Err(EngineClientError::Stopped),
    }
    match answered.await {
        Ok(Ok(written)) => Ok(written),
        Ok(Err(SubmitError::Throttled(throttled))) => Err(EngineClientError::Throttled(throttled.retry_after_ms)),
        Ok(Err(SubmitError::Spawn(error))) => Err(EngineClientError::Refused(error)),
        Ok(Err(SubmitError::Reserved(error))) => Err(EngineClientError::Reserved(error)),
        Ok(Err(SubmitError::TooLarge)) => Err(EngineClientError::TooLarge),
        Ok(Err(SubmitError::Invalid(error))) => Err(EngineClientError::Invalid(error)),
        Ok(Err(SubmitError::Stopped)) | Err(_) => Err(EngineClientError::Stopped),
    }
}

const RETRY_AFTER_MS: u32 = 100;

/// Why an order was not executed.
pub enum EngineClientError {
    /// Too much waits: retry after this many milliseconds.
    Throttled(u32),
    /// The spawn is invalid.
    Refused(SpawnError),
    /// Only the engine may put this event.
    Reserved(Reserved),
    /// More events or bytes than one put may have.
    TooLarge,
    /// Resources that cannot be so.
    Invalid(InvalidChange),
    /// The engine has stopped; whether it happened is in the journal.
    Stopped,
}

impl EngineClient {
    /// Opens a desk with a client of its own. Call it on its thread, inside the runtime.
    pub fn open(engine: &Engine) -> anyhow::Result<EngineClient> {
        let client = engine.client()?;
        let fd = client.as_fd().try_clone_to_owned();
        // SAFETY: the descriptor is owned by the `AsyncFd` from here on; nothing else closes it.
        let readiness = fd.and_then(|fd| Ok(unsafe { AsyncFd::register(fd) }?));
        let readiness = readiness.context("the readiness of the engine's client")?;
        Ok(EngineClient { client, readiness, waiting: HashMap::new(), next_token: 0, completions: Vec::new() })
    }

    /// Executes orders and returns answers until all senders are dropped.
    pub async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            while self.client.arm() {
                self.hand_out();
            }
            tokio::select! {
                order = orders.recv(), if self.waiting.len() < IN_FLIGHT_MAX => {
                    let Some(order) = order else { return };
                    self.take(order);
                    while self.waiting.len() < IN_FLIGHT_MAX && let Ok(order) = orders.try_recv() {
                        self.take(order);
                    }
                    self.client.flush();
                }
                ready = self.readiness.readable() => match ready {
                    // Cleared before the poll: readiness that comes after it is a new edge.
                    Ok(mut ready) => ready.clear_ready(),
                    Err(error) => return tracing::error!(%error, "the engine's client cannot be waited for"),
                },
            }
            self.hand_out();
        }
    }

    fn take(&mut self, order: Order) {
        let token = Token(self.next_token);
        self.next_token += 1;
        let submitted = match order.what {
            What::Spawn(spawn) => self.client.spawn(token, &spawn),
            What::Put(events) => self.client.put(token, events),
            What::Tell(events) => self.client.tell(token, events),
            What::Change(changes) => self.client.change(token, changes),
        };
        match submitted {
            Ok(()) => drop(self.waiting.insert(token, order.answer)),
            Err(error) => drop(order.answer.send(Err(error))), // the requester may have gone
        }
    }

    fn hand_out(&mut self) {
        self.client.poll(&mut self.completions);
        for completion in self.completions.drain(..) {
            let (token, answer) = match completion {
                Completion::Spawned { token, result } => {
                    let result = result.map(|(position, fakemon_id)| (position, Some(fakemon_id)));
                    (token, result.map_err(SubmitError::Spawn))
                }
                Completion::Written { token, position } => (token, Ok((position, None))),
                Completion::Decided { .. }
                | Completion::Throttled { .. }
                | Completion::Collection { .. }
                | Completion::Unreadable { .. } => continue,
            };
            if let Some(asked) = self.waiting.remove(&token) {
                drop(asked.send(answer)); // the requester may have gone
            }
        }
    }
}

impl EngineClientError {
    /// The HTTP answer; if the engine failed, with its reason.
    pub fn refusal(self, engine: &Engine) -> Refusal {
        match self {
            EngineClientError::Throttled(retry_after_ms) => Refusal::throttled(retry_after_ms),
            EngineClientError::Stopped => Refusal::stopped(engine.failure()),
            EngineClientError::TooLarge => {
                Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", SubmitError::TooLarge.to_string())
            }
            EngineClientError::Reserved(error) => Refusal::reserved(&error),
            EngineClientError::Invalid(error) => Refusal::field("bad_request", error.field, error.to_string()),
            EngineClientError::Refused(error) => Refusal::field(error.code(), field_of(&error), error.to_string()),
        }
    }
}
