//! Messages as SQS shows them: checked on their way in, with the hashes that clients compare on their way out.

use super::super::ApiError;
use super::super::request::{Request, object};
use super::attributes::number;
use super::is_id;
use fakemon_engine::bus::resource::Queue;
use fakemon_engine::envelope::ACCOUNT;
use fakemon_engine::queue::{Attribute, Message, NewMessage, Received, is_fifo};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

/// The longest body of a message, in bytes, and of all in a batch.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Messages in one batch, and in one answer.
pub(super) const BATCH_MAX: usize = 10;

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::new("InvalidParameterValue", message)
}

/// How long to hide a message.
pub(super) fn visibility(value: Option<&Value>) -> Result<u32, ApiError> {
    let seconds = value.and_then(Value::as_u64).filter(|seconds| *seconds <= 43_200);
    seconds.and_then(|seconds| u32::try_from(seconds).ok()).ok_or_else(|| {
        let message = "Value for parameter VisibilityTimeout is invalid. Reason: Must be between 0 and 43200.";
        invalid(message)
    })
}

/// The message of a request.
pub(super) fn new_message(queue: &Queue, request: &Request<'_>) -> Result<NewMessage, ApiError> {
    let body = request.required("MessageBody").to_owned();
    request.check()?;
    if body.is_empty() || body.len() > BODY_BYTES_MAX.min(number(queue, "MaximumMessageSize") as usize) {
        let message =
            format!("One or more parameters are invalid. Reason: Message must be 1 to {BODY_BYTES_MAX} bytes.");
        return Err(invalid(message));
    }
    let attributes = attributes(request)?;
    let delay_s = request.number("DelaySeconds", 0, 900).unwrap_or_else(|| number(queue, "DelaySeconds"));
    request.check()?;
    let (group, deduplication_id) = order(queue, request, &body)?;
    Ok(NewMessage {
        body,
        attributes,
        delay_s: u32::try_from(delay_s).expect("at most 900"),
        group,
        deduplication_id,
        deduplicate_in_group: queue.deduplicates_in_group(),
        moved: false,
    })
}

/// The group and the deduplication id of a message. A standard queue keeps a group and does nothing with it.
fn order(queue: &Queue, request: &Request<'_>, body: &str) -> Result<(Option<String>, Option<String>), ApiError> {
    let (group, id) = (request.text("MessageGroupId"), request.text("MessageDeduplicationId"));
    request.check()?;
    for (name, text) in [("MessageGroupId", group), ("MessageDeduplicationId", id)] {
        if let Some(text) = text.filter(|text| !is_id(text)) {
            return Err(invalid(format!(
                "Value {text} for parameter {name} is invalid. Reason: {name} can only include alphanumeric and \
                 punctuation characters. 1 to 128 in length."
            )));
        }
    }
    let misplaced = |name: &str, value: &str| {
        invalid(format!(
            "Value {value} for parameter {name} is invalid. Reason: The request include parameter that is not valid \
             for this queue type."
        ))
    };
    if !is_fifo(&queue.name) {
        return match id {
            Some(id) => Err(misplaced("MessageDeduplicationId", id)),
            None => Ok((group.map(str::to_owned), None)),
        };
    }
    if let Some(delay) = request.get("DelaySeconds").filter(|delay| delay.as_u64() != Some(0)) {
        return Err(misplaced("DelaySeconds", &delay.to_string()));
    }
    let Some(group) = group else {
        return Err(ApiError::new("MissingParameter", "The request must contain the parameter MessageGroupId."));
    };
    let by_content = || queue.deduplicates_by_content().then(|| NewMessage::content_id(body));
    let Some(id) = id.map(str::to_owned).or_else(by_content) else {
        return Err(invalid(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided \
             explicitly",
        ));
    };
    Ok((Some(group.to_owned()), Some(id)))
}

