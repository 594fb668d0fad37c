//! Messages: checked when they are sent, shown with the hashes that clients compare when they are received.

use crate::arn;
use crate::asked::{filled, invalid, invalid_value, missing, names, number, text};
use crate::attributes;
use crate::hashes::{TRACE_HEADER, md5_of, md5_of_attributes, md5_of_trace};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fakemon_aws::request::{Request, object};
use fakemon_aws::{ApiError, Call};
use fakemon_engine::Engine;
use fakemon_model::envelope::ACCOUNT;
use fakemon_queue::queue::{Attribute, Message, NewMessage, Received, fault_in, is_content, is_fifo, is_id};
use fakemon_resource::resource::Queue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};

/// All messages of a batch, in bytes; also the default maximum of one message.
pub(crate) const BATCH_BYTES_MAX: usize = 1 << 20;
/// Messages in one batch, and in one answer.
pub(super) const BATCH_MAX: usize = 10;

/// The visibility timeout of a request, in seconds.
pub(super) fn visibility(request: &Request<'_>) -> Result<Option<u32>, ApiError> {
    number(request, "VisibilityTimeout", 0, 43_200, "Must be >= 0 and <= 43200, if provided.")
}

/// The message of a request.
pub(super) fn new_message(queue: &Queue, request: &Request<'_>) -> Result<NewMessage, ApiError> {
    let (group, deduplication_id) = order(queue, request)?;
    let body = filled(request, "MessageBody")?.to_owned();
    if !is_content(&body) {
        let message = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 \
                       to #xFFFD | #x10000 to #x10FFFF";
        return Err(ApiError::new("InvalidMessageContents", message));
    }
    let deduplication_id =
        deduplication_id.or_else(|| queue.deduplicates_by_content().then(|| NewMessage::content_id(&body)));
    let message = NewMessage {
        body,
        attributes: attributes_of(request)?,
        trace_header: trace_header(request)?,
        delay_s: delay(queue, request)?,
        group,
        deduplication_id,
        deduplicate_in_group: queue.deduplicates_in_group(),
        ..NewMessage::default()
    };
    let bytes_max = attributes::number(queue, "MaximumMessageSize");
    if message.bytes() as u64 > bytes_max {
        return Err(too_long(bytes_max));
    }
    Ok(message)
}

/// The error for a message that is larger than its queue allows.
pub(super) fn too_long(bytes_max: u64) -> ApiError {
    invalid(format!("One or more parameters are invalid. Reason: Message must be shorter than {bytes_max} bytes."))
}

/// The error for a batch that is too large.
pub(super) fn batch_too_long(bytes: usize) -> ApiError {
    let message =
        format!("Batch requests cannot be longer than {BATCH_BYTES_MAX} bytes. You have sent {bytes} bytes.");
    ApiError::new("BatchRequestTooLong", message)
}

/// The delay of a message, in seconds; in a FIFO queue that of the queue.
fn delay(queue: &Queue, request: &Request<'_>) -> Result<u32, ApiError> {
    let of_queue = attributes::small(queue, "DelaySeconds");
    let given = number(request, "DelaySeconds", 0, 900, "DelaySeconds must be >= 0 and <= 900.")?;
    match given {
        Some(delay @ 1..) if is_fifo(&queue.name) => Err(misplaced("DelaySeconds", &delay.to_string())),
        Some(delay) if !is_fifo(&queue.name) => Ok(delay),
        _ => Ok(of_queue),
    }
}

fn misplaced(name: &str, value: &str) -> ApiError {
    invalid_value(name, value, "The request include parameter that is not valid for this queue type.")
}

