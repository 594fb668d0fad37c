//! Redrive: `StartMessageMoveTask` sends the messages of a queue to another, or each back to where it came from; dead
//! letters of the bus to their target. Beyond AWS, `FilterPattern` (an event pattern on the body) moves some, and
//! `MessageId` one. A message is deleted from its queue only after it was delivered, so that a task can end at any
//! moment.
//!
//! ```text
//! note   move/ID   the task, as JSON: one that was running when the process ended continues at the next start
//! ```

use crate::Sqs;
use crate::asked::{filled, invalid, invalid_value, number, text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fakemon_aws::event_pattern::valid_pattern;
use fakemon_aws::request::{Request, object};
use fakemon_aws::{ApiError, Call, services, uuid};
use fakemon_delivery::RedriveError;
use fakemon_engine::Engine;
use fakemon_http::tasks;
use fakemon_model::ids::Timestamp;
use fakemon_model::names::ReceiptHandle;
use fakemon_pattern::pattern::Pattern;
use fakemon_queue::queue::{Message, QueueError, Received, Redrive};
use fakemon_resource::{Destination, Registry};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Tasks that are kept, running and ended ones together.
const TASKS_MAX: usize = 100;
/// Pause before a full target is tried again.
const WAIT: Duration = Duration::from_millis(100);
/// How long a message is hidden from receivers while it is moved, in seconds.
const HIDDEN_S: u32 = 30;
/// Messages per second, at most and by default.
const PER_SECOND_MAX: u32 = 500;
const NOTES: &str = "move/";
/// Failure of a task whose source or destination was deleted.
const NO_QUEUE: &str = "AWS.SimpleQueueService.NonExistentQueue";
/// Failure at a message that a client sent to the queue: it has no source to return to.
const NO_SOURCE: &str = "CouldNotDetermineMessageSource";

/// Tasks that were started, the newest last.
#[derive(Default)]
pub struct Moves(Mutex<Vec<Arc<Move>>>);

/// Settings of a task.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Plan {
    id: String,
    source_arn: String,
    destination_arn: Option<String>,
    per_second: Option<u32>,
    started_at: Timestamp,
    /// Only messages with a smaller sequence number are moved: those that were in the queue at the start.
    until: u64,
    to_move: usize,
    pattern: Option<String>,
    message_id: Option<String>,
}

/// A task as it is stored.
#[derive(Serialize, Deserialize)]
struct Noted {
    plan: Plan,
    moved: u64,
    cancelled: bool,
    ended: Option<Result<(), String>>,
}

struct Move {
    plan: Plan,
    pattern: Option<Pattern>,
    /// Messages moved so far. Relaxed: it is only shown.
    moved: AtomicU64,
    cancelled: AtomicBool,
    /// Held while a message is being moved.
    moving: tokio::sync::Mutex<()>,
    ended: Mutex<Option<Result<(), String>>>,
}

pub async fn call(
    sqs: &Arc<Sqs>,
    operation: &str,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    match operation {
        "StartMessageMoveTask" => start(sqs, request, call).await,
        "CancelMessageMoveTask" => cancel(sqs, request).await,
        "ListMessageMoveTasks" => list(sqs, request),
        other => Err(services::not_here("sqs", other)),
    }
}

fn queue_of(registry: &Registry, arn: &str, parameter: &str) -> Result<String, ApiError> {
    match Destination::of(arn) {
        Destination::Queue(queue) if registry.queues.contains_key(&queue) => Ok(queue),
        _ => {
            let message = format!("The resource that you specified for the {parameter} parameter doesn't exist.");
            Err(ApiError::new("ResourceNotFoundException", message))
        }
    }
}

fn read(request: &Request<'_>, call: &Call<'_>) -> Result<Plan, ApiError> {
    let reason = format!("Must be between 1 and {PER_SECOND_MAX}, if provided.");
    let owned = |name: &str| Ok::<_, ApiError>(text(request, name)?.map(str::to_owned));
    Ok(Plan {
        id: uuid(),
        source_arn: filled(request, "SourceArn")?.to_owned(),
        destination_arn: owned("DestinationArn")?,
        per_second: number(request, "MaxNumberOfMessagesPerSecond", 1, PER_SECOND_MAX, &reason)?,
        started_at: call.now,
        until: 0,
        to_move: 0,
        pattern: owned("FilterPattern")?,
        message_id: owned("MessageId")?,
    })
}

