//! Replays: events of an archive are delivered again, in the order of the journal, to the given rules. Nothing is
//! copied: the journal is read again between exact bounds. A replay has lanes of its own, so that it does not delay
//! live events; it stays at most a few thousand events ahead of its slowest target.
//!
//! ```text
//! depot, room Router: 'replay' 0 name → position (8), events (8), last time (8), ended at (8; 0: not yet)
//! ```

pub(crate) mod archived;

use super::filter::{Filter, Patterns};
use super::lane::subscriber::Subscriber;
use super::lane::{Arrival, Course, Lane, LaneId, READY_MAX};
use super::lanes::Lanes;
use crate::dispatcher::trace_of;
use crate::event_reader::{Events, keys_of, told};
use fakemon_capture::decision::record;
use fakemon_journal::{Batch, BusStore, Progress, ReadError, Table};
use fakemon_model::envelope::{EventKey, Told, bus};
use fakemon_model::event::Event;
use fakemon_model::ids::{Position, ShardId, Timestamp};
use fakemon_model::names::{BusName, RuleName};
use fakemon_resource::resource::{Replay, Rule};
use fakemon_resource::{Destination, Registry, Resources};
use fakemon_sync::clock::Clock;
use fakemon_sync::failure::Failure;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How often it checks whether targets have room again.
const TICK: Duration = Duration::from_micros(500);
/// How long it reads for one replay before it turns to the others.
const TURN: Duration = Duration::from_millis(10);
/// How often it checks for new replays.
const LOOK: Duration = Duration::from_millis(50);
const DAY_NS: u64 = 86_400_000_000_000;
/// How often progress is stored.
const NOTE: Duration = Duration::from_millis(200);

/// The progress of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayProgress {
    /// Events that were matched against rules.
    pub events: u64,
    /// The time of the last of them.
    pub last_at: Option<Timestamp>,
    /// When everything was delivered.
    pub ended_at: Option<Timestamp>,
    /// The next position to read.
    pub position: Position,
}

/// Progress of all replays; readable from every thread.
#[derive(Default)]
pub struct Replays {
    progress: Mutex<BTreeMap<String, ReplayProgress>>,
    /// How often new and deleted replays were looked for, and how often they must have been before the requests are
    /// met.
    looks: AtomicU64,
    looks_asked: AtomicU64,
    thread: OnceLock<Thread>,
}

impl Replays {
    /// The progress of a replay; none if it has not begun.
    pub fn progress(&self, replay: &str) -> Option<ReplayProgress> {
        self.held().get(replay).copied()
    }

    fn set(&self, replay: &str, progress: ReplayProgress) {
        self.held().insert(replay.to_owned(), progress);
    }

    fn forget(&self, gone: impl Fn(&str) -> bool) {
        self.held().retain(|replay, _| !gone(replay));
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<String, ReplayProgress>> {
        self.progress.lock()
    }

    pub fn looks(&self) -> u64 {
        self.looks.load(Ordering::SeqCst)
    }

    /// Asks for a look that begins after this call. Once [`looks`](Self::looks) reaches the returned number, replays
    /// that were deleted before this call have ended.
    pub fn ask_to_look(&self) -> u64 {
        let asked = self.looks() + 2; // the look that is running may have begun before
        self.looks_asked.fetch_max(asked, Ordering::SeqCst);
        self.thread.get().inspect(|thread| thread.unpark());
        asked
    }

    fn is_asked_to_look(&self) -> bool {
        self.looks() < self.looks_asked.load(Ordering::SeqCst)
    }
}

/// The thread that replays.
pub struct Replayer {
    pub depot: Arc<BusStore>,
    pub lanes: Arc<Lanes>,
    pub events: Events,
    pub resources: Arc<Resources>,
    pub replays: Arc<Replays>,
    pub progress: Arc<Progress>,
    pub failure: Arc<Failure>,
    pub clock: Clock,
    pub stop: Arc<AtomicBool>,
}

/// A replay that runs.
struct Running {
    replay: Replay,
    /// Older events are no longer in the archive.
    kept_from: Timestamp,
    /// The pattern of the archive; none if it takes all.
    archive: Option<Filter>,
    filter: Filter,
    feeds: Vec<Vec<Arc<Lane>>>,
    lanes: Vec<Arc<Lane>>,
    progress: ReplayProgress,
    /// One past the last position.
    end: Position,
    read_to_the_end: bool,
    /// The base of `speed`: the time of an event, and when it was sent.
    pace_from: Option<(Timestamp, Instant)>,
    noted: Instant,
}

impl Replayer {
    /// Replays until stopped.
    pub fn run(self) {
        let mut running: Vec<Running> = Vec::new();
        let mut looked = None;
        let _ = self.replays.thread.set(std::thread::current()); // there is only one replayer
        while !self.stop.load(Ordering::SeqCst) {
            if self.replays.is_asked_to_look() || looked.is_none_or(|at: Instant| at.elapsed() >= LOOK) {
                looked = Some(Instant::now());
                if let Err(error) = self.look(&mut running) {
                    return self.failure.set(format!("a replay: {error}"));
                }
                running.retain(|replay| replay.progress.ended_at.is_none());
                self.replays.looks.fetch_add(1, Ordering::SeqCst);
            }
            let mut busy = false;
            for replay in &mut running {
                match self.turn(replay) {
                    Ok(more) => busy |= more,
                    Err(error) => return self.failure.set(format!("a replay: {error}")),
                }
            }
            running.retain(|replay| replay.progress.ended_at.is_none());
            if !busy && !self.replays.is_asked_to_look() {
                std::thread::park_timeout(if running.is_empty() { LOOK } else { TICK });
            }
        }
        running.iter_mut().for_each(|replay| drop(self.note(replay)));
    }