/// The group and the deduplication id that a request names. A standard queue stores a group without effect.
fn order(queue: &Queue, request: &Request<'_>) -> Result<(Option<String>, Option<String>), ApiError> {
    let (group, id) = (text(request, "MessageGroupId")?, text(request, "MessageDeduplicationId")?);
    if !is_fifo(&queue.name) {
        if let Some(id) = id {
            return Err(misplaced("MessageDeduplicationId", id));
        }
    } else if group.is_none() {
        return Err(missing("MessageGroupId"));
    }
    for (name, text) in [("MessageGroupId", group), ("MessageDeduplicationId", id)] {
        if let Some(text) = text.filter(|text| !is_id(text)) {
            let reason =
                format!("{name} can only include alphanumeric and punctuation characters. 1 to 128 in length.");
            return Err(invalid_value(name, text, &reason));
        }
    }
    if is_fifo(&queue.name) && id.is_none() && !queue.deduplicates_by_content() {
        return Err(invalid(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided \
             explicitly",
        ));
    }
    Ok((group.map(str::to_owned), id.map(str::to_owned)))
}

/// Checks that a message fits its queue's order; if one of a batch does not, none of the batch is sent.
pub(super) fn check_order(queue: &Queue, request: &Request<'_>) -> Result<(), ApiError> {
    if is_fifo(&queue.name) { order(queue, request).map(drop) } else { Ok(()) }
}

fn attributes_of(request: &Request<'_>) -> Result<BTreeMap<String, Attribute>, ApiError> {
    let mut attributes = BTreeMap::new();
    for (name, given) in request.get("MessageAttributes").and_then(Value::as_object).into_iter().flatten() {
        attributes.insert(name.clone(), attribute(name, given)?);
    }
    match fault_in(&attributes) {
        None => Ok(attributes),
        Some(fault) => Err(invalid(fault)),
    }
}

fn attribute(name: &str, given: &Value) -> Result<Attribute, ApiError> {
    let data_type = given["DataType"].as_str().unwrap_or_default();
    if data_type.is_empty() {
        return Err(invalid(format!(
            "The message attribute '{name}' must contain non-empty message attribute type."
        )));
    }
    let (own, other) = match data_type.starts_with("Binary") {
        true => ("BinaryValue", "StringValue"),
        false => ("StringValue", "BinaryValue"),
    };
    if !given[other].is_null() {
        return Err(invalid(format!(
            "The message attribute '{name}' with type '{data_type}' must use field '{}'.",
            if own == "StringValue" { "String" } else { "Binary" }
        )));
    }
    let value = given[own].as_str().unwrap_or_default();
    if own == "BinaryValue" && STANDARD.decode(value).is_err() {
        return Err(invalid(format!("The message attribute '{name}' must have its binary value in base 64.")));
    }
    Ok(Attribute { data_type: data_type.to_owned(), value: value.to_owned() })
}

fn trace_header(request: &Request<'_>) -> Result<Option<String>, ApiError> {
    let mut header = None;
    for (name, given) in request.get("MessageSystemAttributes").and_then(Value::as_object).into_iter().flatten() {
        if name != TRACE_HEADER {
            return Err(invalid(format!("The message system attribute name '{name}' is invalid.")));
        }
        let Attribute { data_type, value } = attribute(name, given)?;
        if data_type != "String" || value.is_empty() || !is_content(&value) {
            return Err(invalid(format!(
                "The message system attribute '{name}' must be a String that is not empty."
            )));
        }
        header = Some(value);
    }
    Ok(header)
}

/// The answer to a sender: the hashes are of what this request sent, also if it is a duplicate.
pub(crate) fn sent(message: &Message) -> Value {
    let number = message.deduplication_id.as_ref().map(|_| sequence_number(message));
    object([
        ("MessageId", Some(message.id.clone().into())),
        ("MD5OfMessageBody", Some(md5_of(message.body.as_bytes()).into())),
        ("MD5OfMessageAttributes", md5_of_attributes(&message.attributes).map(Into::into)),
        ("MD5OfMessageSystemAttributes", md5_of_trace(message.trace_header.as_deref()).map(Into::into)),
        ("SequenceNumber", number.map(Into::into)),
    ])
}

fn sequence_number(message: &Message) -> String {
    format!("{:020}", message.sequence)
}

