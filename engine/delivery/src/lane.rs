//! A lane: the events that one target of one rule still has to get, in order, and the position up to which all were
//! delivered. A lane holds keys only; the events stay in the journal, so a million undelivered events take a few
//! bytes each, most of them on disk.
//!
//! ```text
//! cursor          ready (in memory)        spilled (chunks in the depot)       tail (in memory, newest)
//! ───────|─ in flight ─ waiting ─|─────────────────────────────────────|──────────────────|→ pushed by the router
//! ```
//!
//! - `rows`: the rows of lanes in the depot

pub(crate) mod health;
pub(crate) mod rate;
pub(crate) mod failure_code;
pub(crate) mod scheduled;
pub(crate) mod subscriber;

mod rows;

pub(crate) use rows::{LanesCutBack, cut_back, erase, read_all};
pub(crate) use rows::{Standing, StoredLane};

use crate::lane::health::Health;
use crate::lane::subscriber::Subscriber;
use fakemon_journal::{Batch, BusStore, ReadError, Table};
use fakemon_model::envelope::EventKey;
use fakemon_model::ids::Timestamp;
use fakemon_resource::resource::Target;
use parking_lot::{Mutex, MutexGuard, RwLock};
use rows::{Chunk, Delivered, damaged, delivered_row, read_keys, row, write_keys};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The most keys of a lane in memory: the next ones, and as many of the newest.
pub(crate) const READY_MAX: usize = 4_096;
/// Bytes of JSON in memory for one lane; other events are read again from the journal.
const JSON_BYTES_MAX: usize = 4 << 20;

/// Why a lane exists.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Course {
    /// Events as they happen.
    Live,
    /// Events of this replay.
    Replay(String),
    /// Dead letters that are redriven.
    Redrive,
}

/// Who gets the events, and for which course.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId {
    pub subscriber: Subscriber,
    /// Live, replay or redrive.
    pub course: Course,
}

/// One event on a lane.
#[derive(Clone, Debug)]
pub struct Pending {
    /// Which event.
    pub key: EventKey,
    /// The event as JSON, if it was made already.
    pub json: Option<Arc<str>>,
    /// Failed attempts so far.
    pub attempts: u32,
    /// When the first attempt was made.
    pub first_attempt_at: Option<Timestamp>,
    /// When it was handed to the disk; none for events read back from the depot.
    pub ingested_at: Option<Timestamp>,
}

/// An event from the router.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub key: EventKey,
    pub json: Option<Arc<str>>,
    /// When it was handed to the disk.
    pub at: Timestamp,
}

struct Waiting {
    parcel: Pending,
    in_flight: bool,
    done: bool,
    due_at: Timestamp,
}

#[derive(Default)]
struct State {
    cursor: EventKey,
    ready: VecDeque<Waiting>,
    json_bytes: usize,
    spilled: VecDeque<Chunk>,
    tail: Vec<EventKey>,
    /// Keys up to this one are in rows.
    written_to: EventKey,
    /// Rows to delete once the cursor has passed them.
    rows: VecDeque<Chunk>,
    cursor_written: EventKey,
    attempts_changed: bool,
    /// Dead letters, which come in no order: keys to write, and keys whose rows are to be deleted.
    unwritten: Vec<EventKey>,
    finished: Vec<EventKey>,
    /// Delivered events after the cursor; each has a row, or will get one.
    delivered: Delivered,
    delivered_unwritten: Vec<EventKey>,
}

/// Counters of a lane; they only grow.
#[derive(Debug, Default)]
pub struct LaneMetrics {
    /// Events that matched for this target.
    pub matched: AtomicU64,
    /// Attempts to deliver.
    pub attempts: AtomicU64,
    /// Events that were delivered.
    pub delivered: AtomicU64,
    /// Failed attempts that are retried.
    pub retries: AtomicU64,
    /// Events that were given up.
    pub failed: AtomicU64,
    /// Given-up events that were sent to a dead-letter queue.
    pub dead_lettered: AtomicU64,
    /// Given-up events that could not be sent there.
    pub dead_letters_failed: AtomicU64,
    /// Times it had to wait for its rate limit.
    pub throttled: AtomicU64,
}

