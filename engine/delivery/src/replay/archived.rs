//! The number and size of the events in an archive, which a replay of it could show. Counted on request, continuing
//! where the last request stopped, so that an archive without requests costs nothing. It holds the events of its bus
//! for as long as the archive and the journal keep them; counts are kept per hour, and expire by whole hours.

use crate::event_reader::{Events, keys_of, told};
use crate::filter::{Filter, Patterns};
use fakemon_capture::decision::record;
use fakemon_fbs::journal::Event as Record;
use fakemon_journal::ReadError;
use fakemon_model::envelope::bus;
use fakemon_model::event::Event;
use fakemon_model::ids::{Position, ShardId, Timestamp};
use fakemon_resource::resource::Archive;
use fakemon_resource::{GAME_BUS, Registry};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const HOUR_NS: u64 = 3_600_000_000_000;
const DAY_NS: u64 = 24 * HOUR_NS;

/// What an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    pub events: u64,
    /// Bytes of the events' envelopes.
    pub bytes: u64,
}

/// What is counted so far of all archives.
#[derive(Default)]
pub struct ArchiveFigures {
    known: Mutex<BTreeMap<String, Counted>>,
    /// Archives hold no event before this position, because the bus was emptied there, for a test suite.
    begin: AtomicU64,
}

/// What is counted so far of one archive.
struct Counted {
    archive: Archive,
    /// The pattern of its events; none if it takes all.
    filter: Option<Filter>,
    next: Position,
    hours: BTreeMap<u64, Hour>,
}

/// Events that were handed to the disk within one hour.
#[derive(Default)]
struct Hour {
    last: Position,
    held: Archived,
}

impl ArchiveFigures {
    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Counted>> {
        self.known.lock()
    }

    /// Makes archives hold nothing before a position.
    pub fn begin_at(&self, position: Position) {
        self.begin.store(position.0, Ordering::SeqCst);
        self.known().clear();
    }

    /// What an archive held at the last count.
    pub fn of(&self, archive: &Archive, now: Timestamp) -> Archived {
        let known = self.known();
        let Some(counted) = known.get(&archive.name).filter(|counted| is_same(&counted.archive, archive)) else {
            return Archived::default();
        };
        let kept_ns = u64::from(archive.retention_days).saturating_mul(DAY_NS);
        let kept_from = if kept_ns == 0 { 0 } else { now.0.saturating_sub(kept_ns) / HOUR_NS };
        counted.hours.range(kept_from..).fold(Archived::default(), |sum, (_, hour)| Archived {
            events: sum.events + hour.held.events,
            bytes: sum.bytes + hour.held.bytes,
        })
    }

    /// Counts up to a position, but for at most `patience`: the next request continues.
    pub fn count(
        &self,
        registry: &Registry,
        events: &Events,
        end: Position,
        patience: Duration,
    ) -> Result<(), ReadError> {
        let deadline = Instant::now() + patience;
        let mut known = self.known();
        known.retain(|name, counted| registry.archives.get(name).is_some_and(|held| is_same(held, &counted.archive)));
        for (name, archive) in &registry.archives {
            let begin = Position(self.begin.load(Ordering::SeqCst));
            let counted = known.entry(name.clone()).or_insert_with(|| Counted::new(archive, begin));
            counted.count(events, end, deadline)?;
        }
        Ok(())
    }
}

/// Whether the counts of one archive are valid for another; their retention may differ.
fn is_same(one: &Archive, other: &Archive) -> bool {
    one.created_at == other.created_at && one.bus == other.bus && one.pattern == other.pattern
}

impl Counted {
    fn new(archive: &Archive, next: Position) -> Counted {
        let pattern = archive.pattern.as_deref();
        let filter =
            pattern.map(|pattern| Filter::of_patterns([(archive.name.as_str(), pattern)], &mut Patterns::default()));
        Counted { archive: archive.clone(), filter, next, hours: BTreeMap::new() }
    }

    fn count(&mut self, events: &Events, end: Position, deadline: Instant) -> Result<(), ReadError> {
        if self.next >= end || Instant::now() >= deadline {
            return Ok(());
        }
        let store = events.journal.store()?;
        let first = store.first_position()?.unwrap_or(end);
        self.hours.retain(|_, hour| hour.last >= first);
        self.next = self.next.max(first);
        store.blocks(self.next, &mut |stored| {
            let block = stored.read()?;
            let (committed_at, ahead) = (record::committed_at(&block.head()), record::ahead(&block.head()));
            block.for_each(|position, shard, record| {
                let position = Position(position);
                if !(self.next..end).contains(&position) {
                    return;
                }
                self.next = Position(position.0 + 1);
                // There are millions of attempts, and they are on one bus.
                if !matches!(record, Record::Attempt(_)) || self.archive.bus == GAME_BUS {
                    let event = record::event(record, ahead);
                    self.take_in(position, ShardId(shard), committed_at, &event, events);
                }
            });
            let goes_on = self.next < end && Instant::now() < deadline;
            Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })
    }

    fn take_in(
        &mut self,
        position: Position,
        shard: ShardId,
        committed_at: Timestamp,
        event: &Event,
        events: &Events,
    ) {
        let hidden = !events.shows(event);
        if bus(event) != self.archive.bus || hidden && self.filter.is_none() {
            return;
        }
        for key in keys_of(position, event) {
            let told = told(key, shard, committed_at, event, None);
            let mut json = None;
            if self
                .filter
                .as_mut()
                .is_some_and(|filter| filter.matches_unless(hidden, &told, events, &mut json).is_empty())
            {
                continue;
            }
            let bytes = json.map_or_else(|| events.json(&told).len(), |json| json.len());
            let hour = self.hours.entry(committed_at.0 / HOUR_NS).or_default();
            hour.last = position;
            hour.held.events += 1;
            hour.held.bytes += bytes as u64;
        }
    }
}
