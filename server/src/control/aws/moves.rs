//! Redrive: `StartMessageMoveTask` sends the messages of a queue to another, or back to where they came from; dead letters
//! of the bus to their target. Beyond AWS, `FilterPattern` (an event pattern on the body) moves some, and `MessageId` one.
//! A message leaves its queue once it is where it belongs, so that a task can end at any moment.

use super::request::{Request, object};
use super::rules::valid_pattern;
use super::{ApiError, Call, unknown_operation, uuid};
use crate::control::Shared;
use fakemon_engine::Engine;
use fakemon_engine::bus::Destination;
use fakemon_engine::delivery::RedriveError;
use fakemon_engine::ids::Timestamp;
use fakemon_engine::pattern::Pattern;
use fakemon_engine::queue::{Message, NewMessage, Received};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tasks that are remembered, ended ones included.
const TASKS_MAX: usize = 100;
/// How long a message is hidden while it is moved, in seconds.
/// How often a target that is full is asked again.
const WAIT: Duration = Duration::from_millis(100);
const HIDDEN_S: u32 = 30;
const PER_SECOND_MAX: u64 = 500;

/// Tasks that were started, the newest last.
#[derive(Default)]
pub(in crate::control) struct Moves(Mutex<Vec<Arc<Move>>>);

struct Move {
    handle: String,
    source_arn: String,
    destination_arn: Option<String>,
    per_second: u64,
    started_at: Timestamp,
    to_move: usize,
    moved: AtomicU64,
    cancelled: AtomicBool,
    /// Held while a message is on its way.
    moving: tokio::sync::Mutex<()>,
    ended: Mutex<Option<Result<(), String>>>,
}

/// Which messages.
struct Wanted {
    pattern: Option<Pattern>,
    id: Option<String>,
}

pub(super) fn call(
    shared: &Arc<Shared>,
    operation: &str,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    match operation {
        "StartMessageMoveTask" => start(shared, request, call),
        "CancelMessageMoveTask" => cancel(shared, request),
        "ListMessageMoveTasks" => list(shared, request),
        other => Err(unknown_operation(other)),
    }
}

fn queue_of(shared: &Shared, arn: &str) -> Result<String, ApiError> {
    let missing = || {
        ApiError::new(
            "ResourceNotFoundException",
            "The resource that you specified for the SourceArn parameter doesn't exist.",
        )
    };
    match Destination::of(arn) {
        Destination::Queue(queue) if shared.engine.registry().queues.contains_key(&queue) => Ok(queue),
        _ => Err(missing()),
    }
}

fn start(shared: &Arc<Shared>, request: &Request<'_>, call: &Call<'_>) -> Result<Value, ApiError> {
    let source_arn = request.required("SourceArn").to_owned();
    let destination_arn = request.text("DestinationArn").map(str::to_owned);
    let per_second = request.number("MaxNumberOfMessagesPerSecond", 1, PER_SECOND_MAX).unwrap_or(PER_SECOND_MAX);
    let id = request.text("MessageId").map(str::to_owned);
    let pattern = request.text("FilterPattern").map(valid_pattern).transpose()?;
    request.check()?;
    let source = queue_of(shared, &source_arn)?;
    let destination = destination_arn.as_deref().map(|arn| queue_of(shared, arn)).transpose()?;
    let mut moves = shared.moves.0.lock().unwrap_or_else(PoisonError::into_inner);
    let runs = |task: &&Arc<Move>| task.source_arn == source_arn && task.ended().is_none();
    if moves.iter().any(|task| runs(&task)) {
        let message = "There is already a task running. Only one active task is allowed for a source queue arn at a given time.";
        return Err(ApiError::new("UnsupportedOperation", message));
    }
    let task = Arc::new(Move {
        handle: uuid(),
        source_arn,
        destination_arn,
        per_second,
        started_at: call.now,
        to_move: shared.engine.queues().counts(&source, call.now).visible,
        moved: AtomicU64::new(0),
        cancelled: AtomicBool::new(false),
        moving: tokio::sync::Mutex::default(),
        ended: Mutex::new(None),
    });
    if moves.len() == TASKS_MAX {
        moves.remove(0);
    }
    moves.push(task.clone());
    let answer = json!({ "TaskHandle": task.handle });
    tokio::spawn(run(shared.engine.clone(), task, source, destination, Wanted { pattern, id }));
    Ok(answer)
}

async fn run(engine: Engine, task: Arc<Move>, source: String, destination: Option<String>, wanted: Wanted) {
    let gap = Duration::from_secs(1) / u32::try_from(task.per_second).unwrap_or(1);
    let wanted = Arc::new(wanted);
    let mut after = 0;
    let mut outcome = Ok(());
    loop {
        let moving = task.moving.lock().await;
        if task.cancelled.load(Ordering::Acquire) {
            break;
        }
        let (engine, task_too, source, destination) =
            (engine.clone(), task.clone(), source.clone(), destination.clone());
        let wanted = wanted.clone();
        let step = tokio::task::spawn_blocking(move || {
            step(&engine, &task_too, &source, destination.as_deref(), &wanted, after)
        });
        let stepped = step.await;
        drop(moving);
        match stepped.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(Some(sequence)) => after = sequence,
            Ok(None) => break,
            Err(why) => {
                outcome = Err(why);
                break;
            }
        }
        tokio::time::sleep(gap).await;
    }
    *task.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
}

