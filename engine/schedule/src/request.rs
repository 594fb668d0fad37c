//! Requests to services in the form of their API, as the input of a universal target: `SendMessage` of Amazon SQS and
//! `PutEvents` of Amazon EventBridge. A request is checked when its schedule is created, with sample values for what
//! is known only when it is due, and parsed again then.

use fakemon_model::authorship;
use fakemon_model::ids::Timestamp;
use fakemon_pattern::typed;
use fakemon_queue::queue::{self, Attribute, NewMessage, is_fifo};
use fakemon_resource::resource::Target;
use fakemon_resource::{DEFAULT_BUS, Destination};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The target that sends a request `SendMessage` to Amazon SQS.
pub const SEND_MESSAGE: &str = "arn:aws:scheduler:::aws-sdk:sqs:sendMessage";
/// The target that sends a request `PutEvents` to Amazon EventBridge.
pub const PUT_EVENTS: &str = "arn:aws:scheduler:::aws-sdk:eventbridge:putEvents";
/// How the buses of partner event sources begin.
const PARTNER_BUS: &str = "aws.partner/";
/// The longest delay of a message, in seconds.
const DELAY_S_MAX: u32 = 900;
/// The system attribute that a sender may set.
const TRACE_HEADER: &str = "AWSTraceHeader";

/// Why a target is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidTarget(pub String);

/// A request `SendMessage`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct Message {
    queue_url: String,
    message_body: String,
    message_group_id: Option<String>,
    message_deduplication_id: Option<String>,
    delay_seconds: Option<u32>,
    #[serde(default)]
    message_attributes: BTreeMap<String, GivenAttribute>,
    #[serde(default)]
    message_system_attributes: BTreeMap<String, GivenAttribute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct GivenAttribute {
    data_type: String,
    string_value: Option<String>,
    binary_value: Option<String>,
}

impl Message {
    pub(super) fn read(payload: &str) -> Result<Message, InvalidTarget> {
        let message: Message = read(payload)?;
        message.check()?;
        Ok(message)
    }

    pub(super) fn queue(&self) -> &str {
        self.queue_url.rsplit('/').next().unwrap_or_default()
    }

    fn check(&self) -> Result<(), InvalidTarget> {
        let wrong = |why: String| Err(InvalidTarget(format!("Input: {why}")));
        for (name, id) in
            [("MessageGroupId", &self.message_group_id), ("MessageDeduplicationId", &self.message_deduplication_id)]
        {
            if id.as_ref().is_some_and(|id| !queue::is_id(id)) {
                return wrong(format!("{name} must be 1 to 128 alphanumeric and punctuation characters"));
            }
        }
        match (is_fifo(self.queue()), self.delay_seconds) {
            (true, _) if self.message_group_id.is_none() => return wrong("a FIFO queue needs MessageGroupId".into()),
            (true, Some(1..)) => return wrong("DelaySeconds is for standard queues: this is a FIFO queue".into()),
            (false, _) if self.message_deduplication_id.is_some() => {
                return wrong("MessageDeduplicationId is for FIFO queues: this is none".into());
            }
            (_, Some(delay_s)) if delay_s > DELAY_S_MAX => {
                return wrong(format!("DelaySeconds is {delay_s}: it must be 0 to {DELAY_S_MAX}"));
            }
            _ => {}
        }
        let system = &self.message_system_attributes;
        if system.iter().any(|(name, given)| name != TRACE_HEADER || given.data_type != "String") {
            return wrong(format!("MessageSystemAttributes has {TRACE_HEADER} only, of the type String"));
        }
        for (member, given) in [("MessageAttributes", &self.message_attributes), ("MessageSystemAttributes", system)]
        {
            if let Some((name, _)) = given.iter().find(|(_, given)| given.attribute().is_none()) {
                return wrong(format!(
                    "{member}.{name} must have a DataType (String, Number or Binary) and a value of it that is not empty"
                ));
            }
        }
        let attributes = self.message_attributes.iter();
        let attributes = attributes.filter_map(|(name, given)| Some((name.clone(), given.attribute()?))).collect();
        if let Some(why) = queue::fault_in(&attributes) {
            return wrong(why);
        }
        if self.message_body.is_empty() || !queue::is_content(&self.message_body) {
            return wrong("MessageBody must not be empty, and have the characters of XML only".into());
        }
        Ok(())
    }

