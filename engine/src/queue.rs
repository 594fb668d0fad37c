//! Queues: messages that wait until somebody takes them and says that they are done with. At least once, in the order
//! in which they came as far as visibility allows. Bodies lie in the depot; memory holds a few words per message.
//!
//! ```text
//! name 0 'm' sequence (8) → the message, as JSON
//! name 0 's' sequence (8) → receive count (4), first received at (8), visible again at (8)
//! ```

use crate::ids::{Timestamp, mix};
use crate::journal::{Batch, Depot, ReadError, Room};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Messages in one queue.
pub const MESSAGES_MAX: usize = 1_000_000;
/// Messages of one queue that were received and are neither deleted nor visible again.
pub const IN_FLIGHT_MAX: usize = 120_000;

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
}

/// A message on its way into a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewMessage {
    /// What it says.
    pub body: String,
    /// What goes with it.
    pub attributes: BTreeMap<String, Attribute>,
    /// It is invisible for so long, in seconds.
    pub delay_s: u32,
}

/// A message as it lies in its queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Unique in the queue: a UUID around the sequence number.
    pub id: String,
    /// Its place in the queue.
    pub sequence: u64,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// What it says.
    pub body: String,
    /// What goes with it.
    pub attributes: BTreeMap<String, Attribute>,
}

/// A message that somebody received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The message.
    pub message: Message,
    /// Says that it is this receipt: needed to delete the message.
    pub handle: String,
    /// How often it was received.
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

/// How many messages there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Can be received.
    pub visible: usize,
    /// Were received.
    pub in_flight: usize,
    /// Were sent with a delay that is not over.
    pub delayed: usize,
}

/// Why a queue does not do it.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Too many messages wait.
    #[error("the queue is full: it holds {MESSAGES_MAX} messages; receive and delete some")]
    Full,
    /// Too many messages are received and not deleted.
    #[error("{IN_FLIGHT_MAX} messages are in flight: delete some")]
    OverLimit,
    /// Not a handle of this queue.
    #[error("the receipt handle is not valid")]
    Handle,
    /// The depot cannot be read or written.
    #[error("{0}")]
    Store(String),
}

impl From<ReadError> for QueueError {
    fn from(error: ReadError) -> QueueError {
        QueueError::Store(error.to_string())
    }
}

#[derive(Clone, Copy, Default)]
struct Slot {
    receives: u32,
    first_received_at: u64,
    visible_at: u64,
}

#[derive(Default)]
struct Queue {
    slots: BTreeMap<u64, Slot>,
    next: u64,
    reserved: usize,
}

type Wake = Box<dyn Fn(&str) + Send + Sync>;

/// All queues of a data directory.
pub struct Queues {
    depot: Arc<Depot>,
    queues: Mutex<HashMap<String, Queue>>,
    wakes: Mutex<Vec<Wake>>,
}

fn row(queue: &str, kind: u8, sequence: u64) -> Vec<u8> {
    let mut row = queue.as_bytes().to_vec();
    row.extend_from_slice(&[0, kind]);
    row.extend_from_slice(&sequence.to_be_bytes());
    row
}

impl Queues {
    pub(crate) fn open(depot: Arc<Depot>) -> Result<Queues, ReadError> {
        let mut queues: HashMap<String, Queue> = HashMap::new();
        let mut sound = true;
        depot.scan(Room::Queues, b"", b"", &mut |key, value| {
            sound &= read_row(key, value, &mut queues).is_some();
            ControlFlow::Continue(())
        })?;
        if !sound {
            return Err(ReadError::Store("a row of `queues` is damaged".into()));
        }
        Ok(Queues { depot, queues: Mutex::new(queues), wakes: Mutex::default() })
    }

    /// `wake` is called, from any thread, with the name of a queue that got messages. It must not block.
    pub fn on_message(&self, wake: impl Fn(&str) + Send + Sync + 'static) {
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(wake));
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Queue>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends messages; they are on the disk after this.
    ///
    /// # Errors
    /// When the queue is full or the depot cannot be written.
    pub fn send(&self, queue: &str, messages: Vec<NewMessage>, now: Timestamp) -> Result<Vec<Message>, QueueError> {
        self.enqueue(queue, messages, Batch::default(), true, now)
    }

