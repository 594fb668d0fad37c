//! Amazon SQS: queues as targets, as dead-letter queues, and for polling. Both protocols: JSON, and the older one
//! with forms and XML, which older SDKs and command lines use.
//!
//! - `asked`: members of a request, as SQS checks them
//! - `errors`: names of errors in both protocols
//! - `hashes`: the hashes that clients compare
//! - `attributes`: settings of a queue
//! - `permissions`: statements of a queue's policy
//! - `pauses`: waits after a queue was deleted or purged
//! - `messages`: messages, in and out
//! - [`query`]: names of members in the query protocol
//! - [`moves`]: message move tasks

#![allow(
    missing_docs,
    reason = "nothing outside of this workspace reads them; a doc that repeats a name says nothing"
)]

mod asked;
mod errors;
mod hashes;
mod attributes;
mod permissions;
mod pauses;
mod messages;
pub mod query;
pub mod moves;

use asked::{filled, invalid, invalid_value, missing, names, number, required, text};
use attributes::small;
pub use errors::ErrorName;
use fakemon_aws::request::{Request, object, page_behind};
use fakemon_aws::{ApiError, Call, Operation, Reply, Turn};
use fakemon_engine::Engine;
use fakemon_http::Backend;
use fakemon_http::places::become_poll;
use fakemon_model::envelope::ACCOUNT;
use fakemon_model::limits::TAGS_MAX;
use fakemon_queue::queue::{NewMessage, QueueError, Redrive, Settlement, is_fifo, is_id};
use fakemon_resource::Registry;
use fakemon_resource::resource::{Change, Queue, Resource, Tags};
use messages::{
    BATCH_BYTES_MAX, BATCH_MAX, batch, batch_bytes, batch_too_long, check_order, new_message, sent, shown, visibility,
};
pub use moves::Moves;
use pauses::Paused;
pub use pauses::Pauses;
use serde_json::{Value, json};
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// State of the service.
pub struct Sqs {
    pub backend: Arc<Backend>,
    /// Message move tasks.
    pub moves: Moves,
    /// Queues that were deleted or purged recently.
    pub pauses: Pauses,
    /// How long a deleted queue's name stays reserved, and how long after a purge a queue cannot be purged again.
    pub queue_pause: Duration,
    /// Notified when any queue gets messages.
    pub messages: Notify,
}

impl Deref for Sqs {
    type Target = Backend;

    fn deref(&self) -> &Backend {
        &self.backend
    }
}

/// Lists that are present in answers even when empty.
const NEVER_ABSENT: [&str; 2] = ["queueUrls", "Results"];

/// Operations that only the registry decides.
pub fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "GetQueueUrl" => url_of,
        "ListQueues" => list,
        "SetQueueAttributes" => set_attributes,
        "ListDeadLetterSourceQueues" => list_sources,
        "AddPermission" => permissions::add,
        "RemovePermission" => permissions::remove,
        "TagQueue" => tag,
        "UntagQueue" => untag,
        "ListQueueTags" => list_tags,
        _ => return None,
    })
}

/// Operations on queues and their messages.
#[derive(Clone, Copy)]
pub enum OnQueue {
    Create,
    Attributes,
    Send,
    SendBatch,
    Receive,
    Delete,
    DeleteBatch,
    ChangeVisibility,
    ChangeVisibilityBatch,
    Purge,
    DeleteQueue,
}

pub fn queue_operation(name: &str) -> Option<OnQueue> {
    Some(match name {
        "CreateQueue" => OnQueue::Create,
        "GetQueueAttributes" => OnQueue::Attributes,
        "SendMessage" => OnQueue::Send,
        "SendMessageBatch" => OnQueue::SendBatch,
        "ReceiveMessage" => OnQueue::Receive,
        "DeleteMessage" => OnQueue::Delete,
        "DeleteMessageBatch" => OnQueue::DeleteBatch,
        "ChangeMessageVisibility" => OnQueue::ChangeVisibility,
        "ChangeMessageVisibilityBatch" => OnQueue::ChangeVisibilityBatch,
        "PurgeQueue" => OnQueue::Purge,
        "DeleteQueue" => OnQueue::DeleteQueue,
        _ => return None,
    })
}