    fn message(self) -> NewMessage {
        let attributes = self.message_attributes.into_iter();
        let trace = self.message_system_attributes.get(TRACE_HEADER).and_then(|given| given.string_value.clone());
        NewMessage {
            trace_header: trace,
            attributes: attributes.filter_map(|(name, given)| Some((name, given.attribute()?))).collect(),
            body: self.message_body,
            delay_s: self.delay_seconds.unwrap_or_default(),
            group: self.message_group_id,
            deduplication_id: self.message_deduplication_id,
            ..NewMessage::default()
        }
    }
}

impl GivenAttribute {
    fn attribute(&self) -> Option<Attribute> {
        let kind = self.data_type.split('.').next().unwrap_or_default();
        let value = match kind {
            "String" | "Number" => self.string_value.as_ref(),
            "Binary" => self.binary_value.as_ref(),
            _ => None,
        };
        let value = value.filter(|value| !value.is_empty())?.clone();
        Some(Attribute { data_type: self.data_type.clone(), value })
    }
}

/// The message of a delivery to a queue: from a request, if the target is one, or with the payload as its body.
pub fn message(target: &Target, body: &str) -> NewMessage {
    let of_request = (target.given.get("Arn").and_then(Value::as_str) == Some(SEND_MESSAGE))
        .then(|| Message::read(body).ok().map(Message::message));
    of_request.flatten().unwrap_or_else(|| NewMessage {
        body: body.to_owned(),
        group: target
            .given
            .get("SqsParameters")
            .and_then(|given| given["MessageGroupId"].as_str())
            .map(str::to_owned),
        ..NewMessage::default()
    })
}

/// An entry of a request `PutEvents`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    #[serde(rename = "Source")]
    pub source: String,
    #[serde(rename = "DetailType")]
    pub detail_type: String,
    #[serde(rename = "Detail")]
    pub detail: String,
    #[serde(rename = "EventBusName")]
    bus: Option<String>,
    #[serde(rename = "Resources", default)]
    pub resources: Vec<String>,
    /// Seconds since 1970, or a text of RFC 3339.
    #[serde(rename = "Time", default)]
    time: Option<Value>,
    #[serde(rename = "TraceHeader")]
    pub trace: Option<String>,
}

