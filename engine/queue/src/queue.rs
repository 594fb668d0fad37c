//! Queues: messages that wait until a receiver takes them and deletes them. Delivered at least once, in the order of
//! arrival as far as visibility allows. Bodies are in the depot; memory holds a few words per message.
//!
//! A queue whose name ends with `.fifo` keeps the order of each group: while a message is in flight, no later message
//! of its group can be received, and groups take turns. Messages with the same deduplication id within five minutes
//! are one message.
//!
//! - `recent`: what a FIFO queue took lately
//! - `message`: what lies in a queue, what goes in, what comes out
//! - `attributes`: what a message may say
//! - `redrive`: where messages go that were received too often
//! - `state`: what memory holds of a queue
//! - `rows`: what the depot holds of it
//! - `receipt`: names of messages and receipts
//! - `arriving`, `receiving`, `settling`: in, out, and done with
//! - `settings`: what may be set of a queue
//! - `repeating`: receiving again what an answer that was lost had brought

mod recent;
mod message;
mod attributes;
mod redrive;
mod state;
mod rows;
mod receipt;
mod arriving;
mod receiving;
mod settling;
mod repeating;
pub mod settings;

use arriving::Arriving;
pub use attributes::{ATTRIBUTES_MAX, fault_in, is_content, is_id};
use fakemon_journal::{Batch, BusStore, ReadError, Table};
use fakemon_model::ids::Timestamp;
pub use message::{Attribute, Identity, Message, NewMessage, Origin, Received, Redrive};
use parking_lot::{Mutex, MutexGuard};
pub use recent::RECENT_MAX;
use repeating::Attempts;
use rows::{Row, read_row, row};
pub use rows::{forget_recent, search};
pub use settling::Settlement;
use state::Queue;
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// The most messages in one queue.
pub const MESSAGES_MAX: usize = 1_000_000;
/// The most messages of one queue that were received and are neither deleted nor visible again.
pub const IN_FLIGHT_MAX: usize = 120_000;

/// Whether a queue of this name keeps the order of groups.
pub fn is_fifo(queue: &str) -> bool {
    queue.ends_with(".fifo")
}

/// Numbers of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages that can be received.
    pub visible: usize,
    /// Messages that were received and are hidden.
    pub in_flight: usize,
    /// Messages with a delay that is not over.
    pub delayed: usize,
}

/// Why a queue refuses a request.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// Too many messages wait.
    #[error("the queue is full: it holds {MESSAGES_MAX} messages; receive and delete some")]
    Full,
    /// Too many messages are received and not deleted.
    #[error("{IN_FLIGHT_MAX} messages are in flight: delete some")]
    OverLimit,
    /// Too many deduplication ids to remember.
    #[error("{RECENT_MAX} messages were sent within five minutes: send them more slowly, or to another queue")]
    TooFast,
    /// Not a handle of this queue.
    #[error("the receipt handle is not valid")]
    Handle,
    /// The message of a handle no longer exists.
    #[error("the message does not exist")]
    Gone,
    /// The message of a handle is visible, so this receiver no longer holds it.
    #[error("the message is not in flight")]
    NotInFlight,
    /// Another receiver may have got the message since.
    #[error("the receipt handle has expired")]
    Expired,
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
    depot: Arc<BusStore>,
    queues: Mutex<HashMap<String, Queue>>,
    /// Held while a FIFO queue gets messages.
    in_order: Mutex<()>,
    wakes: Mutex<Vec<Wake>>,
    /// Receives of FIFO queues that can be repeated.
    attempts: Mutex<Attempts>,
}

impl Queues {
    pub fn open(depot: Arc<BusStore>) -> Result<Queues, ReadError> {
        let mut queues: HashMap<String, Queue> = HashMap::new();
        let (mut sound, mut left_over) = (true, Batch::default());
        depot.scan(Table::Queues, b"", b"", &mut |key, value| {
            match read_row(key, value, &mut queues) {
                Some(Row::Used) => (),
                Some(Row::LeftOver) => left_over.delete(Table::Queues, key),
                None => sound = false,
            }
            ControlFlow::Continue(())
        })?;
        if !sound {
            return Err(ReadError::Damaged("a row of `queues` is damaged".into()));
        }
        if !left_over.is_empty() {
            depot.write(left_over, false).map_err(ReadError::Failed)?;
        }
        Ok(Queues {
            depot,
            queues: Mutex::new(queues),
            in_order: Mutex::default(),
            wakes: Mutex::default(),
            attempts: Mutex::default(),
        })
    }