/// Removes empty members from an answer, as SQS does: clients test for their presence.
pub fn without_empty(mut answer: Value) -> Value {
    let is_empty = |value: &Value| {
        value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(|o| o.is_empty())
    };
    if let Some(members) = answer.as_object_mut() {
        members.retain(|name, value| NEVER_ABSENT.contains(&name.as_str()) || !is_empty(value));
    }
    answer
}

/// The error for a body that was cut off: it was larger than a message, or a batch, may be.
pub fn too_large(operation: &str, bytes: Option<usize>) -> ApiError {
    match operation {
        "SendMessageBatch" => batch_too_long(bytes.unwrap_or(fakemon_aws::BODY_BYTES_MAX)),
        _ => messages::too_long(BATCH_BYTES_MAX as u64),
    }
}

fn unknown() -> ApiError {
    ApiError::new("QueueDoesNotExist", "The specified queue does not exist.")
}

fn named<'r>(registry: &'r Registry, request: &Request<'_>) -> Result<&'r Queue, ApiError> {
    let url = required(request, "QueueUrl")?;
    registry.queues.get(url.rsplit('/').next().unwrap_or_default()).ok_or_else(unknown)
}

fn url(call: &Call<'_>, queue: &str) -> String {
    format!("{}/{ACCOUNT}/{queue}", call.endpoint)
}

fn arn(call: &Call<'_>, queue: &str) -> String {
    format!("arn:aws:sqs:{}:{ACCOUNT}:{queue}", call.region)
}

fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = required(request, "QueueName")?;
    check_name(name, attributes::asks_for_fifo(request))?;
    let given = attributes::given(registry, request, name)?;
    let answer = json!({ "QueueUrl": url(call, name) });
    if let Some(queue) = registry.queues.get(name) {
        return match attributes::difference(queue, &given) {
            None => Ok(Reply::of(answer)),
            Some(name) => {
                let message =
                    format!("A queue already exists with the same name and a different value for attribute {name}");
                Err(ApiError::new("QueueNameExists", message))
            }
        };
    }
    let tags: Tags = texts(request.get("tags"));
    check_tags(name, &tags)?;
    let queue = Queue { name: name.into(), attributes: given, created_at: call.now, modified_at: call.now, tags };
    Ok(Reply::with(answer, vec![Change::Put(Resource::Queue(queue))]))
}

/// Checks a name: it ends with `.fifo` if, and only if, the queue is to be FIFO.
fn check_name(name: &str, fifo: bool) -> Result<(), ApiError> {
    let stem = if fifo { name.strip_suffix(".fifo") } else { Some(name) };
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if stem.is_some_and(|stem| !stem.is_empty() && stem.bytes().all(fits)) && name.len() <= 80 {
        return Ok(());
    }
    let message = match fifo {
        true => {
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with \
             .fifo suffix and be 1 to 80 in length."
        }
        false => "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
    };
    Err(ApiError::new("InvalidParameterValue", message))
}

fn texts(map: Option<&Value>) -> Tags {
    let members = map.and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}

fn url_of(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = required(request, "QueueName")?;
    let ours = text(request, "QueueOwnerAWSAccountId")?.is_none_or(|owner| owner == ACCOUNT);
    registry.queues.get(name).filter(|_| ours).ok_or_else(unknown)?;
    Ok(Reply::of(json!({ "QueueUrl": url(call, name) })))
}

fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let prefix = text(request, "QueueNamePrefix")?.unwrap_or_default();
    let names = registry.queues.keys().filter(|name| name.starts_with(prefix));
    paged("QueueUrls", names, request, call)
}