/// The events that one target has to get.
pub struct Lane {
    id: LaneId,
    target: RwLock<Arc<Target>>,
    state: Mutex<State>,
    parallel: AtomicU64,
    closed: AtomicBool,
    figures: Arc<LaneMetrics>,
    health: Mutex<Health>,
}

impl LaneId {
    /// The lane of events as they happen.
    pub fn live(subscriber: Subscriber) -> LaneId {
        LaneId { subscriber, course: Course::Live }
    }

    /// The lane of the same subscriber for another course.
    pub fn on(self, course: Course) -> LaneId {
        LaneId { course, ..self }
    }
}

impl Lane {
    /// A lane that begins after `cursor`.
    pub fn new(id: LaneId, target: Target, cursor: EventKey) -> Lane {
        let state = State { cursor, written_to: cursor, cursor_written: EventKey::default(), ..State::default() };
        Lane {
            id,
            target: RwLock::new(Arc::new(target)),
            state: Mutex::new(state),
            parallel: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            figures: Arc::default(),
            health: Mutex::default(),
        }
    }

    /// The target and the course.
    pub fn id(&self) -> &LaneId {
        &self.id
    }

    /// The current target.
    pub fn target(&self) -> Arc<Target> {
        self.target.read().clone()
    }

    /// Its counters.
    pub fn figures(&self) -> &LaneMetrics {
        &self.figures
    }

    /// The health of its target.
    pub fn health(&self) -> Health {
        self.note_health().clone()
    }