    /// Begins new replays, ends cancelled ones, forgets deleted ones.
    fn look(&self, running: &mut Vec<Running>) -> Result<(), ReadError> {
        let registry = self.resources.current();
        self.replays.forget(|name| !registry.replays.contains_key(name));
        for replay in running.iter_mut() {
            let held = registry.replays.get(&replay.replay.name);
            if held.is_none_or(|held| held.cancelled_at.is_some()) {
                self.end(replay)?;
            }
        }
        for (name, replay) in &registry.replays {
            let known = self.replays.progress(name).map_or_else(|| self.read_note(name), |known| Ok(Some(known)))?;
            if let Some(known) = known {
                self.replays.set(name, known);
            }
            let ended = known.is_some_and(|known| known.ended_at.is_some());
            if !ended && !running.iter().any(|running| running.replay.name == *name) {
                let mut begun = self.begin(&registry, replay, known)?;
                // Without its archive it is unknown which events to replay.
                if replay.cancelled_at.is_some() || !registry.archives.contains_key(&replay.archive) {
                    self.end(&mut begun)?;
                } else {
                    running.push(begun);
                }
            }
        }
        Ok(())
    }

    fn begin(
        &self,
        registry: &Registry,
        replay: &Replay,
        known: Option<ReplayProgress>,
    ) -> Result<Running, ReadError> {
        let archive = registry.archives.get(&replay.archive);
        let kept = archive.map(|archive| archive.retention_days).filter(|days| *days > 0);
        let kept_from =
            kept.map_or(0, |days| self.clock.wall().0.saturating_sub(u64::from(days).saturating_mul(DAY_NS)));
        let archive = archive.and_then(|archive| archive.pattern.as_deref());
        let mut patterns = Patterns::default();
        let archive = archive.map(|pattern| Filter::of_patterns([(replay.archive.as_str(), pattern)], &mut patterns));
        let named = |rule: &&Rule| replay.rules.is_empty() || replay.rules.contains(&rule.name);
        let filter = Filter::new(registry.rules_of(&replay.bus).filter(named), &mut patterns);
        let (mut lanes, mut feeds) = (Vec::new(), Vec::new());
        for rule in &filter.rules {
            let mut fed = Vec::new();
            for target in registry.targets_of(BusName(&replay.bus), RuleName(rule)) {
                // Old events are not sent outside, unless the replay names the rules.
                if replay.rules.is_empty() && Destination::of(&target.arn).is_outside() {
                    continue;
                }
                let course = Course::Replay(replay.name.clone());
                let id = LaneId { subscriber: Subscriber::of_target(target), course };
                let lane = Arc::new(Lane::new(id, target.clone(), EventKey::default()));
                self.lanes.insert(lane.clone());
                lanes.push(lane.clone());
                fed.push(lane);
            }
            feeds.push(fed);
        }
        let start = match (known, replay.from_position) {
            (Some(known), _) => known.position,
            (None, Some(position)) => Position(position),
            (None, None) => self.events.first_since(replay.from, self.progress.committed())?,
        };
        // Only events that are durable when a replay begins are part of it: otherwise it would replay its own effects
        // for ever.
        let durable = self.progress.committed();
        let end = replay.to_position.map_or(durable, |position| Position(position).min(durable));
        let nothing = ReplayProgress { events: 0, last_at: None, ended_at: None, position: start };
        let progress = ReplayProgress { position: start, ..known.unwrap_or(nothing) };
        self.replays.set(&replay.name, progress);
        Ok(Running {
            replay: replay.clone(),
            kept_from: Timestamp(kept_from),
            archive,
            filter,
            feeds,
            lanes,
            progress,
            end,
            read_to_the_end: false,
            pace_from: None,
            noted: Instant::now(),
        })
    }

