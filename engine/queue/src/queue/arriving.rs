//! Messages being sent to one queue: which of them are new, and their rows.

use super::message::{Message, NewMessage};
use super::receipt::message_id;
use super::recent::{self, DeduplicationKey};
use super::rows::{group_of, row};
use super::state::Slot;
use super::{Queues, is_fifo};
use fakemon_journal::{Batch, Table};
use fakemon_model::ids::Timestamp;

/// The result of checking messages for duplicates before they are sent.
pub(super) struct Claims {
    /// For each message the sequence number of the one that it repeats.
    pub(super) originals: Vec<Option<u64>>,
    /// Sequence numbers whose deduplication ids have expired.
    pub(super) expired: Vec<u64>,
}

impl Queues {
    /// Finds out which of these messages were sent before, and remembers the others as sent.
    pub(super) fn claim(&self, queue: &str, first: u64, messages: &[NewMessage], now: Timestamp) -> Claims {
        let none = Claims { originals: vec![None; messages.len()], expired: Vec::new() };
        if !is_fifo(queue) {
            return none;
        }
        let mut held = self.held();
        let Some(state) = held.get_mut(queue) else { return none };
        let expired = state.recent.expire(now);
        let claim = |(sequence, new): (u64, &NewMessage)| {
            let key = new.key()?;
            let original = state.recent.first(key);
            if original.is_none() {
                state.recent.insert(sequence, now, key);
            }
            original
        };
        let originals = (first..).zip(messages).map(claim).collect();
        Claims { originals, expired }
    }
}

/// Messages being sent to one queue.
pub(super) struct Arriving<'q> {
    pub(super) queue: &'q str,
    pub(super) now: Timestamp,
    pub(super) batch: Batch,
    pub(super) slots: Vec<(u64, Slot)>,
    pub(super) messages: Vec<Message>,
}

impl Arriving<'_> {
    pub(super) fn add(&mut self, sequence: u64, new: NewMessage, original: Option<u64>) {
        let key = new.key().filter(|_| original.is_none());
        let sequence = original.unwrap_or(sequence);
        let NewMessage { body, attributes, trace_header, delay_s, group, deduplication_id, identity, .. } = new;
        let (id, sent_at, origin) = match identity {
            Some(identity) => (identity.id, identity.sent_at, Some(identity.origin)),
            None => (message_id(self.queue, sequence), self.now, None),
        };
        let message =
            Message { id, sequence, sent_at, body, attributes, trace_header, group, deduplication_id, origin };
        if original.is_none() {
            self.write(&message, delay_s, key);
        }
        self.messages.push(message);
    }

    fn write(&mut self, message: &Message, delay_s: u32, key: Option<DeduplicationKey>) {
        let (queue, sequence) = (self.queue, message.sequence);
        let visible_at = match delay_s {
            0 => 0,
            delay_s => self.now.plus_ns(u64::from(delay_s) * 1_000_000_000).0,
        };
        let slot = Slot { visible_at, group: group_of(queue, message), ..Slot::default() };
        let text = serde_json::to_vec(message).expect("maps with text keys can always be written");
        self.batch.put(Table::Queues, row(queue, b'm', sequence), text);
        if visible_at > 0 {
            self.batch.put(Table::Queues, row(queue, b's', sequence), slot.value());
        }
        if let Some(key) = key.filter(|_| is_fifo(queue)) {
            self.batch.put(Table::Queues, row(queue, b'd', sequence), recent::value(self.now, key));
        }
        self.slots.push((sequence, slot));
    }
}
