//! A receiver whose answer was lost repeats the request with the same attempt id, and gets the same messages with the
//! same handles, if all of them are still hidden and unchanged, within five minutes. Otherwise the id names a new
//! attempt. A restart forgets the ids.

use super::message::Received;
use super::rows::row;
use super::state::Slot;
use super::{QueueError, Queues};
use fakemon_journal::{Batch, Table};
use fakemon_model::ids::Timestamp;
use std::collections::{HashMap, VecDeque};

/// How long a receive can be repeated, as with SQS.
const WINDOW_NS: u64 = 300 * 1_000_000_000;
/// The most attempts remembered, of all queues; beyond it the oldest are forgotten early.
const ATTEMPTS_MAX: usize = 10_000;

/// A queue, and the attempt id of a receive from it.
type Key = (String, String);

/// The messages of one receive: sequence numbers, with their slots after it.
struct Attempt {
    made_at: Timestamp,
    slots: Vec<(u64, Slot)>,
}

/// The remembered attempts.
#[derive(Default)]
pub(super) struct Attempts {
    by_id: HashMap<Key, Attempt>,
    /// In the order in which they expire.
    made: VecDeque<(Timestamp, Key)>,
}

impl Attempts {
    fn remember(&mut self, key: Key, attempt: Attempt) {
        let now = attempt.made_at;
        while let Some((made_at, _)) = self.made.front()
            && (self.made.len() >= ATTEMPTS_MAX || now.ns_since(*made_at) >= WINDOW_NS)
        {
            let (made_at, old) = self.made.pop_front().expect("there is a front");
            if self.by_id.get(&old).is_some_and(|held| held.made_at == made_at) {
                self.by_id.remove(&old);
            }
        }
        self.made.push_back((now, key.clone()));
        self.by_id.insert(key, attempt);
    }
}

impl Queues {
    /// Receives with an attempt id: the messages of the earlier receive with this id, hidden again for `visibility_s`
    /// seconds, or else new messages from `take`. The receive is on the disk when this returns.
    ///
    /// # Errors
    /// Those of `take`, or when the depot cannot be read or written.
    pub fn receive_again(
        &self,
        queue: &str,
        attempt_id: &str,
        visibility_s: u32,
        now: Timestamp,
        take: impl FnOnce(&Queues) -> Result<Vec<Received>, QueueError>,
    ) -> Result<Vec<Received>, QueueError> {
        let key = (queue.to_owned(), attempt_id.to_owned());
        // Locked until the result is known: a request and its repetition may arrive at the same time.
        let mut attempts = self.attempts.lock();
        let before = attempts.by_id.get_mut(&key).filter(|attempt| now.ns_since(attempt.made_at) < WINDOW_NS);
        let again = before.map(|attempt| self.repeat(queue, attempt, visibility_s, now)).transpose()?.flatten();
        let received = match again {
            Some(received) => received,
            None => {
                let received = take(self)?;
                let held = self.held();
                let slot = |one: &Received| {
                    let sequence = one.message.sequence;
                    Some((sequence, held.get(queue)?.slots.get(&sequence).copied()?))
                };
                let slots: Vec<_> = received.iter().filter_map(slot).collect();
                drop(held);
                if !slots.is_empty() && slots.len() == received.len() {
                    attempts.remember(key, Attempt { made_at: now, slots });
                }
                received
            }
        };
        drop(attempts);
        if !received.is_empty() {
            self.depot.sync().map_err(QueueError::Store)?;
        }
        Ok(received)
    }

    /// The messages of an attempt, if none of them changed since.
    fn repeat(
        &self,
        queue: &str,
        attempt: &mut Attempt,
        visibility_s: u32,
        now: Timestamp,
    ) -> Result<Option<Vec<Received>>, QueueError> {
        let (mut batch, mut received) = (Batch::default(), Vec::new());
        let mut held = self.held();
        let Some(state) = held.get_mut(queue) else { return Ok(None) };
        for (sequence, slot) in &attempt.slots {
            let is_untouched = |now_is: &Slot| {
                (now_is.receives, now_is.visible_at) == (slot.receives, slot.visible_at) && slot.visible_at > now.0
            };
            let Some(slot) = state.slots.get(sequence).copied().filter(is_untouched) else { return Ok(None) };
            let Some(message) = self.read(queue, *sequence)? else { return Ok(None) };
            received.push(Received::of(queue, message, slot));
        }
        let visible_at = now.plus_ns(u64::from(visibility_s) * 1_000_000_000).0.max(1);
        for (sequence, slot) in &mut attempt.slots {
            slot.visible_at = visible_at;
            state.put(*sequence, *slot);
            batch.put(Table::Queues, row(queue, b's', *sequence), slot.value());
        }
        drop(held);
        self.depot.write(batch, false).map_err(QueueError::Store)?;
        Ok(Some(received))
    }
}
