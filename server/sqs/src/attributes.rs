//! Attributes of a queue: names, defaults and bounds, and the kind of queue that has them.

use crate::arn;
use crate::asked::invalid_value;
use fakemon_aws::request::Request;
use fakemon_aws::{ApiError, Call};
use fakemon_engine::Engine;
use fakemon_queue::queue::settings::{self, NUMBERS, OF_FIFO, OTHERS};
use fakemon_queue::queue::{Redrive, is_fifo};
use fakemon_resource::Registry;
use fakemon_resource::resource::Queue;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Settings that say yes or no.
const SWITCHES: [&str; 3] = ["FifoQueue", "ContentBasedDeduplication", "SqsManagedSseEnabled"];
/// What is told and not set.
const TOLD: [&str; 6] = [
    "QueueArn",
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
    "CreatedTimestamp",
    "LastModifiedTimestamp",
];

/// A numeric attribute, or its default.
pub(crate) fn number(queue: &Queue, name: &str) -> u64 {
    let (_, default, ..) = NUMBERS.iter().find(|(held, ..)| *held == name).expect("a known setting");
    queue.attributes.get(name).and_then(|text| text.parse().ok()).unwrap_or(*default)
}

/// A numeric attribute whose maximum fits 32 bits.
pub(crate) fn small(queue: &Queue, name: &str) -> u32 {
    u32::try_from(number(queue, name)).expect("bounded far below")
}

fn unknown(name: &str) -> ApiError {
    ApiError::new("InvalidAttributeName", format!("Unknown Attribute {name}."))
}

fn refused(name: &str) -> ApiError {
    ApiError::new("InvalidAttributeValue", format!("Invalid value for the parameter {name}."))
}

/// Whether a request asks for a FIFO queue.
pub(super) fn asks_for_fifo(request: &Request<'_>) -> bool {
    let given = request.get("Attributes").and_then(|given| given["FifoQueue"].as_str());
    given.is_some_and(|given| given.eq_ignore_ascii_case("true"))
}

/// The member `Attributes`, checked for the queue `queue`. An empty text resets an attribute.
pub(crate) fn given(
    registry: &Registry,
    request: &Request<'_>,
    queue: &str,
) -> Result<BTreeMap<String, String>, ApiError> {
    let mut attributes = BTreeMap::new();
    for (name, value) in request.get("Attributes").and_then(Value::as_object).into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let text = if SWITCHES.contains(&name.as_str()) { text.to_ascii_lowercase() } else { text };
        if !settings::fits(queue, name, &text).ok_or_else(|| unknown(name))? {
            return Err(refused(name));
        }
        let text = match name.as_str() {
            "RedrivePolicy" => redrive_policy(registry, queue, &text)?,
            "RedriveAllowPolicy" => redrive_allow_policy(&text)?,
            _ => text,
        };
        attributes.insert(name.clone(), text);
    }
    let is_on = |name: &str, off: &str| attributes.get(name).is_some_and(|text| !text.is_empty() && text != off);
    if is_on("KmsMasterKeyId", "") && is_on("SqsManagedSseEnabled", "false") {
        let message = "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE \
                       or SQS SSE.";
        return Err(ApiError::new("InvalidAttributeValue", message));
    }
    Ok(attributes)
}

/// Sets attributes of a queue; setting one kind of encryption removes the other.
pub(crate) fn set(attributes: &mut BTreeMap<String, String>, given: BTreeMap<String, String>) {
    if given.get("KmsMasterKeyId").is_some_and(|key| !key.is_empty()) {
        attributes.remove("SqsManagedSseEnabled");
    }
    if given.get("SqsManagedSseEnabled").is_some_and(|on| on == "true") {
        attributes.remove("KmsMasterKeyId");
    }
    attributes.extend(given);
}

/// A redrive policy as it is kept: its dead-letter queue is there, of the same kind, and takes letters of this queue.
/// An empty one takes the policy back.
fn redrive_policy(registry: &Registry, queue: &str, policy: &str) -> Result<String, ApiError> {
    let invalid = |reason: &str| invalid_value("RedrivePolicy", policy, reason);
    if policy.is_empty() {
        return Ok(String::new());
    }
    let Ok(Value::Object(mut members)) = serde_json::from_str(policy) else {
        return Err(invalid("Redrive policy is not a valid JSON map."));
    };
    if members.is_empty() {
        return Ok(String::new());
    }
    for name in ["deadLetterTargetArn", "maxReceiveCount"] {
        if !members.contains_key(name) {
            return Err(invalid(&format!("Redrive policy does not contain mandatory attribute: {name}.")));
        }
    }
    let max = members["maxReceiveCount"].clone();
    let shown = max.as_str().map_or_else(|| max.to_string(), str::to_owned);
    let Some(receives_max) = shown.parse().ok().filter(|max: &u32| (1..=1_000).contains(max)) else {
        let reason =
            format!("Invalid value for maxReceiveCount: {shown}, valid values are from 1 to 1000 both inclusive.");
        return Err(invalid(&reason));
    };
    let Some(Redrive { queue: dead, .. }) = Redrive::read(policy) else {
        return Err(invalid("Invalid value for deadLetterTargetArn."));
    };
    let Some(dead) = registry.queues.get(&dead) else {
        return Err(invalid("Dead letter target does not exist."));
    };
    if is_fifo(&dead.name) != is_fifo(queue) {
        return Err(invalid("Dead-letter queue must be same type of queue as the source."));
    }
    if !takes_letters_of(dead, queue) {
        return Err(invalid("The dead-letter queue's RedriveAllowPolicy does not allow this queue as a source."));
    }
    if max.is_string() {
        members.insert("maxReceiveCount".into(), receives_max.into());
        return Ok(Value::Object(members).to_string());
    }
    Ok(policy.to_owned())
}

