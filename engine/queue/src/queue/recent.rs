//! The messages that a FIFO queue accepted in the last five minutes: a message with the same deduplication id is a
//! duplicate, even if the first was received and deleted already.

use fakemon_model::ids::Timestamp;
use std::collections::{BTreeMap, HashMap};

/// How long a deduplication id is remembered, as with SQS.
const WINDOW_NS: u64 = 300 * 1_000_000_000;
/// The most messages that one queue remembers.
pub const RECENT_MAX: usize = 1_000_000;
/// The most ids that one call forgets, so that no sender pays for all of them.
const FORGOTTEN_MAX: usize = 10_000;
const VALUE_BYTES: usize = 24;

/// The hash of a deduplication id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct DeduplicationKey([u8; 16]);

impl DeduplicationKey {
    /// The key of an id that is unique in the whole queue, or in one group.
    pub(super) fn new(id: &str, group: Option<&str>) -> DeduplicationKey {
        let mut hasher = blake3::Hasher::new();
        hasher.update(id.as_bytes()).update(&[0]).update(group.unwrap_or_default().as_bytes());
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        DeduplicationKey(key)
    }
}

/// The remembered messages.
#[derive(Default)]
pub(super) struct Recent {
    sequences: HashMap<DeduplicationKey, u64>,
    /// By sequence number, with the time of sending: the order in which they expire.
    sent: BTreeMap<u64, (Timestamp, DeduplicationKey)>,
}

impl Recent {
    /// The sequence number of the first message with this id.
    pub(super) fn first(&self, key: DeduplicationKey) -> Option<u64> {
        self.sequences.get(&key).copied()
    }

    pub(super) fn insert(&mut self, sequence: u64, sent_at: Timestamp, key: DeduplicationKey) {
        self.sequences.insert(key, sequence);
        self.sent.insert(sequence, (sent_at, key));
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        if let Some((_, key)) = self.sent.remove(&sequence) {
            self.sequences.remove(&key);
        }
    }

    /// Forgets expired ids; returns their sequence numbers.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<u64> {
        let over = |(_, (sent_at, _)): &(&u64, &(Timestamp, DeduplicationKey))| now.ns_since(*sent_at) >= WINDOW_NS;
        let gone: Vec<u64> = self.sent.iter().take(FORGOTTEN_MAX).take_while(over).map(|(at, _)| *at).collect();
        gone.iter().for_each(|sequence| self.remove(*sequence));
        gone
    }

    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }
}

/// The value in the depot: the time of sending (8), the key (16).
pub(super) fn value(sent_at: Timestamp, key: DeduplicationKey) -> Vec<u8> {
    [&sent_at.0.to_be_bytes()[..], &key.0].concat()
}

pub(super) fn read_value(value: &[u8]) -> Option<(Timestamp, DeduplicationKey)> {
    let (sent_at, key) = value.split_at_checked(8).filter(|_| value.len() == VALUE_BYTES)?;
    Some((Timestamp(u64::from_be_bytes(sent_at.try_into().ok()?)), DeduplicationKey(key.try_into().ok()?)))
}
