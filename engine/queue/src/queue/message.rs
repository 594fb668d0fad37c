//! Messages: in a queue, sent and received.

use super::recent::DeduplicationKey;
use fakemon_model::ids::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// An attribute of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// `String`, `Number` or `Binary`, with a custom suffix after a dot.
    pub data_type: String,
    /// The value: as text, or in base 64 if it is binary.
    pub value: String,
}

impl Attribute {
    pub fn text(value: impl Into<String>) -> Attribute {
        Attribute { data_type: "String".into(), value: value.into() }
    }

    /// Whether its value is in base 64.
    pub fn is_binary(&self) -> bool {
        self.data_type.starts_with("Binary")
    }
}

/// A message to send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessage {
    pub body: String,
    pub attributes: BTreeMap<String, Attribute>,
    /// The trace that it belongs to (`AWSTraceHeader`).
    pub trace_header: Option<String>,
    /// How long it is invisible, in seconds.
    pub delay_s: u32,
    /// In a FIFO queue: its group, within which the order is kept. Without one it is a group by itself.
    pub group: Option<String>,
    /// In a FIFO queue: a message with the same id is a duplicate.
    pub deduplication_id: Option<String>,
    /// Whether the id is unique in its group only, not in the whole queue.
    pub deduplicate_in_group: bool,
    /// It was moved from another queue, and so is no duplicate, whatever its id.
    pub moved: bool,
    /// It is sent to a dead-letter queue, and keeps its identity.
    pub identity: Option<Identity>,
}

/// What a dead letter keeps of the message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    pub id: String,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// Its history before.
    pub origin: Origin,
}

/// The history of a dead letter in its former queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The queue that it comes from.
    pub queue: String,
    /// How often it was received.
    pub receives: u32,
    /// When it was first received.
    pub first_received_at: Timestamp,
}

impl NewMessage {
    /// A message that is moved from one queue to another: a new one with the same content.
    pub fn moved(message: Message) -> NewMessage {
        let Message { body, attributes, trace_header, group, deduplication_id, .. } = message;
        NewMessage { body, attributes, trace_header, group, deduplication_id, moved: true, ..NewMessage::default() }
    }

    /// A message that goes to a dead-letter queue: it keeps its identity.
    pub(super) fn dead(message: Message, origin: Origin) -> NewMessage {
        let identity = Identity { id: message.id.clone(), sent_at: message.sent_at, origin };
        NewMessage { identity: Some(identity), ..NewMessage::moved(message) }
    }

    /// The deduplication id of a body: its SHA-256.
    pub fn content_id(body: &str) -> String {
        Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn key(&self) -> Option<DeduplicationKey> {
        let group = self.group.as_deref().filter(|_| self.deduplicate_in_group);
        let id = self.deduplication_id.as_deref().filter(|_| !self.moved)?;
        Some(DeduplicationKey::new(id, group))
    }
}

/// A message in its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Unique in the queue: a UUID around the sequence number of the queue that it was sent to.
    pub id: String,
    /// Its place in the queue.
    pub sequence: u64,
    /// When it was sent.
    pub sent_at: Timestamp,
    pub body: String,
    pub attributes: BTreeMap<String, Attribute>,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_header: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication_id: Option<String>,
    /// Its history before, if it is a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A received message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub message: Message,
    /// The receipt handle: needed to delete the message.
    pub handle: String,
    /// How often it was received, including before it became a dead letter.
    pub receives: u32,
    /// When it was first received.
    pub first_received_at: Timestamp,
}

/// The dead-letter queue of messages that were received too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// Name of the queue.
    pub queue: String,
    /// The number of receives after which a message is moved.
    pub receives_max: u32,
}
