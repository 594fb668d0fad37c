//! Records of a source, as filters, templates and targets see them. The content of a message or of a stream's event
//! is text; if it is JSON, filters and templates can look into it, as with AWS (`$.body.player`).

use fakemon_model::envelope::{EventKey, Facet};
use fakemon_model::ids::{Ahead, Position, Timestamp, mix};
use fakemon_queue::queue::{Attribute, Received};
use md5::{Digest, Md5};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The first of the positions that no event has: keys of records that are no events of the journal use them.
const ELSEWHERE: u64 = 1 << 61;

/// One record of a source.
#[derive(Clone, Debug)]
pub(super) struct Record {
    /// Its key; the same record always has the same.
    pub(super) key: EventKey,
    /// For an event of the journal: its position, and how often it was handed from bus to bus.
    pub(super) cause: Option<(Position, u8)>,
    /// The text for targets.
    pub(super) raw: Arc<str>,
    /// The same with embedded JSON decoded; none where that makes no difference.
    decoded: Option<Arc<str>>,
    /// When it came in, by the engine's time.
    pub(super) at: Timestamp,
    /// How the source identifies it.
    pub(super) mark: Mark,
}

/// How the source identifies a record.
#[derive(Clone, Debug)]
pub(super) enum Mark {
    /// A message: its sequence number, its receipt handle, how often it was received.
    Message { sequence: u64, handle: String, receives: u32 },
    /// An event of the journal.
    Event,
    /// An event of a stream: its id, or the last id before it.
    Line { event_id: Option<String> },
}

/// What all records of one pipe have in common.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) region: String,
    pub(super) source_arn: String,
}

impl Shape {
    /// The ARN of a queue in the region and account of the source.
    fn arn_of_queue(&self, name: &str) -> String {
        let beside = self.source_arn.rsplit_once(':').map_or("", |(beside, _)| beside);
        format!("{beside}:{name}")
    }
}

impl Record {
    /// The text with embedded JSON decoded.
    pub(super) fn decoded(&self) -> &Arc<str> {
        self.decoded.as_ref().unwrap_or(&self.raw)
    }

    /// An event of the journal.
    pub(super) fn event(key: EventKey, json: Arc<str>, hops: u8, at: Timestamp) -> Record {
        Record { key, cause: Some((key.position(), hops)), raw: json, decoded: None, at, mark: Mark::Event }
    }

    /// A message of a queue.
    pub(super) fn message(received: Received, shape: &Shape, ahead: Ahead) -> Record {
        let Received { message, handle, receives, first_received_at } = received;
        let milliseconds = |at: Timestamp| (ahead.to_wall(at).0 / 1_000_000).to_string();
        let number = message.deduplication_id.as_ref().map(|_| format!("{:020}", message.sequence));
        let attributes = BTreeMap::from([
            ("ApproximateReceiveCount", Some(receives.to_string())),
            ("SentTimestamp", Some(milliseconds(message.sent_at))),
            ("SenderId", Some(fakemon_model::envelope::ACCOUNT.to_owned())),
            ("ApproximateFirstReceiveTimestamp", Some(milliseconds(first_received_at))),
            ("MessageGroupId", message.group.clone()),
            ("MessageDeduplicationId", message.deduplication_id.clone()),
            ("SequenceNumber", number),
            ("AWSTraceHeader", message.trace_header.clone()),
            ("DeadLetterQueueSourceArn", message.origin.as_ref().map(|origin| shape.arn_of_queue(&origin.queue))),
        ]);
        let attributes = attributes.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        let shown = |body| ShownMessage {
            message_id: &message.id,
            receipt_handle: &handle,
            body,
            attributes: &attributes,
            message_attributes: ShownAttribute::all(&message.attributes),
            md5_of_body: Md5::digest(message.body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect(),
            event_source: "aws:sqs",
            event_source_arn: &shape.source_arn,
            aws_region: &shape.region,
        };
        let raw = json(&shown(Carried::Text(&message.body)));
        let decoded = carried(&message.body).map(|body| json(&shown(Carried::Json(body))));
        Record {
            key: elsewhere(message.sequence ^ hash(&message.id)),
            cause: None,
            raw,
            decoded,
            at: message.sent_at,
            mark: Mark::Message { sequence: message.sequence, handle, receives },
        }
    }

    /// An event of a stream.
    pub(super) fn line(
        number: u64,
        id: Option<String>,
        kind: &str,
        data: &str,
        at: Timestamp,
        shape: &Shape,
    ) -> Record {
        let shown = |data| ShownLine {
            event_id: id.as_deref(),
            event: kind,
            data,
            event_source: "fakemon:stream",
            event_source_arn: &shape.source_arn,
            aws_region: &shape.region,
        };
        let key = match &id {
            Some(id) => hash(id) ^ hash(data),
            None => mix(number ^ hash(data)),
        };
        Record {
            key: elsewhere(key ^ hash(&shape.source_arn)),
            cause: None,
            raw: json(&shown(Carried::Text(data))),
            decoded: carried(data).map(|data| json(&shown(Carried::Json(data)))),
            at,
            mark: Mark::Line { event_id: id },
        }
    }
}

/// A key for a record that is no event of the journal.
pub(super) fn elsewhere(number: u64) -> EventKey {
    EventKey::new(Position(ELSEWHERE | mix(number) >> 4), Facet::Happened)
}

fn hash(text: &str) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    u64::from_be_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"))
}

/// The object or list in a text, if it is JSON.
fn carried(text: &str) -> Option<&RawValue> {
    text.trim_start().starts_with(['{', '[']).then(|| serde_json::from_str(text).ok()).flatten()
}

fn json(shown: &impl Serialize) -> Arc<str> {
    serde_json::to_string(shown).expect("maps with text keys can always be written").into()
}

#[derive(Serialize)]
#[serde(untagged)]
enum Carried<'r> {
    Text(&'r str),
    Json(&'r RawValue),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownMessage<'r> {
    message_id: &'r str,
    receipt_handle: &'r str,
    body: Carried<'r>,
    attributes: &'r BTreeMap<&'static str, String>,
    message_attributes: BTreeMap<String, ShownAttribute<'r>>,
    md5_of_body: String,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'r str,
    aws_region: &'r str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownAttribute<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<&'r str>,
    string_list_values: [&'static str; 0],
    binary_list_values: [&'static str; 0],
    data_type: &'r str,
}

impl ShownAttribute<'_> {
    fn all(attributes: &BTreeMap<String, Attribute>) -> BTreeMap<String, ShownAttribute<'_>> {
        attributes.iter().map(|(name, attribute)| (name.clone(), ShownAttribute::of(attribute))).collect()
    }

    fn of(attribute: &Attribute) -> ShownAttribute<'_> {
        let binary = attribute.data_type.starts_with("Binary");
        ShownAttribute {
            string_value: (!binary).then_some(&attribute.value),
            binary_value: binary.then_some(&attribute.value),
            string_list_values: [],
            binary_list_values: [],
            data_type: &attribute.data_type,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownLine<'r> {
    event_id: Option<&'r str>,
    event: &'r str,
    data: Carried<'r>,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'r str,
    aws_region: &'r str,
}