async fn start(sqs: &Arc<Sqs>, request: &Request<'_>, call: &Call<'_>) -> Result<Value, ApiError> {
    let mut plan = read(request, call)?;
    let registry = sqs.engine.registry();
    let source = queue_of(&registry, &plan.source_arn, "SourceArn")?;
    let destination = plan.destination_arn.as_deref().map(|arn| queue_of(&registry, arn, "DestinationArn"));
    if destination.transpose()?.is_some_and(|destination| destination == source) {
        return Err(invalid("Source queue arn and destination queue arn cannot be the same."));
    }
    if !has_dead_letters(&sqs.engine, &registry, &source).map_err(|error| ApiError::internal(error.to_string()))? {
        return Err(invalid("Source queue must be configured as a Dead Letter Queue."));
    }
    let (queues, now) = (sqs.engine.queues(), sqs.engine.now());
    (plan.to_move, plan.until) = (queues.counts(&source, now).visible, queues.next_sequence(&source, now));
    let pattern = plan.pattern.as_deref().map(valid_pattern).transpose()?;
    let task = Arc::new(Move::new(plan, pattern));
    let forgotten = sqs.moves.add(task.clone())?;
    let (engine, noted) = (sqs.engine.clone(), task.clone());
    let written = tokio::task::spawn_blocking(move || {
        engine.notes().set(forgotten.map(|old| (old, None)))?;
        noted.note(&engine)?;
        engine.notes().sync()
    });
    if let Err(error) = written.await.unwrap_or_else(|error| Err(error.to_string())) {
        task.end(Err(error.clone()));
        return Err(ApiError::internal(error));
    }
    let answer = json!({ "TaskHandle": task.handle() });
    tasks::watched(&sqs.engine, "message move", run(sqs.engine.clone(), task));
    Ok(answer)
}

/// Whether a queue is a dead-letter queue, of another queue or of a resource of the bus, or holds dead letters from
/// before.
fn has_dead_letters(engine: &Engine, registry: &Registry, name: &str) -> Result<bool, QueueError> {
    let is_it = |arn: Option<&String>| arn.is_some_and(|arn| Destination::of(arn) == Destination::Queue(name.into()));
    let of_queue =
        registry.queues.values().any(|queue| Redrive::of(queue).is_some_and(|redrive| redrive.queue == name));
    let of_bus = registry.targets.values().any(|target| is_it(target.dead_letter_arn.as_ref()))
        || registry.buses.values().any(|bus| is_it(bus.dead_letter_arn.as_ref()))
        || registry.answer_webhooks.values().any(|webhook| is_it(webhook.dead_letter_arn.as_ref()));
    if of_queue || of_bus {
        return Ok(true);
    }
    let first = engine.queues().next_after(name, 0, engine.now())?;
    Ok(first.is_some_and(|message| message.origin.is_some() || is_of_bus(&message)))
}

/// Whether a message is a dead letter of a rule or of a schedule, and can be sent to its target again.
fn is_of_bus(message: &Message) -> bool {
    ["RULE_ARN", "SCHEDULE_ARN"].iter().any(|name| message.attributes.contains_key(*name))
}

impl Moves {
    /// Adds a task; returns the note of an old task that was dropped for it.
    fn add(&self, task: Arc<Move>) -> Result<Option<String>, ApiError> {
        let mut moves = self.0.lock();
        let runs = |other: &Arc<Move>| other.ended().is_none();
        // Whatever region an ARN says, its queue is the same.
        let source = |task: &Move| Destination::of(&task.plan.source_arn);
        if moves.iter().any(|other| source(other) == source(&task) && runs(other)) {
            return Err(invalid(
                "There is already a task running. Only one active task is allowed for a source queue arn at a given time.",
            ));
        }
        let mut forgotten = None;
        if moves.len() >= TASKS_MAX {
            let Some(oldest) = moves.iter().position(|other| !runs(other)) else {
                let message = format!("{TASKS_MAX} tasks are running: wait until one ends, or cancel one.");
                return Err(ApiError::new("OverLimit", message));
            };
            forgotten = Some(moves.remove(oldest).name());
        }
        moves.push(task);
        Ok(forgotten)
    }
}

/// Loads the stored tasks, and continues those that were running when the process ended.
pub fn resume(sqs: &Arc<Sqs>) {
    let mut tasks = Vec::new();
    let read = sqs.engine.notes().visit(NOTES, &mut |_, note| {
        if let Ok(noted) = serde_json::from_slice::<Noted>(note) {
            tasks.push(noted);
        }
    });
    if let Err(error) = read {
        return tracing::warn!("message move tasks cannot be read: {error}");
    }
    tasks.sort_by_key(|noted| noted.plan.started_at);
    for Noted { plan, moved, cancelled, ended } in tasks {
        let pattern = plan.pattern.as_deref().and_then(|pattern| valid_pattern(pattern).ok());
        let task = Move::new(plan, pattern);
        task.moved.store(moved, Ordering::Relaxed);
        task.cancelled.store(cancelled, Ordering::Relaxed);
        let goes_on = ended.is_none();
        *task.ended.lock() = ended;
        let task = Arc::new(task);
        if sqs.moves.add(task.clone()).is_ok() && goes_on {
            tasks::watched(&sqs.engine, "message move", run(sqs.engine.clone(), task));
        }
    }
}

