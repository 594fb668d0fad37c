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
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Messages in one queue.
pub const MESSAGES_MAX: usize = 1_000_000;
/// Messages of one queue that were received and are neither deleted nor visible again.
pub const IN_FLIGHT_MAX: usize = 120_000;
/// Messages that one call lets go because they are too old, so that no caller pays for all of them.
const EXPIRED_MAX: usize = 10_000;
/// Messages beyond those asked for that one call sends to the dead-letter queue.
const MOVED_MAX: usize = 64;

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

/// Who waits stands in `ready` or in `hidden`, never in both: receiving costs the same whatever is in flight.
#[derive(Default)]
struct Queue {
    slots: BTreeMap<u64, Slot>,
    ready: BTreeSet<u64>,
    /// When it becomes visible, and its sequence number.
    hidden: BTreeSet<(u64, u64)>,
    /// Those of `hidden` that nobody received yet.
    delayed: usize,
    next: u64,
    reserved: usize,
}

impl Queue {
    /// Puts a message where its slot says; it may have been somewhere else.
    fn put(&mut self, sequence: u64, slot: Slot) {
        self.remove(sequence);
        self.slots.insert(sequence, slot);
        if slot.visible_at == 0 {
            self.ready.insert(sequence);
        } else {
            self.hidden.insert((slot.visible_at, sequence));
            self.delayed += usize::from(slot.receives == 0);
        }
    }

    fn remove(&mut self, sequence: u64) -> Option<Slot> {
        let slot = self.slots.remove(&sequence)?;
        if !self.ready.remove(&sequence) && self.hidden.remove(&(slot.visible_at, sequence)) {
            self.delayed -= usize::from(slot.receives == 0);
        }
        Some(slot)
    }

    /// Those whose time has come are visible again.
    fn show_due(&mut self, now: Timestamp) {
        while let Some(&(visible_at, sequence)) = self.hidden.first().filter(|(at, _)| *at <= now.0) {
            self.hidden.remove(&(visible_at, sequence));
            self.ready.insert(sequence);
            self.delayed -= usize::from(self.slots.get(&sequence).is_some_and(|slot| slot.receives == 0));
        }
    }

    fn in_flight(&self) -> usize {
        self.hidden.len() - self.delayed
    }

    /// Marks a visible message as received.
    fn take(&mut self, sequence: u64, visibility_s: u32, now: Timestamp) -> Slot {
        let mut slot = self.remove(sequence).expect("who is visible has a slot");
        slot.receives = slot.receives.saturating_add(1);
        slot.first_received_at = if slot.receives == 1 { now.0 } else { slot.first_received_at };
        slot.visible_at = now.plus_ns(u64::from(visibility_s) * 1_000_000_000).0.max(1);
        self.put(sequence, slot);
        slot
    }

