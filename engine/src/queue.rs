//! Queues: messages that wait until somebody takes them and says that they are done with. At least once, in the order
//! in which they came as far as visibility allows. Bodies lie in the depot; memory holds a few words per message.
//!
//! A queue whose name ends with `.fifo` keeps the order of each group: while a message is in flight, nobody receives
//! those behind it. What is sent twice within five minutes, by its deduplication id, is one message.
//!
//! ```text
//! name 0 'd' sequence (8) → sent at (8), hash of the deduplication id (16)
//! name 0 'm' sequence (8) → the message, as JSON
//! name 0 's' sequence (8) → receive count (4), first received at (8), visible again at (8)
//! ```
//!
//! - `recent`: what a FIFO queue took lately
//! - `state`: what memory holds of a queue

mod recent;
mod state;

use crate::ids::{Timestamp, mix};
use crate::journal::{Batch, Depot, ReadError, Room};
use recent::DeduplicationKey;
pub use recent::RECENT_MAX;
use serde::{Deserialize, Serialize};
use state::{Queue, Slot};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Messages in one queue.
pub const MESSAGES_MAX: usize = 1_000_000;
/// Messages of one queue that were received and are neither deleted nor visible again.
pub const IN_FLIGHT_MAX: usize = 120_000;
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
    /// In a FIFO queue: it comes behind others of this group. Without one it stands alone.
    pub group: Option<String>,
    /// In a FIFO queue: another one with the same id is the same message.
    pub deduplication_id: Option<String>,
    /// Whether that holds in its group only, not in the whole queue.
    pub deduplicate_in_group: bool,
    /// It comes from another queue, and so is no repetition, whatever its id.
    pub moved: bool,
}

impl NewMessage {
    /// A message as it goes from one queue to another.
    pub fn moved(message: Message) -> NewMessage {
        let Message { body, attributes, group, deduplication_id, .. } = message;
        NewMessage { body, attributes, group, deduplication_id, moved: true, ..NewMessage::default() }
    }

    /// A deduplication id that says what a body is.
    pub fn content_id(body: &str) -> String {
        blake3::hash(body.as_bytes()).to_hex().to_string()
    }

    fn key(&self) -> Option<DeduplicationKey> {
        let group = self.group.as_deref().filter(|_| self.deduplicate_in_group);
        let id = self.deduplication_id.as_deref().filter(|_| !self.moved)?;
        Some(DeduplicationKey::new(id, group))
    }
}