async fn run(engine: Engine, task: Arc<Move>) {
    let gap = Duration::from_secs(1) / task.plan.per_second.unwrap_or(PER_SECOND_MAX);
    let mut after = 0;
    let outcome = loop {
        let moving = task.moving.lock().await;
        if task.cancelled.load(Ordering::Acquire) {
            break Ok(());
        }
        let (stepping, of) = (engine.clone(), task.clone());
        let stepped = tokio::task::spawn_blocking(move || {
            let stepped = of.step(&stepping, after);
            of.note(&stepping).and(stepped)
        });
        let stepped = stepped.await;
        drop(moving);
        match stepped.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(Some(sequence)) => after = sequence,
            Ok(None) => break Ok(()),
            Err(why) => break Err(why),
        }
        tokio::time::sleep(gap).await;
    };
    task.end(outcome);
    let noted = tokio::task::spawn_blocking(move || task.note(&engine));
    if let Ok(Err(error)) = noted.await {
        tracing::warn!("that a message move task ended is not noted: {error}");
    }
}

/// Cancels and drops all tasks; no message is being moved when this returns.
pub async fn end_all(sqs: &Sqs) {
    let moves = std::mem::take(&mut *sqs.moves.0.lock());
    for task in moves {
        task.cancelled.store(true, Ordering::Release);
        drop(task.moving.lock().await);
    }
}

impl Move {
    fn new(plan: Plan, pattern: Option<Pattern>) -> Move {
        Move {
            plan,
            pattern,
            moved: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            moving: tokio::sync::Mutex::default(),
            ended: Mutex::new(None),
        }
    }

    /// The task handle of clients: JSON in base64, as with the service.
    fn handle(&self) -> String {
        STANDARD.encode(json!({ "taskId": self.plan.id, "sourceArn": self.plan.source_arn }).to_string())
    }

    /// The name of its note.
    fn name(&self) -> String {
        format!("{NOTES}{}", self.plan.id)
    }

    fn note(&self, engine: &Engine) -> Result<(), String> {
        let noted = Noted {
            plan: self.plan.clone(),
            moved: self.moved.load(Ordering::Relaxed),
            cancelled: self.cancelled.load(Ordering::Acquire),
            ended: self.ended(),
        };
        let text = serde_json::to_vec(&noted).map_err(|error| error.to_string())?;
        engine.notes().set([(self.name(), Some(text))])
    }