    fn forget_expired(&mut self, queue: &str, expired: u64, batch: &mut Batch) {
        for _ in 0..EXPIRED_MAX {
            let Some((&sequence, _)) = self.slots.first_key_value().filter(|(at, _)| **at < expired) else { break };
            self.remove(sequence);
            forget(queue, sequence, batch);
        }
    }
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
        let (mut sound, mut left_over) = (true, Batch::default());
        depot.scan(Room::Queues, b"", b"", &mut |key, value| {
            match read_row(key, value, &mut queues) {
                Some(Row::Used) => (),
                Some(Row::LeftOver) => left_over.delete(Room::Queues, key),
                None => sound = false,
            }
            ControlFlow::Continue(())
        })?;
        if !sound {
            return Err(ReadError::Store("a row of `queues` is damaged".into()));
        }
        if !left_over.is_empty() {
            depot.write(left_over, false).map_err(ReadError::Store)?;
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
        slots.into_iter().for_each(|(sequence, slot)| state.put(sequence, slot));
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
        let (mut batch, mut away) = (Batch::default(), Batch::default());
        let (mut received, mut moved, mut copies) = (Vec::new(), Vec::new(), Vec::new());
        let mut held = self.held();
        let state = held.entry(queue.to_owned()).or_default();
        let expired = now.0.saturating_sub(u64::from(retention_s) * 1_000_000_000);
        state.forget_expired(queue, expired, &mut batch);
        state.show_due(now);
        if max > 0 && state.in_flight() >= IN_FLIGHT_MAX {
            return Err(QueueError::OverLimit);
        }
        let due: Vec<u64> = state.ready.range(expired..).copied().take(max + MOVED_MAX).collect();
        for sequence in due {
            if received.len() == max {
                break;
            }
            let Some(message) = self.read(queue, sequence)? else {
                state.remove(sequence); // a purge was quicker
                continue;
            };
            let receives = state.slots.get(&sequence).map_or(0, |slot| slot.receives);
            if redrive.is_some_and(|redrive| receives >= redrive.receives_max) {
                moved.extend(state.remove(sequence).map(|slot| (sequence, slot)));
                forget(queue, sequence, &mut away);
                copies.push(NewMessage { body: message.body, attributes: message.attributes, delay_s: 0 });
                continue;
            }
            let slot = state.take(sequence, visibility_s, now);
            batch.put(Room::Queues, row(queue, b's', sequence), slot.value());
            received.push(Received::of(message, slot));
        }
        drop(held);
        if !batch.is_empty() {
            self.depot.write(batch, false).map_err(QueueError::Store)?;
        }
        if let Some(redrive) = redrive.filter(|_| !copies.is_empty()) {
            // One write: a message is in the one queue or in the other, whenever the process ends.
            let done = self.enqueue(&redrive.queue, copies, away, false, now);
            self.stay_unless(done, queue, moved, visibility_s, now)?;
        }
        Ok(received)
    }

    /// Messages that could not be moved stay, hidden for a while.
    fn stay_unless(
        &self,
        done: Result<Vec<Message>, QueueError>,
        queue: &str,
        moved: Vec<(u64, Slot)>,
        visibility_s: u32,
        now: Timestamp,
    ) -> Result<(), QueueError> {
        let Err(error) = done else { return Ok(()) };
        let mut held = self.held();
        let state = held.entry(queue.to_owned()).or_default();
        for (sequence, slot) in moved {
            let visible_at = now.plus_ns(u64::from(visibility_s) * 1_000_000_000).0.max(1);
            state.put(sequence, Slot { visible_at, ..slot });
        }
        if matches!(error, QueueError::Full) { Ok(()) } else { Err(error) }
    }

    fn read(&self, queue: &str, sequence: u64) -> Result<Option<Message>, QueueError> {
        let Some(text) = self.depot.get(Room::Queues, &row(queue, b'm', sequence))? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(|error| QueueError::Store(format!("a message: {error}")))
    }

    /// The first visible message behind a sequence number. It stays visible, and nobody received it.
    ///
    /// # Errors
    /// When the depot cannot be read.
    pub fn next_after(&self, queue: &str, after: u64, now: Timestamp) -> Result<Option<Message>, QueueError> {
        let mut after = after;
        loop {
            let mut held = self.held();
            let Some(state) = held.get_mut(queue) else { return Ok(None) };
            state.show_due(now);
            let Some(sequence) = state.ready.range(after.saturating_add(1)..).next().copied() else {
                return Ok(None);
            };
            drop(held);
            if let Some(message) = self.read(queue, sequence)? {
                return Ok(Some(message));
            }
            after = sequence; // gone meanwhile
        }
    }

    /// Receives this very message, however often it was received before; none when it is not visible any more.
    ///
    /// # Errors
    /// When the depot cannot be read or written.
    pub fn receive_one(
        &self,
        queue: &str,
        sequence: u64,
        visibility_s: u32,
        now: Timestamp,
    ) -> Result<Option<Received>, QueueError> {
        let Some(message) = self.read(queue, sequence)? else { return Ok(None) };
        let mut held = self.held();
        let Some(state) = held.get_mut(queue).filter(|state| state.ready.contains(&sequence)) else {
            return Ok(None);
        };
        let slot = state.take(sequence, visibility_s, now);
        drop(held);
        let mut batch = Batch::default();
        batch.put(Room::Queues, row(queue, b's', sequence), slot.value());
        self.depot.write(batch, false).map_err(QueueError::Store)?;
        Ok(Some(Received::of(message, slot)))
    }

