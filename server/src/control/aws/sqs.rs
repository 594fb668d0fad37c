//! Amazon SQS, as far as usual clients call it: queues that are targets, dead-letter queues, and answers to poll.
//!
//! - `attributes`: settings of a queue
//! - `messages`: messages, in and out

mod attributes;
mod messages;

use super::request::{Request, object};
use super::{ApiError, Call, Operation, Reply};
use crate::control::Shared;
use attributes::{number, small};
use fakemon_engine::Engine;
use fakemon_engine::bus::Registry;
use fakemon_engine::bus::resource::{Change, Queue, Resource, Tags};
use fakemon_engine::envelope::ACCOUNT;
use fakemon_engine::queue::QueueError;
use messages::{BATCH_MAX, batch, new_message, sent, shown, visibility};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The longest wait for messages, in seconds.
const WAIT_S_MAX: u64 = 20;
/// Operations that only the registry decides.
pub(super) fn operation(name: &str) -> Option<Operation> {
    Some(match name {
        "CreateQueue" => create,
        "GetQueueUrl" => url_of,
        "ListQueues" => list,
        "SetQueueAttributes" => set_attributes,
        "ListDeadLetterSourceQueues" => list_sources,
        "TagQueue" => tag,
        "UntagQueue" => untag,
        "ListQueueTags" => list_tags,
        _ => return None,
    })
}

/// Operations on messages.
#[derive(Clone, Copy)]
pub(super) enum OnMessages {
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

pub(super) fn message_operation(name: &str) -> Option<OnMessages> {
    Some(match name {
        "GetQueueAttributes" => OnMessages::Attributes,
        "SendMessage" => OnMessages::Send,
        "SendMessageBatch" => OnMessages::SendBatch,
        "ReceiveMessage" => OnMessages::Receive,
        "DeleteMessage" => OnMessages::Delete,
        "DeleteMessageBatch" => OnMessages::DeleteBatch,
        "ChangeMessageVisibility" => OnMessages::ChangeVisibility,
        "ChangeMessageVisibilityBatch" => OnMessages::ChangeVisibilityBatch,
        "PurgeQueue" => OnMessages::Purge,
        "DeleteQueue" => OnMessages::DeleteQueue,
        _ => return None,
    })
}

/// The type of an error, as the JSON protocol of SQS names it.
pub(super) fn error_type(sqs: bool, code: &str) -> String {
    if sqs { format!("com.amazonaws.sqs#{code}") } else { code.to_owned() }
}

/// The code of an error in the older protocol, which clients still branch on.
pub(super) fn query_code(code: &str) -> &str {
    match code {
        "QueueDoesNotExist" => "AWS.SimpleQueueService.NonExistentQueue",
        "QueueNameExists" => "QueueAlreadyExists",
        "MissingAuthenticationTokenException" => "MissingAuthenticationToken",
        "UnrecognizedClientException" => "InvalidClientTokenId",
        "IncompleteSignatureException" => "IncompleteSignature",
        "InvalidSignatureException" => "SignatureDoesNotMatch",
        "EmptyBatchRequest" => "AWS.SimpleQueueService.EmptyBatchRequest",
        "TooManyEntriesInBatchRequest" => "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
        other => other,
    }
}

fn unknown() -> ApiError {
    ApiError::new("QueueDoesNotExist", "The specified queue does not exist.")
}

fn named<'r>(registry: &'r Registry, request: &Request<'_>) -> Result<&'r Queue, ApiError> {
    let url = request.required("QueueUrl");
    request.check()?;
    registry.queues.get(url.rsplit('/').next().unwrap_or_default()).ok_or_else(unknown)
}

fn url(call: &Call<'_>, queue: &str) -> String {
    format!("{}/{ACCOUNT}/{queue}", call.endpoint)
}

fn arn(call: &Call<'_>, queue: &str) -> String {
    format!("arn:aws:sqs:{}:{ACCOUNT}:{queue}", call.region)
}

/// Whether a text can be the id of a group, or one that says what is a repetition.
pub(super) fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.required("QueueName");
    request.check()?;
    let fifo = request.get("Attributes").is_some_and(|given| given["FifoQueue"] == "true");
    check_name(name, fifo)?;
    let attributes = attributes::given(registry, request, name)?;
    let answer = json!({ "QueueUrl": url(call, name) });
    if let Some(queue) = registry.queues.get(name) {
        return match attributes::difference(queue, &attributes) {
            None => Ok(Reply::of(answer)),
            Some(name) => {
                let message =
                    format!("A queue already exists with the same name and a different value for attribute {name}");
                Err(ApiError::new("QueueNameExists", message))
            }
        };
    }
    let tags: Tags = texts(request.get("tags"));
    let queue = Queue { name: name.into(), attributes, created_at: call.now, modified_at: call.now, tags };
    Ok(Reply::with(answer, vec![Change::Put(Resource::Queue(queue))]))
}

