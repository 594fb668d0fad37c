//! Rows of a lane in the depot: its name, a zero byte, and
//!
//! ```text
//! 'c'              → cursor (8 bytes), attempts of the first event (4), first attempt at (8)
//! 'k' first key    → last key (8), count (4), then each key as the distance from the one before (LEB128)
//! 'd' first key    → last key (8): everything from the first to the last was delivered; the cursor has not passed it yet
//! ```

use super::{Course, LaneId, Subscriber};
use fakemon_journal::{Batch, BusStore, ReadError, Table};
use fakemon_model::envelope::{EventKey, Facet};
use fakemon_model::ids::{Position, Timestamp};
use fakemon_model::names::{BusName, RuleName, TargetId};
use fakemon_model::varint;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

impl LaneId {
    /// The prefix of the lane's rows; none of its parts contains a zero byte.
    pub(super) fn prefix(&self) -> Vec<u8> {
        let course = match &self.course {
            Course::Live => String::new(),
            Course::Redrive => "!".into(),
            Course::Replay(name) => format!("={name}"),
        };
        let mut prefix = Vec::new();
        let subscriber = &self.subscriber;
        for part in [subscriber.bus(), &subscriber.rule(), subscriber.target(), &course] {
            prefix.extend_from_slice(part.as_bytes());
            prefix.push(0);
        }
        prefix
    }

    /// Parses the prefix of a row's key; returns the lane and the rest of the key.
    fn read(key: &[u8]) -> Option<(LaneId, &[u8])> {
        let mut parts = key.splitn(5, |byte| *byte == 0);
        let mut text = || parts.next().and_then(|part| std::str::from_utf8(part).ok()).map(str::to_owned);
        let (bus, rule, target, course) = (text()?, text()?, text()?, text()?);
        let course = match course.strip_prefix('=') {
            Some(name) => Course::Replay(name.to_owned()),
            None if course == "!" => Course::Redrive,
            None => Course::Live,
        };
        let subscriber = Subscriber::named(BusName(&bus), RuleName(&rule), TargetId(&target));
        Some((LaneId { subscriber, course }, parts.next()?))
    }
}

impl LaneId {
    /// The name of a delivery, which the resulting event on a bus carries, so that the journal shows that the
    /// delivery is done: bus, rule and target of the lane, its course, and the facet of the cause, separated by
    /// spaces. No name contains a space.
    pub fn delivery(&self, key: EventKey) -> Option<String> {
        let course = match self.course {
            Course::Live => "",
            Course::Redrive => " redrive",
            Course::Replay(_) => return None, // a replay may repeat events as a whole
        };
        let facet = if key.facet() == Facet::Attempt { " attempt" } else { "" };
        let (bus, rule, target) = (self.subscriber.bus(), self.subscriber.rule(), self.subscriber.target());
        Some(format!("{bus} {rule} {target}{course}{facet}"))
    }

    /// Parses a delivery's name; returns the lane and the key of the event at `cause`.
    pub fn of_delivery(delivery: &str, cause: Position) -> Option<(LaneId, EventKey)> {
        let mut words = delivery.split(' ');
        let subscriber = Subscriber::named(BusName(words.next()?), RuleName(words.next()?), TargetId(words.next()?));
        let (mut course, mut facet) = (Course::Live, Facet::Happened);
        for word in words {
            match word {
                "redrive" => course = Course::Redrive,
                "attempt" => facet = Facet::Attempt,
                _ => return None,
            }
        }
        Some((LaneId { subscriber, course }, EventKey::new(cause, facet)))
    }
}

/// Delivered events after the cursor: first and last keys of runs.
#[derive(Default)]
pub(super) struct Delivered(BTreeMap<EventKey, EventKey>);

impl Delivered {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn contains(&self, key: EventKey) -> bool {
        self.0.range(..=key).next_back().is_some_and(|(_, last)| *last >= key)
    }

    pub(super) fn first(&self) -> Option<EventKey> {
        self.0.keys().next().copied()
    }

    pub(super) fn insert(&mut self, first: EventKey, last: EventKey) {
        self.0.insert(first, last);
    }

    pub(super) fn remove(&mut self, first: EventKey) {
        self.0.remove(&first);
    }