    /// Sends messages together with other changes of the depot.
    pub(crate) fn enqueue(
        &self,
        queue: &str,
        messages: Vec<NewMessage>,
        mut with: Batch,
        sync: bool,
        now: Timestamp,
    ) -> Result<Vec<Message>, QueueError> {
        let first = self.reserve(queue, messages.len(), now)?;
        let mut sent = Vec::with_capacity(messages.len());
        let mut slots = Vec::with_capacity(messages.len());
        for (sequence, new) in (first..).zip(messages) {
            let visible_at = match new.delay_s {
                0 => 0,
                delay_s => now.plus_ns(u64::from(delay_s) * 1_000_000_000).0,
            };
            let NewMessage { body, attributes, .. } = new;
            let message = Message { id: message_id(queue, sequence), sequence, sent_at: now, body, attributes };
            let text = serde_json::to_vec(&message).expect("maps with text keys can always be written");
            with.put(Room::Queues, row(queue, b'm', sequence), text);
            let slot = Slot { visible_at, ..Slot::default() };
            if visible_at > 0 {
                with.put(Room::Queues, row(queue, b's', sequence), slot.value());
            }
            slots.push((sequence, slot));
            sent.push(message);
        }
        let written = self.depot.write(with, sync);
        let mut held = self.held();
        let state = held.entry(queue.to_owned()).or_default();
        state.reserved -= slots.len();
        written.map_err(QueueError::Store)?;
        state.slots.extend(slots);
        drop(held);
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|wake| wake(queue));
        Ok(sent)
    }

    /// Sequence numbers grow with time, so that none comes twice, not after a purge and a restart either.
    fn reserve(&self, queue: &str, count: usize, now: Timestamp) -> Result<u64, QueueError> {
        let mut held = self.held();
        let state = held.entry(queue.to_owned()).or_default();
        if state.slots.len() + state.reserved + count > MESSAGES_MAX {
            return Err(QueueError::Full);
        }
        state.reserved += count;
        let first = state.next.max(now.0);
        state.next = first + count as u64;
        Ok(first)
    }

    /// Receives up to `max` messages, the oldest first, and hides them for `visibility_s` seconds. Messages older than
    /// `retention_s` seconds go; those that were received too often go where `redrive` says.
    ///
    /// # Errors
    /// When too many are in flight or the depot cannot be read or written.
    pub fn receive(
        &self,
        queue: &str,
        max: usize,
        visibility_s: u32,
        retention_s: u32,
        redrive: Option<&Redrive>,
        now: Timestamp,
    ) -> Result<Vec<Received>, QueueError> {
        let mut batch = Batch::default();
        let mut received = Vec::new();
        let mut moved = Vec::new();
        let mut held = self.held();
        let state = held.entry(queue.to_owned()).or_default();
        let expired = now.0.saturating_sub(u64::from(retention_s) * 1_000_000_000);
        while let Some((&sequence, _)) = state.slots.first_key_value().filter(|(sequence, _)| **sequence < expired) {
            state.slots.remove(&sequence);
            forget(queue, sequence, &mut batch);
        }
        let due: Vec<u64> = state
            .slots
            .iter()
            .filter(|(_, slot)| slot.visible_at <= now.0)
            .map(|(at, _)| *at)
            .take(max + 64)
            .collect();
        for sequence in due {
            if received.len() == max {
                break;
            }
            let Some(text) = self.depot.get(Room::Queues, &row(queue, b'm', sequence))? else {
                state.slots.remove(&sequence);
                continue;
            };
            let message: Message =
                serde_json::from_slice(&text).map_err(|error| QueueError::Store(format!("a message: {error}")))?;
            let slot = state.slots.get_mut(&sequence).expect("it was just there");
            if let Some(redrive) = redrive.filter(|redrive| slot.receives >= redrive.receives_max) {
                state.slots.remove(&sequence);
                forget(queue, sequence, &mut batch);
                let Message { body, attributes, .. } = message;
                moved.push((redrive.queue.clone(), NewMessage { body, attributes, delay_s: 0 }));
                continue;
            }
            slot.receives += 1;
            slot.first_received_at = if slot.receives == 1 { now.0 } else { slot.first_received_at };
            slot.visible_at = now.plus_ns(u64::from(visibility_s) * 1_000_000_000).0.max(1);
            batch.put(Room::Queues, row(queue, b's', sequence), slot.value());
            received.push(Received {
                handle: handle(sequence, slot.receives),
                receives: slot.receives,
                first_received_at: Timestamp(slot.first_received_at),
                message,
            });
        }
        drop(held);
        if !batch.is_empty() {
            self.depot.write(batch, false).map_err(QueueError::Store)?;
        }
        for (queue, message) in moved {
            self.enqueue(&queue, vec![message], Batch::default(), false, now)?;
        }
        Ok(received)
    }

    /// Deletes a message by the handle of its last receipt; one that is gone already is no error.
    ///
    /// # Errors
    /// [`QueueError::Handle`], or when the depot cannot be written.
    pub fn delete(&self, queue: &str, receipt: &str) -> Result<(), QueueError> {
        let (sequence, _) = read_handle(receipt).ok_or(QueueError::Handle)?;
        let mut batch = Batch::default();
        if self.held().get_mut(queue).and_then(|state| state.slots.remove(&sequence)).is_some() {
            forget(queue, sequence, &mut batch);
            self.depot.write(batch, false).map_err(QueueError::Store)?;
        }
        Ok(())
    }

    /// Hides a message for so long from now on; 0 shows it again at once.
    ///
    /// # Errors
    /// [`QueueError::Handle`] when it is not in flight, or when the depot cannot be written.
    pub fn change_visibility(
        &self,
        queue: &str,
        receipt: &str,
        visibility_s: u32,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        let (sequence, receives) = read_handle(receipt).ok_or(QueueError::Handle)?;
        let mut batch = Batch::default();
        let mut held = self.held();
        let slot = held.get_mut(queue).and_then(|state| state.slots.get_mut(&sequence));
        let slot = slot.filter(|slot| slot.receives == receives).ok_or(QueueError::Handle)?;
        slot.visible_at = now.plus_ns(u64::from(visibility_s) * 1_000_000_000).0;
        batch.put(Room::Queues, row(queue, b's', sequence), slot.value());
        drop(held);
        self.depot.write(batch, false).map_err(QueueError::Store)?;
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|wake| wake(queue));
        Ok(())
    }

    /// Lets go of all messages of a queue.
    ///
    /// # Errors
    /// When the depot cannot be written.
    pub fn purge(&self, queue: &str) -> Result<(), QueueError> {
        if let Some(state) = self.held().get_mut(queue) {
            state.slots.clear();
        }
        let mut batch = Batch::default();
        let prefix = [queue.as_bytes(), &[0]].concat();
        batch.delete_range(Room::Queues, prefix.clone(), [prefix.as_slice(), &[0xFF]].concat());
        self.depot.write(batch, false).map_err(QueueError::Store)
    }

    /// How many messages there are.
    pub fn counts(&self, queue: &str, now: Timestamp) -> Counts {
        let mut counts = Counts::default();
        if let Some(state) = self.held().get(queue) {
            for slot in state.slots.values() {
                match slot {
                    Slot { visible_at, .. } if *visible_at <= now.0 => counts.visible += 1,
                    Slot { receives: 0, .. } => counts.delayed += 1,
                    Slot { .. } => counts.in_flight += 1,
                }
            }
        }
        counts
    }

    /// When the next hidden message becomes visible.
    pub fn next_visible(&self, queue: &str) -> Option<Timestamp> {
        self.held().get(queue)?.slots.values().map(|slot| Timestamp(slot.visible_at)).min()
    }
}

