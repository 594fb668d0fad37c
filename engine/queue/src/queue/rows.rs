//! Rows of a queue in the depot.
//!
//! ```text
//! name 0 'd' sequence (8) → sent at (8), hash of the deduplication id (16)
//! name 0 'm' sequence (8) → the message, as JSON
//! name 0 's' sequence (8) → receive count (4), first received at (8), visible again at (8)
//! ```

use super::message::Message;
use super::state::{Queue, Slot};
use super::{is_fifo, recent};
use fakemon_journal::{Batch, BusStore, ReadError, Table};
use fakemon_model::ids::mix;
use std::collections::HashMap;
use std::ops::ControlFlow;

pub(super) fn row(queue: &str, kind: u8, sequence: u64) -> Vec<u8> {
    let mut row = queue.as_bytes().to_vec();
    row.extend_from_slice(&[0, kind]);
    row.extend_from_slice(&sequence.to_be_bytes());
    row
}

pub(super) fn forget(queue: &str, sequence: u64, batch: &mut Batch) {
    batch.delete(Table::Queues, row(queue, b'm', sequence));
    batch.delete(Table::Queues, row(queue, b's', sequence));
}

/// The result of reading a row.
pub(super) enum Row {
    Used,
    /// The state of a deleted message: a change of visibility can be written after a concurrent deletion.
    LeftOver,
}

pub(super) fn read_row(key: &[u8], value: &[u8], queues: &mut HashMap<String, Queue>) -> Option<Row> {
    let zero = key.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&key[..zero]).ok()?;
    let queue = queues.entry(name.to_owned()).or_default();
    let (kind, sequence) = key[zero + 1..].split_first()?;
    let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
    queue.next = queue.next.max(sequence + 1);
    match kind {
        b'd' => {
            let (sent_at, key) = recent::read_value(value)?;
            queue.recent.insert(sequence, sent_at, key);
        }
        b'm' if is_fifo(name) => {
            let message: Message = serde_json::from_slice(value).ok()?;
            queue.put(sequence, Slot { group: group_of(name, &message), ..Slot::default() });
        }
        b'm' => queue.put(sequence, Slot::default()),
        b's' if value.len() == 20 => {
            let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
            let receives = u32::from_be_bytes(value[..4].try_into().ok()?);
            let Some(held) = queue.slots.get(&sequence).copied() else {
                return Some(Row::LeftOver); // 'm' comes before 's'
            };
            let (first_received_at, visible_at) = (number(&value[4..12])?, number(&value[12..])?);
            queue.put(sequence, Slot { receives, first_received_at, visible_at, ..held });
        }
        _ => return None,
    }
    Some(Row::Used)
}

/// Adds to a batch that all queues forget what they took lately: events that get the positions of others would be
/// taken for those. How many messages could have been recognized.
pub fn forget_recent(depot: &BusStore, batch: &mut Batch) -> Result<u64, ReadError> {
    let mut forgotten = 0;
    depot.scan(Table::Queues, b"", b"", &mut |key, _| {
        let kind = key.iter().position(|byte| *byte == 0).and_then(|zero| key.get(zero + 1));
        if kind == Some(&b'd') {
            forgotten += 1;
            batch.delete(Table::Queues, key);
        }
        ControlFlow::Continue(())
    })?;
    Ok(forgotten)
}

/// Visits messages of a queue whose row contains `part`; for tools beside a running server.
pub fn search(depot: &BusStore, queue: &str, part: &[u8], visit: &mut dyn FnMut(&Message)) -> Result<(), ReadError> {
    let prefix = [queue.as_bytes(), &[0, b'm']].concat();
    let finder = memchr::memmem::Finder::new(part);
    depot.scan(Table::Queues, &prefix, &prefix, &mut |_, text| {
        if finder.find(text).is_some()
            && let Ok(message) = serde_json::from_slice(text)
        {
            visit(&message);
        }
        ControlFlow::Continue(())
    })
}

/// The hash of a message's group; a message without a group has a hash of its own.
pub(super) fn group_of(queue: &str, message: &Message) -> Option<u64> {
    is_fifo(queue).then(|| match &message.group {
        Some(group) => hash(group),
        None => mix(message.sequence),
    })
}

pub(super) fn hash(text: &str) -> u64 {
    text.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)))
}
