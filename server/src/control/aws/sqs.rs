//! Amazon SQS, as far as usual clients call it: queues that are targets, dead-letter queues, and answers to poll.

use super::request::{Request, object};
use super::{ApiError, Call, Operation, Reply};
use crate::control::Shared;
use fakemon_engine::Engine;
use fakemon_engine::bus::resource::{Change, Queue, Resource, Tags};
use fakemon_engine::bus::{Destination, Registry};
use fakemon_engine::envelope::ACCOUNT;
use fakemon_engine::queue::{Attribute, Message, NewMessage, QueueError, Received, Redrive};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The longest body of a message, in bytes.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Messages in one batch, and in one answer.
const BATCH_MAX: usize = 10;
/// The longest wait for messages, in seconds.
const WAIT_S_MAX: u64 = 20;
/// Settings of a queue with their default and bounds.
const NUMBERS: [(&str, u64, u64, u64); 5] = [
    ("DelaySeconds", 0, 0, 900),
    ("MaximumMessageSize", 1_048_576, 1_024, 1_048_576),
    ("MessageRetentionPeriod", 345_600, 60, 1_209_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 0, 20),
    ("VisibilityTimeout", 30, 0, 43_200),
];
const OTHERS: [&str; 8] = [
    "Policy",
    "RedrivePolicy",
    "RedriveAllowPolicy",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "SqsManagedSseEnabled",
    "FifoQueue",
    "ContentBasedDeduplication",
];

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

fn number(queue: &Queue, name: &str) -> u64 {
    let (_, default, ..) = NUMBERS.iter().find(|(held, ..)| *held == name).expect("a known setting");
    queue.attributes.get(name).and_then(|text| text.parse().ok()).unwrap_or(*default)
}

fn small(queue: &Queue, name: &str) -> u32 {
    u32::try_from(number(queue, name)).expect("bounded far below")
}

fn given_attributes(request: &Request<'_>) -> Result<BTreeMap<String, String>, ApiError> {
    let mut attributes = BTreeMap::new();
    for (name, value) in request.get("Attributes").and_then(Value::as_object).into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let bounds = NUMBERS.iter().find(|(held, ..)| held == name);
        if bounds.is_none() && !OTHERS.contains(&name.as_str()) {
            return Err(ApiError::new("InvalidAttributeName", format!("Unknown Attribute {name}.")));
        }
        let in_bounds = |(_, _, min, max): &(&str, u64, u64, u64)| {
            text.parse().is_ok_and(|number: u64| (*min..=*max).contains(&number))
        };
        if bounds.is_some_and(|bounds| !in_bounds(bounds)) {
            return Err(ApiError::new("InvalidAttributeValue", format!("Invalid value for the parameter {name}.")));
        }
        attributes.insert(name.clone(), text);
    }
    Ok(attributes)
}