    /// Moves the next message that the task selects, and returns its sequence number; none when no such message is
    /// left. Other messages are read, not received. A message that arrived after the start, because it failed again,
    /// say, has a sequence number of at least `until` and is left for another task, so that each task ends.
    fn step(&self, engine: &Engine, mut after: u64) -> Result<Option<u64>, String> {
        let text = |error: QueueError| error.to_string();
        let Destination::Queue(source) = Destination::of(&self.plan.source_arn) else { return Ok(None) };
        let queues = engine.queues();
        while !self.cancelled.load(Ordering::Acquire) {
            if !engine.registry().queues.contains_key(&source) {
                return Err(NO_QUEUE.into());
            }
            let next = queues.next_after(&source, after, engine.now()).map_err(text)?;
            let Some(message) = next.filter(|message| message.sequence < self.plan.until) else {
                return Ok(None);
            };
            after = message.sequence;
            if !self.wants(&message) {
                continue;
            }
            let taken = queues.receive_one(&source, message.sequence, HIDDEN_S, engine.now()).map_err(text)?;
            let Some(taken) = taken else { continue }; // another receiver has it
            self.hand_over(engine, &source, &taken).inspect_err(|_| {
                drop(queues.change_visibility(&source, ReceiptHandle(&taken.handle), 0, engine.now())); // it stays in its queue
            })?;
            self.moved.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(after));
        }
        Ok(None)
    }

    fn wants(&self, message: &Message) -> bool {
        let fits = |pattern: &Pattern| pattern.matches(message.body.as_bytes()).unwrap_or(false);
        self.plan.message_id.as_ref().is_none_or(|id| *id == message.id) && self.pattern.as_ref().is_none_or(fits)
    }

    fn hand_over(&self, engine: &Engine, source: &str, taken: &Received) -> Result<(), String> {
        let message = &taken.message;
        let destination = match self.plan.destination_arn.as_deref().map(Destination::of) {
            Some(Destination::Queue(queue)) => queue,
            Some(_) => return Err(NO_QUEUE.into()),
            None if is_of_bus(message) => return self.send_again(engine, source, taken),
            None => message.origin.as_ref().map(|origin| origin.queue.clone()).ok_or(NO_SOURCE)?,
        };
        if !engine.registry().queues.contains_key(&destination) {
            return Err(NO_QUEUE.into());
        }
        engine.queues().hand_over(source, taken, &destination, engine.now()).map_err(|error| error.to_string())
    }

    /// Sends a dead letter of the bus to its target. If the target is busy, it retries for half of the time that the
    /// message is hidden.
    fn send_again(&self, engine: &Engine, source: &str, taken: &Received) -> Result<(), String> {
        let patience = Instant::now() + Duration::from_secs(u64::from(HIDDEN_S) / 2);
        loop {
            match engine.courier().redrive(&taken.message) {
                Err(RedriveError::Later) if Instant::now() < patience && !self.cancelled.load(Ordering::Acquire) => {
                    std::thread::sleep(WAIT);
                }
                redriven => break redriven.map_err(|error| error.to_string())?,
            }
        }
        engine.queues().delete(source, ReceiptHandle(&taken.handle), engine.now()).map_err(|error| error.to_string())
    }

    fn end(&self, outcome: Result<(), String>) {
        *self.ended.lock() = Some(outcome);
    }

    fn ended(&self) -> Option<Result<(), String>> {
        self.ended.lock().clone()
    }

    fn shown(&self) -> Value {
        let ended = self.ended();
        let cancelled = self.cancelled.load(Ordering::Acquire);
        let status = match &ended {
            None if cancelled => "CANCELLING",
            None => "RUNNING",
            Some(Ok(())) if cancelled => "CANCELLED",
            Some(Ok(())) => "COMPLETED",
            Some(Err(_)) => "FAILED",
        };
        object([
            ("TaskHandle", ended.is_none().then(|| self.handle().into())),
            ("Status", Some(status.into())),
            ("SourceArn", Some(self.plan.source_arn.clone().into())),
            ("DestinationArn", self.plan.destination_arn.clone().map(Into::into)),
            ("MaxNumberOfMessagesPerSecond", self.plan.per_second.map(Into::into)),
            ("ApproximateNumberOfMessagesMoved", Some(self.moved.load(Ordering::Relaxed).into())),
            ("ApproximateNumberOfMessagesToMove", Some(self.plan.to_move.into())),
            ("FailureReason", ended.and_then(Result::err).map(Into::into)),
            ("StartedTimestamp", Some((self.plan.started_at.0 / 1_000_000).into())),
        ])
    }
}

/// The task id and the source ARN in a handle.
fn read_handle(handle: &str) -> Option<(String, String)> {
    let read: Value = serde_json::from_slice(&STANDARD.decode(handle).ok()?).ok()?;
    Some((read["taskId"].as_str()?.to_owned(), read["sourceArn"].as_str()?.to_owned()))
}

async fn cancel(sqs: &Arc<Sqs>, request: &Request<'_>) -> Result<Value, ApiError> {
    let handle = filled(request, "TaskHandle")?;
    let (id, source_arn) =
        read_handle(handle).ok_or_else(|| invalid_value("TaskHandle", handle, "It is not a handle of a task."))?;
    queue_of(&sqs.engine.registry(), &source_arn, "SourceArn")?;
    let task = {
        let moves = sqs.moves.0.lock();
        let task = moves.iter().find(|task| task.plan.id == id && task.ended().is_none()).cloned();
        task.ok_or_else(|| ApiError::new("ResourceNotFoundException", "Task does not exist."))?
    };
    task.cancelled.store(true, Ordering::Release);
    let (engine, noted) = (sqs.engine.clone(), task.clone());
    let written = tokio::task::spawn_blocking(move || {
        noted.note(&engine)?;
        engine.notes().sync()
    });
    written.await.unwrap_or_else(|error| Err(error.to_string())).map_err(ApiError::internal)?;
    Ok(json!({ "ApproximateNumberOfMessagesMoved": task.moved.load(Ordering::Relaxed) }))
}

fn list(sqs: &Sqs, request: &Request<'_>) -> Result<Value, ApiError> {
    let arn = filled(request, "SourceArn")?;
    let max = number(request, "MaxResults", 1, 10, "Must be between 1 and 10, if provided.")?.unwrap_or(1);
    queue_of(&sqs.engine.registry(), arn, "SourceArn")?;
    let moves = sqs.moves.0.lock();
    let source = Destination::of(arn);
    let of_queue = moves.iter().rev().filter(|task| Destination::of(&task.plan.source_arn) == source);
    Ok(json!({ "Results": of_queue.take(max as usize).map(|task| task.shown()).collect::<Vec<_>>() }))
}