    /// Deletes a message by the handle of its last receipt; one that is gone already is no error.
    ///
    /// # Errors
    /// [`QueueError::Handle`], or when the depot cannot be written.
    pub fn delete(&self, queue: &str, receipt: &str) -> Result<(), QueueError> {
        let (sequence, _) = read_handle(receipt).ok_or(QueueError::Handle)?;
        let mut batch = Batch::default();
        if self.held().get_mut(queue).and_then(|state| state.remove(sequence)).is_some() {
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
        let state = held.get_mut(queue).ok_or(QueueError::Handle)?;
        let slot = state.slots.get(&sequence).filter(|slot| slot.receives == receives);
        let mut slot = *slot.ok_or(QueueError::Handle)?;
        state.remove(sequence);
        slot.visible_at = now.plus_ns(u64::from(visibility_s) * 1_000_000_000).0;
        state.put(sequence, slot);
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
            *state = Queue { next: state.next, reserved: state.reserved, ..Queue::default() };
        }
        let mut batch = Batch::default();
        let prefix = [queue.as_bytes(), &[0]].concat();
        batch.delete_range(Room::Queues, prefix.clone(), [prefix.as_slice(), &[0xFF]].concat());
        self.depot.write(batch, false).map_err(QueueError::Store)
    }

    /// Lets go of all messages of all queues, together with other changes of the depot; on the disk after this.
    pub(crate) fn forget_all(&self, mut with: Batch) -> Result<(), String> {
        let mut held = self.held();
        for state in held.values_mut() {
            *state = Queue { next: state.next, reserved: state.reserved, ..Queue::default() };
        }
        held.retain(|_, state| state.reserved > 0); // somebody is just sending
        with.delete_range(Room::Queues, b"", [0xFF]); // names are text
        self.depot.write(with, true)
    }

    /// How many messages there are.
    pub fn counts(&self, queue: &str, now: Timestamp) -> Counts {
        let mut held = self.held();
        let Some(state) = held.get_mut(queue) else { return Counts::default() };
        state.show_due(now);
        Counts { visible: state.ready.len(), in_flight: state.in_flight(), delayed: state.delayed }
    }
}