/// Whether a queue of this name keeps the order of groups.
pub fn is_fifo(queue: &str) -> bool {
    queue.ends_with(".fifo")
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
    /// Its group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Its deduplication id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deduplication_id: Option<String>,
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
    /// Too many messages to remember were sent.
    #[error("{RECENT_MAX} messages were sent within five minutes: send them more slowly, or to another queue")]
    TooFast,
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

type Wake = Box<dyn Fn(&str) + Send + Sync>;

/// All queues of a data directory.
pub struct Queues {
    depot: Arc<Depot>,
    queues: Mutex<HashMap<String, Queue>>,
    /// Held while a FIFO queue gets messages.
    in_order: Mutex<()>,
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
        Ok(Queues { depot, queues: Mutex::new(queues), in_order: Mutex::default(), wakes: Mutex::default() })
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
        with: Batch,
        sync: bool,
        now: Timestamp,
    ) -> Result<Vec<Message>, QueueError> {
        // One at a time in a FIFO queue: its order is that of the numbers, and a repetition is told when the first is
        // on the disk.
        let in_order = is_fifo(queue).then(|| self.in_order.lock().unwrap_or_else(PoisonError::into_inner));
        let first = self.reserve(queue, messages.len(), now)?;
        let count = messages.len();
        let claims = self.claim(queue, first, &messages, now);
        let mut arriving = Arriving { queue, now, batch: with, slots: Vec::new(), messages: Vec::new() };
        claims.expired.iter().for_each(|sequence| arriving.batch.delete(Room::Queues, row(queue, b'd', *sequence)));
        for ((sequence, new), original) in (first..).zip(messages).zip(&claims.originals) {
            arriving.add(sequence, new, *original);
        }
        let Arriving { batch, slots, messages: sent, .. } = arriving;
        let written = self.depot.write(batch, sync);
        let mut held = self.held();
        let state = held.entry(queue.to_owned()).or_default();
        state.reserved = state.reserved.saturating_sub(count);
        if let Err(error) = written {
            (first..).take(count).for_each(|sequence| state.recent.remove(sequence));
            return Err(QueueError::Store(error));
        }
        slots.into_iter().for_each(|(sequence, slot)| state.put(sequence, slot));
        drop(held);
        drop(in_order);
        self.wakes.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|wake| wake(queue));
        Ok(sent)
    }

    /// Which of these messages were sent before, and notes the others as sent.
    fn claim(&self, queue: &str, first: u64, messages: &[NewMessage], now: Timestamp) -> Claims {
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

    /// Sequence numbers grow with time, so that none comes twice, not after a purge and a restart either.
    fn reserve(&self, queue: &str, count: usize, now: Timestamp) -> Result<u64, QueueError> {
        let mut held = self.held();
        let state = held.entry(queue.to_owned()).or_default();
        if state.slots.len() + state.reserved + count > MESSAGES_MAX {
            return Err(QueueError::Full);
        }
        if state.recent.len() + count > RECENT_MAX {
            return Err(QueueError::TooFast);
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
        state.expire(expired).into_iter().for_each(|sequence| forget(queue, sequence, &mut batch));
        state.show_due(now);
        if max > 0 && state.in_flight() >= IN_FLIGHT_MAX {
            return Err(QueueError::OverLimit);
        }
        // Behind a message that goes away nothing of its group is received before it is there.
        let mut waiting = HashSet::new();
        for sequence in state.due(expired, max + MOVED_MAX) {
            if received.len() == max {
                break;
            }
            let Some(Slot { receives, group, .. }) = state.slots.get(&sequence).copied() else { continue };
            if group.is_some_and(|group| waiting.contains(&group)) {
                continue;
            }
            let Some(message) = self.read(queue, sequence)? else {
                state.remove(sequence); // a purge was quicker
                continue;
            };
            if redrive.is_some_and(|redrive| receives >= redrive.receives_max) {
                moved.extend(state.remove(sequence).map(|slot| (sequence, slot)));
                forget(queue, sequence, &mut away);
                copies.push(NewMessage::moved(message));
                waiting.extend(group);
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

    /// Deletes messages by their place, all at once; those that are gone already are no error.
    pub(crate) fn delete_all(&self, queue: &str, sequences: &[u64]) -> Result<(), QueueError> {
        let mut batch = Batch::default();
        if let Some(state) = self.held().get_mut(queue) {
            let there = sequences.iter().filter(|sequence| state.remove(**sequence).is_some());
            there.for_each(|sequence| forget(queue, *sequence, &mut batch));
        }
        if batch.is_empty() { Ok(()) } else { self.depot.write(batch, false).map_err(QueueError::Store) }
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
            state.clear();
        }
        let mut batch = Batch::default();
        let prefix = [queue.as_bytes(), &[0]].concat();
        batch.delete_range(Room::Queues, prefix.clone(), [prefix.as_slice(), &[0xFF]].concat());
        self.depot.write(batch, false).map_err(QueueError::Store)
    }

    /// Lets go of all messages of all queues, together with other changes of the depot; on the disk after this.
    pub(crate) fn forget_all(&self, mut with: Batch) -> Result<(), String> {
        let mut held = self.held();
        held.values_mut().for_each(Queue::clear);
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

/// What is known of messages before they are sent.
struct Claims {
    /// For each the sequence number of the one that it repeats.
    originals: Vec<Option<u64>>,
    /// Sequence numbers whose deduplication ids are forgotten.
    expired: Vec<u64>,
}

/// Messages on their way into one queue.
struct Arriving<'q> {
    queue: &'q str,
    now: Timestamp,
    batch: Batch,
    slots: Vec<(u64, Slot)>,
    messages: Vec<Message>,
}

impl Arriving<'_> {
    fn add(&mut self, sequence: u64, new: NewMessage, original: Option<u64>) {
        let key = new.key().filter(|_| original.is_none());
        let sequence = original.unwrap_or(sequence);
        let NewMessage { body, attributes, delay_s, group, deduplication_id, .. } = new;
        let id = message_id(self.queue, sequence);
        let message = Message { id, sequence, sent_at: self.now, body, attributes, group, deduplication_id };
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
        self.batch.put(Room::Queues, row(queue, b'm', sequence), text);
        if visible_at > 0 {
            self.batch.put(Room::Queues, row(queue, b's', sequence), slot.value());
        }
        if let Some(key) = key.filter(|_| is_fifo(queue)) {
            self.batch.put(Room::Queues, row(queue, b'd', sequence), recent::value(self.now, key));
        }
        self.slots.push((sequence, slot));
    }
}

/// Visits messages of a queue whose row holds a part; for tools beside a running server.
pub(crate) fn search(
    depot: &Depot,
    queue: &str,
    part: &[u8],
    visit: &mut dyn FnMut(&Message),
) -> Result<(), ReadError> {
    let prefix = [queue.as_bytes(), &[0, b'm']].concat();
    let finder = memchr::memmem::Finder::new(part);
    depot.scan(Room::Queues, &prefix, &prefix, &mut |_, text| {
        if finder.find(text).is_some()
            && let Ok(message) = serde_json::from_slice(text)
        {
            visit(&message);
        }
        ControlFlow::Continue(())
    })
}

/// What the group of a message hashes to; one without a group has one of its own.
fn group_of(queue: &str, message: &Message) -> Option<u64> {
    is_fifo(queue).then(|| match &message.group {
        Some(group) => hash(group),
        None => mix(message.sequence),
    })
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)))
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

fn message_id(queue: &str, sequence: u64) -> String {
    let (high, low) = (mix(hash(queue) ^ sequence), sequence);
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
mod tests;