/// URLs of queues: at most `MaxResults`, else 1,000. As with SQS, only `MaxResults` makes pages.
fn paged<'n>(
    member: &str,
    names: impl Iterator<Item = &'n String>,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Reply, ApiError> {
    let max = number(request, "MaxResults", 1, 1_000, "Must be between 1 and 1000, if provided.")?;
    let token = request.token("NextToken", member).map_err(|_| invalid("Invalid or expired next token."))?;
    let urls = names.map(|name| (name.clone(), url(call, name)));
    let (urls, next) = page_behind(member, token, max.unwrap_or(1_000) as usize, urls);
    Ok(Reply::of(object([
        (member, Some(urls.into())),
        ("NextToken", next.filter(|_| max.is_some()).map(Into::into)),
    ])))
}

fn set_attributes(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let mut queue = named(registry, request)?.clone();
    let given = attributes::given(registry, request, &queue.name)?;
    attributes::set(&mut queue.attributes, given);
    queue.modified_at = call.now;
    Ok(Reply::with(Value::Null, vec![Change::Put(Resource::Queue(queue))]))
}

fn list_sources(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let queue = named(registry, request)?;
    let feeds = |other: &&Queue| Redrive::of(other).is_some_and(|redrive| redrive.queue == queue.name);
    paged("queueUrls", registry.queues.values().filter(feeds).map(|other| &other.name), request, call)
}

fn tag(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut queue = named(registry, request)?.clone();
    let tags = texts(request.get("Tags"));
    if tags.is_empty() {
        return Err(missing("Tags"));
    }
    queue.tags.extend(tags);
    check_tags(&queue.name, &queue.tags)?;
    Ok(Reply::with(Value::Null, vec![Change::Put(Resource::Queue(queue))]))
}

fn check_tags(queue: &str, tags: &Tags) -> Result<(), ApiError> {
    if tags.len() > TAGS_MAX {
        return Err(invalid(format!("Too many tags added for queue {queue}.")));
    }
    Ok(())
}

fn untag(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut queue = named(registry, request)?.clone();
    let keys = names(request, "TagKeys");
    if keys.is_empty() || keys.iter().any(|key| !(1..=128).contains(&key.chars().count())) {
        return Err(invalid("Tag keys must be between 1 and 128 characters in length."));
    }
    keys.into_iter().for_each(|key| drop(queue.tags.remove(key)));
    Ok(Reply::with(Value::Null, vec![Change::Put(Resource::Queue(queue))]))
}

fn list_tags(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    Ok(Reply::of(json!({ "Tags": named(registry, request)?.tags })))
}

/// Runs an operation on a queue. Disk I/O is done on another thread.
pub async fn call(
    sqs: &Arc<Sqs>,
    operation: OnQueue,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let queue = || named(&sqs.engine.registry(), request).cloned();
    match operation {
        OnQueue::Create => create_unless_paused(sqs, request, call).await,
        OnQueue::Attributes => attributes::shown(&sqs.engine, &queue()?, request, call),
        OnQueue::Send => send_one(sqs, &queue()?, request).await,
        OnQueue::SendBatch => send_batch(sqs, &queue()?, request).await,
        OnQueue::Receive => receive(sqs, &queue()?, request, call).await,
        OnQueue::Delete => settle(sqs, &queue()?, request, true).await,
        OnQueue::ChangeVisibility => settle(sqs, &queue()?, request, false).await,
        OnQueue::DeleteBatch => settle_batch(sqs, &queue()?, request, true).await,
        OnQueue::ChangeVisibilityBatch => settle_batch(sqs, &queue()?, request, false).await,
        OnQueue::Purge => purge(sqs, &queue()?).await,
        OnQueue::DeleteQueue => delete_queue(sqs, &queue()?, request, call).await,
    }
}

async fn create_unless_paused(sqs: &Arc<Sqs>, request: &Request<'_>, call: &Call<'_>) -> Result<Value, ApiError> {
    let name = required(request, "QueueName")?;
    let is_new = !sqs.engine.registry().queues.contains_key(name);
    if is_new && sqs.pauses.holds(Paused::Create, name, sqs.engine.now(), sqs.queue_pause) {
        let message = format!(
            "You must wait {} seconds after deleting a queue before you can create another with the same name.",
            sqs.queue_pause.as_secs()
        );
        return Err(ApiError::new("QueueDeletedRecently", message));
    }
    // The process may have ended between the deletion of a queue of this name and that of its messages.
    let turn = clear_away(sqs, name).await?;
    fakemon_aws::carry_out_in(turn, &sqs.backend, |registry: &Registry| create(registry, request, call)).await
}

