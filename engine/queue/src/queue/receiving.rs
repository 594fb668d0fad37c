//! Receiving: which messages a receiver gets, and what happens to those that were received too often.

use super::message::{Message, NewMessage, Origin, Received, Redrive};
use super::receipt::Receipt;
use super::rows::{forget, row};
use super::state::Slot;
use super::{IN_FLIGHT_MAX, QueueError, Queues, is_fifo};
use fakemon_journal::{Batch, Table};
use fakemon_model::ids::Timestamp;
use std::collections::HashSet;

/// How many messages beyond those asked for one call sends to the dead-letter queue.
const MOVED_MAX: usize = 64;

impl Queues {
    /// Receives up to `max` messages, the oldest first, and hides them for `visibility_s` seconds. Messages older
    /// than `retention_s` seconds are deleted; those that were received too often are moved to the queue of
    /// `redrive`. The receive is on the disk when this returns, so that after a power cut no message appears under
    /// another id.
    ///
    /// # Errors
    /// When [`IN_FLIGHT_MAX`] are in flight, of a FIFO queue nothing is received then; or the depot cannot be read or
    /// written.
    pub fn receive(
        &self,
        queue: &str,
        max: usize,
        visibility_s: u32,
        retention_s: u32,
        redrive: Option<&Redrive>,
        now: Timestamp,
    ) -> Result<Vec<Received>, QueueError> {
        let received = self.take(queue, max, visibility_s, retention_s, redrive, now)?;
        if !received.is_empty() {
            self.depot.sync().map_err(QueueError::Store)?;
        }
        Ok(received)
    }

    /// As [`receive`](Self::receive) without the sync, for a receiver that shows nothing outside before the next
    /// sync.
    pub fn take(
        &self,
        queue: &str,
        max: usize,
        visibility_s: u32,
        retention_s: u32,
        redrive: Option<&Redrive>,
        now: Timestamp,
    ) -> Result<Vec<Received>, QueueError> {
        let (mut batch, mut away) = (Batch::default(), Batch::default());
        let (mut received, mut moved, mut dead) = (Vec::new(), Vec::new(), Vec::new());
        let (mut unreadable, mut held) = (None, self.held());
        let state = held.entry(queue.to_owned()).or_default();
        let expired = now.0.saturating_sub(u64::from(retention_s) * 1_000_000_000);
        state.expire(expired).into_iter().for_each(|sequence| forget(queue, sequence, &mut batch));
        state.show_due(now);
        let places = IN_FLIGHT_MAX.saturating_sub(state.in_flight());
        if max > 0 && places == 0 && !is_fifo(queue) {
            return Err(QueueError::OverLimit);
        }
        let max = max.min(places);
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
            let read = self.read(queue, sequence).map_err(|error| unreadable = Some(error));
            let Ok(message) = read else { break }; // what was taken before it is still to be written and given out
            let Some(message) = message else {
                state.remove(sequence); // a purge was quicker
                continue;
            };
            if message.sent_at.0 < expired && !is_fifo(queue) {
                // The age of a dead letter counts from when it was first sent.
                state.remove(sequence);
                forget(queue, sequence, &mut batch);
                continue;
            }
            if redrive.is_some_and(|redrive| receives >= redrive.receives_max) {
                let slot = state.remove(sequence).expect("it was found above");
                forget(queue, sequence, &mut away);
                dead.push(NewMessage::dead(message.clone(), origin_of(queue, &message, slot)));
                moved.push((sequence, slot));
                waiting.extend(group);
                continue;
            }
            let slot = state.take(sequence, visibility_s, now);
            batch.put(Table::Queues, row(queue, b's', sequence), slot.value());
            received.push(Received::of(queue, message, slot));
        }
        drop(held);
        let written = if batch.is_empty() { Ok(()) } else { self.depot.write(batch, false) };
        let done = match (written, redrive.filter(|_| !dead.is_empty())) {
            // Those that were taken stay hidden, as after an answer that was lost.
            (Err(error), _) => Err(QueueError::Store(error)),
            // One write: a message is in the one queue or in the other, whenever the process ends.
            (Ok(()), Some(redrive)) => self.enqueue(&redrive.queue, dead, away, false, now),
            (Ok(()), None) => Ok(Vec::new()),
        };
        self.stay_unless(done, queue, moved, visibility_s, now)?;
        match unreadable {
            Some(error) if received.is_empty() => Err(error),
            _ => Ok(received),
        }
    }

    /// Hides messages that could not be moved for a while.
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

    pub(super) fn read(&self, queue: &str, sequence: u64) -> Result<Option<Message>, QueueError> {
        let Some(text) = self.depot.get(Table::Queues, &row(queue, b'm', sequence))? else { return Ok(None) };
        serde_json::from_slice(&text).map(Some).map_err(|error| QueueError::Store(format!("a message: {error}")))
    }

    /// The first visible message after a sequence number that was never received. It stays visible.
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
            after = sequence; // deleted meanwhile
        }
    }

    /// Receives one given message, however often it was received before; none if it is not visible any more.
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
        batch.put(Table::Queues, row(queue, b's', sequence), slot.value());
        self.depot.write(batch, false).map_err(QueueError::Store)?;
        Ok(Some(Received::of(queue, message, slot)))
    }

    /// Moves a received message from one queue into another, where it is a new one; in one write, and on the disk
    /// when this returns. It stays in its queue if that fails.
    ///
    /// # Errors
    /// When the other queue is full, or the depot cannot be written.
    pub fn hand_over(&self, queue: &str, received: &Received, to: &str, now: Timestamp) -> Result<(), QueueError> {
        let sequence = received.message.sequence;
        let Some(slot) = self.held().get_mut(queue).and_then(|state| state.remove(sequence)) else {
            return Ok(()); // deleted meanwhile
        };
        let mut away = Batch::default();
        forget(queue, sequence, &mut away);
        let done = self.enqueue(to, vec![NewMessage::moved(received.message.clone())], away, true, now);
        if done.is_err() {
            self.held().entry(queue.to_owned()).or_default().put(sequence, slot);
        }
        done.map(drop)
    }
}

/// What a dead letter keeps of its history in a queue, and in those before.
fn origin_of(queue: &str, message: &Message, slot: Slot) -> Origin {
    let before = message.origin.as_ref();
    let receives = slot.receives.saturating_add(before.map_or(0, |origin| origin.receives));
    let first_received_at = before.map_or(Timestamp(slot.first_received_at), |origin| origin.first_received_at);
    Origin { queue: queue.to_owned(), receives, first_received_at }
}

impl Received {
    pub(super) fn of(queue: &str, message: Message, slot: Slot) -> Received {
        let Origin { receives, first_received_at, .. } = origin_of(queue, &message, slot);
        let receipt = Receipt { sequence: message.sequence, receives: slot.receives };
        Received { handle: receipt.handle(queue), receives, first_received_at, message }
    }
}