impl Received {
    fn of(message: Message, slot: Slot) -> Received {
        Received {
            handle: handle(message.sequence, slot.receives),
            receives: slot.receives,
            first_received_at: Timestamp(slot.first_received_at),
            message,
        }
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

enum Row {
    Used,
    /// Who changes a message's visibility while somebody else deletes it may write last.
    LeftOver,
}

fn read_row(key: &[u8], value: &[u8], queues: &mut HashMap<String, Queue>) -> Option<Row> {
    let zero = key.iter().position(|byte| *byte == 0)?;
    let queue = queues.entry(std::str::from_utf8(&key[..zero]).ok()?.to_owned()).or_default();
    let (kind, sequence) = key[zero + 1..].split_first()?;
    let sequence = u64::from_be_bytes(sequence.try_into().ok()?);
    queue.next = queue.next.max(sequence + 1);
    match kind {
        b'm' => queue.put(sequence, Slot::default()),
        b's' if value.len() == 20 => {
            let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
            let receives = u32::from_be_bytes(value[..4].try_into().ok()?);
            let slot =
                Slot { receives, first_received_at: number(&value[4..12])?, visible_at: number(&value[12..])? };
            if !queue.slots.contains_key(&sequence) {
                return Some(Row::LeftOver); // 'm' comes before 's'
            }
            queue.put(sequence, slot);
        }
        _ => return None,
    }
    Some(Row::Used)
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

    #[test]
    fn a_look_that_comes_after_the_deletion_does_not_keep_the_next_start_from_reading() {
        let dir = tempfile::tempdir().unwrap();
        let depot = Arc::new(Depot::open(dir.path()).unwrap());
        let queues = Queues::open(depot.clone()).unwrap();
        let sent = queues.send("q", vec![message("a"), message("b")], second(0)).unwrap();
        let taken = receive(&queues, 1, 1);
        queues.delete("q", &taken[0].handle).unwrap();
        let late = row("q", b's', sent[0].sequence); // of a heartbeat that lost the race against the deletion
        let mut batch = Batch::default();
        batch.put(Room::Queues, late.clone(), Slot { receives: 1, ..Slot::default() }.value());
        depot.write(batch, false).unwrap();
        let queues = Queues::open(depot.clone()).unwrap();
        assert_eq!(receive(&queues, 10, 2)[0].message.body, "b");
        assert_eq!(depot.get(Room::Queues, &late).unwrap(), None);
    }

    #[test]
    fn a_message_leaves_its_queue_only_together_with_its_arrival_in_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let depot = Arc::new(Depot::open(dir.path()).unwrap());
        let queues = Queues::open(depot.clone()).unwrap();
        queues.send("q", vec![message("poison")], second(0)).unwrap();
        assert_eq!(receive(&queues, 1, 1).len(), 1);
        queues.held().entry("dead".into()).or_default().reserved = MESSAGES_MAX;
        let redrive = Redrive { queue: "dead".into(), receives_max: 1 };
        let look = |at| queues.receive("q", 1, 30, RETENTION_S, Some(&redrive), second(at)).unwrap().len();
        assert_eq!(look(40), 0);
        assert_eq!(queues.counts("q", second(40)).in_flight, 1, "the other is full: it stays");
        queues.held().entry("dead".into()).or_default().reserved = 0;
        assert_eq!(look(80), 0);
        let queues = Queues::open(depot).unwrap();
        let visible = |queue| queues.counts(queue, second(500)).visible;
        assert_eq!((visible("q"), visible("dead")), (0, 1));
    }

    #[test]
    fn no_more_than_so_many_are_in_flight() {
        let dir = tempfile::tempdir().unwrap();
        let queues = Queues::open(Arc::new(Depot::open(dir.path()).unwrap())).unwrap();
        queues.send("q", vec![message(""); IN_FLIGHT_MAX + 1], second(0)).unwrap();
        assert_eq!(receive(&queues, IN_FLIGHT_MAX, 1).len(), IN_FLIGHT_MAX);
        let refused = queues.receive("q", 1, 30, RETENTION_S, None, second(2));
        assert!(matches!(refused, Err(QueueError::OverLimit)));
        assert_eq!(queues.counts("q", second(2)), Counts { visible: 1, in_flight: IN_FLIGHT_MAX, delayed: 0 });
        assert_eq!(receive(&queues, 1, 31).len(), 1, "they are visible again");
    }

    #[test]
    fn one_message_is_found_and_taken_and_the_others_are_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let queues = Queues::open(Arc::new(Depot::open(dir.path()).unwrap())).unwrap();
        let sent = queues.send("q", vec![message("a"), message("b"), message("c")], second(0)).unwrap();
        let b = queues.next_after("q", sent[0].sequence, second(1)).unwrap().unwrap();
        assert_eq!(b.body, "b");
        let taken = queues.receive_one("q", b.sequence, 30, second(1)).unwrap().unwrap();
        assert!(queues.receive_one("q", b.sequence, 30, second(1)).unwrap().is_none(), "somebody has it");
        assert_eq!(queues.next_after("q", sent[0].sequence, second(1)).unwrap().unwrap().body, "c");
        queues.delete("q", &taken.handle).unwrap();
        assert_eq!(receive(&queues, 10, 2).iter().map(|one| one.receives).collect::<Vec<_>>(), [1, 1]);
    }
}