/// The entries of a batch: one to `BATCH_MAX`, each with an id of its own. `of` is the name of the operation.
pub(crate) fn batch(request: &Request<'_>, of: &str) -> Result<Vec<Value>, ApiError> {
    let entries = request.get("Entries").and_then(Value::as_array).cloned().unwrap_or_default();
    if entries.is_empty() {
        let message = format!("There should be at least one {of}RequestEntry in the request.");
        return Err(ApiError::new("EmptyBatchRequest", message));
    }
    if entries.len() > BATCH_MAX {
        let message =
            format!("Maximum number of entries per request are {BATCH_MAX}. You have sent {}.", entries.len());
        return Err(ApiError::new("TooManyEntriesInBatchRequest", message));
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

/// The size of a batch in bytes, as SQS counts it.
pub(super) fn batch_bytes(entries: &[Value]) -> usize {
    let attribute = |(name, given): (&String, &Value)| {
        let length = |member: &str| given[member].as_str().map_or(0, str::len);
        let binary = given["BinaryValue"].as_str().map_or(0, |text| text.trim_end_matches('=').len() * 3 / 4);
        name.len() + length("DataType") + length("StringValue") + binary
    };
    let entry = |entry: &Value| {
        let attributes = entry["MessageAttributes"].as_object().into_iter().flatten();
        entry["MessageBody"].as_str().map_or(0, str::len) + attributes.map(attribute).sum::<usize>()
    };
    entries.iter().map(entry).sum()
}

/// A message as its receiver gets it.
pub(crate) fn shown(received: &Received, engine: &Engine, request: &Request<'_>, call: &Call<'_>) -> Value {
    let Received { message, handle, .. } = received;
    let system = system_attributes(received, engine, request, call);
    let asked = names(request, "MessageAttributeNames");
    let is_asked = |name: &str| {
        asked.iter().any(|asked| match asked.strip_suffix(".*").or_else(|| asked.strip_suffix('*')) {
            Some(prefix) => name.starts_with(prefix),
            None => *asked == "All" || *asked == name,
        })
    };
    let attributes: BTreeMap<String, Attribute> =
        message.attributes.iter().filter(|(name, _)| is_asked(name)).map(|(n, a)| (n.clone(), a.clone())).collect();
    let md5 = md5_of_attributes(&attributes);
    let attributes: serde_json::Map<String, Value> = attributes
        .into_iter()
        .map(|(name, attribute)| {
            let member = if attribute.is_binary() { "BinaryValue" } else { "StringValue" };
            (name, json!({ "DataType": attribute.data_type, member: attribute.value }))
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

/// What the service says of a message, as far as it is asked for.
fn system_attributes(received: &Received, engine: &Engine, request: &Request<'_>, call: &Call<'_>) -> Value {
    let Received { message, receives, first_received_at, .. } = received;
    let asked = [names(request, "AttributeNames"), names(request, "MessageSystemAttributeNames")].concat();
    let wanted = |name: &str| asked.iter().any(|asked| *asked == "All" || *asked == name);
    let id = &message.deduplication_id;
    let shown = |at| milliseconds(engine.by_wall(at).0);
    let known: [(&str, Option<String>); 9] = [
        ("SenderId", Some(ACCOUNT.into())),
        ("SentTimestamp", Some(shown(message.sent_at))),
        ("ApproximateReceiveCount", Some(receives.to_string())),
        ("ApproximateFirstReceiveTimestamp", Some(shown(*first_received_at))),
        ("MessageGroupId", message.group.clone()),
        ("MessageDeduplicationId", id.clone()),
        ("SequenceNumber", id.as_ref().map(|_| sequence_number(message))),
        (TRACE_HEADER, message.trace_header.clone()),
        ("DeadLetterQueueSourceArn", message.origin.as_ref().map(|origin| arn(call, &origin.queue))),
    ];
    object(known.map(|(name, value)| (name, value.filter(|_| wanted(name)).map(Into::into))))
}

fn milliseconds(ns: u64) -> String {
    (ns / 1_000_000).to_string()
}