fn moment(time: &Value) -> Option<Timestamp> {
    match time {
        Value::String(text) => {
            let moment: jiff::Timestamp = text.parse().ok()?;
            u64::try_from(moment.as_nanosecond()).ok().map(Timestamp)
        }
        Value::Number(seconds) => match seconds.as_u64() {
            Some(seconds) => seconds.checked_mul(1_000_000_000).map(Timestamp),
            None => {
                let ms = seconds.as_f64().map(|seconds| seconds * 1_000.0).filter(|ms| (0.0..1e15).contains(ms))?;
                Some(Timestamp(ms as u64 * 1_000_000))
            }
        },
        _ => None,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entries {
    #[serde(rename = "Entries")]
    entries: Vec<Entry>,
}

impl Entry {
    /// The name of its bus.
    pub fn bus(&self) -> &str {
        let bus = self.bus.as_deref().unwrap_or(DEFAULT_BUS);
        bus.rsplit_once(":event-bus/").map_or(bus, |(_, name)| name)
    }

    /// The time of the event, if it has one.
    pub fn time(&self) -> Option<Timestamp> {
        moment(self.time.as_ref()?)
    }
}

/// The entries of a request `PutEvents`.
pub fn entries(payload: &str) -> Result<Vec<Entry>, InvalidTarget> {
    let entries = read::<Entries>(payload)?.entries;
    let wrong = |number: usize, why: &str| Err(InvalidTarget(format!("Entries[{number}].{why}")));
    for (number, entry) in entries.iter().enumerate() {
        if fakemon_pattern::raw::check_detail(&entry.detail).is_err() {
            return wrong(number, "Detail must be the text of a JSON object");
        }
        if entry.time.is_some() && entry.time().is_none() {
            return wrong(
                number,
                "Time must be a number of seconds since 1970, or a time as in 2026-11-24T12:00:00Z",
            );
        }
    }
    if entries.is_empty() {
        return Err(InvalidTarget("Entries must hold at least one entry".into()));
    }
    Ok(entries)
}

/// Whether clients must not put such an event: events of the engine, of cloud services and of partners have to be
/// authentic.
pub fn is_reserved(bus: &str, source: &str, detail_type: &str) -> bool {
    source.starts_with("aws.") || bus.starts_with(PARTNER_BUS) || authorship::check(source, detail_type).is_err()
}

/// The bus and the source of the first event of a schedule's target that only others may put.
pub fn reserved_event(target: &Map<String, Value>) -> Option<(String, String)> {
    let arn = target.get("Arn").and_then(Value::as_str).unwrap_or_default();
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let event = |bus: String, value: &Value| (bus, text(value, "Source"), text(value, "DetailType"));
    let events: Vec<_> = match Destination::of(arn) {
        Destination::Bus(bus) => vec![event(bus, target.get("EventBridgeParameters").unwrap_or(&Value::Null))],
        _ => {
            let input = target.get("Input").and_then(Value::as_str).filter(|_| arn == PUT_EVENTS);
            let input: Value = input.and_then(|input| serde_json::from_str(input).ok()).unwrap_or_default();
            let bus = |entry: &Value| {
                let bus = entry["EventBusName"].as_str().unwrap_or(DEFAULT_BUS);
                bus.rsplit_once(":event-bus/").map_or(bus, |(_, name)| name).to_owned()
            };
            input["Entries"].as_array().into_iter().flatten().map(|entry| event(bus(entry), entry)).collect()
        }
    };
    let found = events.into_iter().find(|(bus, source, kind)| is_reserved(bus, source, kind));
    found.map(|(bus, source, _)| (bus, source))
}

fn read<T: serde::de::DeserializeOwned>(payload: &str) -> Result<T, InvalidTarget> {
    typed::from_str(payload).map_err(|error| InvalidTarget(format!("Input: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn sent(more: Value) -> Result<NewMessage, String> {
        let mut request = json!({ "QueueUrl": "http://localhost/1/q", "MessageBody": "b" });
        request.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        Message::read(&request.to_string()).map(Message::message).map_err(|error| error.to_string())
    }

    #[test]
    fn a_message_has_what_its_request_says() {
        let attributes = json!({ "a": { "DataType": "String.x", "StringValue": "1" },
                                 "b": { "DataType": "Binary", "BinaryValue": "AA==" } });
        let message = sent(json!({ "DelaySeconds": 5, "MessageAttributes": attributes })).unwrap();
        assert_eq!((message.delay_s, message.attributes.len()), (5, 2));
        assert_eq!(message.attributes["b"], Attribute { data_type: "Binary".into(), value: "AA==".into() });
        let trace = json!({ "AWSTraceHeader": { "DataType": "String", "StringValue": "Root=1" } });
        let traced = sent(json!({ "MessageSystemAttributes": trace })).unwrap();
        assert_eq!(traced.trace_header.as_deref(), Some("Root=1"));
        let fifo =
            json!({ "QueueUrl": "http://localhost/1/q.fifo", "MessageGroupId": "g", "MessageDeduplicationId": "d" });
        assert_eq!(sent(fifo).unwrap().deduplication_id.as_deref(), Some("d"));
        for (more, why) in [
            (json!({ "DelaySeconds": 901 }), "DelaySeconds is 901: it must be 0 to 900"),
            (json!({ "DelaySeconds": -1 }), "DelaySeconds must be a whole number from 0"),
            (json!({ "MessageDeduplicationId": "d" }), "MessageDeduplicationId is for FIFO queues"),
            (json!({ "MessageAttributes": { "a": { "DataType": "String" } } }), "MessageAttributes.a must have"),
            (json!({ "MessageAttributes": { "AWS.a": { "DataType": "String", "StringValue": "x" } } }), "reserved"),
            (
                json!({ "MessageSystemAttributes": { "a": { "DataType": "String", "StringValue": "x" } } }),
                "AWSTraceHeader",
            ),
            (json!({ "MessageBody": "\u{FFFE}" }), "characters of XML"),
            (json!({ "QueueUrl": "http://localhost/1/q.fifo" }), "a FIFO queue needs MessageGroupId"),
            (json!({ "What": 1 }), "What is no member: known is `QueueUrl`"),
        ] {
            let refused = sent(more).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn an_entry_has_its_time() {
        let times = |time: Value| {
            let entry = json!({ "Source": "s", "DetailType": "t", "Detail": "{}", "Time": time });
            entries(&json!({ "Entries": [entry] }).to_string()).map(|entries| entries[0].time().map(|at| at.0))
        };
        assert_eq!(times(json!("1970-01-01T00:00:01Z")).unwrap(), Some(1_000_000_000));
        assert_eq!(times(json!(1.5)).unwrap(), Some(1_500_000_000));
        assert_eq!(times(Value::Null).unwrap(), None);
        assert!(times(json!("soon")).is_err() && times(json!(-1)).is_err());
    }
}