/// Ends all tasks and forgets them; no message is on its way after this.
pub(in crate::control) async fn end_all(shared: &Shared) {
    let moves = std::mem::take(&mut *shared.moves.0.lock().unwrap_or_else(PoisonError::into_inner));
    for task in moves {
        task.cancelled.store(true, Ordering::Release);
        drop(task.moving.lock().await);
    }
}

/// Moves the next message that is wanted, and answers its sequence number; none are left when it answers none. Others
/// are looked at, not received. Sequence numbers grow with time: what comes after the task began, because it failed
/// again, say, is left for another task, so that each ends.
fn step(
    engine: &Engine,
    task: &Move,
    source: &str,
    destination: Option<&str>,
    wanted: &Wanted,
    mut after: u64,
) -> Result<Option<u64>, String> {
    let text = |error: fakemon_engine::queue::QueueError| error.to_string();
    let queues = engine.queues();
    while !task.cancelled.load(Ordering::Acquire) {
        let next = queues.next_after(source, after, engine.now()).map_err(text)?;
        let Some(message) = next.filter(|message| message.sequence <= task.started_at.0) else { return Ok(None) };
        after = message.sequence;
        if !wanted.wants(&message) {
            continue;
        }
        let taken = queues.receive_one(source, message.sequence, HIDDEN_S, engine.now()).map_err(text)?;
        let Some(Received { message, handle, .. }) = taken else { continue }; // somebody else has it
        hand_over(engine, task, source, destination, &message).inspect_err(|_| {
            drop(queues.change_visibility(source, &handle, 0, engine.now())); // it stays where it is
        })?;
        queues.delete(source, &handle).map_err(text)?;
        task.moved.fetch_add(1, Ordering::Relaxed);
        return Ok(Some(after));
    }
    Ok(None)
}

impl Wanted {
    fn wants(&self, message: &Message) -> bool {
        let fits = |pattern: &Pattern| pattern.matches(message.body.as_bytes()).unwrap_or(false);
        self.id.as_ref().is_none_or(|id| *id == message.id) && self.pattern.as_ref().is_none_or(fits)
    }
}

fn hand_over(
    engine: &Engine,
    task: &Move,
    source: &str,
    destination: Option<&str>,
    message: &Message,
) -> Result<(), String> {
    let of_bus = ["RULE_ARN", "SCHEDULE_ARN"].iter().any(|name| message.attributes.contains_key(*name));
    if destination.is_none() && of_bus {
        // A target that is slower than the task has to be waited for, as long as the message is hidden.
        let patience = Instant::now() + Duration::from_secs(u64::from(HIDDEN_S) / 2);
        loop {
            match engine.courier().redrive(message) {
                Err(RedriveError::Later) if Instant::now() < patience && !task.cancelled.load(Ordering::Acquire) => {
                    std::thread::sleep(WAIT);
                }
                redriven => return redriven.map_err(|error| error.to_string()),
            }
        }
    }
    let registry = engine.registry();
    let feeds = |policy: &String| policy.contains(&format!(":{source}\""));
    let mut sources =
        registry.queues.values().filter(|queue| queue.attributes.get("RedrivePolicy").is_some_and(feeds));
    let to = destination.map(str::to_owned).or_else(|| sources.next().map(|queue| queue.name.clone()));
    let to = to.ok_or("no queue has this one as its dead-letter queue: give a DestinationArn")?;
    let copy = NewMessage::moved(message.clone());
    engine.queues().send(&to, vec![copy], engine.now()).map(drop).map_err(|error| error.to_string())
}

impl Move {
    fn ended(&self) -> Option<Result<(), String>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
            ("TaskHandle", ended.is_none().then(|| self.handle.clone().into())),
            ("Status", Some(status.into())),
            ("SourceArn", Some(self.source_arn.clone().into())),
            ("DestinationArn", self.destination_arn.clone().map(Into::into)),
            ("MaxNumberOfMessagesPerSecond", Some(self.per_second.into())),
            ("ApproximateNumberOfMessagesMoved", Some(self.moved.load(Ordering::Relaxed).into())),
            ("ApproximateNumberOfMessagesToMove", Some(self.to_move.into())),
            ("FailureReason", ended.and_then(Result::err).map(Into::into)),
            ("StartedTimestamp", Some((self.started_at.0 / 1_000_000).into())),
        ])
    }
}

fn cancel(shared: &Shared, request: &Request<'_>) -> Result<Value, ApiError> {
    let handle = request.required("TaskHandle");
    request.check()?;
    let moves = shared.moves.0.lock().unwrap_or_else(PoisonError::into_inner);
    let task = moves.iter().find(|task| task.handle == handle && task.ended().is_none());
    let task = task.ok_or_else(|| ApiError::new("ResourceNotFoundException", "Task does not exist."))?;
    task.cancelled.store(true, Ordering::Release);
    Ok(json!({ "ApproximateNumberOfMessagesMoved": task.moved.load(Ordering::Relaxed) }))
}

fn list(shared: &Shared, request: &Request<'_>) -> Result<Value, ApiError> {
    let arn = request.required("SourceArn");
    let max = request.number("MaxResults", 1, 10).unwrap_or(1);
    request.check()?;
    let moves = shared.moves.0.lock().unwrap_or_else(PoisonError::into_inner);
    let tasks = moves.iter().rev().filter(|task| task.source_arn == arn).take(max as usize).map(|task| task.shown());
    Ok(json!({ "Results": tasks.collect::<Vec<_>>() }))
}