    /// Registers `wake`, which is called from any thread with the name of a queue that got messages. It must not
    /// block.
    pub fn on_message(&self, wake: impl Fn(&str) + Send + Sync + 'static) {
        self.wakes.lock().push(Box::new(wake));
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Queue>> {
        self.queues.lock()
    }

    /// Sends messages; they are on the disk when this returns.
    ///
    /// # Errors
    /// When the queue is full or the depot cannot be written.
    pub fn send(&self, queue: &str, messages: Vec<NewMessage>, now: Timestamp) -> Result<Vec<Message>, QueueError> {
        self.enqueue(queue, messages, Batch::default(), true, now)
    }

    /// Sends messages together with other changes of the depot.
    pub fn enqueue(
        &self,
        queue: &str,
        messages: Vec<NewMessage>,
        with: Batch,
        sync: bool,
        now: Timestamp,
    ) -> Result<Vec<Message>, QueueError> {
        // One sender at a time in a FIFO queue: its order is that of the sequence numbers.
        let in_order = is_fifo(queue).then(|| self.in_order.lock());
        // Reserved first, so that a full queue refuses before anything is written; published last, so that a receiver
        // never gets a message without its row.
        let first = self.reserve(queue, messages.len(), now)?;
        let count = messages.len();
        let claims = self.claim(queue, first, &messages, now);
        let mut arriving = Arriving { queue, now, batch: with, slots: Vec::new(), messages: Vec::new() };
        claims.expired.iter().for_each(|sequence| arriving.batch.delete(Table::Queues, row(queue, b'd', *sequence)));
        for ((sequence, new), original) in (first..).zip(messages).zip(&claims.originals) {
            arriving.add(sequence, new, *original);
        }
        let Arriving { batch, slots, messages: sent, .. } = arriving;
        let written = self.depot.write(batch, false);
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
        if sync {
            // Other receivers may get it meanwhile: they wait for a sync of their own. A repeated send waits here as
            // well.
            self.depot.sync().map_err(QueueError::Store)?;
        }
        self.wake(queue);
        Ok(sent)
    }

    /// Reserves sequence numbers. They grow with time, so that none is used twice, even after a purge and a restart.
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

    /// Deletes all messages of a queue; on the disk when this returns.
    ///
    /// # Errors
    /// When the depot cannot be written.
    pub fn purge(&self, queue: &str) -> Result<(), QueueError> {
        if let Some(state) = self.held().get_mut(queue) {
            state.clear();
        }
        let mut batch = Batch::default();
        let prefix = [queue.as_bytes(), &[0]].concat();
        batch.delete_range(Table::Queues, prefix.clone(), [prefix.as_slice(), &[0xFF]].concat());
        self.depot.write(batch, true).map_err(QueueError::Store)
    }

    /// Whether there is anything of a queue of this name: messages, or deduplication ids of such.
    pub fn remembers(&self, queue: &str) -> bool {
        self.held().get(queue).is_some_and(|state| !state.slots.is_empty() || state.recent.len() > 0)
    }

    /// Tells those that wait for messages of a queue to look.
    fn wake(&self, queue: &str) {
        self.wakes.lock().iter().for_each(|wake| wake(queue));
    }

    /// Deletes all messages of all queues, together with other changes of the depot; on the disk when this returns.
    pub fn forget_all(&self, mut with: Batch) -> Result<(), String> {
        let mut held = self.held();
        held.values_mut().for_each(Queue::clear);
        held.retain(|_, state| state.reserved > 0); // keep the numbers that a sender has reserved
        with.delete_range(Table::Queues, b"", [0xFF]); // names are text
        self.depot.write(with, true)
    }

    /// The next sequence number: messages in the queue have smaller ones, later messages this one or larger ones.
    pub fn next_sequence(&self, queue: &str, now: Timestamp) -> u64 {
        self.held().get(queue).map_or(now.0, |state| state.next)
    }

    /// The numbers of messages of a queue.
    pub fn counts(&self, queue: &str, now: Timestamp) -> Counts {
        let mut held = self.held();
        let Some(state) = held.get_mut(queue) else { return Counts::default() };
        state.show_due(now);
        Counts { visible: state.ready.len(), in_flight: state.in_flight(), delayed: state.delayed }
    }
}

#[cfg(test)]
mod tests;
