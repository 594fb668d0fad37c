//! Settings of a queue: their names, defaults and bounds, and which kind of queue has them.

use super::super::request::Request;
use super::super::{ApiError, Call};
use super::arn;
use fakemon_engine::Engine;
use fakemon_engine::bus::resource::Queue;
use fakemon_engine::bus::{Destination, Registry};
use fakemon_engine::queue::{Redrive, is_fifo};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Settings of a queue with their default and bounds.
const NUMBERS: [(&str, u64, u64, u64); 5] = [
    ("DelaySeconds", 0, 0, 900),
    ("MaximumMessageSize", 1_048_576, 1_024, 1_048_576),
    ("MessageRetentionPeriod", 345_600, 60, 1_209_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 0, 20),
    ("VisibilityTimeout", 30, 0, 43_200),
];
/// Settings that are texts.
const OTHERS: [&str; 6] = [
    "Policy",
    "RedrivePolicy",
    "RedriveAllowPolicy",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "SqsManagedSseEnabled",
];
/// Settings that only FIFO queues have: what they may be, the default first.
const FIFO: [(&str, [&str; 2]); 4] = [
    ("FifoQueue", ["true", "true"]),
    ("ContentBasedDeduplication", ["false", "true"]),
    ("DeduplicationScope", ["queue", "messageGroup"]),
    ("FifoThroughputLimit", ["perQueue", "perMessageGroupId"]),
];
/// What is told and not set.
const TOLD: [&str; 6] = [
    "QueueArn",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
];

/// A setting that is a number.
pub(super) fn number(queue: &Queue, name: &str) -> u64 {
    let (_, default, ..) = NUMBERS.iter().find(|(held, ..)| *held == name).expect("a known setting");
    queue.attributes.get(name).and_then(|text| text.parse().ok()).unwrap_or(*default)
}

/// A setting that is a small number.
pub(super) fn small(queue: &Queue, name: &str) -> u32 {
    u32::try_from(number(queue, name)).expect("bounded far below")
}

fn unknown(name: &str) -> ApiError {
    ApiError::new("InvalidAttributeName", format!("Unknown Attribute {name}."))
}

/// The member `Attributes` for a queue of a name, checked. An empty text takes a setting back.
pub(super) fn given(
    registry: &Registry,
    request: &Request<'_>,
    queue: &str,
) -> Result<BTreeMap<String, String>, ApiError> {
    let mut attributes = BTreeMap::new();
    for (name, value) in request.get("Attributes").and_then(Value::as_object).into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        if !fits(queue, name, &text)? {
            return Err(ApiError::new("InvalidAttributeValue", format!("Invalid value for the parameter {name}.")));
        }
        if name == "RedrivePolicy" && !text.is_empty() {
            check_redrive(registry, queue, &text)?;
        }
        attributes.insert(name.clone(), text);
    }
    Ok(attributes)
}

/// Whether a queue of this name may have a setting at this value.
fn fits(queue: &str, name: &str, text: &str) -> Result<bool, ApiError> {
    if let Some((_, _, min, max)) = NUMBERS.iter().find(|(held, ..)| *held == name) {
        return Ok(text.parse().is_ok_and(|number: u64| (*min..=*max).contains(&number)));
    }
    match FIFO.iter().find(|(held, _)| *held == name) {
        Some((_, words)) if is_fifo(queue) => Ok(words.contains(&text)),
        None if OTHERS.contains(&name) => Ok(true),
        _ => Err(unknown(name)),
    }
}

/// A dead-letter queue is there, and of the same kind.
fn check_redrive(registry: &Registry, queue: &str, policy: &str) -> Result<(), ApiError> {
    let invalid = |reason: &str| {
        let message = format!("Value {policy} for parameter RedrivePolicy is invalid. Reason: {reason}");
        Err(ApiError::new("InvalidParameterValue", message))
    };
    let Some(Redrive { queue: dead, receives_max: 1..=1_000 }) = read_redrive(policy) else {
        return invalid(
            "It must be a JSON object with deadLetterTargetArn, the ARN of a queue, and maxReceiveCount, 1 to 1000.",
        );
    };
    match registry.queues.contains_key(&dead) {
        false => invalid("Dead letter target does not exist."),
        true if is_fifo(&dead) != is_fifo(queue) => {
            invalid("Dead-letter queue must be same type of queue as the source.")
        }
        true => Ok(()),
    }
}

fn read_redrive(policy: &str) -> Option<Redrive> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    let Destination::Queue(queue) = Destination::of(policy["deadLetterTargetArn"].as_str()?) else { return None };
    let max = &policy["maxReceiveCount"];
    let receives_max = max.as_u64().or_else(|| max.as_str()?.parse().ok())?;
    Some(Redrive { queue, receives_max: u32::try_from(receives_max).ok()? })
}

/// Where messages of a queue go that were received too often.
pub(super) fn redrive(queue: &Queue) -> Option<Redrive> {
    read_redrive(queue.attributes.get("RedrivePolicy")?)
}

/// The setting in which a queue differs from what is asked for.
pub(super) fn difference<'g>(queue: &Queue, given: &'g BTreeMap<String, String>) -> Option<&'g str> {
    let held = known(queue);
    given.iter().find(|(name, value)| held.get(*name) != Some(*value)).map(|(name, _)| name.as_str())
}

/// Everything that was set, or is so without.
fn known(queue: &Queue) -> BTreeMap<String, String> {
    let numbers = NUMBERS.iter().map(|(name, ..)| ((*name).to_owned(), number(queue, name).to_string()));
    let mut all: BTreeMap<String, String> = numbers.collect();
    if is_fifo(&queue.name) {
        all.extend(FIFO.iter().map(|(name, words)| ((*name).to_owned(), words[0].to_owned())));
    }
    all.insert("SqsManagedSseEnabled".into(), "false".into());
    all.extend(queue.attributes.iter().filter(|(_, text)| !text.is_empty()).map(|(n, t)| (n.clone(), t.clone())));
    all
}

/// The settings of a queue that a request asks for.
pub(super) fn shown(
    engine: &Engine,
    queue: &Queue,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let names = request.get("AttributeNames").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<&str> = names.filter_map(Value::as_str).collect();
    let is_known = |name: &str| {
        name == "All"
            || OTHERS.contains(&name)
            || TOLD.contains(&name)
            || NUMBERS.iter().any(|(held, ..)| *held == name)
            || FIFO.iter().any(|(held, _)| *held == name)
    };
    if let Some(name) = names.iter().find(|name| !is_known(name)) {
        return Err(unknown(name));
    }
    let counts = engine.queues().counts(&queue.name, engine.now());
    let seconds = |ns: u64| (ns / 1_000_000_000).to_string();
    let told = [
        arn(call, &queue.name),
        counts.visible.to_string(),
        counts.in_flight.to_string(),
        counts.delayed.to_string(),
        seconds(queue.created_at.0),
        seconds(queue.modified_at.0),
    ];
    let mut all = known(queue);
    all.extend(TOLD.iter().map(|name| (*name).to_owned()).zip(told));
    all.retain(|name, _| names.iter().any(|asked| *asked == "All" || asked == name));
    Ok(json!({ "Attributes": all }))
}