/// Deletes the messages of a queue that is gone. The turn that it answers is the one in which it looked: until that
/// ends, no queue of this name comes or goes, so that a new one begins empty and keeps what it gets.
async fn clear_away(sqs: &Arc<Sqs>, name: &str) -> Result<Turn, ApiError> {
    let turn = Arc::clone(&sqs.changing).lock_owned().await;
    if sqs.engine.registry().queues.contains_key(name) || !sqs.engine.queues().remembers(name) {
        return Ok(turn);
    }
    let (engine, name) = (sqs.engine.clone(), name.to_owned());
    let purged = tokio::task::spawn_blocking(move || engine.queues().purge(&name).map(|()| turn));
    purged.await.map_err(|error| ApiError::internal(error.to_string()))?.map_err(refused)
}

async fn purge(sqs: &Arc<Sqs>, queue: &Queue) -> Result<Value, ApiError> {
    let pause = sqs.queue_pause;
    if sqs.pauses.holds(Paused::Purge, &queue.name, sqs.engine.now(), pause) {
        let message =
            format!("Only one PurgeQueue operation on {} is allowed every {} seconds.", queue.name, pause.as_secs());
        return Err(ApiError::new("PurgeQueueInProgress", message));
    }
    begin_pause(sqs, Paused::Purge, queue).await?;
    on_queue(sqs, queue, |engine, name| engine.queues().purge(name)).await?.map_err(refused)?;
    Ok(Value::Null)
}

/// From now on something is not done again at once; on the disk after this.
async fn begin_pause(sqs: &Arc<Sqs>, what: Paused, queue: &Queue) -> Result<(), ApiError> {
    let notes = sqs.pauses.begin(what, &queue.name, sqs.engine.now(), sqs.queue_pause);
    let noted = on_queue(sqs, queue, |engine, _| engine.notes().set(notes).and_then(|()| engine.notes().sync()));
    noted.await?.map_err(ApiError::internal)
}

async fn delete_queue(
    sqs: &Arc<Sqs>,
    queue: &Queue,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let delete: Operation = |registry, request, _| {
        let queue = named(registry, request)?;
        Ok(Reply::with(Value::Null, vec![Change::Delete(format!("queue/{}", queue.name))]))
    };
    // Noted before, so that no end of the process comes between; while the queue is there it means nothing.
    begin_pause(sqs, Paused::Create, queue).await?;
    fakemon_aws::change(&sqs.backend, delete, request, call).await?;
    drop(clear_away(sqs, &queue.name).await?);
    sqs.messages.notify_waiters(); // receivers that wait for its messages are answered now
    Ok(Value::Null)
}

async fn on_queue<T: Send + 'static>(
    sqs: &Arc<Sqs>,
    queue: &Queue,
    act: impl FnOnce(&Engine, &str) -> T + Send + 'static,
) -> Result<T, ApiError> {
    let (engine, name) = (sqs.engine.clone(), queue.name.clone());
    let done = tokio::task::spawn_blocking(move || act(&engine, &name)).await;
    done.map_err(|error| ApiError::internal(error.to_string()))
}

fn refused(error: QueueError) -> ApiError {
    let code = match error {
        QueueError::Full | QueueError::OverLimit => "OverLimit",
        QueueError::TooFast => "RequestThrottled",
        QueueError::Handle => return ApiError::new("ReceiptHandleIsInvalid", "The input receipt handle is invalid."),
        QueueError::NotInFlight => {
            return ApiError::new("MessageNotInflight", "The specified message isn't in flight.");
        }
        QueueError::Gone | QueueError::Expired | QueueError::Store(_) => {
            return ApiError::internal(error.to_string());
        }
    };
    ApiError::new(code, error.to_string())
}