impl Slot {
    fn value(&self) -> Vec<u8> {
        let mut value = self.receives.to_be_bytes().to_vec();
        value.extend_from_slice(&self.first_received_at.to_be_bytes());
        value.extend_from_slice(&self.visible_at.to_be_bytes());
        value
    }
}

fn forget(queue: &str, sequence: u64, batch: &mut Batch) {
    batch.delete(Room::Queues, row(queue, b'm', sequence));
    batch.delete(Room::Queues, row(queue, b's', sequence));
}

fn read_row(key: &[u8], value: &[u8], queues: &mut HashMap<String, Queue>) -> Option<()> {
    let zero = key.iter().position(|byte| *byte == 0)?;
    let queue = queues.entry(std::str::from_utf8(&key[..zero]).ok()?.to_owned()).or_default();
    let (kind, sequence) = key[zero + 1..].split_first()?;
    let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
    queue.next = queue.next.max(sequence + 1);
    match kind {
        b'm' => drop(queue.slots.entry(sequence).or_default()),
        b's' if value.len() == 20 => {
            let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
            let receives = u32::from_be_bytes(value[..4].try_into().ok()?);
            let slot = queue.slots.get_mut(&sequence)?; // 'm' comes before 's'
            *slot = Slot { receives, first_received_at: number(&value[4..12])?, visible_at: number(&value[12..])? };
        }
        _ => return None,
    }
    Some(())
}