/// Whether the `RedriveAllowPolicy` of a dead-letter queue allows a source queue.
fn takes_letters_of(dead: &Queue, queue: &str) -> bool {
    let policy = dead.attributes.get("RedriveAllowPolicy").filter(|policy| !policy.is_empty());
    let Some(policy) = policy.and_then(|policy| serde_json::from_str::<Value>(policy).ok()) else { return true };
    match policy["redrivePermission"].as_str() {
        Some("denyAll") => false,
        Some("byQueue") => {
            let sources = policy["sourceQueueArns"].as_array().into_iter().flatten().filter_map(Value::as_str);
            sources.into_iter().any(|arn| arn.rsplit(':').next() == Some(queue))
        }
        _ => true,
    }
}

fn redrive_allow_policy(policy: &str) -> Result<String, ApiError> {
    let invalid = |reason: &str| Err(invalid_value("RedriveAllowPolicy", policy, reason));
    if policy.is_empty() || policy == "{}" {
        return Ok(String::new());
    }
    let Ok(Value::Object(members)) = serde_json::from_str(policy) else {
        return invalid("Redrive allow policy is not a valid JSON map.");
    };
    if members.keys().any(|name| name != "redrivePermission" && name != "sourceQueueArns") {
        return invalid("It has the members redrivePermission and sourceQueueArns only.");
    }
    let sources = members.get("sourceQueueArns").map(|sources| sources.as_array().map_or(0, Vec::len));
    match (members.get("redrivePermission").and_then(Value::as_str), sources) {
        (Some("allowAll" | "denyAll"), None) | (Some("byQueue"), Some(1..=10)) => Ok(policy.to_owned()),
        (Some("byQueue"), _) => invalid("byQueue needs sourceQueueArns: 1 to 10 ARNs of queues."),
        (Some("allowAll" | "denyAll"), _) => invalid("sourceQueueArns is for the redrivePermission byQueue."),
        _ => invalid("redrivePermission must be allowAll, denyAll or byQueue."),
    }
}

/// The first attribute in which a queue differs from a request.
pub(super) fn difference<'g>(queue: &Queue, given: &'g BTreeMap<String, String>) -> Option<&'g str> {
    let held = known(queue);
    given.iter().find(|(name, value)| held.get(*name) != Some(*value)).map(|(name, _)| name.as_str())
}

/// All attributes, set or default.
fn known(queue: &Queue) -> BTreeMap<String, String> {
    let numbers = NUMBERS.iter().map(|(name, ..)| ((*name).to_owned(), number(queue, name).to_string()));
    let mut all: BTreeMap<String, String> = numbers.collect();
    if is_fifo(&queue.name) {
        all.extend(OF_FIFO.iter().map(|(name, words)| ((*name).to_owned(), words[0].to_owned())));
    }
    let by_kms = queue.attributes.get("KmsMasterKeyId").is_some_and(|key| !key.is_empty());
    all.insert("SqsManagedSseEnabled".into(), (!by_kms).to_string());
    if by_kms {
        all.insert("KmsDataKeyReusePeriodSeconds".into(), "300".into());
    }
    all.extend(queue.attributes.iter().filter(|(_, text)| !text.is_empty()).map(|(n, t)| (n.clone(), t.clone())));
    all
}

/// The attributes that a request asks for.
pub(crate) fn shown(
    engine: &Engine,
    queue: &Queue,
    request: &Request<'_>,
    call: &Call<'_>,
) -> Result<Value, ApiError> {
    let names = crate::asked::names(request, "AttributeNames");
    let is_known = |name: &str| {
        name == "All"
            || OTHERS.contains(&name)
            || TOLD.contains(&name)
            || NUMBERS.iter().any(|(held, ..)| *held == name)
            || OF_FIFO.iter().any(|(held, _)| *held == name)
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