fn attributes(request: &Request<'_>) -> Result<BTreeMap<String, Attribute>, ApiError> {
    let mut attributes = BTreeMap::new();
    for (name, given) in request.get("MessageAttributes").and_then(Value::as_object).into_iter().flatten() {
        let data_type = given["DataType"].as_str().unwrap_or_default().to_owned();
        let value = given["StringValue"].as_str().or_else(|| given["BinaryValue"].as_str());
        let (Some(value), false) = (value, data_type.is_empty()) else {
            let message = format!("The message attribute '{name}' must contain a non-empty value and type.");
            return Err(invalid(message));
        };
        attributes.insert(name.clone(), Attribute { data_type, value: value.to_owned() });
    }
    Ok(attributes)
}

/// What a sender is told: the hashes are of what was sent, also when it was sent before.
pub(super) fn sent(message: &Message) -> Value {
    let number = message.deduplication_id.as_ref().map(|_| sequence_number(message));
    object([
        ("MessageId", Some(message.id.clone().into())),
        ("MD5OfMessageBody", Some(md5_of(message.body.as_bytes()).into())),
        ("MD5OfMessageAttributes", md5_of_attributes(&message.attributes).map(Into::into)),
        ("SequenceNumber", number.map(Into::into)),
    ])
}

fn sequence_number(message: &Message) -> String {
    format!("{:020}", message.sequence)
}

/// The entries of a batch: some, not too many, each with an id of its own.
pub(super) fn batch(request: &Request<'_>) -> Result<Vec<Value>, ApiError> {
    let entries = request.get("Entries").and_then(Value::as_array).cloned().unwrap_or_default();
    if entries.is_empty() {
        return Err(ApiError::new("EmptyBatchRequest", "There should be at least one entry in the request."));
    }
    if entries.len() > BATCH_MAX {
        let message =
            format!("Maximum number of entries per request are {BATCH_MAX}. You have sent {}.", entries.len());
        return Err(ApiError::new("TooManyEntriesInBatchRequest", message));
    }
    let bytes: usize = entries.iter().filter_map(|entry| entry["MessageBody"].as_str()).map(str::len).sum();
    if bytes > BODY_BYTES_MAX {
        let message =
            format!("Batch requests cannot be longer than {BODY_BYTES_MAX} bytes. You have sent {bytes} bytes.");
        return Err(ApiError::new("BatchRequestTooLong", message));
    }
    let mut ids = HashSet::new();
    for id in entries.iter().map(|entry| entry["Id"].as_str().unwrap_or_default()) {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=80).contains(&id.len()) || !id.bytes().all(fits) {
            let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can \
                           be at most 80 letters long.";
            return Err(ApiError::new("InvalidBatchEntryId", message));
        }
        if !ids.insert(id) {
            return Err(ApiError::new("BatchEntryIdsNotDistinct", format!("Id {id} repeated.")));
        }
    }
    Ok(entries)
}

/// A message as its receiver gets it.
pub(super) fn shown(received: &Received, request: &Request<'_>) -> Value {
    let Received { message, handle, receives, first_received_at } = received;
    let asked = |member: &str| -> Vec<&str> {
        let names = request.get(member).and_then(Value::as_array).into_iter().flatten();
        names.filter_map(Value::as_str).collect()
    };
    let systems = [asked("AttributeNames"), asked("MessageSystemAttributeNames")].concat();
    let wanted = |name: &str| systems.iter().any(|asked| *asked == "All" || *asked == name);
    let id = message.deduplication_id.clone();
    let number = id.as_ref().map(|_| sequence_number(message));
    let system = object([
        ("SenderId", wanted("SenderId").then(|| ACCOUNT.into())),
        ("SentTimestamp", wanted("SentTimestamp").then(|| milliseconds(message.sent_at.0))),
        ("ApproximateReceiveCount", wanted("ApproximateReceiveCount").then(|| receives.to_string().into())),
        (
            "ApproximateFirstReceiveTimestamp",
            wanted("ApproximateFirstReceiveTimestamp").then(|| milliseconds(first_received_at.0)),
        ),
        ("MessageGroupId", message.group.clone().filter(|_| wanted("MessageGroupId")).map(Into::into)),
        ("MessageDeduplicationId", id.filter(|_| wanted("MessageDeduplicationId")).map(Into::into)),
        ("SequenceNumber", number.filter(|_| wanted("SequenceNumber")).map(Into::into)),
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