    /// Removes a run that the cursor has passed.
    pub(super) fn pop_passed(&mut self, cursor: EventKey) -> Option<EventKey> {
        let entry = self.0.first_entry().filter(|run| *run.get() <= cursor)?;
        Some(entry.remove_entry().0)
    }
}

/// A row of keys in the depot.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub(super) first: EventKey,
    pub(super) last: EventKey,
    pub(super) count: u32,
}

/// Adds to a batch the deletion of all rows of a lane.
pub(crate) fn erase(id: &LaneId, batch: &mut Batch) {
    let from = id.prefix();
    let mut to = from.clone();
    to.push(0xFF);
    batch.delete_range(Table::Lanes, from, to);
}

pub(super) fn damaged() -> ReadError {
    ReadError::Damaged("a row of `lanes` is damaged".into())
}

pub(super) fn row(prefix: &[u8], first: EventKey) -> Vec<u8> {
    row_of(prefix, b'k', first)
}

/// The key of a row of delivered events that begins with `key`.
pub(super) fn delivered_row(prefix: &[u8], key: EventKey) -> Vec<u8> {
    row_of(prefix, b'd', key)
}

fn row_of(prefix: &[u8], kind: u8, key: EventKey) -> Vec<u8> {
    let mut row = prefix.to_vec();
    row.push(kind);
    row.extend_from_slice(&key.0.to_be_bytes());
    row
}

pub(super) fn write_keys(keys: &[EventKey]) -> Vec<u8> {
    let last = keys.last().copied().unwrap_or_default();
    let mut value = last.0.to_be_bytes().to_vec();
    value.extend_from_slice(&(keys.len() as u32).to_be_bytes());
    for pair in keys.windows(2) {
        varint::put(&mut value, pair[1].0 - pair[0].0);
    }
    value
}

pub(super) fn read_keys(first: EventKey, value: &[u8]) -> Option<Vec<EventKey>> {
    let (head, mut rest) = value.split_at_checked(12)?;
    let count = u32::from_be_bytes(head[8..].try_into().ok()?);
    let mut keys = vec![first];
    let mut key = first.0;
    while keys.len() < usize::try_from(count).ok()? {
        key = key.checked_add(varint::take(&mut rest)?)?;
        keys.push(EventKey(key));
    }
    Some(keys)
}

/// The state of a lane in the depot.
#[derive(Default)]
pub struct StoredLane {
    pub(crate) cursor: Option<EventKey>,
    pub(super) attempts: u32,
    pub(super) first_attempt_at: Timestamp,
    pub(super) chunks: VecDeque<Chunk>,
    pub(super) delivered: Delivered,
}

/// The state of an event on a lane, as far as the depot has it.
pub enum Standing {
    /// The cursor has passed it.
    Done,
    /// It waits; attempts are known only of the next event.
    Waiting { attempts: u32, first_attempt_at: Option<Timestamp> },
}

impl StoredLane {
    /// Whether a dead letter waits to be redriven.
    pub fn holds(&self, key: EventKey) -> bool {
        self.chunks.iter().any(|chunk| chunk.first == key)
    }

    /// The state of an event that matched for the lane.
    pub fn standing(&self, id: &LaneId, key: EventKey, depot: &BusStore) -> Result<Standing, ReadError> {
        let cursor = self.cursor.unwrap_or_default();
        if key <= cursor || self.delivered.contains(key) {
            return Ok(Standing::Done);
        }
        let comes_next = self.attempts > 0 && self.next_after(id, cursor, depot)?.is_none_or(|next| next == key);
        let attempts = if comes_next { self.attempts } else { 0 };
        Ok(Standing::Waiting { attempts, first_attempt_at: comes_next.then_some(self.first_attempt_at) })
    }

    fn next_after(&self, id: &LaneId, cursor: EventKey, depot: &BusStore) -> Result<Option<EventKey>, ReadError> {
        let Some(chunk) = self.chunks.iter().find(|chunk| chunk.last > cursor) else { return Ok(None) };
        let Some(value) = depot.get(Table::Lanes, &row(&id.prefix(), chunk.first))? else { return Ok(None) };
        let keys = read_keys(chunk.first, &value).ok_or_else(damaged)?;
        Ok(keys.into_iter().find(|key| *key > cursor))
    }
}