fn create(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let name = request.required("QueueName");
    request.check()?;
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let fits = stem.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !fits || stem.is_empty() || name.len() > 80 {
        let message = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length";
        return Err(ApiError::new("InvalidParameterValue", message));
    }
    let attributes = given_attributes(request)?;
    let answer = json!({ "QueueUrl": url(call, name) });
    if let Some(queue) = registry.queues.get(name) {
        let differs = attributes.iter().find(|(name, value)| match NUMBERS.iter().any(|(held, ..)| held == name) {
            true => number(queue, name).to_string() != **value,
            false => queue.attributes.get(*name) != Some(*value),
        });
        return match differs {
            None => Ok(Reply::of(answer)),
            Some((name, _)) => {
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
    let names = registry.queues.keys().filter(|name| name.starts_with(prefix));
    let urls: Vec<String> = names.map(|name| url(call, name)).take(1_000).collect();
    Ok(Reply::of(json!({ "QueueUrls": urls })))
}

fn set_attributes(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let mut queue = named(registry, request)?.clone();
    queue.attributes.extend(given_attributes(request)?);
    queue.modified_at = call.now;
    Ok(Reply::with(Value::Null, vec![Change::Put(Resource::Queue(queue))]))
}

fn redrive(queue: &Queue) -> Option<Redrive> {
    let policy: Value = serde_json::from_str(queue.attributes.get("RedrivePolicy")?).ok()?;
    let Destination::Queue(name) = Destination::of(policy["deadLetterTargetArn"].as_str()?) else { return None };
    let max = &policy["maxReceiveCount"];
    let receives_max = max.as_u64().or_else(|| max.as_str()?.parse().ok())?;
    Some(Redrive { queue: name, receives_max: u32::try_from(receives_max).ok()? })
}

fn list_sources(registry: &Registry, request: &Request<'_>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let queue = named(registry, request)?;
    let feeds = |other: &&Queue| redrive(other).is_some_and(|redrive| redrive.queue == queue.name);
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
        OnMessages::Attributes => Ok(attributes(&shared.engine, &queue, request, call)),
        OnMessages::Send => {
            let message = new_message(&queue, request)?;
            let md5 = (md5_of(message.body.as_bytes()), md5_of_attributes(&message.attributes));
            let sent =
                on_queue(shared, &queue, move |engine, name| engine.queues().send(name, vec![message], engine.now()));
            Ok(sent_answer(&sent.await?[0], md5))
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
        QueueError::Handle => "ReceiptHandleIsInvalid",
        QueueError::Store(_) => return ApiError::internal(error.to_string()),
    };
    ApiError::new(code, error.to_string())
}

fn visibility(value: Option<&Value>) -> Result<u32, ApiError> {
    let seconds = value.and_then(Value::as_u64).filter(|seconds| *seconds <= 43_200);
    seconds.and_then(|seconds| u32::try_from(seconds).ok()).ok_or_else(|| {
        let message = "Value for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200.";
        ApiError::new("InvalidParameterValue", message)
    })
}

fn new_message(queue: &Queue, request: &Request<'_>) -> Result<NewMessage, ApiError> {
    let body = request.required("MessageBody").to_owned();
    request.check()?;
    if body.is_empty() || body.len() > BODY_BYTES_MAX.min(number(queue, "MaximumMessageSize") as usize) {
        let message =
            format!("One or more parameters are invalid. Reason: Message must be 1 to {BODY_BYTES_MAX} bytes.");
        return Err(ApiError::new("InvalidParameterValue", message));
    }
    let mut attributes = BTreeMap::new();
    for (name, given) in request.get("MessageAttributes").and_then(Value::as_object).into_iter().flatten() {
        let data_type = given["DataType"].as_str().unwrap_or_default().to_owned();
        let value = given["StringValue"].as_str().or_else(|| given["BinaryValue"].as_str());
        let (Some(value), false) = (value, data_type.is_empty()) else {
            let message = format!("The message attribute '{name}' must contain a non-empty value and type.");
            return Err(ApiError::new("InvalidParameterValue", message));
        };
        attributes.insert(name.clone(), Attribute { data_type, value: value.to_owned() });
    }
    let delay_s = request.number("DelaySeconds", 0, 900).unwrap_or_else(|| number(queue, "DelaySeconds"));
    request.check()?;
    Ok(NewMessage { body, attributes, delay_s: u32::try_from(delay_s).expect("at most 900") })
}

fn sent_answer(message: &Message, (body, attributes): (String, Option<String>)) -> Value {
    object([
        ("MessageId", Some(message.id.clone().into())),
        ("MD5OfMessageBody", Some(body.into())),
        ("MD5OfMessageAttributes", attributes.map(Into::into)),
    ])
}

fn batch(request: &Request<'_>) -> Result<Vec<Value>, ApiError> {
    let entries = request.get("Entries").and_then(Value::as_array).cloned().unwrap_or_default();
    match entries.len() {
        0 => Err(ApiError::new("EmptyBatchRequest", "There should be at least one entry in the request.")),
        1..=BATCH_MAX => Ok(entries),
        count => Err(ApiError::new(
            "TooManyEntriesInBatchRequest",
            format!("Maximum number of entries per request are {BATCH_MAX}. You have sent {count}."),
        )),
    }
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
                let md5 = (md5_of(message.body.as_bytes()), md5_of_attributes(&message.attributes));
                ids.push((entry["Id"].clone(), md5));
                messages.push(message);
            }
            Err(error) => failed.push(failed_entry(&entry["Id"], &error)),
        }
    }
    let sent =
        on_queue(shared, queue, move |engine, name| engine.queues().send(name, messages, engine.now())).await?;
    let successful: Vec<Value> = sent
        .iter()
        .zip(ids)
        .map(|(message, (id, md5))| {
            let mut answer = sent_answer(message, md5);
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
        let redrive = redrive(queue);
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

fn shown(received: &Received, request: &Request<'_>) -> Value {
    let Received { message, handle, receives, first_received_at } = received;
    let asked = |member: &str| -> Vec<&str> {
        let names = request.get(member).and_then(Value::as_array).into_iter().flatten();
        names.filter_map(Value::as_str).collect()
    };
    let systems = [asked("AttributeNames"), asked("MessageSystemAttributeNames")].concat();
    let wanted = |name: &str| systems.iter().any(|asked| *asked == "All" || *asked == name);
    let system = object([
        ("SenderId", wanted("SenderId").then(|| ACCOUNT.into())),
        ("SentTimestamp", wanted("SentTimestamp").then(|| milliseconds(message.sent_at.0))),
        ("ApproximateReceiveCount", wanted("ApproximateReceiveCount").then(|| receives.to_string().into())),
        (
            "ApproximateFirstReceiveTimestamp",
            wanted("ApproximateFirstReceiveTimestamp").then(|| milliseconds(first_received_at.0)),
        ),
    ]);
    let names = asked("MessageAttributeNames");
    let is_asked = |name: &str| {
        names.iter().any(|asked| match asked.strip_suffix(".*").or_else(|| asked.strip_suffix('*')) {
            Some(prefix) => name.starts_with(prefix),
            None => *asked == "All" || *asked == name,
        })
    };
    let attributes: BTreeMap<String, Attribute> =
        message.attributes.iter().filter(|(name, _)| is_asked(name)).map(|(n, a)| (n.clone(), a.clone())).collect();
    let md5 = md5_of_attributes(&attributes);
    let attributes: serde_json::Map<String, Value> = attributes
        .into_iter()
        .map(|(name, Attribute { data_type, value })| {
            let member = if data_type.starts_with("Binary") { "BinaryValue" } else { "StringValue" };
            (name, json!({ "DataType": data_type, member: value }))
        })
        .collect();
    object([
        ("MessageId", Some(message.id.clone().into())),
        ("ReceiptHandle", Some(handle.clone().into())),
        ("MD5OfBody", Some(md5_of(message.body.as_bytes()).into())),
        ("Body", Some(message.body.clone().into())),
        ("Attributes", system.as_object().is_some_and(|members| !members.is_empty()).then_some(system)),
        ("MessageAttributes", (!attributes.is_empty()).then(|| attributes.into())),
        ("MD5OfMessageAttributes", md5.map(Into::into)),
    ])
}

fn milliseconds(ns: u64) -> Value {
    (ns / 1_000_000).to_string().into()
}

fn attributes(engine: &Engine, queue: &Queue, request: &Request<'_>, call: &Call<'_>) -> Value {
    let counts = engine.queues().counts(&queue.name, engine.now());
    let mut all: BTreeMap<String, String> =
        NUMBERS.iter().map(|(name, ..)| ((*name).to_owned(), number(queue, name).to_string())).collect();
    all.extend(queue.attributes.clone());
    let seconds = |ns: u64| (ns / 1_000_000_000).to_string();
    for (name, value) in [
        ("QueueArn", arn(call, &queue.name)),
        ("ApproximateNumberOfMessages", counts.visible.to_string()),
        ("ApproximateNumberOfMessagesNotVisible", counts.in_flight.to_string()),
        ("ApproximateNumberOfMessagesDelayed", counts.delayed.to_string()),
        ("CreatedTimestamp", seconds(queue.created_at.0)),
        ("LastModifiedTimestamp", seconds(queue.modified_at.0)),
        ("SqsManagedSseEnabled", "false".into()),
    ] {
        all.entry(name.into()).or_insert(value);
    }
    let names = request.get("AttributeNames").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    all.retain(|name, _| names.iter().any(|asked| *asked == "All" || asked == name));
    json!({ "Attributes": all })
}

fn md5_of(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names, types and values in the order of names, each with its length in front: clients compute it too, and compare.
fn md5_of_attributes(attributes: &BTreeMap<String, Attribute>) -> Option<String> {
    if attributes.is_empty() {
        return None;
    }
    Some(md5_of(&attribute_bytes(attributes)))
}

fn attribute_bytes(attributes: &BTreeMap<String, Attribute>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, Attribute { data_type, value }) in attributes {
        let binary = data_type.starts_with("Binary");
        let decoded = if binary { decode_base64(value) } else { value.as_bytes().to_vec() };
        for part in [name.as_bytes(), data_type.as_bytes()] {
            bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes.push(if binary { 2 } else { 1 });
        bytes.extend_from_slice(&u32::try_from(decoded.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&decoded);
    }
    bytes
}

fn decode_base64(text: &str) -> Vec<u8> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap_or_default()
}