fn message_id(queue: &str, sequence: u64) -> String {
    let name = queue.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
    let (high, low) = (mix(name ^ sequence), sequence);
    let [a, b, c] = [high >> 32, high >> 16 & 0xFFFF, high & 0xFFF];
    format!("{a:08x}-{b:04x}-4{c:03x}-{:04x}-{:012x}", 0x8000 | low >> 48 & 0x3FFF, low & 0xFFFF_FFFF_FFFF)
}

fn handle(sequence: u64, receives: u32) -> String {
    format!("{sequence:016x}{receives:08x}{:016x}", mix(sequence ^ u64::from(receives)))
}

fn read_handle(receipt: &str) -> Option<(u64, u32)> {
    if receipt.len() != 40 || !receipt.is_ascii() {
        return None;
    }
    let sequence = u64::from_str_radix(&receipt[..16], 16).ok()?;
    let receives = u32::from_str_radix(&receipt[16..24], 16).ok()?;
    (handle(sequence, receives) == receipt).then_some((sequence, receives))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETENTION_S: u32 = 345_600;

    fn second(s: u64) -> Timestamp {
        Timestamp(1_700_000_000_000_000_000 + s * 1_000_000_000)
    }

    fn message(body: &str) -> NewMessage {
        NewMessage { body: body.into(), ..NewMessage::default() }
    }

    fn receive(queues: &Queues, max: usize, at: u64) -> Vec<Received> {
        queues.receive("q", max, 30, RETENTION_S, None, second(at)).unwrap()
    }

    #[test]
    fn a_message_is_hidden_while_somebody_has_it_and_comes_again_until_it_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let depot = Arc::new(Depot::open(dir.path()).unwrap());
        let queues = Queues::open(depot.clone()).unwrap();
        queues.send("q", vec![message("a"), message("b")], second(0)).unwrap();
        let first = receive(&queues, 1, 1);
        assert_eq!((first[0].message.body.as_str(), first[0].receives), ("a", 1));
        assert_eq!(receive(&queues, 10, 2)[0].message.body, "b");
        assert!(receive(&queues, 10, 3).is_empty());
        assert_eq!(queues.counts("q", second(3)), Counts { visible: 0, in_flight: 2, delayed: 0 });
        drop(queues);
        let queues = Queues::open(depot).unwrap();
        assert!(receive(&queues, 10, 4).is_empty(), "a restart shows nothing that is hidden");
        let again = receive(&queues, 1, 31);
        assert_eq!((again[0].message.body.as_str(), again[0].receives), ("a", 2));
        assert!(queues.change_visibility("q", &first[0].handle, 0, second(31)).is_err(), "an old receipt");
        queues.delete("q", &again[0].handle).unwrap();
        queues.delete("q", &again[0].handle).unwrap();
        assert_eq!(receive(&queues, 10, 100).len(), 1);
        assert!(receive(&queues, 10, u64::from(RETENTION_S) + 1000).is_empty(), "too old");
        assert!(queues.delete("q", "forged").is_err());
    }

    #[test]
    fn delays_dead_letters_and_purges() {
        let dir = tempfile::tempdir().unwrap();
        let queues = Queues::open(Arc::new(Depot::open(dir.path()).unwrap())).unwrap();
        queues.send("q", vec![NewMessage { delay_s: 5, ..message("late") }], second(0)).unwrap();
        assert!(receive(&queues, 1, 4).is_empty());
        assert_eq!(receive(&queues, 1, 5).len(), 1);
        let redrive = Redrive { queue: "dead".into(), receives_max: 1 };
        let none = queues.receive("q", 1, 30, RETENTION_S, Some(&redrive), second(50)).unwrap();
        assert!(none.is_empty());
        let dead = queues.receive("dead", 1, 30, RETENTION_S, None, second(50)).unwrap();
        assert_eq!(dead[0].message.body, "late");
        queues.purge("dead").unwrap();
        assert_eq!(queues.counts("dead", second(500)), Counts::default());
    }
}
