//! What lies in a queue, what goes in, and what comes out.

use super::recent::DeduplicationKey;
use fakemon_model::ids::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A value that goes with a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// `String`, `Number`, `Binary`, with what the sender adds after a dot.
    pub data_type: String,
    /// Of texts and numbers; of binary values in base 64.
    pub value: String,
}

impl Attribute {
    /// A text.
    pub fn text(value: impl Into<String>) -> Attribute {
        Attribute { data_type: "String".into(), value: value.into() }
    }

    /// Whether its value is in base 64.
    pub fn is_binary(&self) -> bool {
        self.data_type.starts_with("Binary")
    }
}

/// A message on its way into a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessage {
    /// What it says.
    pub body: String,
    /// What goes with it.
    pub attributes: BTreeMap<String, Attribute>,
    /// The trace that it belongs to (`AWSTraceHeader`).
    pub trace_header: Option<String>,
    /// It is invisible for so long, in seconds.
    pub delay_s: u32,
    /// In a FIFO queue: it comes behind others of this group. Without one it stands alone.
    pub group: Option<String>,
    /// In a FIFO queue: another one with the same id is the same message.
    pub deduplication_id: Option<String>,
    /// Whether that holds in its group only, not in the whole queue.
    pub deduplicate_in_group: bool,
    /// It comes from another queue, and so is no repetition, whatever its id.
    pub moved: bool,
    /// It goes to a dead-letter queue, and keeps who it is.
    pub identity: Option<Identity>,
}

/// What a message keeps that goes to a dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its id.
    pub id: String,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// Its life before.
    pub origin: Origin,
}

/// The life of a dead letter before it became one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The queue that it comes from.
    pub queue: String,
    /// How often it was received.
    pub receives: u32,
    /// When first.
    pub first_received_at: Timestamp,
}

impl NewMessage {
    /// A message as it goes from one queue to another: a new one with the same words.
    pub fn moved(message: Message) -> NewMessage {
        let Message { body, attributes, trace_header, group, deduplication_id, .. } = message;
        NewMessage { body, attributes, trace_header, group, deduplication_id, moved: true, ..NewMessage::default() }
    }

    /// A message as it goes to a dead-letter queue: the same one.
    pub(super) fn dead(message: Message, origin: Origin) -> NewMessage {
        let identity = Identity { id: message.id.clone(), sent_at: message.sent_at, origin };
        NewMessage { identity: Some(identity), ..NewMessage::moved(message) }
    }

    /// A deduplication id that says what a body is: its SHA-256.
    pub fn content_id(body: &str) -> String {
        Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn key(&self) -> Option<DeduplicationKey> {
        let group = self.group.as_deref().filter(|_| self.deduplicate_in_group);
        let id = self.deduplication_id.as_deref().filter(|_| !self.moved)?;
        Some(DeduplicationKey::new(id, group))
    }
}

/// A message as it lies in its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Unique in the queue: a UUID around the sequence number of the queue that it was sent to.
    pub id: String,
    /// Its place in the queue.
    pub sequence: u64,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// What it says.
    pub body: String,
    /// What goes with it.
    pub attributes: BTreeMap<String, Attribute>,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_header: Option<String>,
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its deduplication id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication_id: Option<String>,
    /// Its life before, if it is a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A message that somebody received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The message.
    pub message: Message,
    /// Says that it is this receipt: needed to delete the message.
    pub handle: String,
    /// How often it was received, also before it became a dead letter.
    pub receives: u32,
    /// When first.
    pub first_received_at: Timestamp,
}

/// Where messages go that were received too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    /// Name of the queue.
    pub queue: String,
    /// After so many receives.
    pub receives_max: u32,
}