    pub fn note_health(&self) -> MutexGuard<'_, Health> {
        self.health.lock()
    }

    /// Whether the target was deleted: nothing more is delivered.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Closes the lane: no event is taken any more; deliveries in flight continue.
    pub fn close(&self) {
        // Under the lock: a concurrent `take` has either marked its events as in flight, or sees the lane closed.
        let _state = self.state();
        self.closed.store(true, Ordering::Release);
    }

    /// Whether a delivery is in flight.
    pub fn is_busy(&self) -> bool {
        self.state().ready.iter().any(|waiting| waiting.in_flight)
    }

    pub fn set_target(&self, target: Target) {
        *self.target.write() = Arc::new(target);
    }

    /// The most deliveries in flight at once; 1 keeps the order.
    pub fn parallel(&self) -> usize {
        usize::try_from(self.parallel.load(Ordering::Relaxed)).unwrap_or(1)
    }

    pub fn set_parallel(&self, parallel: usize) {
        self.parallel.store(parallel as u64, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// The number of events that wait or are in flight.
    pub fn backlog(&self) -> u64 {
        let state = self.state();
        let undone = state.ready.iter().filter(|waiting| !waiting.done).count();
        let spilled: u64 = state.spilled.iter().map(|chunk| u64::from(chunk.count)).sum();
        (undone + state.tail.len()) as u64 + spilled
    }

    /// The oldest event that waits.
    pub fn oldest(&self) -> Option<EventKey> {
        let state = self.state();
        let ready = state.ready.iter().find(|waiting| !waiting.done).map(|waiting| waiting.parcel.key);
        ready.or_else(|| state.spilled.front().map(|chunk| chunk.first)).or_else(|| state.tail.first().copied())
    }

    /// When these events were handed to the disk, as far as known.
    pub fn ingested_at(&self, keys: &[EventKey]) -> impl Iterator<Item = Timestamp> + use<> {
        let mut state = self.state();
        let known = keys.iter().filter_map(|key| state.waiting(*key, &self.id.course)?.parcel.ingested_at);
        known.collect::<Vec<_>>().into_iter()
    }

    /// When the oldest event that waits in memory was handed to the disk, if known.
    pub fn oldest_at(&self) -> Option<Timestamp> {
        let state = self.state();
        state.ready.iter().find(|waiting| !waiting.done)?.parcel.ingested_at
    }

    /// Whether a new event would be delivered soon, so that its JSON is worth keeping.
    pub fn wants_json(&self) -> bool {
        let state = self.state();
        state.json_bytes < JSON_BYTES_MAX && state.spilled.is_empty() && state.tail.is_empty()
    }

    /// Adds the next events; true if the newest keys fill their memory and must be written.
    pub fn push(&self, events: impl IntoIterator<Item = Arrival>) -> bool {
        let mut state = self.state();
        let mut matched = 0;
        for Arrival { key, json, at } in events {
            if key <= state.cursor || key <= state.written_to {
                continue; // read again by the router after a restart
            }
            matched += 1;
            if state.spilled.is_empty() && state.tail.is_empty() && state.ready.len() < READY_MAX {
                let json = json.filter(|json| state.json_bytes + json.len() <= JSON_BYTES_MAX);
                state.json_bytes += json.as_ref().map_or(0, |json| json.len());
                let waiting = Waiting::new(key, json, Some(at));
                state.arrive(waiting);
            } else {
                state.tail.push(key);
            }
        }
        state.advance(&self.id.course);
        self.figures.matched.fetch_add(matched, Ordering::Relaxed);
        state.tail.len() >= READY_MAX
    }

    /// Adds a dead letter, out of order; false if too many wait. The lane must be written before the dead letter is
    /// deleted from its queue.
    pub fn push_again(&self, key: EventKey) -> bool {
        let mut state = self.state();
        let waits = |waiting: &Waiting| waiting.parcel.key == key && !waiting.done;
        if !state.ready.iter().any(waits) {
            if state.ready.len() >= READY_MAX {
                return false;
            }
            state.finished.retain(|finished| *finished != key);
            state.unwritten.push(key);
            state.ready.push_back(Waiting::new(key, None, None));
            self.figures.matched.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Takes up to `max` events that are due and not in flight. Unless the lane is parallel, it takes none while the
    /// first event is in flight or waits for its retry.
    pub fn take(&self, max: usize, now: Timestamp) -> Vec<Pending> {
        let parallel = self.parallel();
        let mut state = self.state();
        if self.is_closed() {
            return Vec::new(); // checked under the lock: after `close`, no new delivery begins
        }
        let mut taken = Vec::new();
        let mut busy = state.ready.iter().filter(|waiting| waiting.in_flight).count();
        for waiting in &mut state.ready {
            if taken.len() >= max || parallel > 1 && busy >= parallel {
                break;
            }
            if waiting.done {
                continue;
            }
            if waiting.in_flight || waiting.due_at > now {
                if parallel > 1 {
                    continue;
                }
                break;
            }
            waiting.in_flight = true;
            busy += 1;
            taken.push(waiting.parcel.clone());
        }
        taken
    }

    /// When the next attempt is due, if an event waits in memory and, on an ordered lane, the first is not in flight.
    pub fn due_at(&self) -> Option<Timestamp> {
        let state = self.state();
        let mut idle = state.ready.iter().filter(|waiting| !waiting.done);
        match self.parallel() {
            0 | 1 => idle.next().filter(|waiting| !waiting.in_flight).map(|waiting| waiting.due_at),
            _ => idle.filter(|waiting| !waiting.in_flight).map(|waiting| waiting.due_at).min(),
        }
    }

    /// Adds to a batch that events are delivered or given up, so that this and the rest of the batch happen exactly
    /// once. After the batch was written call [`done`](Lane::done); if the write failed,
    /// [`not_delivered`](Lane::not_delivered).
    pub fn deliver(&self, keys: &[EventKey], batch: &mut Batch) {
        let prefix = self.id.prefix();
        match self.id.course {
            Course::Replay(_) => {} // a replay may repeat events as a whole
            // The row was written before the letter was put back on the lane.
            Course::Redrive => keys.iter().for_each(|key| batch.delete(Table::Lanes, row(&prefix, *key))),
            Course::Live => {
                let mut state = self.state();
                let runs = if state.is_run(keys) { keys.len() } else { 1 };
                for run in keys.chunks(runs.max(1)) {
                    let (first, last) = (run[0], run[run.len() - 1]);
                    batch.put(Table::Lanes, delivered_row(&prefix, first), last.0.to_be_bytes());
                    state.delivered.insert(first, last);
                }
            }
        }
    }

    /// Takes back [`deliver`](Lane::deliver), whose batch was not written.
    pub fn not_delivered(&self, keys: &[EventKey]) {
        let mut state = self.state();
        keys.iter().for_each(|key| state.delivered.remove(*key));
    }

    /// Records a delivery that the journal contains.
    pub fn was_delivered(&self, key: EventKey) {
        let mut state = self.state();
        // The thread that has it in flight marks it done itself.
        if let Some(waiting) = state.waiting(key, &self.id.course).filter(|waiting| !waiting.in_flight) {
            waiting.done = true;
            state.advance(&self.id.course);
        }
        // In flight, on disk, or not read yet: remember it for the next write, or for the event's turn.
        if self.id.course == Course::Live && key > state.cursor && !state.delivered.contains(key) {
            state.delivered.insert(key, key);
            state.delivered_unwritten.push(key);
        }
    }

    /// Marks events as delivered or given up: they are not taken again.
    pub fn done(&self, keys: impl IntoIterator<Item = EventKey>) {
        let mut state = self.state();
        for key in keys {
            if let Some(waiting) = state.waiting(key, &self.id.course) {
                waiting.done = true;
                waiting.in_flight = false;
            }
        }
        state.advance(&self.id.course);
    }

    /// Schedules a retry at `due_at`; `attempted_at` is set if this counts as an attempt.
    pub fn again(&self, key: EventKey, due_at: Timestamp, attempted_at: Option<Timestamp>) {
        let mut state = self.state();
        let Some(waiting) = state.waiting(key, &self.id.course) else { return };
        waiting.in_flight = false;
        waiting.due_at = due_at;
        if let Some(at) = attempted_at {
            waiting.parcel.attempts += 1;
            waiting.parcel.first_attempt_at.get_or_insert(at);
            state.attempts_changed = true;
        }
    }

    /// Whether memory is empty but keys wait on disk or in the tail.
    pub fn is_hungry(&self) -> bool {
        let state = self.state();
        state.ready.is_empty() && !(state.spilled.is_empty() && state.tail.is_empty())
    }

    /// Loads the next keys into memory.
    pub fn refill(&self, depot: &BusStore) -> Result<(), ReadError> {
        while self.is_hungry() {
            self.refill_once(depot)?; // all keys of a chunk may be delivered already
        }
        Ok(())
    }

    fn refill_once(&self, depot: &BusStore) -> Result<(), ReadError> {
        let chunk = {
            let mut state = self.state();
            if !state.ready.is_empty() {
                return Ok(());
            }
            let Some(chunk) = state.spilled.front().copied() else {
                let tail = std::mem::take(&mut state.tail);
                tail.into_iter().for_each(|key| state.arrive(Waiting::new(key, None, None)));
                state.advance(&self.id.course);
                return Ok(());
            };
            chunk
        };
        let mut row = self.id.prefix();
        row.push(b'k');
        row.extend_from_slice(&chunk.first.0.to_be_bytes());
        let value = depot.get(Table::Lanes, &row)?;
        let value = value.ok_or_else(|| ReadError::Damaged("keys of a lane are missing".into()))?;
        let keys = read_keys(chunk.first, &value).ok_or_else(damaged)?;
        let mut state = self.state();
        // Another thread may have loaded it meanwhile.
        if !state.ready.is_empty() || state.spilled.front().is_none_or(|front| front.first != chunk.first) {
            return Ok(());
        }
        state.spilled.pop_front();
        let cursor = state.cursor;
        keys.into_iter().filter(|key| *key > cursor).for_each(|key| state.arrive(Waiting::new(key, None, None)));
        state.advance(&self.id.course);
        Ok(())
    }

    /// Adds to a batch what changed since the last write: keys without a row, rows that are done, the cursor.
    pub fn write(&self, batch: &mut Batch) {
        if matches!(self.id.course, Course::Replay(_)) {
            return; // a replay stores its position, and reads the rest again
        }
        let mut state = self.state();
        if state.is_at_rest() {
            return; // most lanes are at rest, and there may be many
        }
        let prefix = self.id.prefix();
        if self.id.course == Course::Redrive {
            for key in std::mem::take(&mut state.unwritten) {
                batch.put(Table::Lanes, row(&prefix, key), write_keys(&[key]));
            }
            for key in std::mem::take(&mut state.finished) {
                batch.delete(Table::Lanes, row(&prefix, key));
            }
            return;
        }
        let written_to = state.written_to;
        let fresh = state.ready.iter().filter(|waiting| !waiting.done).map(|waiting| waiting.parcel.key);
        let fresh: Vec<EventKey> = fresh.filter(|key| *key > written_to).collect();
        for keys in fresh.chunks(READY_MAX) {
            state.write_chunk(keys, &prefix, batch);
        }
        for keys in std::mem::take(&mut state.tail).chunks(READY_MAX) {
            let chunk = state.write_chunk(keys, &prefix, batch);
            state.spilled.push_back(chunk);
        }
        while let Some(chunk) = state.rows.front().copied().filter(|chunk| chunk.last <= state.cursor) {
            batch.delete(Table::Lanes, row(&prefix, chunk.first));
            state.rows.pop_front();
        }
        let cursor = state.cursor;
        for key in std::mem::take(&mut state.delivered_unwritten) {
            match key > cursor {
                true => batch.put(Table::Lanes, delivered_row(&prefix, key), key.0.to_be_bytes()),
                false => state.delivered.remove(key),
            }
        }
        while let Some(first) = state.delivered.pop_passed(cursor) {
            batch.delete(Table::Lanes, delivered_row(&prefix, first));
        }
        if state.cursor != state.cursor_written || std::mem::take(&mut state.attempts_changed) {
            self.write_cursor(&mut state, prefix, batch);
        }
    }

    fn write_cursor(&self, state: &mut State, mut row: Vec<u8>, batch: &mut Batch) {
        let head = state.ready.iter().find(|waiting| !waiting.done).map(|waiting| &waiting.parcel);
        // A cursor past an event that waits would lose it at the next start; one that goes back repeats deliveries.
        assert!(head.is_none_or(|parcel| parcel.key > state.cursor), "the cursor has passed an event that waits");
        assert!(state.cursor >= state.cursor_written, "the cursor goes back");
        let attempts = head.map_or(0, |parcel| parcel.attempts);
        let first_attempt_at = head.and_then(|parcel| parcel.first_attempt_at).unwrap_or_default();
        row.push(b'c');
        let mut value = state.cursor.0.to_be_bytes().to_vec();
        value.extend_from_slice(&attempts.to_be_bytes());
        value.extend_from_slice(&first_attempt_at.0.to_be_bytes());
        batch.put(Table::Lanes, row, value);
        state.cursor_written = state.cursor;
    }

    /// Adds to a batch the deletion of all rows of the lane.
    pub fn erase(&self, batch: &mut Batch) {
        erase(&self.id, batch);
    }
}

impl Waiting {
    fn new(key: EventKey, json: Option<Arc<str>>, ingested_at: Option<Timestamp>) -> Waiting {
        let parcel = Pending { key, json, attempts: 0, first_attempt_at: None, ingested_at };
        Waiting { parcel, in_flight: false, done: false, due_at: Timestamp(0) }
    }
}

impl State {
    /// The event with a key, if it is in memory and not done.
    fn waiting(&mut self, key: EventKey, course: &Course) -> Option<&mut Waiting> {
        let index = match course {
            Course::Redrive => self.ready.iter().position(|waiting| waiting.parcel.key == key && !waiting.done)?,
            Course::Live | Course::Replay(_) => {
                self.ready.binary_search_by_key(&key, |waiting| waiting.parcel.key).ok()?
            }
        };
        self.ready.get_mut(index).filter(|waiting| !waiting.done)
    }

    /// Whether no event waits, and nothing has to be written.
    fn is_at_rest(&self) -> bool {
        let nothing_waits = self.ready.is_empty() && self.spilled.is_empty() && self.tail.is_empty();
        let nothing_goes = self.rows.is_empty() && self.unwritten.is_empty() && self.finished.is_empty();
        let nothing_is_noted = self.delivered.is_empty() && self.delivered_unwritten.is_empty();
        nothing_waits
            && nothing_goes
            && nothing_is_noted
            && self.cursor == self.cursor_written
            && !self.attempts_changed
    }

    /// Whether no other event, even a delivered one, is between these keys, so that runs never overlap.
    fn is_run(&self, keys: &[EventKey]) -> bool {
        let Some((first, last)) = keys.first().zip(keys.last()) else { return true };
        let from = self.ready.partition_point(|waiting| waiting.parcel.key < *first);
        let within = self.ready.range(from..).take_while(|waiting| waiting.parcel.key <= *last);
        within.map(|waiting| &waiting.parcel.key).eq(keys)
    }

    /// Adds the next event; it is done already if it was delivered before a restart.
    fn arrive(&mut self, mut waiting: Waiting) {
        // Look-ups of events halve this list, and deliveries happen in its order.
        let is_next = self.ready.back().is_none_or(|last| last.parcel.key < waiting.parcel.key);
        assert!(is_next, "events come to a lane in the order of the journal");
        waiting.done = !self.delivered.is_empty() && self.delivered.contains(waiting.parcel.key);
        self.ready.push_back(waiting);
    }

    /// Moves the cursor past everything that is done.
    fn advance(&mut self, course: &Course) {
        while let Some(waiting) = self.ready.pop_front_if(|waiting| waiting.done) {
            self.json_bytes -= waiting.parcel.json.as_ref().map_or(0, |json| json.len());
            match course {
                Course::Redrive => self.finished.push(waiting.parcel.key),
                Course::Live | Course::Replay(_) => self.cursor = self.cursor.max(waiting.parcel.key),
            }
        }
    }

    fn write_chunk(&mut self, keys: &[EventKey], prefix: &[u8], batch: &mut Batch) -> Chunk {
        let count = u32::try_from(keys.len()).expect("chunks are small");
        let chunk = Chunk { first: keys[0], last: keys[keys.len() - 1], count };
        batch.put(Table::Lanes, row(prefix, chunk.first), write_keys(keys));
        self.rows.push_back(chunk);
        self.written_to = chunk.last;
        chunk
    }
}

impl Lane {
    /// Continues from the state in the depot.
    pub fn restore(&self, kept: StoredLane, depot: &BusStore) -> Result<(), ReadError> {
        let delivered_first;
        {
            let mut state = self.state();
            state.cursor = kept.cursor.unwrap_or(state.cursor);
            state.cursor_written = state.cursor;
            state.written_to = kept.chunks.back().map_or(state.cursor, |chunk| chunk.last.max(state.cursor));
            state.delivered = kept.delivered;
            delivered_first = state.delivered.first();
            if self.id.course == Course::Redrive {
                state.ready = kept.chunks.iter().map(|chunk| Waiting::new(chunk.first, None, None)).collect();
                return Ok(());
            }
            state.spilled = kept.chunks.iter().copied().filter(|chunk| chunk.last > state.cursor).collect();
            state.rows = kept.chunks;
        }
        self.refill(depot)?;
        let mut state = self.state();
        // The stored attempts belong to the event that was next then; it may have been delivered since.
        let is_that_one = |first: &&mut Waiting| delivered_first.is_none_or(|key| key > first.parcel.key);
        if let Some(first) = state.ready.front_mut().filter(|_| kept.attempts > 0).filter(is_that_one) {
            first.parcel.attempts = kept.attempts;
            first.parcel.first_attempt_at = Some(kept.first_attempt_at);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