/// A name ends with `.fifo` if, and only if, it is said to be such a queue.
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
    let name = request.required("QueueName");
    request.check()?;
    registry.queues.get(name).ok_or_else(unknown)?;
    Ok(Reply::of(json!({ "QueueUrl": url(call, name) })))
}

fn list(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let prefix = request.text("QueueNamePrefix").unwrap_or_default();
    let (max, after) = (request.number("MaxResults", 1, 1_000), request.text("NextToken").unwrap_or_default());
    request.check()?;
    let limit = max.unwrap_or(1_000) as usize;
    let wanted = |name: &&String| name.starts_with(prefix) && name.as_str() > after;
    let names: Vec<&String> = registry.queues.keys().filter(wanted).take(limit + 1).collect();
    let urls: Vec<String> = names.iter().take(limit).map(|name| url(call, name)).collect();
    // The token is the last name: what is made or deleted meanwhile moves nobody to another page.
    let next = (names.len() > limit && max.is_some()).then(|| names[limit - 1].as_str().into());
    Ok(Reply::of(object([("QueueUrls", Some(urls.into())), ("NextToken", next)])))
}

fn set_attributes(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let mut queue = named(registry, request)?.clone();
    let given = attributes::given(registry, request, &queue.name)?;
    queue.attributes.extend(given);
    queue.modified_at = call.now;
    Ok(Reply::with(Value::Null, vec![Change::Put(Resource::Queue(queue))]))
}

fn list_sources(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let queue = named(registry, request)?;
    let feeds = |other: &&Queue| attributes::redrive(other).is_some_and(|redrive| redrive.queue == queue.name);
    let urls: Vec<String> = registry.queues.values().filter(feeds).map(|other| url(call, &other.name)).collect();
    Ok(Reply::of(json!({ "queueUrls": urls })))
}

fn tag(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut queue = named(registry, request)?.clone();
    queue.tags.extend(texts(request.get("Tags")));
    Ok(Reply::with(Value::Null, vec![Change::Put(Resource::Queue(queue))]))
}

fn untag(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    let mut queue = named(registry, request)?.clone();
    let keys = request.get("TagKeys").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    keys.for_each(|key| drop(queue.tags.remove(key)));
    Ok(Reply::with(Value::Null, vec![Change::Put(Resource::Queue(queue))]))
}

fn list_tags(registry: &Registry, request: &Request<'_>, _: &Call<'_>) -> Result<Reply, ApiError> {
    Ok(Reply::of(json!({ "Tags": named(registry, request)?.tags })))
}

/// Carries out an operation on messages. Disks are waited for on another thread.
pub(super) async fn call(
    shared: &Arc<Shared>,
    operation: OnMessages,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let queue = named(&shared.engine.registry(), request)?.clone();
    match operation {
        OnMessages::Attributes => attributes::shown(&shared.engine, &queue, request, call),
        OnMessages::Send => {
            let message = new_message(&queue, request)?;
            let done =
                on_queue(shared, &queue, move |engine, name| engine.queues().send(name, vec![message], engine.now()));
            Ok(sent(&done.await?[0]))
        }
        OnMessages::SendBatch => send_batch(shared, &queue, request).await,
        OnMessages::Receive => receive(shared, &queue, request).await,
        OnMessages::Delete => {
            let handle = request.required("ReceiptHandle").to_owned();
            request.check()?;
            on_queue(shared, &queue, move |engine, name| engine.queues().delete(name, &handle)).await?;
            Ok(Value::Null)
        }
        OnMessages::ChangeVisibility => {
            let handle = request.required("ReceiptHandle").to_owned();
            let seconds = visibility(request.get("VisibilityTimeout"))?;
            request.check()?;
            let change = move |engine: &Engine, name: &str| {
                engine.queues().change_visibility(name, &handle, seconds, engine.now())
            };
            on_queue(shared, &queue, change).await?;
            Ok(Value::Null)
        }
        OnMessages::DeleteBatch | OnMessages::ChangeVisibilityBatch => {
            let delete = matches!(operation, OnMessages::DeleteBatch);
            let entries = batch(request)?;
            on_queue(shared, &queue, move |engine, name| Ok(settle(engine, name, &entries, delete))).await
        }
        OnMessages::Purge => {
            on_queue(shared, &queue, |engine, name| engine.queues().purge(name)).await?;
            Ok(Value::Null)
        }
        OnMessages::DeleteQueue => {
            super::change(
                shared,
                |registry, request, _| {
                    let queue = named(registry, request)?;
                    Ok(Reply::with(Value::Null, vec![Change::Delete(format!("queue/{}", queue.name))]))
                },
                request,
                call,
            )
            .await?;
            on_queue(shared, &queue, |engine, name| engine.queues().purge(name)).await?;
            Ok(Value::Null)
        }
    }
}