/// The error for an invalid receipt handle, in the service's words.
fn refused_receipt(error: QueueError, handle: &str) -> ApiError {
    let reason = match error {
        QueueError::Gone => "Message does not exist or is not available for visibility timeout change.",
        QueueError::Expired => "The receipt handle has expired.",
        other => return refused(other),
    };
    invalid_value("ReceiptHandle", handle, reason)
}

fn failed_entry(id: &Value, error: &ApiError) -> Value {
    let name = ErrorName::of(error);
    json!({ "Id": id, "SenderFault": !name.status.is_server_error(), "Code": name.code, "Message": error.message })
}

async fn send_one(sqs: &Arc<Sqs>, queue: &Queue, request: &Request<'_>) -> Result<Value, ApiError> {
    let message = vec![new_message(queue, request)?];
    let done = on_queue(sqs, queue, move |engine, name| engine.queues().send(name, message, engine.now()));
    Ok(sent(&done.await?.map_err(refused)?[0]))
}

async fn send_batch(sqs: &Arc<Sqs>, queue: &Queue, request: &Request<'_>) -> Result<Value, ApiError> {
    let (mut ids, mut messages, mut failed): (Vec<Value>, Vec<NewMessage>, Vec<Value>) = Default::default();
    let entries = batch(request, "SendMessageBatch")?;
    let bytes = batch_bytes(&entries);
    if bytes > BATCH_BYTES_MAX {
        return Err(batch_too_long(bytes));
    }
    let members = |entry: &Value| entry.as_object().cloned().unwrap_or_default();
    entries.iter().try_for_each(|entry| check_order(queue, &Request::new(&members(entry))))?;
    for entry in entries {
        match new_message(queue, &Request::new(&members(&entry))) {
            Ok(message) => {
                ids.push(entry["Id"].clone());
                messages.push(message);
            }
            Err(error) => failed.push(failed_entry(&entry["Id"], &error)),
        }
    }
    let done = on_queue(sqs, queue, move |engine, name| engine.queues().send(name, messages, engine.now()));
    let successful: Vec<Value> = done
        .await?
        .map_err(refused)?
        .iter()
        .zip(ids)
        .map(|(message, id)| {
            let mut answer = sent(message);
            answer["Id"] = id;
            answer
        })
        .collect();
    Ok(json!({ "Successful": successful, "Failed": failed }))
}

async fn settle(sqs: &Arc<Sqs>, queue: &Queue, request: &Request<'_>, delete: bool) -> Result<Value, ApiError> {
    let receipts = vec![read_settlement(request, delete)?];
    let handle = receipts[0].0.clone();
    let done = on_queue(sqs, queue, move |engine, name| engine.queues().settle(name, &receipts, engine.now()));
    done.await?.into_iter().try_for_each(|outcome| outcome.map_err(|error| refused_receipt(error, &handle)))?;
    Ok(Value::Null)
}

/// Settles the messages of a batch, all in one write.
async fn settle_batch(sqs: &Arc<Sqs>, queue: &Queue, request: &Request<'_>, delete: bool) -> Result<Value, ApiError> {
    let (mut ids, mut receipts, mut failed, mut successful) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let of = if delete { "DeleteMessageBatch" } else { "ChangeMessageVisibilityBatch" };
    for entry in batch(request, of)? {
        let members = entry.as_object().cloned().unwrap_or_default();
        match read_settlement(&Request::new(&members), delete) {
            Ok(receipt) => {
                ids.push(entry["Id"].clone());
                receipts.push(receipt);
            }
            Err(error) => failed.push(failed_entry(&entry["Id"], &error)),
        }
    }
    let handles: Vec<String> = receipts.iter().map(|(handle, _)| handle.clone()).collect();
    let done = on_queue(sqs, queue, move |engine, name| engine.queues().settle(name, &receipts, engine.now()));
    for ((outcome, id), handle) in done.await?.into_iter().zip(ids).zip(handles) {
        let refused = |error: QueueError| match error {
            QueueError::Handle => {
                let message = format!("The input receipt handle \"{handle}\" is not a valid receipt handle.");
                ApiError::new("ReceiptHandleIsInvalid", message)
            }
            other => refused_receipt(other, &handle),
        };
        match outcome.map_err(refused) {
            Ok(()) => successful.push(json!({ "Id": id })),
            Err(error) => failed.push(failed_entry(&id, &error)),
        }
    }
    Ok(json!({ "Successful": successful, "Failed": failed }))
}