    /// Reads as far as targets and speed allow; returns whether more can be read at once.
    fn turn(&self, running: &mut Running) -> Result<bool, ReadError> {
        let mut advanced = false;
        if !running.read_to_the_end && running.room() > READY_MAX / 2 {
            advanced = self.read(running)?;
        }
        if running.read_to_the_end && running.lanes.iter().all(|lane| lane.backlog() == 0 || lane.is_closed()) {
            self.end(running)?;
            return Ok(false);
        }
        if running.noted.elapsed() >= NOTE {
            self.note(running)?;
        }
        Ok(advanced)
    }

    fn read(&self, running: &mut Running) -> Result<bool, ReadError> {
        let before = running.progress.position;
        let mut gathered: BTreeMap<LaneId, (Arc<Lane>, Vec<Arrival>)> = BTreeMap::new();
        let mut room = running.room();
        let mut waits = false;
        let mut passed_the_end = true;
        let began = Instant::now();
        self.events.journal.store()?.blocks(before, &mut |stored| {
            let block = stored.read()?;
            let (committed_at, ahead) = (record::committed_at(&block.head()), record::ahead(&block.head()));
            let mut full = false;
            block.for_each(|position, shard, record| {
                let position = Position(position);
                if full || waits || position < running.progress.position || position >= running.end {
                    return;
                }
                if room < 2 {
                    full = true;
                    return;
                }
                if running.is_early(committed_at) {
                    waits = true;
                    return;
                }
                let event = record::event(record, ahead);
                for key in keys_of(position, &event) {
                    let fed = self.event(running, key, ShardId(shard), committed_at, &event, &mut gathered);
                    room = room.saturating_sub(usize::from(fed));
                }
                running.progress.position = Position(position.0 + 1);
            });
            let more = running.progress.position < running.end;
            passed_the_end = !more;
            let may_go_on = began.elapsed() < TURN && !self.stop.load(Ordering::SeqCst);
            Ok(if more && !full && !waits && may_go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        for (lane, arrivals) in gathered.into_values() {
            lane.push(arrivals);
        }
        self.lanes.ring();
        running.read_to_the_end = passed_the_end || running.progress.position >= running.end;
        self.replays.set(&running.replay.name, running.progress);
        Ok(running.progress.position > before)
    }

    /// Puts an event on the lanes of matching rules; returns whether any lane got it.
    fn event(
        &self,
        running: &mut Running,
        key: EventKey,
        shard: ShardId,
        committed_at: Timestamp,
        event: &Event,
        gathered: &mut BTreeMap<LaneId, (Arc<Lane>, Vec<Arrival>)>,
    ) -> bool {
        let replay = &running.replay;
        let hidden = !self.events.shows(event);
        if bus(event) != replay.bus || hidden && running.archive.is_none() {
            return false;
        }
        let told = told(key, shard, committed_at, event, Some(&replay.name));
        let time = told.time();
        let by_position = replay.from_position.is_some() || replay.to_position.is_some();
        let within = by_position || replay.from <= time && time < replay.to;
        if !within || time < running.kept_from {
            return false;
        }
        if let Some(archive) = &mut running.archive {
            let live = Told { replay: None, ..told };
            if archive.matches_unless(hidden, &live, &self.events, &mut None).is_empty() {
                return false;
            }
        }
        running.progress.events += 1;
        running.progress.last_at = Some(time);
        let mut json: Option<Arc<str>> = None;
        let matched = running.filter.matches_unless(hidden, &told, &self.events, &mut json);
        let mut fed = false;
        let lanes = matched.iter().flat_map(|rule| &running.feeds[*rule as usize]);
        for lane in lanes.filter(|lane| !lane.is_closed()) {
            fed = true;
            let wanted = lane.wants_json() && trace_of(event).is_none();
            let made = wanted.then(|| json.get_or_insert_with(|| self.events.json(&told).into()).clone());
            let arrival = Arrival { key, json: made, at: committed_at };
            match gathered.get_mut(lane.id()) {
                Some((_, arrivals)) => arrivals.push(arrival),
                None => drop(gathered.insert(lane.id().clone(), (lane.clone(), vec![arrival]))),
            }
        }
        fed
    }

    /// Ends a replay: everything is delivered, or it was cancelled.
    fn end(&self, running: &mut Running) -> Result<(), ReadError> {
        let name = running.replay.name.clone();
        let mut batch = Batch::default();
        self.lanes.remove(|id| id.course == Course::Replay(name.clone()), &mut batch);
        running.progress.ended_at = Some(self.clock.wall());
        self.note(running)
    }

    /// Stores how far everything was delivered; after a restart it continues from there.
    fn note(&self, running: &mut Running) -> Result<(), ReadError> {
        running.noted = Instant::now();
        let undelivered = running.lanes.iter().filter_map(|lane| lane.oldest()).map(EventKey::position).min();
        let safe = undelivered.unwrap_or(running.progress.position).min(running.progress.position);
        let ReplayProgress { events, last_at, ended_at, .. } = running.progress;
        let mut value = safe.0.to_be_bytes().to_vec();
        value.extend_from_slice(&events.to_be_bytes());
        value.extend_from_slice(&last_at.unwrap_or_default().0.to_be_bytes());
        value.extend_from_slice(&ended_at.unwrap_or_default().0.to_be_bytes());
        let mut batch = Batch::default();
        batch.put(Table::Router, note_key(&running.replay.name), value);
        self.replays.set(&running.replay.name, running.progress);
        self.depot.write(batch, false).map_err(ReadError::Failed)
    }

    fn read_note(&self, name: &str) -> Result<Option<ReplayProgress>, ReadError> {
        let Some(value) = self.depot.get(Table::Router, &note_key(name))? else { return Ok(None) };
        let number = |at: usize| {
            let bytes = value.get(at * 8..at * 8 + 8).and_then(|bytes| bytes.try_into().ok());
            bytes
                .map(u64::from_be_bytes)
                .ok_or_else(|| ReadError::Damaged("the progress of a replay is damaged".into()))
        };
        let moment = |ns: u64| (ns != 0).then_some(Timestamp(ns));
        Ok(Some(ReplayProgress {
            position: Position(number(0)?),
            events: number(1)?,
            last_at: moment(number(2)?),
            ended_at: moment(number(3)?),
        }))
    }
}

impl Running {
    /// How many more events fit on the fullest lane.
    fn room(&self) -> usize {
        let backlog = self.lanes.iter().filter(|lane| !lane.is_closed()).map(|lane| lane.backlog()).max();
        READY_MAX.saturating_sub(usize::try_from(backlog.unwrap_or_default()).unwrap_or(READY_MAX))
    }

    /// Whether an event is not due yet at the requested speed.
    fn is_early(&mut self, at: Timestamp) -> bool {
        if self.replay.speed <= 0.0 {
            return false;
        }
        let (first, since) = *self.pace_from.get_or_insert((at, Instant::now()));
        at.ns_since(first) as f64 > since.elapsed().as_nanos() as f64 * self.replay.speed
    }
}

/// Adds to a batch the deletion of all replays' progress.
pub fn forget_replays(batch: &mut Batch) {
    batch.delete_range(Table::Router, note_key(""), b"replay\x01");
}

/// Adds to a batch that replays which had read events after `end` go on from there; how many.
pub(crate) fn cut_back(depot: &BusStore, end: Position, batch: &mut Batch) -> Result<u64, ReadError> {
    let mut replays = 0;
    depot.scan(Table::Router, &note_key(""), b"", &mut |key, value| {
        let position = value.first_chunk().copied().map(u64::from_be_bytes);
        if position.is_some_and(|position| position > end.0) {
            replays += 1;
            batch.put(Table::Router, key, [&end.0.to_be_bytes()[..], &value[8..]].concat());
        }
        ControlFlow::Continue(())
    })?;
    Ok(replays)
}

fn note_key(name: &str) -> Vec<u8> {
    [b"replay\0", name.as_bytes()].concat()
}