async fn on_queue<T: Send + 'static>(
    shared: &Arc<Shared>,
    queue: &Queue,
    act: impl FnOnce(&Engine, &str) -> Result<T, QueueError> + Send + 'static,
) -> Result<T, ApiError> {
    let (engine, name) = (shared.engine.clone(), queue.name.clone());
    let done = tokio::task::spawn_blocking(move || act(&engine, &name)).await;
    done.map_err(|error| ApiError::internal(error.to_string()))?.map_err(refused)
}

fn refused(error: QueueError) -> ApiError {
    let code = match error {
        QueueError::Full | QueueError::OverLimit => "OverLimit",
        QueueError::TooFast => "RequestThrottled",
        QueueError::Handle => "ReceiptHandleIsInvalid",
        QueueError::Store(_) => return ApiError::internal(error.to_string()),
    };
    ApiError::new(code, error.to_string())
}

fn failed_entry(id: &Value, error: &ApiError) -> Value {
    json!({ "Id": id, "SenderFault": true, "Code": error.code, "Message": error.message })
}

async fn send_batch(shared: &Arc<Shared>, queue: &Queue, request: &Request<'_>) -> Result<Value, ApiError> {
    let (mut ids, mut messages, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for entry in batch(request)? {
        let members = entry.as_object().cloned().unwrap_or_default();
        match new_message(queue, &Request::new(&members)) {
            Ok(message) => {
                ids.push(entry["Id"].clone());
                messages.push(message);
            }
            Err(error) => failed.push(failed_entry(&entry["Id"], &error)),
        }
    }
    let done =
        on_queue(shared, queue, move |engine, name| engine.queues().send(name, messages, engine.now())).await?;
    let successful: Vec<Value> = done
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

fn settle(engine: &Engine, queue: &str, entries: &[Value], delete: bool) -> Value {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for entry in entries {
        let handle = entry["ReceiptHandle"].as_str().unwrap_or_default();
        let done = match delete {
            true => engine.queues().delete(queue, handle).map_err(refused),
            false => visibility(entry.get("VisibilityTimeout")).and_then(|seconds| {
                engine.queues().change_visibility(queue, handle, seconds, engine.now()).map_err(refused)
            }),
        };
        match done {
            Ok(()) => successful.push(json!({ "Id": entry["Id"] })),
            Err(error) => failed.push(failed_entry(&entry["Id"], &error)),
        }
    }
    json!({ "Successful": successful, "Failed": failed })
}

async fn receive(shared: &Arc<Shared>, queue: &Queue, request: &Request<'_>) -> Result<Value, ApiError> {
    let max = request.number("MaxNumberOfMessages", 1, BATCH_MAX as u64).unwrap_or(1) as usize;
    let wait = request.number("WaitTimeSeconds", 0, WAIT_S_MAX);
    let hidden = request.get("VisibilityTimeout").map(|value| visibility(Some(value))).transpose()?;
    request.check()?;
    let wait = Duration::from_secs(wait.unwrap_or_else(|| number(queue, "ReceiveMessageWaitTimeSeconds")));
    let hidden = hidden.unwrap_or_else(|| small(queue, "VisibilityTimeout"));
    let retention = small(queue, "MessageRetentionPeriod");
    let until = tokio::time::Instant::now() + wait;
    loop {
        // Registered before looking, so that a message that comes between looking and waiting is heard.
        let arrived = shared.messages.notified();
        let redrive = attributes::redrive(queue);
        let look = move |engine: &Engine, name: &str| {
            engine.queues().receive(name, max, hidden, retention, redrive.as_ref(), engine.now())
        };
        let received = on_queue(shared, queue, look).await?;
        if !received.is_empty() || tokio::time::Instant::now() >= until || shared.is_stopping() {
            let messages: Vec<Value> = received.iter().map(|one| shown(one, request)).collect();
            return Ok(object([("Messages", (!messages.is_empty()).then(|| messages.into()))]));
        }
        // Hidden messages come back by the clock, not by a call.
        let patience = until.min(tokio::time::Instant::now() + Duration::from_millis(250));
        drop(tokio::time::timeout_at(patience, arrived).await);
    }
}