/// The receipt handle of a request, and what to do with its message.
fn read_settlement(request: &Request<'_>, delete: bool) -> Result<(String, Settlement), ApiError> {
    let handle = filled(request, "ReceiptHandle")?.to_owned();
    let settlement = match delete {
        true => Settlement::Delete,
        false => Settlement::Hide(visibility(request)?.ok_or_else(|| missing("VisibilityTimeout"))?),
    };
    Ok((handle, settlement))
}

/// The id of an attempt to receive; it has an effect on FIFO queues only.
fn attempt_of(queue: &Queue, request: &Request<'_>) -> Result<Option<String>, ApiError> {
    let name = "ReceiveRequestAttemptId";
    let id = text(request, name)?.filter(|_| is_fifo(&queue.name));
    if let Some(id) = id.filter(|id| !is_id(id)) {
        let reason = format!("{name} can only include alphanumeric and punctuation characters. 1 to 128 in length.");
        return Err(invalid_value(name, id, &reason));
    }
    Ok(id.map(str::to_owned))
}

async fn receive(sqs: &Arc<Sqs>, queue: &Queue, request: &Request<'_>, call: &Call<'_>) -> Result<Value, ApiError> {
    let most = BATCH_MAX as u32;
    let max = number(request, "MaxNumberOfMessages", 1, most, "Must be between 1 and 10, if provided.")?;
    let max = max.unwrap_or(1) as usize;
    let wait = number(request, "WaitTimeSeconds", 0, 20, "Must be >= 0 and <= 20, if provided.")?;
    let wait = wait.unwrap_or_else(|| small(queue, "ReceiveMessageWaitTimeSeconds"));
    let hidden = visibility(request)?.unwrap_or_else(|| small(queue, "VisibilityTimeout"));
    let retention = small(queue, "MessageRetentionPeriod");
    let attempt = attempt_of(queue, request)?;
    let until = tokio::time::Instant::now() + Duration::from_secs(wait.into());
    loop {
        // Registered before the check, so that a message that comes between check and wait wakes us.
        let arrived = sqs.messages.notified();
        let attempt = attempt.clone();
        let made_at = queue.created_at;
        let look = move |engine: &Engine, name: &str| {
            let registry = engine.registry();
            // A queue of the same name that was made meanwhile is another one.
            let held = registry.queues.get(name).filter(|held| held.created_at == made_at).ok_or_else(unknown)?;
            let redrive = Redrive::within(&registry, held);
            let (queues, redrive, now) = (engine.queues(), redrive.as_ref(), engine.now());
            let received = match attempt {
                None => queues.receive(name, max, hidden, retention, redrive, now),
                Some(id) => queues.receive_again(name, &id, hidden, now, |queues| {
                    queues.take(name, max, hidden, retention, redrive, now)
                }),
            };
            match received {
                // A receiver that waits for messages waits for a place among those in flight as well.
                Err(QueueError::OverLimit) if wait > 0 => Ok(Vec::new()),
                received => received.map_err(refused),
            }
        };
        let received = on_queue(sqs, queue, look).await??;
        if !received.is_empty() || tokio::time::Instant::now() >= until || sqs.is_stopping() {
            let messages: Vec<Value> = received.iter().map(|one| shown(one, &sqs.engine, request, call)).collect();
            return Ok(json!({ "Messages": messages }));
        }
        // A long poll needs a place of its own kind; without one it would hold a place for requests.
        become_poll().map_err(|refusal| ApiError::new("RequestThrottled", refusal.message()))?;
        // Hidden messages become visible by the clock, without a notification.
        let patience = until.min(tokio::time::Instant::now() + Duration::from_millis(250));
        drop(tokio::time::timeout_at(patience, arrived).await);
    }
}