/// The state of all lanes in the depot.
pub(crate) fn read_all(depot: &BusStore) -> Result<Vec<(LaneId, StoredLane)>, ReadError> {
    let mut lanes: Vec<(LaneId, StoredLane)> = Vec::new();
    let mut sound = true;
    depot.scan(Table::Lanes, b"", b"", &mut |key, value| {
        sound &= read_row(key, value, &mut lanes).is_some();
        ControlFlow::Continue(())
    })?;
    if sound { Ok(lanes) } else { Err(damaged()) }
}

/// What was taken back on lanes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LanesCutBack {
    /// Lanes whose cursor stood after the end.
    pub(crate) cursors: u64,
    /// Events that waited and are no longer in the journal.
    pub(crate) waiting: u64,
}

/// Adds to a batch what makes all lanes fit a journal that has the events from `first` to before `end` only: a cursor
/// after the end is taken back to it, and events that are not in the journal wait no longer.
pub(crate) fn cut_back(
    depot: &BusStore,
    (first, end): (Position, Position),
    batch: &mut Batch,
) -> Result<LanesCutBack, ReadError> {
    let last_key = EventKey::new(Position(end.0.saturating_sub(1)), Facet::Happened);
    let is_there = |key: EventKey| key.position() >= first && key.position() < end;
    let mut cut = LanesCutBack::default();
    for (id, lane) in read_all(depot)? {
        let (prefix, cursor) = (id.prefix(), lane.cursor.unwrap_or_default());
        if cursor > last_key {
            cut.cursors += 1;
            batch.put(Table::Lanes, [&prefix[..], b"c"].concat(), [&last_key.0.to_be_bytes()[..], &[0; 12]].concat());
        }
        for chunk in lane.chunks.iter().filter(|chunk| !is_there(chunk.first) || !is_there(chunk.last)) {
            let held = depot.get(Table::Lanes, &row(&prefix, chunk.first))?.ok_or_else(damaged)?;
            let keys = read_keys(chunk.first, &held).ok_or_else(damaged)?;
            let waits = |key: &EventKey| *key > cursor || id.course == Course::Redrive;
            cut.waiting += keys.iter().filter(|key| waits(key) && !is_there(**key)).count() as u64;
            let kept: Vec<EventKey> = keys.into_iter().filter(|key| is_there(*key)).collect();
            batch.delete(Table::Lanes, row(&prefix, chunk.first));
            if let Some(first) = kept.first() {
                batch.put(Table::Lanes, row(&prefix, *first), write_keys(&kept));
            }
        }
        for (run, _) in lane.delivered.0.iter().filter(|(_, last)| **last > last_key) {
            match *run > last_key {
                true => batch.delete(Table::Lanes, delivered_row(&prefix, *run)),
                false => batch.put(Table::Lanes, delivered_row(&prefix, *run), last_key.0.to_be_bytes()),
            }
        }
    }
    Ok(cut)
}

fn read_row(key: &[u8], value: &[u8], lanes: &mut Vec<(LaneId, StoredLane)>) -> Option<()> {
    let (id, row) = LaneId::read(key)?;
    if lanes.last().is_none_or(|(last, _)| *last != id) {
        lanes.push((id, StoredLane::default()));
    }
    let (_, kept) = lanes.last_mut()?;
    let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
    match row.split_first()? {
        (b'c', []) if value.len() == 20 => {
            kept.cursor = Some(EventKey(number(&value[..8])?));
            kept.attempts = u32::from_be_bytes(value[8..12].try_into().ok()?);
            kept.first_attempt_at = Timestamp(number(&value[12..])?);
        }
        (b'k', first) if value.len() >= 12 => kept.chunks.push_back(Chunk {
            first: EventKey(number(first)?),
            last: EventKey(number(&value[..8])?),
            count: u32::from_be_bytes(value[8..12].try_into().ok()?),
        }),
        (b'd', first) => kept.delivered.insert(EventKey(number(first)?), EventKey(number(value)?)),
        _ => return None,
    }
    Some(())
}
